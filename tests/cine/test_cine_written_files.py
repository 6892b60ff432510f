"""What CineWriter writes is read back unchanged, and alike by FFmpeg, LibRaw and cinereader."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import rawpy
from hypothesis import given
from hypothesis import strategies as st

from lightstage.cine import CameraSetup, CineFile, CineWriter
from lightstage.cine.clock import exposure_fraction, exposure_ns, time64, time_ns
from lightstage.cine.packing import p10_code, p10_linear
from lightstage.errors import InputError
from tests.cine.cine_takes import BAYER, FORMATS, PERIOD_NS, START_NS, write_take


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "take.cine"


def _expected(frame: np.ndarray, packing: str | None) -> np.ndarray:
    """P10 keeps the nearest of 1024 values; everything else is exact."""
    return p10_linear()[p10_code()[frame]] if packing == "P10" else frame


@pytest.mark.parametrize(("bit_depth", "packing"), FORMATS)
@pytest.mark.parametrize("cfa", ["GRAY", "GBRG", "RGB"])
def test_frames_come_back_as_written(path: Path, bit_depth: int, packing: Any, cfa: Any) -> None:
    if packing and cfa == "RGB":
        pytest.skip("RGB is never packed")
    written = write_take(path, bit_depth=bit_depth, packing=packing, cfa=cfa)
    with CineFile(path) as cine:
        assert (cine.bit_depth, cine.cfa, len(cine)) == (bit_depth, cfa, len(written))
        assert cine.warnings == []
        for index, frame in enumerate(written):
            found = cine[index]
            np.testing.assert_array_equal(found, _expected(frame, packing))
            assert found.dtype == frame.dtype
            assert found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize(("bit_depth", "packing"), [f for f in FORMATS if f[1] != "P12L"])
@pytest.mark.parametrize("cfa", ["GRAY", *BAYER])
def test_ffmpeg_decodes_the_same_pixels_and_the_same_filter(
    path: Path, bit_depth: int, packing: Any, cfa: Any
) -> None:
    """FFmpeg names the pattern of the frame as displayed, so its name must be ours."""
    write_take(path, bit_depth=bit_depth, packing=packing, cfa=cfa)
    with av.open(str(path)) as container, CineFile(path) as cine:
        bits = container.streams.video[0].codec_context.bits_per_coded_sample
        frames = list(container.decode(video=0))
        assert len(frames) == len(cine)
        for ours, frame in zip(cine, frames, strict=True):
            assert frame.format.name.startswith(
                cfa.lower() if cfa == "GRAY" else f"bayer_{cfa.lower()}"
            )
            theirs = frame.to_ndarray()
            if theirs.dtype == np.uint16:
                theirs = theirs >> (16 - bits)  # FFmpeg repeats the upper bits below
            np.testing.assert_array_equal(
                ours, p10_linear()[theirs] if packing == "P10" else theirs
            )


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_ffmpeg_decodes_the_same_colours(path: Path, bit_depth: int) -> None:
    write_take(path, bit_depth=bit_depth, cfa="RGB")
    with av.open(str(path)) as container, CineFile(path) as cine:
        for ours, frame in zip(cine, container.decode(video=0), strict=True):
            assert frame.format.name.startswith("bgr")
            theirs = frame.to_ndarray()
            np.testing.assert_array_equal(ours, theirs[..., ::-1])


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
@pytest.mark.parametrize("cfa", ["GBRG", "RGGB"])  # the two that LibRaw knows
@pytest.mark.parametrize("height", [32, 31])
def test_libraw_sees_the_same_colours_on_the_same_pixels(
    path: Path, bit_depth: int, cfa: Any, height: int
) -> None:
    write_take(path, bit_depth=bit_depth, cfa=cfa, height=height)
    with rawpy.imread(str(path)) as raw, CineFile(path) as cine:
        # LibRaw leaves the rows bottom-up, as they are stored, and marks the picture as flipped.
        assert raw.sizes.flip == 2
        np.testing.assert_array_equal(cine[0], raw.raw_image[::-1])
        if height % 2 == 0:  # of odd heights LibRaw takes the stored first row's phase for granted
            names = np.array(list("RGBG"))[raw.raw_colors[::-1][:2, :2]]
            assert "".join(names.ravel()) == cfa


@pytest.mark.parametrize(("bit_depth", "packing"), [(8, None), (12, None), (12, "P12L")])
def test_cinereader_reads_the_same_pixels(path: Path, bit_depth: int, packing: Any) -> None:
    written = write_take(path, bit_depth=bit_depth, packing=packing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cinereader import cinereader

        metadata = cinereader.read_metadata(str(path))
        theirs = cinereader.read_image_range(metadata, str(path))
    for frame, other in zip(written, theirs, strict=True):
        np.testing.assert_array_equal(frame, other)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 13), (33, 1), (1, 9)])
def test_odd_sizes_are_kept_where_pixels_are_whole_bytes(
    path: Path, width: int, height: int
) -> None:
    for bit_depth in (8, 12):
        written = write_take(path, width=width, height=height, bit_depth=bit_depth)
        with CineFile(path) as cine:
            np.testing.assert_array_equal(cine[2], written[2])


@given(values=st.lists(st.integers(0, 4095), min_size=8, max_size=8))
def test_p10_keeps_the_nearest_value(values: list[int]) -> None:
    table = p10_linear().astype(int)
    kept = table[p10_code()[values]]
    nearest = np.abs(table[:, None] - values).min(axis=0)
    np.testing.assert_array_equal(np.abs(kept - values), nearest)


def test_the_p10_table_has_the_vendors_anchors() -> None:
    table = p10_linear()
    assert (len(table), table[64], table[1014], table[1023]) == (1024, 64, 4064, 4095)
    assert (np.diff(table.astype(int)) >= 0).all()


@given(st.integers(0, (1 << 32) * 10**9 - 1))
def test_a_time_survives_to_the_nanosecond(nanoseconds: int) -> None:
    stored = time64(nanoseconds)
    assert time_ns(np.array([stored], np.uint64))[0] == nanoseconds
    assert stored & 3 == 3  # not locked to IRIG, event input open: as in real files


@given(st.integers(0, 10**9 - 1))
def test_an_exposure_survives_to_the_nanosecond(nanoseconds: int) -> None:
    stored = exposure_fraction(nanoseconds)
    assert exposure_ns(np.array([stored], np.uint32))[0] == nanoseconds


def test_stamps_exposures_and_numbers_come_back(path: Path) -> None:
    with CineWriter(
        path, width=16, height=16, frame_count=3, frame_rate_hz=999.5, exposure_us=700.25,
        first_frame_number=-2, trigger_time_ns=START_NS + 5,
    ) as writer:  # fmt: skip
        for index, exposure in enumerate((None, 123_456, 0)):
            writer.write(np.zeros((16, 16), np.uint8), START_NS + 7 * index, exposure)
    with CineFile(path) as cine:
        assert cine.time_ns.tolist() == [START_NS, START_NS + 7, START_NS + 14]
        assert cine.exposure_ns.tolist() == [700_250, 123_456, 0]
        assert cine.frame_numbers.tolist() == [-2, -1, 0]
        assert (cine.frame_rate_hz, cine.exposure_us) == (999.5, 700.25)
        assert cine.trigger_time_ns == START_NS + 5
        assert cine.time_ns.dtype == cine.exposure_ns.dtype == np.int64


def test_the_trigger_defaults_to_the_time_of_frame_zero(path: Path) -> None:
    write_take(path, first_frame_number=-2)
    with CineFile(path) as cine:
        assert cine.trigger_time_ns == START_NS + 2 * PERIOD_NS


def test_old_and_new_duplicates_agree(path: Path) -> None:
    write_take(path, frame_rate_hz=100_000, exposure_us=9.5, packing="P10")
    with CineFile(path) as cine:
        setup = cine.header.setup
        assert (setup.frame_rate_16, setup.frame_rate, setup.d_frame_rate) == (65535, 10**5, 1e5)
        assert (setup.shutter_16_us, setup.shutter_us, setup.shutter_ns) == (9, 9, 9500)
        assert (setup.im_width, setup.im_height) == (cine.width, cine.height)
        assert (setup.real_bpp, setup.lowest_format_q) == (10, 256)
        assert (setup.black_level, setup.white_level) == (64, 1014)  # in stored codes
        assert (cine.black_level, cine.white_level) == (64, 4064)  # in returned values
        assert (setup.gain, setup.f_gamma, setup.toe, setup.meta_wb) == (1, 1, 1, 1)
        assert setup.length == 10684
    # The vendor's block order, and its mark of a block that is followed by another.
    data = path.read_bytes()
    assert [block.type for block in cine.header.blocks] == [1002, 1003]
    for block, follows in zip(cine.header.blocks, (1, 0), strict=True):
        assert struct.unpack_from("<H", data, block.offset - 2)[0] == follows


def test_the_callers_setup_is_kept_and_the_writers_facts_win(path: Path) -> None:
    setup = CameraSetup(lens_description="50 mm", serial=1, im_width=7, gain=2.0, uuid="ü" * 300)
    write_take(path, setup=setup, serial=4711, camera_model="Phantom v2512")
    with CineFile(path) as cine:
        found = cine.header.setup
        assert (found.lens_description, found.serial, found.gain) == ("50 mm", 4711, 2.0)
        assert (found.camera_model, found.im_width) == ("Phantom v2512", 48)
        assert found.uuid == "ü" * 127  # what fits 255 bytes, no half character


def test_closing_early_leaves_a_file_of_what_was_written(path: Path) -> None:
    with CineWriter(
        path, width=16, height=8, frame_count=1000, frame_rate_hz=1000, exposure_us=1
    ) as writer:
        for index in range(3):
            writer.write(np.full((8, 16), index, np.uint8), START_NS + index * PERIOD_NS)
    with CineFile(path) as cine:
        assert [int(frame[0, 0]) for frame in cine] == [0, 1, 2]
        assert cine.header.setup.image_count == cine.header.file.total_image_count == 3
        assert cine.warnings == []
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 3


def test_raw_bytes_can_be_copied_from_file_to_file(path: Path, tmp_path: Path) -> None:
    write_take(path, packing="P10", cfa="GBRG")
    copy = tmp_path / "copy.cine"
    with CineFile(path) as cine, CineWriter(
        copy, width=48, height=32, frame_count=5, frame_rate_hz=1000, exposure_us=500,
        packing="P10", cfa="GBRG",
    ) as writer:  # fmt: skip
        for index, stamp in enumerate(cine.time_ns):
            writer.write_raw(cine.raw_bytes(index), stamp, cine.exposure_ns[index])
    assert copy.read_bytes() == path.read_bytes()


def test_nothing_is_left_of_a_take_that_fails(path: Path) -> None:
    path.write_bytes(b"the take before")
    with pytest.raises(RuntimeError), CineWriter(
        path, width=16, height=8, frame_count=9, frame_rate_hz=1000, exposure_us=1
    ) as writer:  # fmt: skip
        writer.write(np.zeros((8, 16), np.uint8), START_NS)
        assert path.with_name("take.cine.partial").exists()
        raise RuntimeError("the camera was unplugged")
    assert [item.name for item in path.parent.iterdir()] == ["take.cine"]
    assert path.read_bytes() == b"the take before"


def test_a_full_disk_is_an_error_and_leaves_nothing(path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are of Unix")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            write_take(path, frames=100)
        assert list(path.parent.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 0}, "width"),
        ({"height": 70_000}, "height"),
        ({"width": 50, "packing": "P10"}, "multiple of 4"),
        ({"width": 49, "packing": "P12L"}, "multiple of 2"),
        ({"bit_depth": 11}, "bit_depth"),
        ({"bit_depth": 8, "packing": "P10"}, "bit_depth"),
        ({"packing": "P14"}, "packing"),
        ({"cfa": "GGRB"}, "cfa"),
        ({"cfa": "RGB", "packing": "P12L"}, "RGB"),
        ({"frame_count": 0}, "frame_count"),
        ({"frame_count": 2.5}, "frame_count"),
        ({"frame_rate_hz": float("nan")}, "frame_rate_hz"),
        ({"exposure_us": 1e6}, "exposure_us"),
        ({"black_level": 255, "white_level": 254}, "black_level"),
        ({"white_level": 256}, "white_level"),
        ({"first_frame_number": 1 << 31}, "first_frame_number|FirstMovieImage"),
        ({"trigger_time_ns": -1}, "time_ns"),
        ({"serial": -1}, "serial"),
        ({"setup": CameraSetup(wb_gain=(1.0,))}, "WBGain"),
    ],
)
def test_what_a_cine_cannot_hold_is_refused_before_recording(
    path: Path, wrong: dict[str, Any], said: str
) -> None:
    good = {"width": 16, "height": 16, "frame_count": 1, "frame_rate_hz": 1000, "exposure_us": 1}
    with pytest.raises(InputError, match=said):
        CineWriter(path, **{**good, **wrong})
    assert list(path.parent.iterdir()) == []


def test_a_frame_that_does_not_fit_is_refused_and_the_next_is_kept(path: Path) -> None:
    with CineWriter(
        path, width=16, height=8, frame_count=1, frame_rate_hz=1000, exposure_us=1, bit_depth=12
    ) as writer:
        good = np.zeros((8, 16), np.uint16)
        for bad in (good.T, good.astype(float), good + 4096, good.astype(np.int32) - 1):
            with pytest.raises(InputError, match="frame 0"):
                writer.write(bad, START_NS)
        for bad_time in (-1, 1 << 63, 0.5):
            with pytest.raises(InputError, match="time_ns"):
                writer.write(good, bad_time)
        with pytest.raises(InputError, match="exposure_ns"):
            writer.write(good, START_NS, 10**9)
        with pytest.raises(InputError, match="bytes"):
            writer.write_raw(b"short", START_NS)
        writer.write(good, START_NS)
        with pytest.raises(InputError, match="frame_count = 1"):
            writer.write(good, START_NS)
    with CineFile(path) as cine:
        assert len(cine) == 1


def test_a_take_without_frames_is_no_file(path: Path) -> None:
    with pytest.raises(InputError, match="no frame"), CineWriter(
        path, width=16, height=8, frame_count=1, frame_rate_hz=1000, exposure_us=1
    ):  # fmt: skip
        pass
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_take(tmp_path / "nowhere" / "take.cine")
