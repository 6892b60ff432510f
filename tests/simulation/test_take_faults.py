"""What goes wrong in a simulated take is drawn as asked, seen in frames, and told in truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightstage.cine import CineFile
from lightstage.dome import Dome
from lightstage.errors import FieldsError, SequenceError
from lightstage.sequence import CaptureSequence, StepKind
from lightstage.simulation import (
    FAULTS,
    Performer,
    SimulatedCamera,
    SimulatedSensor,
    SimulatedStage,
    TakeFaults,
    read_steps,
    simulate_take,
    take_steps,
    write_steps,
)
from lightstage.simulation.take_steps import EXTRA, REPEATED, SOUND, SWAPPED, draw_steps

SEQUENCE = CaptureSequence(lights=12, olat_per_tracking=3, tracking_pulse_us=100.0)


def stage(**faults: object) -> SimulatedStage:
    sensor = SimulatedSensor(full_well=1e12, read_noise=0.0)
    return SimulatedStage(
        SEQUENCE, Dome.evenly_spread(12), Performer(motion="still"), SimulatedCamera(64, 48),
        sensor, faults=TakeFaults(**faults),
    )  # fmt: skip


def test_without_faults_each_frame_shows_its_own_step() -> None:
    steps, after = draw_steps(TakeFaults(), 50, first_step=7)
    np.testing.assert_array_equal(steps.step_index, np.arange(7, 57))
    np.testing.assert_array_equal(steps.beat, np.arange(7, 57))
    np.testing.assert_array_equal(after, np.arange(7, 57))
    assert not steps.fault.any() and not steps.garbage_stamp.any() and len(steps.dropped_steps) == 0


def test_named_faults_happen_where_they_are_named() -> None:
    steps, _ = draw_steps(
        TakeFaults(dropped=(3, 4), repeated=(7,), swapped=(10,), extra=(12,), garbage_stamps=(0,)),
        16,
    )
    shown = [0, 1, 2, 5, 6, 6, 8, 9, 11, 10, 12, -1, 13, 14, 15]
    beats = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 12.5, 13, 14, 15]
    assert steps.step_index.tolist() == shown and steps.beat.tolist() == beats
    assert steps.dropped_steps.tolist() == [3, 4]
    assert np.flatnonzero(steps.garbage_stamp).tolist() == [0]
    wrong = {5: REPEATED, 8: SWAPPED, 9: SWAPPED, 11: EXTRA}
    assert steps.fault.tolist() == [wrong.get(frame, SOUND) for frame in range(15)]


def test_rates_are_kept_and_every_fault_explains_its_frame() -> None:
    """A frame's step follows from its fault, its beat and its neighbours."""
    faults = TakeFaults(
        seed=4, drop_rate=0.05, repeat_rate=0.02, swap_rate=0.02, extra_rate=0.02, drop_bursts=3,
        burst_frames=50,
    )  # fmt: skip
    count = 40_000
    steps, _ = draw_steps(faults, count)
    # five standard deviations of a share; neighbours that are spoilt already are left alone
    for kind, rate in ((REPEATED, 0.02), (SWAPPED, 0.04), (EXTRA, 0.02)):
        assert (steps.fault == kind).mean() == pytest.approx(rate, rel=0.25)
    assert len(steps.dropped_steps) == pytest.approx(0.05 * count + 150, abs=5 * np.sqrt(2000))
    own = np.floor(steps.beat).astype(int)
    sound = steps.fault == SOUND
    np.testing.assert_array_equal(steps.step_index[sound], own[sound])
    again = np.flatnonzero(steps.fault == REPEATED)
    np.testing.assert_array_equal(steps.step_index[again], own[again] - 1)
    swapped = np.flatnonzero(steps.fault == SWAPPED)
    np.testing.assert_array_equal(np.abs(steps.step_index[swapped] - own[swapped]), 1)
    assert (steps.step_index[steps.fault == EXTRA] == -1).all()
    assert (np.diff(steps.beat) > 0).all()
    there = np.union1d(own, steps.dropped_steps)
    np.testing.assert_array_equal(there, np.arange(count))
    assert len(np.intersect1d(own, steps.dropped_steps)) == 0


def test_bursts_are_runs() -> None:
    dropped = draw_steps(TakeFaults(seed=1, drop_bursts=1, burst_frames=30), 500)[0].dropped_steps
    np.testing.assert_array_equal(np.diff(dropped), 1)
    assert len(dropped) == 30


def test_the_same_seed_spoils_the_same_frames_and_one_fault_does_not_move_another() -> None:
    first = draw_steps(TakeFaults(seed=9, drop_rate=0.05), 2000)[0].dropped_steps
    again = draw_steps(TakeFaults(seed=9, drop_rate=0.05, garbage_stamp_rate=0.1), 2000)[0]
    other = draw_steps(TakeFaults(seed=8, drop_rate=0.05), 2000)[0].dropped_steps
    np.testing.assert_array_equal(first, again.dropped_steps)
    assert set(first.tolist()) != set(other.tolist())


@pytest.mark.parametrize(
    "faults, reason",
    [
        ({"dropped": (3,), "repeated": (3,)}, "step 3 is named twice"),
        ({"dropped": (2,), "repeated": (3,)}, "step 2 is dropped"),
        ({"swapped": (3, 4)}, "step 4 is named twice"),
        ({"drop_rate": 1.5}, "drop_rate"),
        ({"stuck_on": (1,), "stuck_dark": (1,)}, "light 1 cannot"),
        ({"droop": 0.1}, "droop"),
    ],
)
def test_contradictory_faults_are_refused(faults: dict[str, object], reason: str) -> None:
    with pytest.raises(SequenceError, match=reason):
        TakeFaults(**faults)


@pytest.mark.parametrize(
    "faults, reason",
    [
        ({"dropped": (99,)}, "step 99"),
        ({"repeated": (5,)}, "first"),
        ({"swapped": (24,)}, "last"),
        ({"garbage_stamps": (20,)}, "frame 20"),
        ({"drop_rate": 1.0}, "all 20 frames"),
    ],
)
def test_faults_that_the_take_does_not_have_are_refused(
    faults: dict[str, object], reason: str
) -> None:
    with pytest.raises(SequenceError, match=reason):
        draw_steps(TakeFaults(**faults), 20, first_step=5)


def test_faults_of_lights_that_the_sequence_lacks_are_refused() -> None:
    with pytest.raises(SequenceError, match="light 12"):
        stage(stuck_on=(12,))


def test_frames_show_what_the_truth_says(tmp_path: Path) -> None:
    """Frames of a sound take are the dictionary in which the spoilt take's are looked up."""
    path = tmp_path / "take.cine"
    faults = {"dropped": (12, 13), "repeated": (20,), "swapped": (17,), "garbage_stamps": (5,)}
    spoilt = stage(**faults, extra=(24,))
    steps = simulate_take(path, spoilt, 22, first_step=10)
    cine = CineFile(path)
    assert len(cine) == len(steps) == 21
    sound = stage()
    for index, step in enumerate(steps.step_index.tolist()):
        if step >= 0:
            np.testing.assert_array_equal(cine[index], sound.frame(step).frame)
    np.testing.assert_array_equal(take_steps(spoilt, 22, 10).step_index, steps.step_index)
    stamps = cine.time_ns
    assert stamps is not None
    kept = ~steps.garbage_stamp
    since_ns = (stamps - stamps[0])[kept]
    np.testing.assert_allclose(since_ns, (steps.beat - steps.beat[0])[kept] * 1e6, atol=2000)
    assert abs(int(stamps[5]) - int(stamps[4])) > 1_000_000_000


def test_a_false_frame_shows_the_ends_of_two_pulses() -> None:
    """Half a period late at 1000 fps, 220 us of each neighbour's 740 us pulse fall into it."""
    sound = stage()
    step = len(SEQUENCE.preamble)  # an OLAT frame, followed by another
    assert SEQUENCE.step(step + 1).kind is StepKind.OLAT
    lit = sound.false_lighting(step)
    assert sorted(lit.lights) == sorted(SEQUENCE.step(step + k).light for k in (0, 1))
    np.testing.assert_allclose(lit.shares, 220.0 / 700.0, rtol=1e-6)


def test_take_without_time_stamps_is_a_cine_file(tmp_path: Path) -> None:
    for name, unstamped in (("with.cine", False), ("without.cine", True)):
        simulate_take(tmp_path / name, stage(no_stamps=unstamped), 12)
    stamped, plain = CineFile(tmp_path / "with.cine"), CineFile(tmp_path / "without.cine")
    assert plain.time_ns is None and stamped.time_ns is not None
    assert len(plain) == 12
    for index in range(12):
        np.testing.assert_array_equal(plain[index], stamped[index])
    np.testing.assert_array_equal(np.asarray(plain.exposure_ns), np.asarray(stamped.exposure_ns))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["with.cine", "without.cine"]


def test_droop_and_jitter_dim_tracking_frames_alone() -> None:
    first = len(SEQUENCE.preamble)
    sound, dim = stage(), stage(supply_droop=0.2, supply_fade_per_s=1.0)
    for step in range(first, first + 8):
        ratio = dim.picture(step).mean() / sound.picture(step).mean()
        tracking = SEQUENCE.step(step).kind is StepKind.TRACKING
        expected = 0.8 * (1.0 - step / 1000.0) if tracking else 1.0
        assert ratio == pytest.approx(expected, rel=1e-5)
    unsteady = stage(tracking_gain_jitter=0.05)
    steps = take_steps(unsteady, 4000)
    kinds = np.array([SEQUENCE.step(int(s)).kind is StepKind.TRACKING for s in steps.step_index])
    assert (steps.gain[~kinds] == 1.0).all()
    # five standard errors of 1000 frames
    assert steps.gain[kinds].std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * 1000))
    assert steps.gain[kinds].mean() == pytest.approx(1.0, abs=5 * 0.05 / np.sqrt(1000))
    some = int(np.flatnonzero(kinds)[7])
    ratio = unsteady.picture(some).mean() / sound.picture(some).mean()
    assert ratio == pytest.approx(steps.gain[some], rel=1e-5)


def test_stuck_dark_and_dim_lights_are_seen() -> None:
    sound = stage()
    spoilt = stage(stuck_on=(2,), stuck_dark=(0,), dim={5: 0.25})
    steps = {SEQUENCE.step(s).light: s for s in range(10, 10 + SEQUENCE.cycle_frames)}
    always = sound.picture(steps[2])
    np.testing.assert_allclose(spoilt.picture(0), always, rtol=1e-5, atol=1e-7)  # a dark step
    np.testing.assert_allclose(spoilt.picture(steps[0]), always, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        spoilt.picture(steps[5]) - always, 0.25 * sound.picture(steps[5]), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(spoilt.light_gain[[0, 2, 5, 6]], [0.0, 1.0, 0.25, 1.0])


def test_truth_of_steps_is_written_and_read(tmp_path: Path) -> None:
    faults = TakeFaults(drop_rate=0.1, extra_rate=0.1, light_gain_error=0.1)
    steps = take_steps(stage(**faults.model_dump()), 200)
    for _ in range(2):  # the second replaces the first
        write_steps(tmp_path / "truth_steps.zarr", steps, faults)
    read = read_steps(tmp_path / "truth_steps.zarr")
    for name, value in vars(steps).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    assert FAULTS[int(read.fault.max())] == "extra"
    with pytest.raises(FieldsError, match="no truth_steps"):
        read_steps(tmp_path / "nothing.zarr")
