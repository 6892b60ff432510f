"""Real recordings read as independent decoders and the vendor's own exports read them."""

from __future__ import annotations

import time
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from lightstage.cine import CineFile
from lightstage.cine.clock import SECOND_NS
from lightstage.cine.packing import p10_linear
from tests.cine.cine_real_files import beside, each_real_file

#: The first frame of these was exported as TIFF by the vendor's software.
EXPORTED = ["jl_8bpp", "jl_12bpp", "jl_cam_1", "jl_packed_10"]

#: SETUP fields that the vendor's XML export states about its own 8- or 16-bit picture, not about
#: the recording, or that its newer software changes on opening.
OF_THE_EXPORT = {
    "Length",
    "SoftwareVersion",
    "Conv8Max",
    "RealBPP",
    "BlackLevel",
    "WhiteLevel",
    "RisingEdge",
    "bMetaWB",
}


@each_real_file
def test_every_frame_is_what_ffmpeg_decodes(real: Path) -> None:
    with CineFile(real) as cine:
        if any("ImageSize" in warning for warning in cine.warnings):
            pytest.skip("FFmpeg trusts ImageSize, which is garbage in this file: see the TIFF test")
        with av.open(str(real)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray() for frame in container.decode(video=0)]
            bits = stream.codec_context.bits_per_coded_sample
        assert len(cine) == len(frames)
        for ours, theirs in zip(cine, frames, strict=True):
            np.testing.assert_array_equal(ours, _from_ffmpeg(theirs, bits, cine))


def _from_ffmpeg(theirs: np.ndarray, bits: int, cine: CineFile) -> np.ndarray:
    """Undo what FFmpeg does more or less than reading what is stored.

    It flips as the display should, repeats the upper bits below, and leaves P10 codes undecoded.
    """
    if cine.header.setup.flip_vertical:
        theirs = theirs[::-1]
    if theirs.dtype == np.uint16:
        theirs = theirs >> (16 - bits)
    return p10_linear()[theirs] if cine.header.pixel_format.packing == "P10" else theirs


@each_real_file
def test_every_frame_and_stamp_is_what_cinereader_reads(real: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's remarks on the other reader's loops
        from cinereader import cinereader

        metadata = cinereader.read_metadata(str(real))
        theirs = cinereader.read_image_range(metadata, str(real), metadata.FirstImageNo)
        since_trigger_us = cinereader.read_time_from_trigger(metadata, str(real))
    # It has a P10 table of its own that ends at 10 bits; its packed frames are compared as codes.
    with CineFile(real) as cine:
        assert cine.first_frame_number == metadata.FirstImageNo
        assert len(theirs) == len(cine)
        for ours, other in zip(cine, theirs, strict=True):
            if cine.header.pixel_format.packing == "P10":
                assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] > 0.99
            else:
                np.testing.assert_array_equal(ours, other)
        ours_us = (cine.time_ns - cine.trigger_time_ns) / 1000
        # It rounds to 10 ns, and forgets whole minutes.
        difference_us = (ours_us - since_trigger_us + 30e6) % 60e6 - 30e6
        assert np.abs(difference_us).max() < 0.02


@pytest.mark.parametrize("name", EXPORTED)
def test_pixels_and_levels_give_the_vendors_tiff(name: str) -> None:
    """The export spreads black to white over the depth, adds the display offset, left-aligns."""
    exported = _tiff(beside(name, ".tif"))
    with CineFile(beside(name, ".cine")) as cine:
        span = cine.white_level - cine.black_level
        offset = cine.header.setup.offset
        linear = (cine[0].astype(np.float64) - cine.black_level) / span + offset
        bits = cine.bit_depth
    most = (1 << bits) - 1
    difference = np.clip(np.floor(linear * most), 0, most) - (exported >> (16 - bits))
    # One step of the depth: the export's rounding is not published.
    assert np.abs(difference).max() <= 1


def _tiff(path: Path) -> np.ndarray:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)


@pytest.mark.parametrize(("name", "least"), [("jl_8bpp", 90), ("jl_packed_10", 90)])
def test_setup_agrees_with_the_vendors_xml(name: str, least: int) -> None:
    root = ElementTree.parse(beside(name, ".xml")).getroot()
    with CineFile(beside(name, ".cine")) as cine:
        setup = cine.header.as_dict()["SETUP"]
    compared = 0
    for element in root.find("CameraSetup"):
        if element.tag in OF_THE_EXPORT or element.tag not in setup:
            continue
        stated = _stated(element)
        if stated is None:
            continue
        found = setup[element.tag]
        found = found if isinstance(found, tuple) else (found,)
        for there, here in zip(stated, found, strict=False):
            if isinstance(here, str):
                assert here == there, element.tag
            else:  # floats are printed with six decimals
                number = {"true": 1.0, "false": 0.0}.get(there)
                number = float(there) if number is None else number
                assert number == pytest.approx(here, rel=1e-6, abs=1e-6), element.tag
        compared += 1
    assert compared >= least


def _stated(element: ElementTree.Element) -> list[str] | None:
    """Return an element's values in the order in which the file stores them."""
    if element.find("left") is not None:
        return [element.find(side).text for side in ("left", "top", "right", "bottom")]
    texts = [leaf.text or "" for leaf in element.iter() if len(leaf) == 0]
    # An array that the recording does not use is printed empty.
    unused = {"UF", "FRPImgNr", "FRPRate", "FRPExp", "fTone", "ChOption", "AnaGain", "BinName"}
    return None if element.tag in unused | {"AnaUnit", "AnaName"} else texts


@pytest.mark.parametrize("name", ["jl_8bpp", "jl_packed_10"])
def test_stamps_and_exposures_agree_with_the_vendors_xml(name: str) -> None:
    root = ElementTree.parse(beside(name, ".xml")).getroot()
    with CineFile(beside(name, ".cine")) as cine:
        first, exposure = int(cine.time_ns[0]), int(cine.exposure_ns[0])
        trigger, number = cine.trigger_time_ns, cine.first_frame_number
    stamp = root.find("TIMEBLOCK/Time")
    assert int(stamp.get("frame")) == number
    # The export prints the lab's wall-clock time to 10 ns: the hour depends on its time zone.
    hour_ns = 3600 * SECOND_NS
    assert abs(first % hour_ns - _wall_clock_ns(stamp.text) % hour_ns) <= 10
    trigger_text = root.find("CineFileHeader/TriggerTime/Time").text
    assert abs(trigger % hour_ns - _wall_clock_ns(trigger_text) % hour_ns) <= 10
    exposure_us = float(root.find("EXPOSUREBLOCK/Exp").text)
    assert exposure / 1000 == pytest.approx(exposure_us, abs=1e-3)


def _wall_clock_ns(text: str) -> int:
    """``14:53:32.338 196.00`` is hours, minutes, seconds with milliseconds, then microseconds."""
    clock_text, microseconds = text.split(" ")
    hours, minutes, seconds = clock_text.split(":")
    whole = int(hours) * 3600 + int(minutes) * 60
    return whole * SECOND_NS + round(float(seconds) * 1e9) + round(float(microseconds) * 1000)


FACTS: dict[str, dict[str, Any]] = {
    "jl_12bpp": {"len": 202, "bit_depth": 12, "levels": (64, 4064), "rate": 10000, "first": -100},
    "jl_8bpp": {"len": 202, "bit_depth": 8, "levels": (4, 254), "rate": 10000, "first": -100},
    "jl_cam_1": {"len": 2, "bit_depth": 12, "levels": (64, 4064), "rate": 7500, "first": 0},
    "jl_dt_test": {"len": 101, "bit_depth": 12, "levels": (64, 4064), "rate": 24, "first": 0},
    "jl_packed_10": {"len": 3, "bit_depth": 12, "levels": (64, 4064), "rate": 460000, "first": 0},
}


@pytest.mark.parametrize("name", list(FACTS))
def test_what_a_real_file_is(name: str) -> None:
    expected = FACTS[name]
    with CineFile(beside(name, ".cine")) as cine:
        assert len(cine) == expected["len"]
        assert cine.bit_depth == expected["bit_depth"]
        assert (cine.black_level, cine.white_level) == expected["levels"]
        assert cine.frame_rate_hz == expected["rate"]
        assert cine.frame_numbers[0] == cine.first_frame_number == expected["first"]
        assert cine.cfa == "GRAY"
        assert cine[0].shape == (cine.height, cine.width)
        assert cine[0].dtype == (np.uint8 if cine.bit_depth == 8 else np.uint16)
        np.testing.assert_array_equal(cine[-1], cine[len(cine) - 1])


def test_garbage_image_size_is_reported_and_does_not_stop_the_reader() -> None:
    with CineFile(beside("jl_packed_10", ".cine")) as cine:
        assert len(list(cine)) == 3
        assert any("ImageSize" in warning for warning in cine.warnings)


def test_a_field_behind_setup_length_is_absent_whatever_follows() -> None:
    """At dFrameRate's place this file (Length 10392) holds its first block, read as 6.7e141 fps."""
    with CineFile(beside("jl_8bpp", ".cine")) as cine:
        assert cine.header.setup.length == 10392
        assert cine.header.setup.d_frame_rate is None
        assert cine.frame_rate_hz == 10000


@each_real_file
def test_opening_takes_milliseconds(real: Path) -> None:
    CineFile(real).close()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        CineFile(real).close()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
