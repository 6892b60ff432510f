"""``frames.zarr`` holds what was recorded, however its making went; damage is told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xxhash
import zarr

import lightstage.preprocess.ingest as ingest_module
from lightstage.cine import CineFile
from lightstage.dome import Dome
from lightstage.errors import DamagedDataError, InputError, SessionError
from lightstage.preprocess.frames_store import FramesStore, is_verified, shard_path
from lightstage.preprocess.ingest import ingest_take
from lightstage.preprocess.source import CineSource, open_source
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from tests.cine.cine_takes import write_take

ZARR_DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
LIGHTS = 12
CYCLE = 14  # two groups of six lights and a tracking frame


@pytest.fixture
def take(tmp_path: Path) -> Take:
    session = Session.create(
        tmp_path / "session",
        dome=Dome.evenly_spread(LIGHTS),
        sequence=CaptureSequence(lights=LIGHTS),
    )
    return session.add_take("talk", origin="imported for a test")


def ingested(take: Take, **options):
    with CineSource(take.cine_path) as recording:
        return ingest_take(take, recording, **options)


def frames_by_cinereader(path: Path) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cinereader import cinereader

        return list(cinereader.read_image_range(cinereader.read_metadata(str(path)), str(path)))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("pipeline", ["zarrs.ZarrsCodecPipeline", ZARR_DEFAULT])
@pytest.mark.parametrize(
    "options",
    [
        {"bit_depth": 8, "cfa": "GBRG"},
        {"bit_depth": 8},
        {"bit_depth": 12, "cfa": "RGGB"},
        {"packing": "P12L", "cfa": "BGGR"},
    ],
)
def test_any_zarr_reader_finds_what_another_cine_reader_does(take, options, pipeline):
    """Oracles: Zarr's own or zarrs' decoder on one side, cinereader on the other."""
    write_take(take.cine_path, frames=33, **options)
    result = ingested(take)
    assert (result.frames, result.shards, result.shards_made) == (33, 3, 3)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        group = zarr.open_group(str(take.frames_path), mode="r")
        frames = group["frames"][:]
        stamps, numbers = group["time_ns"][:], group["frame_number"][:]
        sums = group["xxh3_128"][:]
    expected = frames_by_cinereader(take.cine_path)
    with CineFile(take.cine_path) as cine:
        np.testing.assert_array_equal(stamps, cine.time_ns)
        np.testing.assert_array_equal(numbers, cine.frame_numbers)
        assert group.attrs["black_level"] == cine.black_level
        assert (group.attrs["cfa"], group.attrs["bit_depth"]) == (cine.cfa, cine.bit_depth)
    np.testing.assert_array_equal(frames, expected)
    for frame, found in zip(expected, sums, strict=True):
        assert xxhash.xxh3_128_digest(frame.tobytes()) == found.tobytes()


def test_a_store_is_a_source_equal_to_its_recording(take):
    write_take(take.cine_path, frames=33, bit_depth=12, cfa="GBRG", first_frame_number=-3)
    ingested(take)
    with open_source(take) as cine, open_source(take, prefer="store") as store:
        assert isinstance(cine, CineSource)
        assert isinstance(store, FramesStore)
        assert len(store) == len(cine) == 33
        assert store.identity() == cine.identity()
        for name in ("width", "height", "cfa", "black_level", "white_level", "first_frame_number"):
            assert getattr(store, name) == getattr(cine, name)
        np.testing.assert_array_equal(store.time_ns, cine.time_ns)
        np.testing.assert_array_equal(store.exposure_ns, cine.exposure_ns)
        assert store.front_bytes() == cine.front_bytes()
        assert take.cine_path.read_bytes().startswith(store.front_bytes())
        for index in (0, 13, 14, 32, -1):
            np.testing.assert_array_equal(store[index], cine[index])
            assert store[index].dtype == cine[index].dtype
        np.testing.assert_array_equal(store.read_rows(20, [3, 1, -1]), cine[20][[3, 1, -1]])
        np.testing.assert_array_equal(store.read_window(20, 2, 9), cine[20][2:9])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(store))[5], cine[5])  # noqa: S301
        with pytest.raises(IndexError):
            store[33]


def test_where_the_cine_is_gone_the_verified_store_is_the_recording(take):
    written = write_take(take.cine_path, frames=15)
    ingested(take)
    take.cine_path.unlink()
    with open_source(take) as source:
        np.testing.assert_array_equal(source[14], written[14])


def test_an_unverified_store_is_never_opened_as_a_recording(take, monkeypatch):
    write_take(take.cine_path, frames=33)
    monkeypatch.setattr(ingest_module, "finish_store", lambda *_: None)
    ingested(take)
    assert not is_verified(take.frames_path)
    with open_source(take, prefer="store") as source:
        assert isinstance(source, CineSource)
    with pytest.raises(DamagedDataError, match="not verified"):
        FramesStore(take.frames_path)
    take.cine_path.unlink()
    with pytest.raises(SessionError, match="not verified"):
        open_source(take)


def test_a_second_run_makes_nothing_and_a_lost_shard_is_made_again(take):
    write_take(take.cine_path, frames=33)
    ingested(take)
    before = contents(take.frames_path)
    assert ingested(take).shards_made == 0
    shard_path(take.frames_path, 1).unlink()
    with shard_path(take.frames_path, 2).open("r+b") as file:
        file.truncate(100)
    assert ingested(take).shards_made == 2
    assert contents(take.frames_path) == before


def test_workers_write_the_bytes_that_one_process_does(take, tmp_path):
    write_take(take.cine_path, frames=75, width=64, height=48)
    seen: list[tuple[int, int]] = []
    assert ingested(take, workers=2, progress=lambda *now: seen.append(now)).shards_made == 6
    assert seen[0] == (0, 75)
    assert seen[-1] == (75, 75)
    together = contents(take.frames_path)
    take.frames_path.rename(tmp_path / "together")
    ingested(take)
    assert contents(take.frames_path) == together


def test_a_disk_that_gives_back_other_bytes_is_found_before_verifying(take, monkeypatch):
    """One bit of one frame turns over between writing and reading back."""
    write_take(take.cine_path, frames=33)

    def turn_a_bit(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[16 + 40] ^= 4  # within the first chunk, behind Blosc's header
        path.write_bytes(data)

    monkeypatch.setattr(ingest_module, "_forget_cached", turn_a_bit)
    with pytest.raises(DamagedDataError, match=r"frame 0|chunk 0"):
        ingested(take)
    assert not is_verified(take.frames_path)


def test_damage_in_a_verified_store_is_an_error_not_a_picture(take):
    write_take(take.cine_path, frames=14, cfa="GBRG")
    ingested(take)
    path = shard_path(take.frames_path, 0)
    whole = path.read_bytes()
    with FramesStore(take.frames_path) as store:
        expected = [store[index] for index in range(14)]
    index_start = len(whole) - 16 * 14 - 4
    found = 0
    for place in range(0, index_start, max(1, index_start // 200)):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        with FramesStore(take.frames_path) as store:
            for index in range(14):
                try:
                    np.testing.assert_array_equal(store[index], expected[index])
                except DamagedDataError:
                    found += 1
    assert found > 150  # some bits of Blosc's header mean nothing


def test_a_changed_recording_is_copied_anew_but_never_over_a_verified_copy(take, monkeypatch):
    write_take(take.cine_path, frames=33)
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "finish_store", lambda *_: None)
        ingested(take)
    write_take(take.cine_path, frames=34)
    assert ingested(take).shards_made == 3
    write_take(take.cine_path, frames=35)
    with pytest.raises(InputError, match="another recording"):
        ingested(take)
    assert len(FramesStore(take.frames_path)) == 34


def test_colour_recordings_are_refused(take):
    write_take(take.cine_path, cfa="RGB")
    with pytest.raises(InputError, match="in colour already"):
        ingested(take)


def test_what_stands_in_the_way_is_left_alone(take):
    write_take(take.cine_path)
    take.frames_path.mkdir()
    (take.frames_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="stands in the way"):
        ingested(take)
    assert (take.frames_path / "notes.txt").read_text() == "mine"


def test_another_programs_store_in_its_place_is_left_alone(take):
    write_take(take.cine_path)
    zarr.create_array(str(take.frames_path), data=np.arange(5))
    before = contents(take.frames_path)
    with pytest.raises(InputError, match="stands in the way"):
        ingested(take)
    assert contents(take.frames_path) == before


def test_a_full_disk_names_the_file_and_the_next_run_goes_on(take, monkeypatch):
    write_take(take.cine_path, frames=33)
    written = ingest_module.ShardWriter._append

    def full(writer, index):
        if writer.path == shard_path(take.frames_path, 1) and index == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(writer, index)

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module.ShardWriter, "_append", full)
        with pytest.raises(OSError, match=r"No space left.*c/1/0/0"):
            ingested(take)
    assert not list(take.frames_path.rglob("*.partial"))
    assert ingested(take).shards_made == 2


def test_damaged_metadata_are_told(take):
    write_take(take.cine_path, frames=14)
    ingested(take)
    metadata = json.loads((take.frames_path / "zarr.json").read_text())
    for change, error, words in (
        ({"lightstage_schema": 99}, DamagedDataError, "newer"),
        ({"width": -3}, DamagedDataError, "width"),
        ({"kind": "something"}, InputError, "not a store"),
    ):
        changed = {**metadata, "attributes": {**metadata["attributes"], **change}}
        (take.frames_path / "zarr.json").write_text(json.dumps(changed))
        with pytest.raises(error, match=words):
            FramesStore(take.frames_path)
    (take.frames_path / "zarr.json").write_text("{")
    with pytest.raises(DamagedDataError, match="JSON"):
        FramesStore(take.frames_path)


def test_killed_at_many_moments_it_goes_on_and_ends_with_the_same_bytes(take, tmp_path):
    """SIGKILL of the command after each few shards; finished ones are not made again."""
    write_take(take.cine_path, frames=20 * CYCLE, width=384, height=256)
    ingested(take)
    unbroken = contents(take.frames_path)
    take.frames_path.rename(tmp_path / "unbroken")
    for record in (take.ledger_path / "frames").iterdir():
        record.unlink()
    ledger = take.ledger_path / "frames"
    kills = 0
    for _ in range(40):
        before = {path: path.stat().st_mtime_ns for path in ledger.glob("*.json")}
        with subprocess.Popen(
            [sys.executable, "-m", "lightstage.cli", "ingest", take.path, "--workers", "2", "-q"]
        ) as command:
            while command.poll() is None and len(list(ledger.glob("*.json"))) < len(before) + 3:
                time.sleep(0.001)
            ended = command.poll()
            command.kill()
        after = {path: path.stat().st_mtime_ns for path in ledger.glob("*.json")}
        assert before.items() <= after.items()  # no finished shard was made again
        if ended is not None:
            assert ended == 0
            break
        kills += 1
        assert not is_verified(take.frames_path) or len(after) == 20
    assert kills >= 2
    ingested(take)
    found = {k: v for k, v in contents(take.frames_path).items() if not k.endswith(".partial")}
    assert found == unbroken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are sent to a process group")
def test_ctrl_c_keeps_what_is_done(take):
    write_take(take.cine_path, frames=30 * CYCLE, width=384, height=256)
    ledger = take.ledger_path / "frames"
    with subprocess.Popen(
        [sys.executable, "-m", "lightstage.cli", "ingest", take.path, "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        while command.poll() is None and len(list(ledger.glob("*.json"))) < 3:
            time.sleep(0.001)
        os.killpg(command.pid, 2)
        _, text = command.communicate(timeout=60)
    assert command.returncode in (130, 0)
    if command.returncode == 130:
        assert "interrupted; run the same command again" in text
        assert "Traceback" not in text
    done = len(list(ledger.glob("*.json")))
    assert ingested(take).shards_made == 30 - done
