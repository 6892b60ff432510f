"""Exports of a range of sets: what is in the files, going on, and never mixing."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import OpenImageIO
import pytest

from lightstage import Dome, ReflectanceFields
from lightstage.colour import encode_srgb
from lightstage.dome import read_light_positions
from lightstage.errors import InputError
from lightstage.exchange import import_olat
from lightstage.exchange.colour_spaces import ACESCG, conversion
from lightstage.exchange.export import ExportSettings, export_film, export_sets
from lightstage.exchange.field_pictures import named_picture, pictures_of
from lightstage.images import read_image
from tests.exchange.small_fields import HEIGHT, LIGHTS, SETS, WIDTH, make_small_fields


@pytest.fixture
def small(tmp_path: Path):
    return make_small_fields(tmp_path / "aligned.zarr")


def export(
    small,
    folder,
    sets=range(SETS),
    *,
    contents=None,
    lights=None,
    overwrite=False,
    threads=1,
    **how,
):
    pictures = pictures_of(small.fields, contents, lights)
    names = tuple(picture.name for picture in pictures)
    settings = ExportSettings(source="small", name="talk", pictures=names, **how)
    return export_sets(
        small.fields,
        folder,
        settings,
        pictures,
        list(sets),
        overwrite=overwrite,
        threads=threads,
    )


def parts(path):
    file = OpenImageIO.ImageInput.open(str(path))
    found, index = {}, 0
    while file.seek_subimage(index, 0):
        found[file.spec().get_string_attribute("oiio:subimagename")] = (
            file.spec(),
            file.read_image(index, 0, 0, file.spec().nchannels, OpenImageIO.FLOAT),
        )
        index += 1
    file.close()
    return found


def test_an_exr_holds_everything_that_the_set_has_bit_for_bit(small, tmp_path: Path):
    assert export(small, tmp_path / "out", format="exr") == (SETS, 0)
    assert len(list((tmp_path / "out").glob("talk.*.exr"))) == SETS
    for index in range(SETS):
        found = parts(tmp_path / "out" / f"talk.{index:04d}.exr")
        assert list(found) == [
            *("full_lit", "albedo", "normal", "matte"),
            *(f"light_{light:03d}" for light in range(LIGHTS)),
        ]
        for name in ("full_lit", "albedo", "normal"):
            np.testing.assert_array_equal(found[name][1], getattr(small, name)[index])
        np.testing.assert_array_equal(found["matte"][1][..., 0], small.matte[index])
        for light in range(LIGHTS):
            spec, pixels = found[f"light_{light:03d}"]
            np.testing.assert_array_equal(pixels, np.nan_to_num(small.olat[index, light]))
            np.testing.assert_allclose(
                spec.getattribute("lightstage/light_direction"),
                small.fields.directions[light],
                atol=1e-6,
            )
        spec = found["full_lit"][0]
        assert spec.getattribute("lightstage/set") == index
        missing = spec.getattribute("lightstage/missing_lights")
        assert missing == ("5" if index == 1 else None)


def test_acescg_is_every_colour_by_the_matrix_and_no_normal(small, tmp_path: Path):
    export(small, tmp_path / "out", [0], format="exr", colour="acescg", depth="float")
    found = parts(tmp_path / "out" / "talk.0000.exr")
    for name in ("full_lit", "albedo"):
        expected = getattr(small, name)[0] @ conversion(ACESCG).T
        np.testing.assert_allclose(found[name][1], expected, atol=1e-6)
    np.testing.assert_array_equal(found["normal"][1], small.normal[0])
    # a light seen together with another is their sum, in either space
    both = (small.olat[0, 1] + small.olat[0, 2]) @ conversion(ACESCG).T
    np.testing.assert_allclose(found["light_001"][1] + found["light_002"][1], both, atol=2e-6)


def test_exposure_brightens_light_and_leaves_reflectance(small, tmp_path: Path):
    export(small, tmp_path / "out", [0], format="exr", exposure_stops=2.0)
    found = parts(tmp_path / "out" / "talk.0000.exr")
    np.testing.assert_array_equal(found["full_lit"][1], small.full_lit[0] * 4)
    np.testing.assert_array_equal(found["albedo"][1], small.albedo[0])


def test_even_lights_are_divided_by_their_gains(tmp_path: Path):
    small = make_small_fields(tmp_path / "aligned.zarr", gains=True)
    export(small, tmp_path / "out", [0], format="exr", depth="float", even_lights=True)
    found = parts(tmp_path / "out" / "talk.0000.exr")
    gains = small.fields.dome.gains
    assert gains.std() > 0.1
    expected = small.olat[0] / gains[:, None, None, :]
    for light in range(LIGHTS):
        np.testing.assert_allclose(found[f"light_{light:03d}"][1], expected[light], rtol=1e-6)
    np.testing.assert_array_equal(found["full_lit"][1], small.full_lit[0])


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("tiff", ".tif")])
def test_stills_have_a_folder_for_each_picture(small, tmp_path: Path, kind, suffix):
    export(small, tmp_path / "out", format=kind, transfer="srgb", lights=[0, 3])
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {"full_lit", "albedo", "normal", "matte", "light_000", "light_003"}
    back = read_image(tmp_path / "out/light_003" / f"talk.light_003.0002{suffix}", "srgb")
    np.testing.assert_allclose(encode_srgb(back), encode_srgb(small.olat[2, 3]), atol=1.5 / 65535)


def test_light_positions_read_back(small, tmp_path: Path):
    export(small, tmp_path / "out", [0], format="exr")
    assert Dome.load(tmp_path / "out" / "lights.json") == small.fields.dome
    lights = read_light_positions(tmp_path / "out" / "lights.lp")
    assert [name for name, _ in lights] == [f"light_{light:03d}" for light in range(LIGHTS)]
    positions = np.array([position for _, position in lights])
    np.testing.assert_allclose(positions, small.fields.directions, atol=1e-9)
    np.testing.assert_allclose(
        Dome.load(tmp_path / "out" / "lights.lp").directions, small.fields.directions, atol=1e-9
    )


def test_an_rti_stack_comes_back_as_the_lights_that_face_the_camera(tmp_path: Path):
    small = make_small_fields(tmp_path / "aligned.zarr")
    export(
        small,
        tmp_path / "out",
        format="rti",
        contents=["lights"],
        picture_format="png",
        all_lights=True,
    )
    stack = tmp_path / "out" / "set_0000"
    imported = import_olat(
        stack, tmp_path / "back.zarr", lights=stack / "lights.lp", transfer="srgb"
    )
    assert imported.lights == LIGHTS
    back = ReflectanceFields.open(tmp_path / "back.zarr")
    np.testing.assert_allclose(back.directions, small.fields.directions, atol=1e-8)
    np.testing.assert_allclose(
        encode_srgb(back[0].olat), encode_srgb(small.olat[0]), atol=0.6 / 255
    )
    # a light without a frame has no picture, and no line
    names = [name for name, _ in read_light_positions(tmp_path / "out/set_0001/lights.lp")]
    assert "light_005.png" not in names
    assert len(names) == LIGHTS - 1
    assert all((tmp_path / "out/set_0001" / name).is_file() for name in names)


def test_rti_leaves_out_lights_behind_and_refuses_too_few(small, tmp_path: Path):
    facing = int((small.fields.directions[:, 2] > 0).sum())
    assert facing < 6
    with pytest.raises(InputError, match=rf"set 0 has {facing} .*--all-lights"):
        export(small, tmp_path / "out", format="rti", contents=["lights"])


# Going on, and not mixing


def test_files_that_are_whole_are_not_made_again(small, tmp_path: Path):
    export(small, tmp_path / "out", [0, 1], format="exr")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.exr")}
    (tmp_path / "out" / "talk.0001.exr").unlink()
    assert export(small, tmp_path / "out", format="exr") == (2, 1)
    first = tmp_path / "out" / "talk.0000.exr"
    assert first.stat().st_mtime_ns == times[first]
    assert export(small, tmp_path / "out", format="exr", overwrite=True) == (SETS, 0)


def test_an_interrupted_file_leaves_nothing_that_looks_whole(small, tmp_path, monkeypatch):
    read, count = small.fields.read_light, []

    def stop(index, light):
        count.append(light)
        if len(count) > LIGHTS + 3:
            raise KeyboardInterrupt
        return read(index, light)

    monkeypatch.setattr(small.fields, "read_light", stop)
    with pytest.raises(KeyboardInterrupt):
        export(small, tmp_path / "out", format="exr")
    assert [p.name for p in (tmp_path / "out").glob("*.exr*")] == ["talk.0000.exr"]
    monkeypatch.undo()
    assert export(small, tmp_path / "out", format="exr") == (SETS - 1, 1)


def test_other_settings_are_refused_and_overwriting_mixes_nothing(small, tmp_path: Path):
    out = tmp_path / "out"
    export(small, out, format="exr")
    with pytest.raises(InputError, match=r"differs in colour.*--overwrite"):
        export(small, out, [0], format="exr", colour="acescg")
    (out / "notes.txt").write_text("mine")
    export(small, out, [0], format="exr", colour="acescg", overwrite=True)
    assert [p.name for p in out.glob("*.exr")] == ["talk.0000.exr"]
    assert (out / "notes.txt").exists()
    export(small, out, [0], format="png", overwrite=True)
    assert not list(out.glob("*.exr"))


def test_the_bytes_do_not_depend_on_the_threads(small, tmp_path: Path):
    for threads in (1, 2):
        export(small, tmp_path / str(threads), [0], format="exr", threads=threads)
    one, two = (tmp_path / str(threads) / "talk.0000.exr" for threads in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_a_folder_in_use_is_refused(small, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="in use for something else"):
        export(small, tmp_path / "out", format="exr")
    with pytest.raises(InputError, match="is a file"):
        export(small, tmp_path / "out" / "holiday.jpg", format="exr")


def test_too_little_memory_is_said_before_anything_is_written(small, tmp_path, monkeypatch):
    import psutil

    class Little:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    with pytest.raises(InputError, match=r"memory.*--lights"):
        export(small, tmp_path / "out", format="exr")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_named(tmp_path: Path):
    small = make_small_fields(tmp_path / "aligned.zarr", extras=False)
    assert [p.name for p in pictures_of(small.fields)][:2] == ["full_lit", "light_000"]
    with pytest.raises(InputError, match="has no matte yet"):
        pictures_of(small.fields, ["matte"])
    with pytest.raises(InputError, match="lights 0 to 7"):
        pictures_of(small.fields, ["lights"], [8])
    with pytest.raises(InputError, match="'lamp'"):
        named_picture(small.fields, "lamp")


# Films


def test_a_film_of_a_picture_has_a_frame_for_each_set(small, tmp_path: Path):
    path = tmp_path / "film.mkv"
    export_film(small.fields, path, named_picture(small.fields, "light_2"), range(SETS), rate_hz=24)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(frames) == SETS
    for index, frame in enumerate(frames):
        truth = encode_srgb(small.olat[index, 2]) * 65535
        np.testing.assert_allclose(frame, truth, atol=0.52)


def test_alpha_of_a_film_is_the_matte(small, tmp_path: Path):
    path = tmp_path / "film.mov"
    picture = named_picture(small.fields, "full_lit")
    export_film(small.fields, path, picture, [0, 2], rate_hz=24, codec="prores4444", alpha=True)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgba64le") for f in container.decode(video=0)]
    for index, frame in zip([0, 2], frames, strict=True):
        matte = frame[:HEIGHT, :WIDTH, 3] / 65535
        np.testing.assert_allclose(matte, np.clip(small.matte[index], 0, 1), atol=2e-3)


def test_a_film_of_normals_shows_them_as_half_plus_half(small, tmp_path: Path):
    path = tmp_path / "film.mkv"
    export_film(small.fields, path, named_picture(small.fields, "normal"), [0], rate_hz=24)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray()
    np.testing.assert_allclose(frame / 65535, (small.normal[0] + 1) / 2, atol=1e-4)


def test_opencv_reads_the_exported_png(small, tmp_path: Path):
    export(small, tmp_path / "out", [0], format="png", transfer="linear", contents=["full_lit"])
    bgr = cv2.imread(os.fspath(tmp_path / "out/full_lit/talk.full_lit.0000.png"), -1)
    np.testing.assert_allclose(bgr[..., ::-1], small.full_lit[0] * 65535, atol=0.51)
