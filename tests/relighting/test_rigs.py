"""Rigs as files: colours of kelvin, shapes, what is refused; light cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightstage.errors import InputError
from lightstage.relighting import (
    STUDIO_LIGHTS,
    Rig,
    StudioLight,
    load_rig,
    pixel_directions,
    studio_environment,
    studio_weights,
)
from lightstage.relighting.blackbody import kelvin_rgb, planckian_xy
from lightstage.relighting.light_card import light_card, shaded_ball
from lightstage.relighting.rig import rig_text

REC709 = np.array([0.2126, 0.7152, 0.0722])
LINE = {"role": "key", "azimuth_deg": -40, "elevation_deg": 20, "radius_deg": 12}


@pytest.mark.filterwarnings("ignore:.*Matplotlib")
def test_kelvin_follow_the_planckian_locus():
    # CIE 15: illuminant A is Planck's at 2856 K
    np.testing.assert_allclose(planckian_xy(2856), (0.44758, 0.40745), atol=1e-3)
    from colour.colorimetry import MSDS_CMFS, sd_blackbody, sd_to_XYZ

    cmfs = MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    for kelvin in (1700, 2000, 2500, 3200, 4000, 5600, 6504, 10000, 20000):
        x, y, z = sd_to_XYZ(sd_blackbody(kelvin, cmfs.shape), cmfs, method="Integration")
        expected = np.array([x, y]) / (x + y + z)
        np.testing.assert_allclose(planckian_xy(kelvin), expected, atol=1.5e-3)


@pytest.mark.filterwarnings("ignore:.*Matplotlib")
def test_kelvin_become_linear_rec709_of_luminance_1():
    import colour

    for kelvin in (2200, 3200, 5600, 9000):
        x, y = planckian_xy(kelvin)
        oracle = colour.XYZ_to_RGB(
            [x / y, 1, (1 - x - y) / y], "ITU-R BT.709", apply_cctf_encoding=False
        )
        rgb = kelvin_rgb(kelvin)
        np.testing.assert_allclose(rgb, oracle, atol=2e-3)
        assert rgb @ REC709 == pytest.approx(1)
    assert kelvin_rgb(1700)[2] == 0
    with pytest.raises(InputError, match="1667 to 25000"):
        kelvin_rgb(1000)


def test_a_light_of_the_white_point_is_white():
    rig = Rig(white_kelvin=3200, lights=(StudioLight(**LINE, kelvin=3200),))
    np.testing.assert_allclose(rig.colour(rig.lights[0]), 1, rtol=1e-6)
    warmer = rig.colour(StudioLight(**LINE, kelvin=2500))
    assert warmer[0] > warmer[1] > warmer[2]


@pytest.mark.parametrize("radius", [3.0, 10.0, 35.0])
def test_a_hard_light_is_an_even_disc_and_a_soft_one_falls_to_1_over_e(radius):
    directions = pixel_directions(256, 512)
    for shape in ("hard", "soft"):
        light = StudioLight(**LINE | {"radius_deg": radius}, shape=shape)
        picture = studio_environment(Rig(lights=(light,))).radiance[..., 1]
        angle = np.degrees(np.arccos(np.clip(directions @ light.direction, -1, 1)))
        middle = picture.max()
        if shape == "hard":
            cap = 2 * np.pi * (1 - np.cos(np.deg2rad(radius)))
            assert middle == pytest.approx(4 * np.pi / cap, rel=0.05)
            assert (picture[angle > radius + 0.8] == 0).all()
            np.testing.assert_allclose(picture[angle < radius - 0.8], middle, rtol=1e-4)
        else:
            at_radius = picture[np.abs(angle - radius) < 0.3].mean()
            assert at_radius == pytest.approx(middle / np.e, rel=0.06)


@pytest.mark.parametrize("name", STUDIO_LIGHTS)
def test_every_shipped_rig_says_what_it_is_and_its_toml_is_the_rig(tmp_path: Path, name):
    rig = load_rig(name)
    assert rig.name == name
    assert rig.description
    path = tmp_path / f"{name}.toml"
    path.write_text(rig_text(name))
    assert load_rig(path) == rig
    np.testing.assert_array_equal(
        studio_environment(path).radiance, studio_environment(name).radiance
    )


def test_your_own_rig_lights_as_it_says(tmp_path: Path):
    path = tmp_path / "sides.toml"
    path.write_text(
        '[[lights]]\nrole = "rim"\nazimuth_deg = 90\nelevation_deg = 0\nradius_deg = 5\n'
        'power = 3\nrgb = [2, 0, 0]\nshape = "hard"\n'
        '[[lights]]\nrole = "rim"\nazimuth_deg = -90\nelevation_deg = 0\nradius_deg = 5\n'
    )
    weights = studio_weights(path, np.array([[1.0, 0, 0], [-1, 0, 0]]))
    np.testing.assert_allclose(weights[1], np.pi, rtol=1e-3)  # a quarter of 4 pi, white
    assert weights[0] @ REC709 == pytest.approx(3 * np.pi, rel=1e-3)
    assert weights[0, 1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "lights: Field required"),
        ("lights = []", r"at least one \[\[lights\]\]"),
        ("lights = [{role='sun', azimuth_deg=0, elevation_deg=0, radius_deg=9}]", "lights.0.role"),
        ("lights = [{role='key', azimuth_deg=0, elevation_deg=95, radius_deg=9}]", "elevation_deg"),
        ("lights = [{role='key', azimuth_deg=0, elevation_deg=5}]", "radius_deg: Field required"),
        (
            "lights = [{role='key', azimuth_deg=0, elevation_deg=5, radius_deg=9, kelvin=5000, "
            "rgb=[1, 1, 1]}]",
            "kelvin or rgb, not both",
        ),
        (
            "lights = [{role='key', azimuth_deg=0, elevation_deg=5, radius_deg=9, colour='red'}]",
            "colour: Extra inputs",
        ),
        ("lights = [", "not valid TOML"),
    ],
)
def test_a_rig_that_is_none_is_refused_by_field(tmp_path: Path, text, wrong):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=wrong) as caught:
        load_rig(path)
    assert "mine.toml" in str(caught.value)


def test_the_ball_is_lit_from_where_the_key_stands():
    side = 60
    ball = shaded_ball(load_rig("split"), side) @ REC709
    assert ball[:, : side // 2].sum() > 20 * ball[:, side // 2 :].sum()
    even = shaded_ball(load_rig("ambient"), side) @ REC709
    # half-grey, matt, under radiance 1: 0.5, and a little gloss
    assert 0.5 < even[side // 2, side // 2] < 0.56


@pytest.mark.parametrize("name", ["rembrandt", "ambient", "top"])
def test_a_light_card_shows_plan_ball_and_picture(name):
    picture = np.full((30, 40, 3), 0.2, np.float32)
    card = light_card(load_rig(name), [picture])
    assert card.dtype == np.uint8
    assert card.shape[1] == 3 * 520
    assert card[74:594, 1040:].max() > 180  # exposed for itself
