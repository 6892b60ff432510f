"""Layered EXR: OpenImageIO and OpenEXR read the same, and it is what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO
import pytest

from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import ACESCG, COLOUR_SPACES, REC709
from lightstage.exchange.field_pictures import FieldPicture
from lightstage.exchange.layered_exr import COMPRESSIONS, write_layered_exr

RNG = np.random.default_rng(3)
PICTURES = [
    (FieldPicture("full_lit", "colour"), RNG.random((9, 13, 3)).astype(np.float32) * 3, {}),
    (FieldPicture("normal", "direction"), RNG.normal(size=(9, 13, 3)).astype(np.float32), {}),
    (FieldPicture("matte", "coverage"), RNG.random((9, 13)).astype(np.float32), {}),
    (
        FieldPicture("light_007", "colour", 7),
        RNG.random((9, 13, 3)).astype(np.float32) - 0.2,
        {"lightstage/light_direction": np.float32([0.6, 0.0, 0.8])},
    ),
]
LETTERS = {"full_lit": "RGB", "normal": "XYZ", "matte": "A", "light_007": "RGB"}


def by_openexr(path):
    """Parts by name: header, and planes by channel name."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {
            part.name(): (dict(part.header), {n: c.pixels.copy() for n, c in part.channels.items()})
            for part in file.parts
        }


def by_openimageio(path):
    file = OpenImageIO.ImageInput.open(str(path))
    assert file, OpenImageIO.geterror()
    found, index = {}, 0
    while file.seek_subimage(index, 0):
        spec = file.spec()
        pixels = file.read_image(index, 0, 0, spec.nchannels, spec.format)
        planes = {name: pixels[..., i] for i, name in enumerate(spec.channelnames)}
        found[spec.get_string_attribute("oiio:subimagename")] = (spec, planes)
        index += 1
    file.close()
    return found


@pytest.mark.parametrize("depth", ["half", "float"])
@pytest.mark.parametrize("space", COLOUR_SPACES.values(), ids=list(COLOUR_SPACES))
def test_both_libraries_read_the_same_parts_names_numbers_and_colours(tmp_path, space, depth):
    path = tmp_path / "set.exr"
    write_layered_exr(path, PICTURES, space=space, depth=depth, attributes={"software": "me"})
    theirs, ours = by_openimageio(path), by_openexr(path)
    assert list(theirs) == list(ours) == [picture.name for picture, _, _ in PICTURES]
    dtype = np.float16 if depth == "half" else np.float32
    for picture, image, _ in PICTURES:
        spec, planes = theirs[picture.name]
        header, others = ours[picture.name]
        assert "".join(spec.channelnames) == LETTERS[picture.name]
        assert set(others) == set(planes)
        for letter, truth in zip(
            LETTERS[picture.name], np.moveaxis(np.atleast_3d(image), -1, 0), strict=True
        ):
            assert planes[letter].dtype == others[letter].dtype == dtype
            np.testing.assert_array_equal(planes[letter], others[letter])
            np.testing.assert_array_equal(planes[letter], truth.astype(dtype))
        expected = np.float32(space.chromaticities)
        np.testing.assert_array_equal(np.float32(header["chromaticities"]), expected)
        np.testing.assert_array_equal(np.float32(spec.getattribute("chromaticities")), expected)
        # what is no colour must not be taken for one
        named = space.interop_id if picture.meaning == "colour" else None
        assert header.get("colorInteropID") == spec.getattribute("colorInteropID") == named
        assert header["software"] == "me"
    direction = theirs["light_007"][0].getattribute("lightstage/light_direction")
    np.testing.assert_array_equal(np.float32(direction), np.float32([0.6, 0.0, 0.8]))


@pytest.mark.parametrize("space", COLOUR_SPACES.values(), ids=list(COLOUR_SPACES))
def test_openexrs_own_check_finds_the_colours_consistent(tmp_path: Path, space):
    path = tmp_path / "set.exr"
    write_layered_exr(path, PICTURES, space=space, attributes={"whiteLuminance": 120.0})
    headers = [header for header, _ in by_openexr(path).values()]
    assert OpenEXR.checkColorMetadata(headers[0]) == 0
    assert all(OpenEXR.checkColorMetadata(header, headers[0]) == 0 for header in headers[1:])
    known = OpenEXR.colorInteropIDToChromaticities(space.interop_id)
    np.testing.assert_allclose(headers[0]["chromaticities"], known, atol=1e-7)
    assert headers[0]["whiteLuminance"] == 120.0


def test_layers_are_one_part_with_the_full_lit_picture_as_plain_rgb(tmp_path: Path):
    path = tmp_path / "set.exr"
    write_layered_exr(path, PICTURES, space=ACESCG, layout="layers")
    ((spec, planes),) = by_openimageio(path).values()
    ((_, others),) = by_openexr(path).values()
    assert list(planes)[:3] == ["R", "G", "B"]
    assert set(planes) == {
        *"RGB",
        *(f"light_007.{letter}" for letter in "RGB"),
        *(f"normal.{letter}" for letter in "XYZ"),
        "matte.A",
    }
    for name, plane in planes.items():
        np.testing.assert_array_equal(plane, others[name])
    np.testing.assert_array_equal(planes["light_007.G"], PICTURES[3][1][..., 1].astype(np.float16))
    assert spec.getattribute("colorInteropID") == "lin_ap1_scene"


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressions_are_what_they_say(tmp_path: Path, name):
    write_layered_exr(tmp_path / "a.exr", PICTURES, space=REC709, compression=name)
    spec, planes = by_openimageio(tmp_path / "a.exr")["full_lit"]
    assert spec.get_string_attribute("compression").startswith(name)
    exact = 0.0 if not name.startswith("dwa") else 0.1
    np.testing.assert_allclose(
        planes["G"].astype(np.float32), PICTURES[0][1][..., 1].astype(np.float16), atol=exact
    )


def test_light_beyond_half_is_clipped_not_infinite(tmp_path: Path):
    bright = np.full((4, 4, 3), 1e6, np.float32)
    write_layered_exr(tmp_path / "a.exr", [(PICTURES[0][0], bright, {})], space=REC709)
    assert by_openimageio(tmp_path / "a.exr")["full_lit"][1]["R"].max() == 65504


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(InputError, match=r"a\.exr: cannot be written"):
        write_layered_exr(tmp_path / "a.exr", PICTURES, space=REC709)
    assert [path.name for path in tmp_path.iterdir()] == ["a.exr"]
