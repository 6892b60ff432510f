"""16-bit PNG and TIFF: numbers exact, profiles that a colour engine understands."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO
import pytest
import tifffile
from PIL import Image, ImageCms

from lightstage.colour import decode_srgb, encode_srgb
from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import ACESCG, REC709, conversion
from lightstage.exchange.icc_profile import icc_profile
from lightstage.exchange.tagged_stills import write_tagged_still

IMAGE = np.random.default_rng(5).random((11, 15, 3)).astype(np.float32)
#: Colour spaces and curves that are written.
KINDS = [(REC709, "srgb"), (REC709, "linear"), (ACESCG, "linear")]


def stored(path):
    """The file's numbers, by OpenImageIO."""
    buffer = OpenImageIO.ImageBuf(str(path))
    return buffer.get_pixels(OpenImageIO.UINT16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("space", "transfer"), KINDS)
def test_numbers_are_rounded_to_nearest_of_65536(tmp_path: Path, suffix, space, transfer):
    path = tmp_path / f"a{suffix}"
    write_tagged_still(path, IMAGE, "colour", space=space, transfer=transfer)
    display = encode_srgb(IMAGE) if transfer == "srgb" else IMAGE
    expected = np.rint(display.astype(np.float64) * 65535)
    for read in (stored(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]):
        assert read.dtype == np.uint16
        np.testing.assert_allclose(read, expected, atol=1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_normals_and_mattes_are_data_without_a_profile(tmp_path: Path, suffix):
    path = tmp_path / f"n{suffix}"
    normal = np.float32([[[-1, 0, 1], [0, 1, 0]]])
    write_tagged_still(path, normal, "direction", space=REC709, transfer="srgb")
    np.testing.assert_array_equal(stored(path), [[[0, 32768, 65535], [32768, 65535, 32768]]])
    matte = np.float32([[0, 0.25, 1, 2, -1]])
    write_tagged_still(tmp_path / f"m{suffix}", matte, "coverage", space=REC709, transfer="srgb")
    np.testing.assert_array_equal(
        stored(tmp_path / f"m{suffix}")[..., 0], [[0, 16384, 65535, 65535, 0]]
    )
    with Image.open(tmp_path / f"m{suffix}") as image:
        assert not image.info.get("icc_profile")
    assert suffix == ".tif" or "iCCP" not in png_chunks(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("space", "transfer"), KINDS)
def test_files_carry_the_profile(tmp_path: Path, suffix, space, transfer):
    path = tmp_path / f"a{suffix}"
    write_tagged_still(path, IMAGE, "colour", space=space, transfer=transfer)
    profile = icc_profile(space, transfer)
    if suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].tags["InterColorProfile"].value == profile
    else:
        chunks = png_chunks(path)
        assert zlib.decompress(chunks["iCCP"].split(b"\0\0", 1)[1]) == profile
        assert list(chunks).index("iCCP") < list(chunks).index("IDAT")
        curve = {"srgb": 13, "linear": 8}[transfer]
        assert chunks.get("cICP") == (bytes([1, curve, 0, 1]) if space == REC709 else None)
        assert struct.unpack(">8I", chunks["cHRM"])[2] == round(space.primaries[0][0] * 1e5)


def png_chunks(path):
    """Chunks by name, checksums checked."""
    data, place, chunks = path.read_bytes(), 8, {}
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size)[0] == zlib.crc32(kind + content)
        chunks.setdefault(kind.decode(), content)
        place += 12 + size
    return chunks


@pytest.mark.parametrize(("space", "transfer"), KINDS)
def test_a_colour_engine_shows_the_picture_as_srgb(space, transfer):
    """LittleCMS turns numbers with our profile into sRGB; we know what must come out."""
    rgb = np.array(np.meshgrid([0.1, 0.4, 0.9], [0.1, 0.5, 0.9], [0.1, 0.6, 0.9]), np.float32)
    rgb = rgb.reshape(3, -1).T[None]  # Rec.709 linear
    numbers = rgb @ conversion(space).T.astype(np.float32)
    display = encode_srgb(numbers) if transfer == "srgb" else numbers
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile(space, transfer)))
    # Pillow has 8 bits only: take numbers that 8 bits hold, and compare what they stand for
    eight = np.rint(display * 255).astype(np.uint8)
    shown = ImageCms.profileToProfile(
        Image.fromarray(eight), source, ImageCms.createProfile("sRGB"), renderingIntent=1
    )
    held = eight.astype(np.float32) / 255
    held = decode_srgb(held) if transfer == "srgb" else held
    expected = encode_srgb(np.clip(held @ np.linalg.inv(conversion(space)).T, 0, 1)) * 255
    np.testing.assert_allclose(np.asarray(shown, np.float32), expected, atol=1.5)


def test_profiles_are_equal_byte_for_byte_and_whole():
    for space, transfer in KINDS:
        profile = icc_profile(space, transfer)
        assert profile == icc_profile(space, transfer)
        assert struct.unpack(">I", profile[:4])[0] == len(profile)
        assert len(profile) % 4 == 0
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        assert opened.version == 4.4
        assert space.title.removeprefix("linear ") in opened.profile_description


def test_other_suffixes_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"\.png or \.tif"):
        write_tagged_still(tmp_path / "a.jpg", IMAGE, "colour", space=REC709, transfer="srgb")
