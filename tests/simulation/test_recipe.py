"""Recipes make what they say, once, and refuse what cannot be made."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightstage.cine import CineFile
from lightstage.errors import InputError, LightstageError, SessionError
from lightstage.sequence import StepKind
from lightstage.simulation import frozen_frames, read_steps, read_truth
from lightstage.simulation.recipe import STEPS_NAME, SessionRecipe, simulate_session

RECIPES = Path(__file__).parents[2] / "sample_sessions" / "recipes"


def recipe(**take: Any) -> SessionRecipe:
    stage = {"lights": 12, "width": 64, "height": 48}
    return SessionRecipe.parse(
        {
            "stage": stage,
            "sequence": {"olat_per_tracking": 3},
            "takes": [{"seconds": 0.01, **take}],
        },
        "test",
    )


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.toml")))
def test_shipped_recipes_can_be_made(name: str) -> None:
    wanted = SessionRecipe.load_toml(RECIPES / name)
    for take in wanted.takes:
        assert wanted.simulated_stage(take).faults == take.faults


def test_a_take_has_its_truth_beside_it(tmp_path: Path) -> None:
    wanted = recipe(truth_sets=1, truth_olat_flow=True, faults={"drop_rate": 0.1, "seed": 2})
    session = simulate_session(tmp_path / "s", wanted)
    take = session.take("talk")
    steps, cine = read_steps(take.path / STEPS_NAME), CineFile(take.cine_path)
    assert len(steps) == len(cine) and len(steps.dropped_steps) > 0
    truth = read_truth(take.truth_path)
    window = session.sequence.window(truth.centre_frame)
    assert truth.olat_flow is not None
    assert truth.olat_flow.shape == (12, 48, 64, 2) and truth.olat_flow.dtype == np.float32
    # an OLAT frame lies between its two tracking frames in time, and so does its flow
    for frame, flow in zip(window.frames, truth.olat_flow, strict=True):
        after = int(np.searchsorted(window.tracking, frame))
        share = (frame - window.tracking[after - 1]) / 4.0
        between = (1 - share) * truth.flow[after - 1] + share * truth.flow[after]
        assert np.nanmax(np.abs(flow - between)) < 0.01


def test_a_take_may_begin_in_mid_cycle(tmp_path: Path) -> None:
    wanted = recipe(first_step=21, truth_sets=1, noise=False)
    take = simulate_session(tmp_path / "s", wanted).take("talk")
    steps, cine = read_steps(take.path / STEPS_NAME), CineFile(take.cine_path)
    assert steps.step_index[0] == 21 and len(cine) == len(steps)
    stage = wanted.simulated_stage(wanted.takes[0])
    np.testing.assert_array_equal(cine[3], stage.frame(24).frame)
    centre = read_truth(take.truth_path).centre_frame
    window = stage.sequence.window(centre)
    assert window.tracking[0] >= 21 and window.tracking[-1] <= steps.step_index[-1]


def test_noise_is_what_the_recipe_says(tmp_path: Path) -> None:
    """A dark frame's variance is the reading's, and a level's rounding."""
    for read_noise in (18.0, 60.0):
        wanted = recipe(read_noise=read_noise)
        frame = wanted.simulated_stage(wanted.takes[0]).frame(0).frame
        expected = (250 * read_noise / 11000) ** 2 + 1.0 / 12.0
        # four standard errors of 64 x 48 values
        assert frame.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / frame.size) + 0.05)
    silent = recipe(noise=False)
    frame = silent.simulated_stage(silent.takes[0]).frame(0).frame
    assert (frame == 4).all()


def test_run_again_a_recipe_keeps_takes_and_adds_truth(tmp_path: Path) -> None:
    session = simulate_session(tmp_path / "s", recipe())
    cine_path = session.take("talk").cine_path
    before = cine_path.stat().st_mtime_ns, cine_path.read_bytes()
    simulate_session(tmp_path / "s", recipe(truth_sets=1))
    assert (cine_path.stat().st_mtime_ns, cine_path.read_bytes()) == before
    assert session.take("talk").truth_path.is_dir()


def test_an_interrupted_recording_is_no_take_and_is_made_again(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_session(tmp_path / "s", recipe(), progress=interrupt)
    folder = tmp_path / "s" / "takes" / "talk"
    assert not (folder / "take.cine").exists() and not (folder / "truth_steps.zarr").exists()
    whole = simulate_session(tmp_path / "s", recipe()).take("talk")
    other = simulate_session(tmp_path / "t", recipe()).take("talk")
    assert whole.cine_path.read_bytes() == other.cine_path.read_bytes()


def test_interrupted_truth_is_no_truth_and_is_made_again(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what.startswith("ground truth"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_session(tmp_path / "s", recipe(truth_sets=1), progress=interrupt)
    take_path = tmp_path / "s" / "takes" / "talk"
    assert (take_path / "take.cine").is_file() and not (take_path / "truth.zarr").exists()
    take = simulate_session(tmp_path / "s", recipe(truth_sets=1)).take("talk")
    assert read_truth(take.truth_path).time_s > 0


@pytest.mark.parametrize(
    "changed", [{"motion": "violent"}, {"faults": {"drop_rate": 0.1}}, {"noise": False}]
)
def test_another_recipe_for_a_take_that_is_there_is_refused(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    simulate_session(tmp_path / "s", recipe())
    with pytest.raises(SessionError, match=f"another recipe .*{next(iter(changed))}"):
        simulate_session(tmp_path / "s", recipe(**changed))


@pytest.mark.parametrize(
    "take, reason",
    [
        ({"faults": {"drop_rate": 2}}, "drop_rate"),
        ({"faults": {"dropped": [5000]}}, "step 5000"),
        ({"faults": {"stuck_on": [12]}}, "light 12"),
        ({"seconds": -1}, "seconds"),
        ({"read_noise": -1}, "read_noise"),
        ({"first_step": -1}, "first_step"),
        ({"truth_sets": 1, "truth_rate_hz": 1000}, "1000 sets/s"),
        ({"name": "../x"}, "name"),
    ],
)
def test_what_cannot_be_made_is_refused(take: dict[str, Any], reason: str) -> None:
    with pytest.raises(LightstageError, match=reason):
        recipe(**take)


def test_two_takes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two takes"):
        SessionRecipe.parse({"takes": [{"name": "a"}, {"name": "a"}]}, "test")


def test_the_ceiling_is_the_take_of_a_performer_who_does_not_move() -> None:
    """Of a still performer, frozen frames are the take's own, noise and all."""
    wanted = recipe(motion="still", faults={"dim": {"3": 0.5}})
    stage = wanted.simulated_stage(wanted.takes[0])
    window = stage.sequence.windows(frame_count=60)[0]
    frozen = list(frozen_frames(stage, window.centre))
    assert len(frozen) == 12
    for light, frame in enumerate(window.frames):
        np.testing.assert_array_equal(frozen[light], stage.frame(int(frame)).frame)
    moving = recipe(motion="violent", noise=False)
    stage = moving.simulated_stage(moving.takes[0])
    scene = stage.scene(window.centre)
    for light, stored in itertools.islice(enumerate(frozen_frames(stage, window.centre)), 3):
        lit = stage.lighting(int(window.frames[light]))
        assert lit.lights == [light]
        assert stage.sequence.step(int(window.frames[light])).kind is StepKind.OLAT
        expected = stage.sensor.read_out(
            stage.sensor.mosaic(render(stage, scene, light)), np.random.default_rng(0)
        )
        assert np.abs(stored.astype(int) - expected).max() <= 1


def render(stage: Any, scene: Any, light: int) -> np.ndarray:
    from lightstage.simulation import render_lights

    share = stage.sequence.exposure_us / 700.0
    return share * render_lights(scene, stage.dome, [light])[0]
