"""Light falls where it should, shadows too, and adds up."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.dome import Dome
from lightstage.raster import rasterise
from lightstage.simulation import (
    Performer,
    Scene,
    SimulatedCamera,
    SimulatedSensor,
    render_full_lit,
    render_lights,
    render_mosaic,
    render_sum,
)
from lightstage.simulation.model import colouring, identity

CAMERA = SimulatedCamera(256, 192)
AXES = Dome.from_directions(
    np.array([[1, 0, 0.2], [-1, 0, 0.2], [0, 1, 0.2], [0, -1, 0.2], [0, 0, -1], [0.01, 0, 1.0]])
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    performer = Performer(motion="still")
    return Scene(performer.model, CAMERA, performer.vertices(0.0))


@pytest.fixture(scope="module")
def by_axis(scene: Scene) -> np.ndarray:
    return render_lights(scene, AXES, range(len(AXES)))


def test_a_light_brightens_its_own_side(by_axis: np.ndarray) -> None:
    left, right = by_axis[..., :128, :].sum((1, 2, 3)), by_axis[..., 128:, :].sum((1, 2, 3))
    top, bottom = by_axis[:, :96].sum((1, 2, 3)), by_axis[:, 96:].sum((1, 2, 3))
    assert right[0] > 3 * left[0] and left[1] > 3 * right[1]
    assert top[2] > 1.5 * bottom[2] and bottom[3] > 1.5 * top[3]


def test_a_light_behind_the_head_lights_no_face(scene: Scene, by_axis: np.ndarray) -> None:
    frontal = (scene.normal[..., 2] > 0.3) & (scene.matte == 1.0)
    chin = round(CAMERA.project(np.array([[0.0, -0.105, 0.07]]))[0, 1])
    frontal[chin:] = False  # a shoulder's upper edge does catch it
    assert frontal.sum() > 3000
    assert by_axis[4][frontal].max() < 0.003
    assert by_axis[5][frontal].mean() > 0.1


def test_nose_and_brow_cast_shadows(scene: Scene) -> None:
    """A light high in front leaves the lip under the nose darker than the cheek beside it."""
    high = Dome.from_directions(np.array([[0.0, 1.3, 1.0]]))
    picture = render_lights(scene, high, [0])[0].mean(axis=2)
    places = CAMERA.project(np.array([[0.0, -0.0435, 0.09], [0.038, -0.030, 0.07]]))
    lip, cheek = (picture[round(y), round(x)] for x, y in places)
    assert lip < 0.35 * cheek


def test_single_lights_add_up_to_all_lights(scene: Scene) -> None:
    dome = Dome.evenly_spread(96)
    total = render_lights(scene, dome, range(96)).astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(render_full_lit(scene, dome), total, rtol=2e-5, atol=2e-5)


def test_light_is_linear_in_gain_and_colour(scene: Scene) -> None:
    gain = np.array([[0.5, 0.25, 2.0]], np.float32)
    plain = render_sum(scene, AXES, [0], 1.0)
    np.testing.assert_allclose(render_sum(scene, AXES, [0], gain), plain * gain[0], rtol=1e-5)


def test_brightness_falls_with_the_square_of_distance(scene: Scene) -> None:
    """A small patch at the forehead sees its lights at 1 and 2 m from it."""
    middle = np.array([0.0, 0.055, 0.085])
    towards = np.array([0.0, 0.3, 1.0]) / np.hypot(0.3, 1.0)
    leds = [{"position_m": tuple(middle + d * towards)} for d in (1.0, 2.0)]
    leds[1]["position_m"] = tuple(np.add(leds[1]["position_m"], 1e-3))
    near, far = render_lights(scene, Dome.parse({"leds": leds}, "test"), [0, 1])
    x, y = np.rint(CAMERA.project(middle)).astype(int)
    ratio = near[y - 2 : y + 3, x - 2 : x + 3].mean() / far[y - 2 : y + 3, x - 2 : x + 3].mean()
    assert ratio == pytest.approx(4.0, rel=0.04)


def test_normals_are_unit_and_face_the_camera(scene: Scene) -> None:
    inside = scene.matte == 1.0
    normals = scene.normal[inside]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    assert (normals[:, 2] > -0.05).mean() > 0.995
    columns = np.broadcast_to(np.arange(256), inside.shape)[inside]
    assert normals[columns > 165, 0].mean() > 0.3 and normals[columns < 90, 0].mean() < -0.3
    assert not scene.normal[scene.matte == 0].any()


def test_the_head_fills_the_picture_as_asked(scene: Scene) -> None:
    rows = np.flatnonzero(scene.matte.max(axis=1) > 0.5)
    crown = CAMERA.project(scene.vertices[scene.vertices[:, 1].argmax()])[1]
    assert abs(rows[0] - crown) < 2
    chin = CAMERA.project(np.array([0.0, -0.118, 0.07]))[1]
    assert 0.66 < (chin - crown) / CAMERA.height < 0.80


def test_edges_are_mixed_and_matte_counts_coverage(scene: Scene) -> None:
    assert set(np.unique(np.round(scene.matte * 4))) == {0, 1, 2, 3, 4}
    assert ((scene.matte > 0) & (scene.matte < 1)).sum() > 200


def test_a_sample_lies_where_the_pinhole_projects_it(scene: Scene) -> None:
    """The rasteriser and ``project`` agree to a hundredth of a pixel, in any window."""
    for supersampling in (1, 2):
        seen = rasterise(scene.vertices, scene.model.faces, CAMERA.pinhole, supersampling)
        row, column = np.divmod(seen.pixel, seen.width)
        pixel = np.column_stack([column + seen.left, row + seen.top]) + 0.5
        place = (CAMERA.project(seen.gather(scene.vertices)) + 0.5) * supersampling
        assert np.abs(place - pixel).max() < 0.02


def test_performers_differ_and_are_the_same_each_time() -> None:
    np.testing.assert_array_equal(identity(3), identity(3))
    assert np.abs(identity(3) - identity(4)).max() > 0.5 and colouring(3) != colouring(4)
    first, again = Performer(0), Performer(0)
    for time_s in (0.0, 0.7, 100.3):
        np.testing.assert_array_equal(first.vertices(time_s), again.vertices(time_s))
    gap = (
        Performer(0, "talking").parameters(0.5).pose - Performer(0, "violent").parameters(0.5).pose
    )
    assert np.abs(gap).max() > 0.01


@pytest.mark.parametrize(
    "motion, least_px, most_px",
    [("still", 0.0, 0.0), ("talking", 0.02, 0.6), ("violent", 0.1, 2.0)],
)
def test_motion_has_natural_speed(motion: str, least_px: float, most_px: float) -> None:
    """Pixels a millisecond at 512 x 384, of the fastest per cent of the face."""
    performer, camera = Performer(0, motion), SimulatedCamera()  # type: ignore[arg-type]
    fastest = []
    for time_s in np.arange(0.0, 3.0, 0.1):
        before = camera.project(performer.vertices(time_s))
        after = camera.project(performer.vertices(time_s + 1e-3))
        fastest.append(np.percentile(np.linalg.norm(after - before, axis=1), 99))
    assert least_px <= np.median(fastest) and max(fastest) <= most_px


@pytest.mark.parametrize("cfa", ["GBRG", "RGGB"])
@pytest.mark.parametrize("window", [(256, 192), (97, 75)])
def test_a_mosaic_is_the_picture_behind_the_filter(cfa: str, window: tuple[int, int]) -> None:
    """Whatever row and column the performer's window begins in, at the picture's edges too."""
    performer = Performer(2, "violent")
    dome, gains = Dome.evenly_spread(8), np.random.default_rng(0).uniform(0.1, 1.0, (3, 3))
    for time_s in (0.0, 0.31, 0.62, 0.93):
        camera = SimulatedCamera(*window, head_fill=1.3 if time_s > 0.9 else 0.7)
        scene = Scene(performer.model, camera, performer.vertices(time_s))
        picture = render_sum(scene, dome, [1, 4, 6], gains)
        expected = SimulatedSensor(cfa=cfa).mosaic(picture)  # type: ignore[arg-type]
        mosaic = render_mosaic(scene, dome, [1, 4, 6], gains, cfa)  # type: ignore[arg-type]
        # texture places are single precision in a texture three times as high: 2e-4 of a texel
        np.testing.assert_allclose(mosaic, expected, atol=5e-5)
    assert not render_mosaic(scene, dome, []).any()
