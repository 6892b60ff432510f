"""Stacks of one-light pictures: values, light positions, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightstage import Dome, ReflectanceFields
from lightstage.colour import decode_srgb
from lightstage.errors import DomeError, InputError
from lightstage.exchange import NamePattern, import_olat
from lightstage.images import write_image
from lightstage.relighting import light_weights, load_environment, relight

DOME = Dome.evenly_spread(6)
HALF = 2.0**-11  # relative rounding of float16


def stored_pictures(dtype, channels, seed=0, height=12, width=16):
    shape = (6, height, width) + ((3,) if channels == 3 else ())
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, endpoint=True, dtype=dtype)


def save(path: Path, picture):
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    assert cv2.imwrite(str(path), np.ascontiguousarray(bgr))


def positions_file(folder: Path, names, directions=DOME.directions):
    lines = [str(len(names))]
    lines += [
        f"{n} {x:.8f} {y:.8f} {z:.8f}" for n, (x, y, z) in zip(names, directions, strict=True)
    ]
    (folder / "lights.lp").write_text("\n".join(lines) + "\n")
    return folder / "lights.lp"


@pytest.fixture
def stack(tmp_path: Path):
    """A folder of six 8-bit gray PNGs with a .lp file."""
    folder = tmp_path / "stack"
    folder.mkdir()
    pictures = stored_pictures(np.uint8, 1)
    names = [f"light_{index}.png" for index in range(6)]
    for name, picture in zip(names, pictures, strict=True):
        save(folder / name, picture)
    positions_file(folder, names)
    return folder, pictures


@pytest.mark.parametrize(
    ("suffix", "dtype", "channels"),
    [
        (".png", np.uint8, 3),
        (".png", np.uint16, 3),
        (".png", np.uint8, 1),
        (".tif", np.uint16, 3),
        (".TIFF", np.uint16, 1),
        (".pgm", np.uint8, 1),
        (".pgm", np.uint16, 1),
        (".ppm", np.uint8, 3),
    ],
)
def test_integer_pictures_come_in_with_full_scale_as_one(tmp_path: Path, suffix, dtype, channels):
    pictures = stored_pictures(dtype, channels)
    names = [f"shot{index}{suffix}" for index in range(6)]
    for name, picture in zip(names, pictures, strict=True):
        save(tmp_path / name, picture)
    summary = import_olat(
        tmp_path, tmp_path / "aligned.zarr", lights=positions_file(tmp_path, names)
    )
    assert (summary.lights, summary.width, summary.height) == (6, 16, 12)
    assert summary.pictures == tuple(names)
    fields = ReflectanceFields.open(tmp_path / "aligned.zarr")
    expected = pictures / np.iinfo(dtype).max
    if channels == 1:
        expected = np.repeat(expected[..., None], 3, axis=3)
    np.testing.assert_allclose(fields[0].olat, expected, rtol=HALF, atol=1e-7)
    np.testing.assert_allclose(fields.directions, DOME.directions, atol=1e-7)
    assert (len(fields), fields.rate_hz, fields[0].time_s) == (1, None, 0.0)
    total = expected.sum(axis=0) * summary.full_lit_scale
    np.testing.assert_allclose(fields[0].full_lit, total, rtol=4 * HALF, atol=1e-4)


def test_floating_point_pictures_keep_light_beyond_one(tmp_path: Path):
    pictures = np.random.default_rng(0).random((6, 12, 16, 3), dtype=np.float32) * 50
    names = [f"shot{index}.exr" for index in range(6)]
    for name, picture in zip(names, pictures, strict=True):
        write_image(tmp_path / name, picture)
    import_olat(tmp_path, tmp_path / "a.zarr", lights=positions_file(tmp_path, names), scale=0.5)
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    np.testing.assert_allclose(olat, pictures / 2, rtol=HALF, atol=1e-6)


def test_photographs_are_decoded_from_srgb_when_said_so(stack, tmp_path: Path):
    folder, pictures = stack
    import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp", transfer="srgb")
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    np.testing.assert_allclose(olat[..., 1], decode_srgb(pictures / 255), rtol=2 * HALF, atol=1e-6)


def test_jpegs_come_in_nearly(tmp_path: Path):
    y, x = np.mgrid[0:64, 0:64] / 64
    for index in range(6):
        save(tmp_path / f"{index}.jpg", (x * 20 * (index + 1) + y * 100).astype(np.uint8))
    import_olat(tmp_path, tmp_path / "a.zarr", lights=DOME.directions)
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    np.testing.assert_allclose(olat[5, ..., 0], (x * 120 + y * 100) / 255, atol=6 / 255)


def test_names_are_matched_without_case_folders_or_suffix(stack, tmp_path: Path):
    folder, pictures = stack
    names = [
        "LIGHT_5.PNG",
        "C:\\shoot 3\\Light_4.png",
        "./raw/light_3.png",
        "light_2.dng",
        "light_1",
        "light_0.jpg",
    ]
    summary = import_olat(folder, tmp_path / "a.zarr", lights=positions_file(folder, names))
    assert summary.pictures == tuple(f"light_{5 - index}.png" for index in range(6))
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    np.testing.assert_allclose(olat[..., 0], pictures[::-1] / 255, rtol=HALF, atol=1e-7)


def test_a_missing_picture_is_named(stack, tmp_path: Path):
    folder, _ = stack
    (folder / "light_3.png").unlink()
    with pytest.raises(DomeError, match=r"lists light_3\.png.*1 of 6 pictures"):
        import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")
    assert not (tmp_path / "a.zarr").exists()


def test_an_unlisted_picture_is_left_out_and_named(stack, tmp_path: Path):
    folder, pictures = stack
    save(folder / "extra.png", pictures[0])
    summary = import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")
    assert summary.lights == 6
    assert any("extra.png: not listed in lights.lp" in text for text in summary.warnings)


def test_doubtful_lists_are_refused(stack, tmp_path: Path):
    folder, pictures = stack
    names = [f"light_{index}.png" for index in range(6)]
    twice = positions_file(folder, [*names[:5], "light_0.png"])
    with pytest.raises(DomeError, match=r"light_0\.png more than once"):
        import_olat(folder, tmp_path / "a.zarr", lights=twice)
    save(folder / "light_0.tif", pictures[0])
    with pytest.raises(DomeError, match=r"light_0 could be light_0\.\w+, light_0\.\w+"):
        import_olat(
            folder, tmp_path / "a.zarr", lights=positions_file(folder, ["light_0", *names[1:]])
        )
    (folder / "light_0.tif").unlink()
    same = DOME.directions.copy()
    same[4] = same[2]
    with pytest.raises(DomeError, match=r"light_2\.png and light_4\.png are lit from the same"):
        import_olat(folder, tmp_path / "a.zarr", lights=positions_file(folder, names, same))
    (folder / "bad.lp").write_text("2\nlight_0.png 0 0 1\nlight_1.png 0 zero 1\n")
    with pytest.raises(DomeError, match="line 3"):
        import_olat(folder, tmp_path / "a.zarr", lights=folder / "bad.lp")


def test_json_lights_belong_to_the_pictures_in_natural_order(tmp_path: Path):
    directions = Dome.evenly_spread(12).directions
    for index in range(12):  # light_10 comes after light_9, not after light_1
        save(tmp_path / f"light_{index}.png", np.full((4, 4), 10 * index, np.uint8))
    (tmp_path / "lights.json").write_text(json.dumps(directions.tolist()))
    import_olat(tmp_path, tmp_path / "a.zarr", lights=tmp_path / "lights.json")
    fields = ReflectanceFields.open(tmp_path / "a.zarr")
    np.testing.assert_allclose(fields[0].olat[:, 0, 0, 0] * 255, 10 * np.arange(12), rtol=1e-3)
    np.testing.assert_allclose(fields.directions, directions)
    (tmp_path / "few.json").write_text(json.dumps(directions[:5].tolist()))
    with pytest.raises(DomeError, match=r"5 lights, but .* holds 12 pictures"):
        import_olat(tmp_path, tmp_path / "b.zarr", lights=tmp_path / "few.json")


def test_light_positions_in_metres_are_kept_and_directions_put_at_the_radius(stack, tmp_path: Path):
    folder, _ = stack
    far = DOME.directions * np.linspace(1.5, 3, 6)[:, None]
    import_olat(folder, tmp_path / "a.zarr", lights=far)
    np.testing.assert_allclose(ReflectanceFields.open(tmp_path / "a.zarr").dome.positions_m, far)
    import_olat(folder, tmp_path / "a.zarr", lights=DOME.directions, radius_m=2.0)
    dome = ReflectanceFields.open(tmp_path / "a.zarr").dome
    assert dome.radius_m == pytest.approx(2.0)
    assert dome.name == "stack"


@pytest.mark.parametrize(
    ("pattern", "name", "direction"),
    [
        ("yale", "yaleB12_P00A+090E+00", (-1, 0, 0)),
        ("yale", "yaleB12_P00A-090E+00", (1, 0, 0)),
        ("yale", "yaleB12_P00A+000E+90", (0, 1, 0)),
        ("yale", "yaleB12_P00A+000E+00", (0, 0, 1)),
        ("yale", "yaleB12_P00A-035E-30", (0.496732, -0.5, 0.709406)),
        ("az{azimuth}_el{elevation}", "img az90_el0", (1, 0, 0)),
        ("az{azimuth}_el{elevation}", "img az0_el-12.5", (0, -0.216440, 0.976296)),
        ("{elevation}-{-azimuth}", "30-90", (-0.866025, 0.5, 0)),
        ("{x},{y},{z}", "l_0.5,-0.25,2", (0.5, -0.25, 2)),
        (r"t(?P<elevation>\d+)p(?P<minus_azimuth>\d+)", "t0p90", (-1, 0, 0)),
    ],
)
def test_names_tell_directions(pattern, name, direction):
    assert NamePattern.parse(pattern).direction(name) == pytest.approx(direction, abs=1e-6)
    assert NamePattern.parse(pattern).direction("something else") is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("A{azimuth}", "must hold"),
        ("light", "no field"),
        ("{x}{y}{azimuth}", "must hold"),
        ("(?P<azimuth>[", "no regular expression"),
    ],
)
def test_a_pattern_without_a_direction_is_refused(pattern, text):
    with pytest.raises(InputError, match=text):
        NamePattern.parse(pattern)


def test_pictures_whose_names_do_not_fit_the_pattern_are_left_out_and_named(tmp_path: Path):
    for name in ("A+10E+0", "A-10E+0", "notes"):
        save(tmp_path / f"{name}.png", np.zeros((4, 4), np.uint8))
    summary = import_olat(tmp_path, tmp_path / "a.zarr", pattern="A{azimuth}E{elevation}")
    assert summary.lights == 2
    assert summary.warnings == ("notes.png: the name does not fit the pattern, left out.",)
    with pytest.raises(DomeError, match="no picture's name fits the pattern 'Q"):
        import_olat(tmp_path, tmp_path / "a.zarr", pattern="Q{azimuth}E{elevation}")


def test_the_dark_picture_is_subtracted(stack, tmp_path: Path):
    folder, pictures = stack
    save(folder / "room.png", np.full((12, 16), 40, np.uint8))
    summary = import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp", dark="room.png")
    assert summary.dark == "room.png"
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    expected = np.maximum(pictures.astype(float) - 40, 0) / 255
    np.testing.assert_allclose(olat[..., 2], expected, rtol=4 * HALF, atol=1e-6)
    assert any("dark picture is brighter" in text for text in summary.warnings)


def test_a_dark_picture_of_another_size_or_none_is_refused(stack, tmp_path: Path):
    folder, _ = stack
    save(folder / "dark.png", np.zeros((480, 640), np.uint8))
    lights = folder / "lights.lp"
    with pytest.raises(InputError, match=r"640 x 480.*light_0\.png is 16 x 12"):
        import_olat(folder, tmp_path / "a.zarr", lights=lights, dark=folder / "dark.png")
    with pytest.raises(InputError, match=r"night\.png"):
        import_olat(folder, tmp_path / "a.zarr", lights=lights, dark="night.png")
    summary = import_olat(folder, tmp_path / "a.zarr", lights=DOME.directions)
    assert any("dark.png: taken for a picture without lights" in t for t in summary.warnings)


def test_pictures_of_unequal_size_are_refused(stack, tmp_path: Path):
    folder, _ = stack
    save(folder / "light_4.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(InputError, match=r"light_4\.png: is 10 x 10, light_0\.png is 16 x 12"):
        import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")


def test_large_pictures_are_scaled_down_by_area(tmp_path: Path):
    pictures = stored_pictures(np.uint8, 1, height=24, width=32)
    for index, picture in enumerate(pictures):
        save(tmp_path / f"{index}.png", picture)
    summary = import_olat(tmp_path, tmp_path / "a.zarr", lights=DOME.directions, size=16)
    assert (summary.width, summary.height) == (16, 12)
    olat = ReflectanceFields.open(tmp_path / "a.zarr")[0].olat
    blocks = (pictures / 255).reshape(6, 12, 2, 16, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(olat[..., 0], blocks, rtol=2 * HALF, atol=1e-6)
    kept = import_olat(tmp_path, tmp_path / "a.zarr", lights=DOME.directions, size=100)
    assert (kept.width, kept.height) == (32, 24)
    assert any("smaller than 100" in text for text in kept.warnings)


def test_a_stack_that_does_not_fit_into_memory_is_refused_beforehand(
    stack, tmp_path: Path, monkeypatch
):
    import psutil

    class Little:
        available = 10_000

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    folder, _ = stack
    with pytest.raises(InputError, match="ask for a smaller size"):
        import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")


def test_a_failed_import_leaves_an_earlier_store_alone(stack, tmp_path: Path):
    folder, _ = stack
    import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")
    (folder / "light_2.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"light_2\.png"):
        import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")
    assert len(ReflectanceFields.open(tmp_path / "a.zarr")) == 1


def test_pictures_with_nan_are_refused(tmp_path: Path):
    write_image(tmp_path / "a.exr", np.full((4, 4, 3), np.nan, np.float32))
    with pytest.raises(InputError, match=r"a\.exr: holds NaN"):
        import_olat(tmp_path, tmp_path / "a.zarr", lights=[[0, 0, 1]])


def test_what_makes_no_sense_is_refused(stack, tmp_path: Path):
    folder, _ = stack
    out = tmp_path / "a.zarr"
    lights = folder / "lights.lp"
    (tmp_path / "empty").mkdir()
    for text, call in {
        "say where the lights are": lambda: import_olat(folder, out),
        "no such folder": lambda: import_olat(tmp_path / "none", out, lights=lights),
        "no one-light pictures": lambda: import_olat(tmp_path / "empty", out, lights=lights),
        "scale must be above 0": lambda: import_olat(folder, out, lights=lights, scale=0),
        "size must be at least": lambda: import_olat(folder, out, lights=lights, size=0),
        "transfer must be": lambda: import_olat(folder, out, lights=lights, transfer="log"),
    }.items():
        with pytest.raises(InputError, match=text):
            call()
    with pytest.raises(DomeError, match=r"light_3\.png: the light has no direction"):
        import_olat(folder, out, lights=DOME.directions * (np.arange(6) != 3)[:, None])


def test_the_summary_is_json(stack, tmp_path: Path):
    folder, _ = stack
    summary = import_olat(folder, tmp_path / "a.zarr", lights=folder / "lights.lp")
    assert json.loads(json.dumps(summary.as_dict()))["lights"] == 6


@pytest.fixture(scope="module")
def yale(shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = shared_data / "yale_b" / "yaleB12"
    if not folder.is_dir():
        pytest.skip("the Yale face is absent from shared/data")
    path = tmp_path_factory.mktemp("yale") / "aligned.zarr"
    return import_olat(folder, path, pattern="yale")


def test_a_real_face_comes_in_with_its_lights_on_the_right_side(yale):
    assert (yale.lights, yale.width, yale.height) == (59, 168, 192)
    assert any("Ambient" in text for text in yale.warnings)
    fields = ReflectanceFields.open(yale.path)
    olat, directions = fields[0].olat, fields.directions
    half = olat.shape[2] // 2
    left, right = (olat[:, :, side].mean(axis=(1, 2, 3)) for side in (np.s_[:half], np.s_[half:]))
    from_left, from_right = directions[:, 0] < -0.4, directions[:, 0] > 0.4
    assert from_left.sum() > 10
    # the nose bridge and hair keep a few from being plain
    assert (left > right)[from_left].mean() > 0.9
    assert (right > left)[from_right].mean() > 0.9


def test_a_left_out_light_is_foretold_from_its_neighbours(yale):
    fields = ReflectanceFields.open(yale.path)
    olat, directions = fields[0].olat, fields.directions
    psnr = []
    for light in range(59):
        rest = np.arange(59) != light
        apart = np.arccos(np.clip(directions[rest] @ directions[light], -1, 1))
        weights = np.where(apart <= np.sort(apart)[2], apart**-2.0, 0)
        weights = np.repeat((weights / weights.sum())[:, None], 3, axis=1)
        foretold = relight(olat[rest], weights)
        error = np.clip(foretold, 0, 1) - np.clip(olat[light], 0, 1)
        psnr.append(-10 * np.log10((error**2).mean()))
    # measured 23.3 dB; lights 10 to 40 degrees apart with hard shadows allow little more, and
    # shuffled directions give 13.8
    assert np.mean(psnr) > 22


def test_real_faces_and_real_environments_make_sane_pictures(yale, shared_data: Path):
    fields = ReflectanceFields.open(yale.path)
    for name in ("studio", "sunset"):
        environment = load_environment(shared_data / "hdri" / f"{name}.hdr")
        weights = light_weights(environment, fields.directions)
        np.testing.assert_allclose(weights.sum(axis=0), environment.integral(), rtol=1e-6)
        image = relight(fields[0].olat, weights)
        assert np.isfinite(image).all()
        assert image.min() >= 0
        # a gray face takes on the colour of the light
        tint = image.mean(axis=(0, 1))
        assert 0.5 < (tint / tint.mean()).min() <= 1
