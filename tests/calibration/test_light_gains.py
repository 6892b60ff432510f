"""Gains of lights, measured on white targets whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.calibration.light_gains import (
    GainVerdict,
    ball_target,
    card_target,
    find_ball,
    gains_from,
    gains_picture,
    measure_highlight,
    measure_light,
)
from lightstage.dome import Dome
from lightstage.errors import InputError
from lightstage.relighting import divide_by_gains, light_weights, relight
from lightstage.relighting.procedural import procedural_environment
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.mirror_ball import MirrorBall, MirrorBallScene
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import Scene, render_lights, render_sum
from tests.calibration.white_targets import (
    BALL_RADIUS_M,
    CAMERA_DISTANCE_M,
    FOCAL_PX,
    ball_pictures,
    uneven_dome,
)

LIGHTS = 48
SIZE = (96, 112)
ENVIRONMENTS = ("studio", "overcast", "sunset")


@pytest.fixture(scope="module")
def dome():
    return uneven_dome(LIGHTS)


@pytest.fixture(scope="module")
def pictures(dome):
    """One picture of the ball for each light, with noise as of an average of some frames."""
    clean = ball_pictures(dome, SIZE[1], SIZE[0])
    return clean + np.random.default_rng(0).normal(0, 1e-3, clean.shape).astype(np.float32)


def measured(pictures, dome, target, **options):
    lights = [
        measure_light(p, target, at) for p, at in zip(pictures, dome.positions_m, strict=True)
    ]
    return gains_from(lights, **options)


def ball_of(pictures, **options):
    options = {
        "radius_m": BALL_RADIUS_M, "camera_distance_m": CAMERA_DISTANCE_M
    } | options  # fmt: skip
    return ball_target(find_ball(pictures.sum(axis=0)), SIZE, **options)


def without_scale(gains, truth):
    """Gains over truth, but for what all lights have in common in each colour."""
    ratio = gains / truth
    return ratio / np.nanmean(ratio, axis=0)


def test_the_ball_is_found_to_a_third_of_a_pixel(pictures):
    x, y, radius = find_ball(pictures.sum(axis=0))
    true = FOCAL_PX * np.tan(np.arcsin(BALL_RADIUS_M / CAMERA_DISTANCE_M))
    assert (x, y) == pytest.approx(((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2), abs=0.3)
    assert radius == pytest.approx(true, abs=0.35)


def test_gains_and_casts_of_all_lights_that_are_seen_come_out_to_one_and_a_half_percent(
    dome, pictures
):
    result = measured(pictures, dome, ball_of(pictures))
    off = np.abs(without_scale(result.gains, dome.gains) - 1.0)
    # the worst is lit from behind, a thin crescent
    assert np.nanmax(off) < 0.05 and np.sqrt(np.nanmean(off**2)) < 0.015
    judged = np.array([v is GainVerdict.JUDGED for v in result.verdicts])
    # only lights nearly behind the ball are out of the camera's sight, and they are said to be
    assert judged.sum() >= 0.85 * LIGHTS
    assert dome.directions[~judged, 2].max() < -0.7
    assert np.isnan(result.gains[~judged]).all()
    assert result.gains[judged].mean(axis=0) == pytest.approx(np.ones(3))


def test_finite_distances_matter(dome, pictures):
    near = measured(pictures, dome, ball_of(pictures))
    far = measured(pictures, dome, ball_of(pictures, radius_m=None, camera_distance_m=None))

    def spread(result):
        return np.nanstd(without_scale(result.gains, dome.gains))

    assert spread(near) < 0.5 * spread(far)


@pytest.fixture(scope="module")
def relit(dome, pictures):
    """PSNR inside the matte of relit pictures against the scene lit directly by the map.

    By the ideal stage, the uneven one as it is, and the uneven one as calibrated.
    """
    ideal = Dome.evenly_spread(LIGHTS)
    dense = Dome.evenly_spread(1200)
    camera = SimulatedCamera(72, 72)
    scene = Scene(Performer().model, camera, Performer(motion="still").vertices(0.0))
    inside = scene.matte > 0.99
    olat_ideal = render_lights(scene, ideal, range(LIGHTS))
    olat_uneven = render_lights(scene, dome, range(LIGHTS))
    gains = measured(pictures, ideal, ball_of(pictures)).gains
    gains = np.where(np.isnan(gains), 1.0, gains)
    found = {}
    for name in ENVIRONMENTS:
        light = procedural_environment(name)
        weights = light_weights(light, ideal.directions)
        truth = render_sum(scene, dense, range(len(dense)), light_weights(light, dense.directions))[
            inside
        ]

        def psnr(olat, weights, truth=truth):
            picture = relight(olat, weights)[inside]
            # exposure and white balance are not the gains': one factor for each colour
            picture = picture * ((picture * truth).sum(axis=0) / (picture**2).sum(axis=0))
            return 10 * np.log10(truth.max() ** 2 / np.mean((picture - truth) ** 2))

        found[name] = (
            psnr(olat_ideal, weights),
            psnr(olat_uneven, weights),
            psnr(olat_uneven, divide_by_gains(weights, gains)),
        )
    return found


def test_a_calibrated_stage_relights_within_one_decibel_of_the_ideal_one(relit):
    for ideal, _, calibrated in relit.values():
        assert calibrated > ideal - 1.0


def test_that_stage_uncalibrated_is_worse_by_more(relit):
    assert max(ideal - uneven for ideal, uneven, _ in relit.values()) > 2.0


@given(st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3), st.floats(-0.8, 0.8), st.floats(0, 1))
def test_a_card_gives_brightness_over_the_cosine(gain, tilt, around):
    normal = np.array([np.sin(tilt), 0.2, np.cos(tilt)])
    normal /= np.linalg.norm(normal)
    light = np.array([np.cos(around), np.sin(around), 1.0])
    cosine = normal @ light / np.linalg.norm(light)
    if cosine < 0.2:
        return
    picture = np.full((20, 20, 3), 0.1) * cosine * np.array(gain)
    target = card_target((2, 3, 12, 10), (20, 20), tuple(normal))
    found = measure_light(picture, target, light)
    assert found.verdict is GainVerdict.JUDGED
    assert found.brightness == pytest.approx(0.1 * np.array(gain), rel=1e-6)
    plain = measure_light(picture, card_target((2, 3, 12, 10), (20, 20), None), light)
    assert plain.brightness == pytest.approx(0.1 * cosine * np.array(gain), rel=1e-6)


def test_a_spot_of_dirt_and_a_burnt_highlight_change_nothing(dome, pictures):
    target = ball_of(pictures)
    light = int(dome.directions[:, 2].argmax())
    clean = measure_light(pictures[light], target, dome.positions_m[light])
    spotted = pictures[light].copy()
    spotted[40:46, 50:58] *= 0.3
    spotted[52:55, 60:63] = 1.0
    found = measure_light(spotted, target, dome.positions_m[light])
    assert found.brightness == pytest.approx(clean.brightness, rel=5e-3)


def test_each_light_that_cannot_be_judged_says_why(dome, pictures):
    target = ball_of(pictures)
    front = np.argsort(-dome.directions[:, 2])[:3]
    changed = pictures.copy()
    changed[front[0]] = np.random.default_rng(1).normal(0, 1e-3, changed[0].shape)
    changed[front[1]] = np.minimum(changed[front[1]] * 20, 1.0)
    changed[front[2]] *= 0.04
    changed[front[2]] += np.random.default_rng(2).normal(0, 0.05, changed[0].shape)
    result = measured(changed, dome, target)
    assert result.verdicts[front[0]] is GainVerdict.DARK
    assert result.verdicts[front[1]] is GainVerdict.SATURATED
    assert result.verdicts[front[2]] is GainVerdict.TOO_DIM
    assert (result.gains[front[0]] == 0).all()
    assert np.isnan(result.gains[front[1:]]).all()


def test_bad_targets_are_refused_with_the_reason(dome, pictures):
    target = ball_of(pictures)
    with pytest.raises(InputError, match="little signal"):
        measured(np.zeros_like(pictures), dome, target)
    with pytest.raises(InputError, match="saturated under"):
        measured(np.minimum(pictures * 50, 1.0), dome, target)
    # a mirrored dome: the lights are not where they are said to be
    mirrored = Dome.from_directions(dome.directions * [-1, 1, 1])
    with pytest.raises(InputError, match="Lambert"):
        measured(pictures, mirrored, target)
    with pytest.raises(InputError, match="no round white ball"):
        find_ball(np.pad(np.ones((40, 160, 3)), ((40, 40), (20, 20), (0, 0))))
    with pytest.raises(InputError, match="cut off"):
        ball_target((5, 40, 30), SIZE)
    with pytest.raises(InputError, match="must lie in the picture"):
        card_target((90, 80, 40, 40), SIZE)


def test_the_picture_of_gains_has_a_column_for_each_light(dome, pictures):
    result = measured(pictures, dome, ball_of(pictures))
    picture = gains_picture(result)
    assert picture.dtype == np.uint8 and picture.shape[1] >= LIGHTS * 9


def test_highlights_on_a_mirror_sphere_give_the_same_wherever_the_light_stands(dome):
    seen = np.flatnonzero(dome.directions[:, 2] > -0.5)
    scene = MirrorBallScene(
        [MirrorBall()], dome.positions_m[seen], width=224, height=208, samples=3, light_level=30.0
    )
    circle = (111.5, 103.5, 2400 * np.tan(np.arcsin(0.06 / 1.5)))
    found = []
    for light, gray in zip(seen, scene.pictures(), strict=True):
        # the highlights of a nominal light reach some tenths of full scale
        picture = 0.02 * gray[..., None] * dome.gains[light]
        found.append(measure_highlight(picture, circle, dome.positions_m[light], 0.06, 1.5))
    result = gains_from(found, check_fit=False)
    judged = ~np.isnan(result.gains[:, 0])
    assert judged.mean() > 0.9
    off = without_scale(result.gains[judged], dome.gains[seen][judged]) - 1.0
    assert np.abs(off).max() < 0.05 and off.std() < 0.02
    burnt = measure_highlight(np.minimum(picture * 100, 1.0), circle, dome.positions_m[0])
    assert burnt.verdict is GainVerdict.SATURATED
