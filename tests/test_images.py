"""Pictures on disk: values survive, and their meaning is one."""

from __future__ import annotations

import numpy as np
import OpenImageIO
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.colour import decode_srgb, encode_srgb, luminance
from lightstage.errors import InputError
from lightstage.images import read_image, write_image, write_stored


def picture():
    return np.random.default_rng(1).random((6, 9, 3), dtype=np.float32)


@given(st.floats(0, 1, width=32))
def test_srgb_decoding_undoes_encoding(value):
    assert float(decode_srgb(encode_srgb(value))) == pytest.approx(value, abs=1e-5)


def test_srgb_agrees_with_its_standards_anchors():
    # IEC 61966-2-1: 18 % gray is 118/255, half of full light 188/255
    assert np.rint(encode_srgb([0.18, 0.5, 0.0, 1.0, 9.0]) * 255).tolist() == [
        118,
        188,
        0,
        255,
        255,
    ]
    assert float(luminance([1.0, 1.0, 1.0])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".exr", 0), (".hdr", 0.005), (".tif", 5e-5), (".png", 0.006)]
)
def test_a_picture_survives_its_file(tmp_path, suffix, tolerance):
    path = tmp_path / f"a{suffix}"
    write_image(path, picture())
    assert np.abs(read_image(path, "srgb") - picture()).max() <= tolerance


@pytest.mark.parametrize("suffix", [".exr", ".hdr", ".tif", ".png"])
def test_another_reader_sees_red_as_red(tmp_path, suffix):
    red = np.zeros((4, 5, 3), np.float32)
    red[..., 0] = 1.0
    write_image(tmp_path / f"a{suffix}", red)
    pixels = OpenImageIO.ImageBuf(str(tmp_path / f"a{suffix}")).get_pixels(OpenImageIO.FLOAT)
    assert np.allclose(pixels, red, atol=0.01)


def test_integers_are_scaled_by_their_full_scale(tmp_path):
    for dtype in (np.uint8, np.uint16):
        stored = np.array([[0, np.iinfo(dtype).max]], dtype=dtype)
        write_stored(tmp_path / "a.png", stored)
        assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_what_cannot_be_read_or_written_is_told(tmp_path):
    with pytest.raises(InputError, match="no such"):
        read_image(tmp_path / "no.png")
    for name in ("bad.png", "bad.exr", "bad.hdr"):
        (tmp_path / name).write_bytes(b"not a picture")
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="known picture format"):
        write_image(tmp_path / "a.xyz", picture())
    with pytest.raises(InputError, match="cannot be written"):
        (tmp_path / "d.png").mkdir()
        write_image(tmp_path / "d.png", picture())


@pytest.mark.parametrize("compression", ["none", "rle"])
def test_a_targa_of_another_writer_is_read(tmp_path, compression):
    stored = np.rint(picture() * 255).astype(np.uint8)
    spec = OpenImageIO.ImageSpec(9, 6, 3, OpenImageIO.UINT8)
    spec.attribute("compression", compression)
    path = tmp_path / "take_%04d.tga"
    file = OpenImageIO.ImageOutput.create(str(path))
    assert file.open(str(path), spec)
    assert file.write_image(stored)
    file.close()
    np.testing.assert_array_equal(np.rint(read_image(path) * 255), stored)


def test_a_damaged_targa_is_refused(tmp_path):
    (tmp_path / "a.tga").write_bytes(b"\0\0\2 no picture")
    with pytest.raises(InputError, match=r"a\.tga: is damaged"):
        read_image(tmp_path / "a.tga")
