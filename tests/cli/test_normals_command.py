"""``lightstage normals``: arrays in the store, going on where it stopped, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import lightstage.cli
from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.images import read_image
from lightstage.relighting.surface_picture import normal_picture
from lightstage.relighting.surface_store import SURFACE_ARRAYS, Placement

SAMPLE = Path(__file__).resolve().parents[2] / "sample_sessions" / "talking"


def run(*arguments):
    return CliRunner().invoke(lightstage.cli.main, [str(a) for a in arguments])


def report(*arguments):
    result = run("normals", *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(*arguments, exit_code=2):
    result = run("normals", *arguments)
    assert result.exit_code == exit_code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


@pytest.fixture
def session(tmp_path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "session"))


def store_of(session):
    return session / "takes" / "talk" / "aligned.zarr"


def chunks(store):
    """Return the bytes of all files of the arrays that are made."""
    found = {}
    for name in SURFACE_ARRAYS:
        for path in sorted((store / name / "c").rglob("*")):
            if path.is_file():
                found[str(path.relative_to(store))] = path.read_bytes()
    return found


def test_the_arrays_are_read_through_the_fields(session):
    told = report(session, "--workers", 1)
    assert told["sets"] == told["sets_made_now"] == 2
    assert 0.1 < told["share_of_picture_known"] < 0.6
    fields = ReflectanceFields.open(session)
    for name, channels in SURFACE_ARRAYS.items():
        assert fields.has(name)
        assert zarr.open_group(str(store_of(session)), mode="r")[name].dtype == np.float16
        picture = fields.read(name, 1)
        assert picture.shape == fields.read("full_lit", 1).shape[: 3 if channels == 3 else 2]
    normal, confidence = fields.read("normal", 1), fields.read("normal_confidence", 1)
    known = np.isfinite(normal).all(axis=-1)
    np.testing.assert_allclose(np.linalg.norm(normal[known], axis=-1), 1, atol=2e-3)
    assert np.isnan(normal[~known]).all()
    assert (confidence[~known] == 0).all()
    # what the camera sees faces it; the face's left half looks left, its right half right
    sure = confidence > 0.5
    assert (normal[sure][:, 2] > -0.2).mean() > 0.97
    middle = np.flatnonzero(sure.any(axis=0)).mean()
    rows, columns = np.nonzero(sure)
    assert normal[rows, columns, 0][columns < middle - 8].mean() < -0.3
    assert normal[rows, columns, 0][columns > middle + 8].mean() > 0.3
    albedo = fields.read("albedo", 1)[sure]
    assert np.median(albedo[:, 0]) > np.median(albedo[:, 2]) > 0.02  # skin is redder than blue
    for share in (confidence, fields.read("visibility", 1)[known]):
        assert 0 <= share.min() <= share.max() <= 1


def test_what_is_done_is_kept_and_what_was_lost_is_made_again_the_same(session):
    report(session, "--workers", 1)
    before = chunks(store_of(session))
    assert report(session, "--workers", 1)["sets_made_now"] == 0
    # as a job that was killed between two files leaves it
    (store_of(session) / "normal_confidence" / "c" / "1" / "0" / "0").unlink()
    assert report(session, "--workers", 1)["sets_made_now"] == 1
    assert chunks(store_of(session)) == before
    # other settings, or a dome that was calibrated since: all anew
    assert report(session, "--workers", 1, "--pixel-size", 3.7)["sets_made_now"] == 2
    assert chunks(store_of(session)).keys() == before.keys()
    assert chunks(store_of(session)) != before
    group = zarr.open_group(str(store_of(session)), mode="r+")
    dome = group.attrs["dome"]
    dome["leds"][0]["gain"] = [0.9, 0.9, 0.9]
    group.attrs["dome"] = dome
    assert report(session, "--workers", 1, "--pixel-size", 3.7)["sets_made_now"] == 2


def test_workers_make_the_same(session):
    assert report(session, "--workers", 2)["sets_made_now"] == 2
    shared = chunks(store_of(session))
    shutil.rmtree(store_of(session) / "normal")
    assert report(session, "--workers", 1)["sets_made_now"] == 2
    assert chunks(store_of(session)) == shared


def test_preprocess_that_makes_other_sets_drops_them(session):
    report(session, "--workers", 1)
    arguments = ("preprocess", session, "--rate", "10", "--align", "none", "--workers", 1, "-q")
    assert run(*arguments).exit_code == 0
    fields = ReflectanceFields.open(session)
    assert not any(fields.has(name) for name in SURFACE_ARRAYS)
    assert "normals" not in fields.attributes
    assert report(session, "--workers", 1)["sets_made_now"] == len(fields)


def test_a_look_at_one_set_makes_a_picture_and_stores_nothing(session, tmp_path):
    told = report(session, "--set", -1, "-o", tmp_path / "maps.png")
    assert told["picture"] == str(tmp_path / "maps.png")
    fields = ReflectanceFields.open(session)
    picture = read_image(tmp_path / "maps.png")
    assert picture.shape == (2 * fields.height + 4, 3 * fields.width + 8, 3)
    assert not fields.has("normal")
    result = run("normals", session, "--set", 0, "-o", tmp_path / "maps.png")
    assert "mean_normal_confidence" in result.stdout
    assert "panels" in result.stderr


def test_normals_are_coloured_by_their_axes():
    axes = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [np.nan] * 3]])
    assert normal_picture(axes)[0, :3].argmax(axis=1).tolist() == [0, 1, 2]
    assert len(set(normal_picture(axes)[0, 3])) == 1


def test_a_pixels_place_is_right_and_up_of_the_domes_centre():
    points = Placement(pixel_size_m=0.002, centre_px=(1.0, 3.0)).points_m(5, 4)
    np.testing.assert_allclose(points[3, 1], 0, atol=1e-7)
    np.testing.assert_allclose(points[0, 3], [0.004, 0.006, 0], atol=1e-7)
    np.testing.assert_allclose(Placement(pixel_size_m=1).points_m(3, 5)[1, 2], 0, atol=1e-7)


def test_sets_that_lack_lights_are_made_of_the_others(tmp_path):
    dome = Dome.evenly_spread(24)
    normal = np.array([0.36, 0.48, 0.8])
    light = 0.5 * np.maximum(dome.directions @ normal, 0)
    olat = np.broadcast_to(light[:, None, None, None], (24, 6, 8, 3)).copy()
    olat[3] = np.nan
    writer = FieldsWriter.create(
        tmp_path / "a.zarr", sets=1, height=6, width=8, dome=dome, rate_hz=None
    )
    writer.write_set(0, olat=olat, full_lit=olat[0], time_s=0.0, centre_frame=0)
    writer.finish()
    assert report(tmp_path / "a.zarr")["sets_made_now"] == 1
    fields = ReflectanceFields.open(tmp_path / "a.zarr")
    np.testing.assert_allclose(fields.read("normal", 0)[2, 3], normal, atol=2e-3)
    np.testing.assert_allclose(fields.read("albedo", 0)[2, 3], 0.5, rtol=2e-3)


def test_a_real_faces_normals_are_those_of_a_face(shared_data, tmp_path):
    folder = shared_data / "yale_b" / "yaleB12"
    if not folder.is_dir():
        pytest.skip("the real face (yale_b) is absent")
    store = tmp_path / "face.zarr"
    assert run("import-olat", folder, "--lights", "yale", "-o", store, "-q").exit_code == 0
    assert report(store)["share_of_picture_known"] > 0.95
    fields = ReflectanceFields.open(store)
    normal, albedo = fields.read("normal", 0), fields.read("albedo", 0)[..., 0]
    assert fields.read("normal_confidence", 0).mean() > 0.6
    third = fields.width // 3
    cheeks = slice(90, 130)
    assert normal[cheeks, :third, 0].mean() < -0.1
    assert normal[cheeks, 2 * third :, 0].mean() > 0.1
    assert normal[:40, third : 2 * third, 2].mean() > 0.6  # the forehead looks at the camera
    # shading goes: the albedo of the cheeks varies less than their light does in any one picture
    skin = albedo[cheeks, 10:60]
    lit = fields.read("full_lit", 0)[cheeks, 10:60, 0]
    assert skin.std() / skin.mean() < lit.std() / lit.mean()


def test_wrong_arguments_are_told_in_a_paragraph(session, tmp_path):
    assert "go together" in refused(session, "--set", 0)
    assert "go together" in refused(session, "-o", tmp_path / "a.png")
    assert "2 sets" in refused(session, "--set", 2, "-o", tmp_path / "a.png")
    assert ".png" in refused(session, "--set", 0, "-o", tmp_path / "a.exr")
    assert "--pixel-size" in refused(session, "--centre", "3,4")
    assert "X,Y" in refused(session, "--centre", "3", "--pixel-size", 1)
    assert "no such" in refused(tmp_path / "nothing")
    (store_of(session) / "zarr.json").write_text("{")
    refused(session, exit_code=4)
