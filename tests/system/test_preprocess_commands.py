"""``lightstage preprocess`` as a user types it: what it makes, plans, and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.preprocess.import_take import import_take
from tests.preprocess.moving_ball import MovingBall, record

DOME = Dome.evenly_spread(12)
SEQUENCE = CaptureSequence(lights=12)


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, [str(a) for a in arguments], prog_name="lightstage"
    )


def report_of(*arguments):
    result = run("preprocess", *arguments, "--json", "--workers", 1)
    assert result.exit_code == 0, (result.output, result.exception)
    (report,) = json.loads(result.stdout)["takes"].values()
    return report


def refused(result, exit_code=2):
    """Assert that a command ended with one paragraph and the exit code; return the paragraph."""
    text = result.stderr.strip()
    assert result.exit_code == exit_code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "\n\n" not in text
    return text


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    ball = MovingBall(DOME, SEQUENCE, 90, speed_px_per_s=(180.0, -60.0), noise=0.002, drop=(33,))
    record(ball, folder / "ball.cine")
    import_take(
        folder / "s", folder / "ball.cine", name="ball", dome=DOME, sequence=SEQUENCE,
        storage="copy",
    )  # fmt: skip
    return folder / "s"


@pytest.fixture
def session(recorded, tmp_path):
    return Path(shutil.copytree(recorded, tmp_path / "session"))


def everything_in(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_report_tells_what_was_made_and_what_is_wrong(session):
    report = report_of(session, "--rate", "all")
    fields = ReflectanceFields.open(session)
    assert report["sets"] == report["sets_made_now"] == len(fields)
    assert report["frames"] == 90
    assert report["dropped_frames"] == 1
    missing = {index for index, _ in fields.attributes["missing"]}
    assert report["sets_with_missing_lights"] == len(missing) > 0
    assert report["sets_flagged"] == int((fields.read_values("flag") != 0).sum())
    assert set(report["worker_seconds"]) == {"motion", "images", "grids"}
    assert report["fields"] == str(session / "takes" / "ball" / "aligned.zarr")
    assert report_of(session, "--rate", "all")["sets_made_now"] == 0


def test_a_person_gets_a_table_and_no_json(session):
    result = run("preprocess", session, "--workers", 1)
    assert result.exit_code == 0
    assert "Take ball" in result.stdout
    assert "sets_made_now" in result.stdout
    quiet = run("preprocess", session, "--workers", 1, "-q")
    assert (quiet.exit_code, quiet.stdout) == (0, "")


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ((), (80, 96)),
        (("--crop", "full", "--size", "48x40"), (40, 48)),
        (("--crop", "10,8,64,60"), (60, 64)),
        (("--crop", "10,8,64,64", "--size", "32"), (32, 32)),
    ],
)
def test_crop_and_size_are_those_of_the_images(session, options, shape):
    report_of(session, *options)
    fields = ReflectanceFields.open(session)
    assert fields[0].olat.shape == (12, *shape, 3)


def test_missing_lights_are_filled_on_request(session):
    report = report_of(session, "--rate", "all", "--missing", "fill")
    assert report["sets_with_filled_lights"] > 0
    assert ReflectanceFields.open(session).attributes["filled"]


def test_a_virtual_store_is_asked_for_by_name_and_reads_the_same(session):
    report_of(session, "-o", session / "stored.zarr")
    report = report_of(session, "--store", "virtual")
    assert report["store"] == "virtual"
    stored = ReflectanceFields.open(session / "stored.zarr")
    virtual = ReflectanceFields.open(session)
    assert virtual.is_virtual
    assert np.array_equal(stored[0].olat, virtual[0].olat, equal_nan=True)


def test_best_differs_from_fast(session):
    report_of(session, "-o", session / "fast.zarr")
    report_of(session, "-o", session / "best.zarr", "--quality", "best")
    fast, best = (ReflectanceFields.open(session / name) for name in ("fast.zarr", "best.zarr"))
    assert best.attributes["settings"]["develop"]["demosaic"] == "residual"
    assert best.attributes["settings"]["align"]["fuse_cycles"] == 1
    assert not np.array_equal(fast[1].olat, best[1].olat, equal_nan=True)


def test_a_dry_run_tells_the_cost_and_writes_no_store(session):
    before = everything_in(session)
    report = report_of(session, "--dry-run")
    after = everything_in(session)
    # what was found out about the frames is kept for the real run, in the ledger
    new = {str(path) for path in set(after) - set(before)}
    assert all("ledger/coarse." in name for name in new)
    assert {path: after[path] for path in before} == before
    made = report_of(session)
    assert report["sets"] == made["sets"] > 0
    assert report["frames"] == 90
    assert report["image_size"] == "96x80"
    assert report["bytes_read"] > 0
    store = session / "takes" / "ball" / "aligned.zarr"
    written = sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    assert 0.3 * written < report["bytes_written_at_most"]
    assert report["memory_per_worker"] > 0
    assert report["estimated_hours"] >= 0
    table = run("preprocess", session, "--dry-run", "--workers", 1)
    assert table.exit_code == 0
    assert "estimated_hours" in table.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--crop", "everything"), "--crop must be full, face or X,Y,WIDTH,HEIGHT"),
        (("--crop", "1,2,3"), "--crop must be"),
        (("--crop", "-1,0,64,64"), "--crop must be"),
        (("--crop", "0,0,8,8"), "16 pixels"),
        (("--crop", "60,0,64,64"), "96 x 80"),
        (("--size", "0"), "16 to 16384"),
        (("--size", "100000"), "16 to 16384"),
        (("--size", "wide"), "--size must be"),
        (("--size", "64x"), "--size must be"),
        (("--flow-method", "magic"), "known are dis, deepflow"),
        (("--flow-scale", "7"), "flow-scale"),
        (("--demosaic", "fancy"), "demosaic"),
        (("--rate", "0"), "rate"),
        (("--rate", "nan"), "rate"),
        (("--rate", "1000"), "rate"),
        (("--workers", "0"), "workers"),
        (("--take", "sing"), "sing"),
        (("--scheduler", "nonsense"), "scheduler"),
        (("--scheduler", "tcp://127.0.0.1:1"), "no Dask scheduler answers"),
        (("--scheduler", "http://127.0.0.1"), "scheduler"),
    ],
)
def test_a_wrong_option_is_refused_in_one_paragraph(session, options, reason):
    before = everything_in(session)
    text = refused(run("preprocess", session, *options))
    assert reason in " ".join(text.replace("│", " ").split())
    # nothing but what was found out about the frames
    after = everything_in(session)
    assert all("ledger/coarse." in str(path) for path in set(after) - set(before))


def test_what_is_not_enough_disk_is_refused_also_by_a_dry_run(session, monkeypatch):
    usage = shutil.disk_usage(session)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2000))
    for more in ((), ("--dry-run",)):
        text = refused(run("preprocess", session, "--workers", 1, *more))
        assert "--store virtual" in text


def test_one_output_for_several_takes_is_refused(session):
    shutil.copytree(session / "takes" / "ball", session / "takes" / "again")
    text = refused(run("preprocess", session, "-o", session / "x.zarr"))
    assert "--take" in text
    result = run("preprocess", session, "--json", "--workers", 1)
    assert set(json.loads(result.stdout)["takes"]) == {"ball", "again"}
