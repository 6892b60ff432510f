"""Folders of DNGs and of still mosaics become takes; what does not fit names its file."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import OpenImageIO
import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage.dome import Dome
from lightstage.errors import DamagedDataError, InputError, SessionError
from lightstage.preprocess.ingest import take_for
from lightstage.preprocess.raw_sequence import RawSequence, open_recording
from lightstage.preprocess.source import open_source
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from tests.cine.cine_takes import write_take
from tests.preprocess.dng_files import write_dng

SHAPE = (24, 32)


def mosaics(count: int, most: int = 4095, dtype=np.uint16) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, most, SHAPE).astype(dtype) for _ in range(count)]


def write_still(path: Path, pixels: np.ndarray) -> None:
    """Written by OpenImageIO, read by OpenCV."""
    output = OpenImageIO.ImageOutput.create(str(path))
    spec = OpenImageIO.ImageSpec(pixels.shape[1], pixels.shape[0], 1, str(pixels.dtype))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.ascontiguousarray(pixels[..., None]))
    output.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    return path


@pytest.fixture
def stage(tmp_path: Path) -> list[str]:
    """Options of a new session with 12 lights."""
    Dome.evenly_spread(12).save(tmp_path / "dome.json")
    CaptureSequence(lights=12).save(tmp_path / "sequence.json")
    return [f"--dome={tmp_path}/dome.json", f"--sequence={tmp_path}/sequence.json"]


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, [str(a) for a in arguments], prog_name="lightstage"
    )


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_dngs_tell_their_filter_levels_and_exposure(folder: Path, cfa: str) -> None:
    written = mosaics(3)
    for index, pixels in enumerate(written):
        write_dng(folder / f"f_{index}.DNG", pixels, cfa=cfa, black=64, white=4000)
    with RawSequence.open([folder]) as source:
        assert (source.cfa, source.black_level, source.white_level) == (cfa, 64, 4000)
        assert (len(source), source.bit_depth, source.name) == (3, 12, "frames")
        np.testing.assert_array_equal(source.exposure_ns, [5_000_000] * 3)
        for index, pixels in enumerate(written):
            np.testing.assert_array_equal(source[index], pixels)


def test_whole_seconds_are_times_only_for_slow_sequences(folder: Path) -> None:
    for index in range(3):
        write_dng(folder / f"{index}.dng", mosaics(1)[0], when=f"2024:01:02 03:04:{10 * index:02}")
    times = RawSequence.open([folder]).time_ns
    assert times is not None
    np.testing.assert_array_equal(np.diff(times), [10_000_000_000] * 2)
    assert times[0] == 1_704_164_640_000_000_000  # 2024-01-02 03:04:00 UTC
    write_dng(folder / "3.dng", mosaics(1)[0], when="2024:01:02 03:04:21")
    assert RawSequence.open([folder]).time_ns is None


@pytest.mark.parametrize("suffix", ["tif", "png", "pgm"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stills_are_taken_as_they_are_in_natural_order(folder: Path, suffix: str, dtype) -> None:
    written = mosaics(12, np.iinfo(dtype).max, dtype)
    for index, pixels in enumerate(written):
        write_still(folder / f"frame{index}.{suffix}", pixels)
    (folder / "._frame0.tif").write_bytes(b"left by another system")
    (folder / "notes.txt").write_text("not a picture")
    with RawSequence.open([folder], cfa="GBRG", black_level=3, frame_rate_hz=50) as source:
        assert (source.cfa, source.black_level, source.white_level) == (
            "GBRG",
            3,
            np.iinfo(dtype).max,
        )
        assert source.time_ns is None and source.exposure_ns is None
        for index, pixels in enumerate(written):
            np.testing.assert_array_equal(source[index], pixels)
            assert source[index].dtype == dtype
        np.testing.assert_array_equal(source.read_rows(4, [5, 0]), written[4][[5, 0]])
        np.testing.assert_array_equal(source.read_window(4, 5, 9), written[4][5:9])


def test_a_folder_of_dngs_becomes_a_take_whose_recording_is_the_store(
    folder: Path, tmp_path: Path, stage: list[str]
) -> None:
    written = mosaics(30)
    for index, pixels in enumerate(written):
        write_dng(folder / f"f_{index}.dng", pixels, cfa="GBRG")
    session = tmp_path / "session"
    result = run("ingest", session, "--take", "still", "--from", folder, *stage, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)["takes"]["still"]
    assert (report["frames"], report["verified"]) == (30, True)
    take = Take.open(session)
    assert take.manifest.origin == "imported from frames"
    with open_source(take) as source:
        assert (source.cfa, source.black_level) == ("GBRG", 64)
        for index, pixels in enumerate(written):
            np.testing.assert_array_equal(source[index], pixels)
    again = run("ingest", session, "--take", "still", "--from", folder, "--json")
    assert json.loads(again.stdout)["takes"]["still"]["shards_made_now"] == 0
    assert "no take.cine" in run("ingest", session).stderr


def test_a_cine_can_be_brought_in_compressed(tmp_path: Path, stage: list[str]) -> None:
    """Oracle: FFmpeg's decoder of the .cine file."""
    write_take(tmp_path / "far.cine", frames=16)
    result = run(
        "ingest", tmp_path / "s", "--take", "a", "--from", tmp_path / "far.cine", *stage, "-q"
    )
    assert (result.exit_code, result.output) == (0, "")
    with av.open(str(tmp_path / "far.cine")) as container:
        expected = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    with open_source(Take.open(tmp_path / "s")) as source:
        for index, frame in enumerate(expected):
            np.testing.assert_array_equal(source[index], frame)


def test_one_frame_of_another_kind_is_named(folder: Path) -> None:
    for index in range(3):
        write_dng(folder / f"{index}.dng", mosaics(1)[0], black=64 + index // 2)
    with RawSequence.open([folder]) as source, pytest.raises(InputError, match=r"2\.dng.*65"):
        source[2]
    with RawSequence.open([folder]) as source, pytest.raises(InputError, match=r"2\.dng"):
        _ = source.time_ns
    write_dng(folder / "1.dng", mosaics(1)[0][:, :26])
    with RawSequence.open([folder]) as source, pytest.raises(InputError, match=r"1\.dng.*26x24"):
        source[1]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda f: None, InputError, "no raw pictures"),
        (lambda f: (f / "a.dng").write_bytes(b"II*\0junk"), DamagedDataError, "a.dng"),
        (lambda f: (f / "a.png").write_bytes(b"junk"), DamagedDataError, "a.png"),
        (
            lambda f: (
                write_still(f / "a.png", mosaics(1)[0]),
                write_dng(f / "b.dng", mosaics(1)[0]),
            ),
            InputError,
            "several kinds",
        ),
    ],
)
def test_what_is_no_sequence_is_refused(folder: Path, make, error, words: str) -> None:
    make(folder)
    with pytest.raises(error, match=words):
        RawSequence.open([folder])


def test_colour_pictures_are_no_mosaics(folder: Path) -> None:
    spec = OpenImageIO.ImageSpec(8, 8, 3, "uint8")
    output = OpenImageIO.ImageOutput.create(str(folder / "a.png"))
    output.open(str(folder / "a.png"), spec)
    output.write_image(np.zeros((8, 8, 3), np.uint8))
    output.close()
    with pytest.raises(InputError, match="one 8- or 16-bit value a pixel"):
        RawSequence.open([folder])


def test_levels_and_rates_must_make_sense(folder: Path) -> None:
    write_still(folder / "a.png", mosaics(1)[0])
    with pytest.raises(InputError, match="black level"):
        RawSequence.open([folder], black_level=200, white_level=100)
    with pytest.raises(InputError, match="rate"):
        RawSequence.open([folder], frame_rate_hz=-1)


def test_a_cine_tells_its_own_levels(tmp_path: Path) -> None:
    write_take(tmp_path / "a.cine")
    with pytest.raises(InputError, match="tells its own"):
        open_recording([tmp_path / "a.cine"], black=3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "{folder}"], "name it with --take"),
        (["--take", "a", "--from", "{folder}"], "is a new session"),
        (["--cfa", "RGGB"], "give them with --from"),
        (["--take", "a", "--from", "{folder}", "--rate", "50", *["{stage}"]], "50 fps"),
        (["--take", "a", "--from", "{folder}/none"], "no such file"),
    ],
)
def test_wrong_input_ends_in_one_paragraph(
    folder: Path, tmp_path: Path, stage: list[str], arguments: list[str], words: str
) -> None:
    write_still(folder / "a.png", mosaics(1)[0])
    given = [part.format(folder=folder, stage="{stage}") for part in arguments]
    given = [p for part in given for p in (stage if part == "{stage}" else [part])]
    result = run("ingest", tmp_path / "s", *given)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "\n\n" not in result.stderr.strip()
    assert not (tmp_path / "s").exists()


def test_a_take_with_a_cine_is_not_given_other_frames(tmp_path: Path, folder: Path) -> None:
    write_still(folder / "a.png", mosaics(1)[0])
    session = Session.create(
        tmp_path / "s", dome=Dome.evenly_spread(12), sequence=CaptureSequence(lights=12)
    )
    take = session.add_take("a", origin="imported for a test")
    write_take(take.cine_path)
    with pytest.raises(SessionError, match=r"has a take\.cine"):
        take_for(take.path, None, RawSequence.open([folder]))
