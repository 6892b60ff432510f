"""Preprocessing a take: from a .cine to fields, by one process or several, resumed, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.cine import CineWriter
from lightstage.errors import CineError, InputError, LightstageError, SequenceError, SessionError
from lightstage.preprocess import jobs
from lightstage.preprocess.import_take import import_take
from lightstage.preprocess.jobs import preprocess_take
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.sequence import Step, StepKind
from tests.preprocess.moving_ball import MovingBall, psnr

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)


def record(ball, path):
    with CineWriter(
        path,
        width=ball.width,
        height=ball.height,
        frame_count=len(ball),
        frame_rate_hz=1000,
        exposure_us=700,
        bit_depth=8,
        cfa="GBRG",
        first_frame_number=ball.first_frame_number,
    ) as writer:
        for index in range(len(ball)):
            writer.write(ball[index], int(ball.time_ns[index]), 700_000)


@pytest.fixture(scope="module")
def ball():
    return MovingBall(DOME, SEQUENCE, 140, speed_px_per_s=(180.0, -60.0), noise=0.002)


@pytest.fixture(scope="module")
def recording(ball, tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "ball.cine"
    record(ball, path)
    return path


@pytest.fixture
def take(recording, tmp_path):
    return import_take(tmp_path / "s", recording, name="ball", dome=DOME, sequence=SEQUENCE)[0]


def test_a_take_becomes_fields_that_agree_with_the_truth(take, ball):
    result = preprocess_take(take, PreprocessSettings(rate_hz=100.0))
    fields = ReflectanceFields.open(take.path)
    windows = SEQUENCE.windows(100.0, 140)
    assert len(fields) == result.sets == len(windows) >= 8
    for field, window in zip(fields, windows, strict=True):
        assert field.centre_frame == ball.first_frame_number + window.centre
        time_s = window.centre / 1000
        assert field.time_s == pytest.approx(time_s, abs=1e-6)
        steps = [Step(StepKind.OLAT, light) for light in range(24)]
        expected = np.array([ball.linear(step, time_s) for step in steps])
        inside = ball.surface(time_s)[1][..., 2] > 0.3
        assert psnr(field.olat, expected, inside) > 30


def test_several_processes_make_the_same_store_to_the_last_bit(take):
    settings = PreprocessSettings(rate_hz=100.0)
    alone = preprocess_take(take, settings, output=take.path / "alone.zarr")
    shared = preprocess_take(take, settings, output=take.path / "shared.zarr", workers=2)
    files = [
        {p.relative_to(r.path): p.read_bytes() for p in r.path.rglob("*") if p.is_file()}
        for r in (alone, shared)
    ]
    assert files[0] == files[1]


def test_a_second_run_makes_nothing_again_and_changed_settings_make_all(take):
    first = preprocess_take(take, PreprocessSettings(rate_hz=50.0))
    again = preprocess_take(take, PreprocessSettings(rate_hz=50.0))
    changed = preprocess_take(take, PreprocessSettings(rate_hz=40.0))
    assert first.made == first.sets > 2
    assert again.made == 0
    assert changed.made == changed.sets


def test_an_interrupted_run_goes_on_where_it_stopped(take, monkeypatch):
    whole = preprocess_take(take, PreprocessSettings(rate_hz=50.0), output=take.path / "w.zarr")
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess_take(take, PreprocessSettings(rate_hz=50.0), progress=interrupt)
    with pytest.raises(LightstageError, match="unfinished"):
        ReflectanceFields.open(take.path)
    resumed = preprocess_take(take, PreprocessSettings(rate_hz=50.0))
    assert resumed.made == whole.sets - 2
    for a, b in zip(
        ReflectanceFields.open(take.path), ReflectanceFields.open(whole.path), strict=True
    ):
        assert np.array_equal(a.olat, b.olat)


def test_a_light_whose_frame_was_dropped_is_told_for_each_set(tmp_path):
    drop = (40,)
    ball = MovingBall(DOME, SEQUENCE, 110, drop=drop)
    record(ball, tmp_path / "b.cine")
    take, found = import_take(
        tmp_path / "s", tmp_path / "b.cine", name="b", dome=DOME, sequence=SEQUENCE
    )
    assert found.dropped.tolist() == list(drop)
    light = SEQUENCE.step(40).light
    result = preprocess_take(take, PreprocessSettings(rate_hz=None))
    fields = ReflectanceFields.open(take.path)
    assert {pair[1] for pair in result.missing} == {light}
    assert fields.attributes["missing"] == [list(pair) for pair in result.missing]
    for index, _ in result.missing:
        assert np.isnan(fields[index].olat[light]).all()
        assert fields[index].confidence[light] == 0


def test_a_recording_is_linked_or_copied(recording, tmp_path):
    linked, _ = import_take(tmp_path / "a", recording, name="t", dome=DOME, sequence=SEQUENCE)
    copied, _ = import_take(
        tmp_path / "b", recording, name="t", dome=DOME, sequence=SEQUENCE, storage="copy"
    )
    assert linked.cine_path.is_symlink()
    assert not copied.cine_path.is_symlink()
    assert copied.cine_path.read_bytes() == recording.read_bytes()
    # a second take needs neither dome nor sequence
    again, _ = import_take(tmp_path / "b", recording, name="u")
    assert again.sequence == SEQUENCE


def test_nothing_is_written_when_a_recording_does_not_fit(recording, tmp_path):
    with pytest.raises(SessionError, match="--dome"):
        import_take(tmp_path / "s", recording, name="t")
    with pytest.raises(SessionError, match="12 lights"):
        import_take(
            tmp_path / "s", recording, name="t", dome=Dome.evenly_spread(12), sequence=SEQUENCE
        )
    with pytest.raises(SequenceError, match="fps"):
        slow = SEQUENCE.replace(frame_rate_hz=250.0)
        import_take(tmp_path / "s", recording, name="t", dome=DOME, sequence=slow)
    with pytest.raises(SequenceError):
        other = SEQUENCE.replace(olat_per_tracking=5)
        import_take(tmp_path / "s", recording, name="t", dome=DOME, sequence=other)
    broken = tmp_path / "broken.cine"
    broken.write_bytes(b"CI" + b"\0" * 100)
    with pytest.raises(CineError):
        import_take(tmp_path / "s", broken, name="t", dome=DOME, sequence=SEQUENCE)
    with pytest.raises(InputError):
        import_take(tmp_path / "s", tmp_path / "no.cine", name="t", dome=DOME, sequence=SEQUENCE)
    assert not (tmp_path / "s").exists()


def test_the_ledger_names_each_finished_set(take):
    result = preprocess_take(take, PreprocessSettings(rate_hz=50.0))
    records = sorted((take.ledger_path / "aligned").glob("*.json"))
    assert [json.loads(r.read_text())["unit"] for r in records] == [
        jobs._unit(index) for index in range(result.sets)
    ]
