"""Preprocessing a take: from a .cine to fields, by one process or several, resumed, refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.errors import CineError, InputError, LightstageError, SequenceError, SessionError
from lightstage.preprocess import jobs
from lightstage.preprocess.import_take import import_take
from lightstage.preprocess.jobs import JobOptions, plan_job, preprocess_take
from lightstage.preprocess.plan import SetFlag
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import open_source
from lightstage.sequence import Step, StepKind
from tests.preprocess.moving_ball import MovingBall, psnr, record

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
AT_50 = PreprocessSettings(rate_hz=50.0)


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


def files_of(store):
    """Every file of a store but what names the store's own place, as bytes."""
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_a_take_becomes_fields_that_agree_with_the_truth(take, ball):
    result = preprocess_take(take, PreprocessSettings(rate_hz=100.0))
    fields = ReflectanceFields.open(take.path)
    windows = SEQUENCE.windows(100.0, 140)
    assert len(fields) == result.sets == result.made == len(windows) >= 8
    assert result.frames == 140
    for field, window in zip(fields, windows, strict=True):
        assert field.centre_frame == ball.first_frame_number + window.centre
        time_s = window.centre / 1000
        assert field.time_s == pytest.approx(time_s, abs=1e-6)
        steps = [Step(StepKind.OLAT, light) for light in range(24)]
        expected = np.array([ball.linear(step, time_s) for step in steps])
        inside = ball.surface(time_s)[1][..., 2] > 0.3
        assert psnr(field.olat, expected, inside) > 30


def test_quality_is_on_record_for_each_set(take):
    result = preprocess_take(take, AT_50)
    fields = ReflectanceFields.open(take.path)
    confidence, residual = fields.read_values("confidence"), fields.read_values("residual")
    assert confidence.shape == (result.sets, 24)
    assert (confidence > 0.6).all()
    assert (confidence <= 1).all()
    assert (residual > 0).all()
    assert (residual < fields.read_values("residual_unaligned")).all()
    # from the centre to the end of the window, 180 and 60 pixels a second
    farthest = np.hypot(180, 60) * 0.014
    assert np.abs(fields.read_values("motion_px") - farthest).max() < 0.25 * farthest
    assert not fields.read_values("flag").any()
    assert result.flagged == 0


def test_a_low_confidence_is_flagged(recording, tmp_path, monkeypatch):
    from lightstage.preprocess import store

    monkeypatch.setattr(store, "LEAST_CONFIDENCE", 1.1)
    monkeypatch.setattr(store, "MOST_RESIDUAL", 1e-9)
    take = import_take(tmp_path / "s", recording, name="b", dome=DOME, sequence=SEQUENCE)[0]
    result = preprocess_take(take, AT_50)
    flags = ReflectanceFields.open(take.path).read_values("flag")
    assert (flags == int(SetFlag.LOW_CONFIDENCE | SetFlag.HIGH_RESIDUAL)).all()
    assert result.flagged == result.sets


@pytest.mark.parametrize("kind", ["materialised", "virtual"])
def test_several_processes_make_the_same_store_to_the_last_bit(take, kind):
    settings = PreprocessSettings(rate_hz=100.0)
    alone = preprocess_take(take, settings, output=take.path / "alone.zarr", kind=kind)
    shared = preprocess_take(
        take, settings, output=take.path / "shared.zarr", kind=kind, options=JobOptions(workers=2)
    )
    assert alone.made == shared.made == alone.sets
    assert files_of(alone.path) == files_of(shared.path)


def test_how_much_is_remembered_does_not_change_the_store(take, monkeypatch):
    from lightstage.preprocess import costs

    usual = preprocess_take(take, AT_50, output=take.path / "usual.zarr")
    monkeypatch.setattr(costs, "_MOST_REMEMBERED_BYTES", 0)
    nothing = preprocess_take(take, AT_50, output=take.path / "nothing.zarr")
    assert files_of(usual.path) == files_of(nothing.path)


def test_a_second_run_makes_nothing_again_and_changed_settings_make_all(take):
    first = preprocess_take(take, AT_50)
    before = files_of(first.path)
    again = preprocess_take(take, AT_50)
    assert first.made == first.sets > 2
    assert again.made == 0
    assert (again.sets, again.flagged) == (first.sets, first.flagged)
    assert files_of(first.path) == before
    for changed in (
        PreprocessSettings(rate_hz=40.0),
        PreprocessSettings.parse({"rate_hz": 40.0, "align": {"interpolation": "linear"}}, "test"),
        PreprocessSettings.parse({"rate_hz": 40.0, "develop": {"demosaic": "bilinear"}}, "test"),
        PreprocessSettings.parse({"rate_hz": 40.0, "crop": {"size": (48, 40)}}, "test"),
    ):
        result = preprocess_take(take, changed)
        assert result.made == result.sets
        assert preprocess_take(take, changed).made == 0


def test_a_set_whose_record_is_gone_is_made_again_alone(take):
    first = preprocess_take(take, AT_50)
    before = files_of(first.path)
    records = sorted((take.ledger_path / "aligned").glob("*.json"))
    records[1].unlink()
    assert preprocess_take(take, AT_50).made == 1
    assert files_of(first.path) == before


def test_an_interrupted_run_goes_on_where_it_stopped(take):
    whole = preprocess_take(take, AT_50, output=take.path / "w.zarr")

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess_take(take, AT_50, progress=interrupt)
    with pytest.raises(LightstageError, match="unfinished"):
        ReflectanceFields.open(take.path)
    resumed = preprocess_take(take, AT_50)
    assert resumed.made == whole.sets - 2
    assert files_of(resumed.path) == files_of(whole.path)


def test_progress_tells_each_set(take):
    told = []
    result = preprocess_take(take, AT_50, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, result.sets) for done in range(result.sets + 1)]


def test_what_interrupted_writes_left_behind_is_not_in_the_finished_store(take):
    """Zarr writes its small files to partial names of its own before they are named."""
    whole = preprocess_take(take, AT_50, output=take.path / "w.zarr")

    def interrupt(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess_take(take, AT_50, progress=interrupt)
    for left in ("zarr.0123456789.partial", "time_s/c/0.0123456789.partial"):
        (take.aligned_path / left).write_bytes(b"half of it")
    resumed = preprocess_take(take, AT_50)
    assert files_of(resumed.path) == files_of(whole.path)


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
    missing = result.plan.missing
    assert {pair[1] for pair in missing} == {light}
    assert fields.attributes["missing"] == [list(pair) for pair in missing]
    assert fields.attributes["dropped_steps"] == list(drop)
    for index, _ in missing:
        assert np.isnan(fields[index].olat[light]).all()
        assert np.isnan(fields.read_light(index, light)).all()
        assert fields[index].confidence[light] == 0
    flags = fields.read_values("flag")
    told = {int(index) for index in np.flatnonzero(flags & SetFlag.MISSING_LIGHTS)}
    assert told == {index for index, _ in missing}
    # filled on request, and recorded as filled
    fill = PreprocessSettings.parse({"rate_hz": None, "align": {"fill_missing": True}}, "test")
    filled = preprocess_take(take, fill)
    fields = ReflectanceFields.open(take.path)
    left = {tuple(pair) for pair in fields.attributes["missing"]}
    recorded = {tuple(pair) for pair in fields.attributes["filled"]}
    assert left | recorded == set(missing)
    assert recorded
    for index, _ in recorded:
        assert np.isfinite(fields[index].olat[light]).all()
        assert fields.read_values("flag")[index] & SetFlag.FILLED_LIGHTS
    assert filled.plan.filled == tuple(sorted(recorded))


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
    result = preprocess_take(take, AT_50)
    records = sorted((take.ledger_path / "aligned").glob("*.json"))
    assert [json.loads(r.read_text())["unit"] for r in records] == [
        jobs.unit(index) for index in range(result.sets)
    ]


def test_a_plan_tells_what_a_job_would_make_and_makes_nothing(take):
    planned = plan_job(take, AT_50)
    assert not take.aligned_path.exists()
    assert not (take.ledger_path / "aligned").exists()
    result = preprocess_take(take, AT_50)
    assert planned.costs.sets == result.sets
    assert planned.costs.frames == 140
    assert (planned.width, planned.height) == (96, 80)
    assert planned.seconds_per_set > 0
    # what is written at most is no less than what was written, and not beside the point
    written = sum(len(data) for data in files_of(result.path).values())
    assert written <= planned.costs.written_bytes * 1.1 + 100_000
    assert planned.costs.image_bytes == 24 * 96 * 80 * 3 * 2
    # frames of all sets' windows, whole rows
    with open_source(take) as source:
        assert planned.costs.read_bytes <= len(source) * source.width * source.height


def test_what_does_not_fit_into_memory_is_refused_with_advice(take):
    need = plan_job(take, AT_50).costs
    enough = need.worker_bytes * 2 + need.client_bytes
    few = JobOptions(workers=8, memory_bytes=enough)
    with pytest.raises(InputError, match=r"8 workers.*use --workers 2"):
        preprocess_take(take, AT_50, options=few)
    with pytest.raises(InputError, match=r"--size"):
        preprocess_take(take, AT_50, options=JobOptions(memory_bytes=10 << 20))
    assert not take.aligned_path.exists()
    result = preprocess_take(take, AT_50, options=JobOptions(workers=1, memory_bytes=enough))
    assert result.made == result.sets


def test_what_does_not_fit_on_the_disk_is_refused_with_advice(take, monkeypatch):
    usage = shutil.disk_usage(take.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2000))
    with pytest.raises(InputError, match=r"--output.*--store virtual"):
        preprocess_take(take, AT_50)
    assert not take.aligned_path.exists()


def test_a_store_that_is_something_else_is_left_alone(take):
    take.aligned_path.mkdir()
    (take.aligned_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="stands in the way"):
        preprocess_take(take, AT_50)
    assert (take.aligned_path / "thesis.txt").read_text() == "mine"


def test_a_damaged_store_is_made_anew(take):
    first = preprocess_take(take, AT_50)
    before = files_of(first.path)
    (first.path / "zarr.json").write_text("{")
    again = preprocess_take(take, AT_50)
    assert again.made == again.sets
    assert files_of(again.path) == before
