"""Studio lights: each stands where its name says, all have equal power."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage import Dome
from lightstage.errors import InputError
from lightstage.relighting import STUDIO_LIGHTS, studio_environment, studio_rig, studio_weights

DOME = Dome.evenly_spread(96).directions
REC709 = np.array([0.2126, 0.7152, 0.0722])


def centre_of_light(name, directions=DOME):
    power = studio_weights(name, directions) @ REC709
    return (power[:, None] * directions).sum(axis=0) / power.sum()


@pytest.mark.parametrize("name", STUDIO_LIGHTS)
@pytest.mark.parametrize("layout", ["dome", "front half", "three lights"])
def test_every_rig_has_the_power_of_an_even_unit_environment_on_any_layout(name, layout):
    directions = {"dome": DOME, "front half": DOME[DOME[:, 2] > 0], "three lights": DOME[:3]}
    weights = studio_weights(name, directions[layout])
    assert (weights >= 0).all()
    assert (weights @ REC709).sum() == pytest.approx(4 * np.pi, rel=1e-4)


@pytest.mark.parametrize("name", ["rembrandt", "split", "loop", "hard"])
def test_the_key_stands_at_image_left(name):
    power = studio_weights(name, DOME) @ REC709
    assert DOME[power.argmax(), 0] < -0.3
    assert centre_of_light(name)[0] < -0.1


def test_rembrandts_key_is_high_in_front_at_45_degrees():
    x, y, z = DOME[(studio_weights("rembrandt", DOME) @ REC709).argmax()]
    assert x < -0.3
    assert y > 0.4
    assert z > 0.3


@pytest.mark.parametrize("name", ["rim", "back"])
def test_rim_and_back_light_come_from_behind(name):
    power = studio_weights(name, DOME) @ REC709
    assert power[DOME[:, 2] < 0].sum() > 0.85 * power.sum()


def test_rim_lights_both_sides_alike_and_nothing_of_the_front():
    power = studio_weights("rim", DOME) @ REC709
    left, right = (power[side * DOME[:, 0] > 0].sum() for side in (-1, 1))
    assert left == pytest.approx(right, rel=0.05)
    assert power[DOME[:, 2] > 0].sum() < 0.01 * power.sum()


def test_top_butterfly_and_split_stand_where_they_should():
    assert centre_of_light("top")[1] > 0.85
    x, y, z = centre_of_light("butterfly")
    assert abs(x) < 0.05
    assert y > 0.3
    assert z > 0.5
    assert abs(centre_of_light("split")[2]) < 0.2


def test_cyberpunk_is_magenta_at_left_and_cyan_at_right():
    weights = studio_weights("cyberpunk", DOME)
    left = weights[DOME[:, 0] < -0.7].sum(axis=0)
    right = weights[DOME[:, 0] > 0.7].sum(axis=0)
    assert left[0] > 3 * left[1]
    assert right[1] > 3 * right[0]


def test_ambient_is_even():
    weights = studio_weights("ambient", DOME)
    np.testing.assert_allclose(weights / weights.mean(), 1, atol=0.1)  # as the cells are


def test_a_hard_light_is_one_or_two_leds_and_a_soft_one_many():
    def lit(name):
        power = studio_weights(name, DOME) @ REC709
        return np.count_nonzero(power > 0.02 * power.sum())

    assert lit("hard") <= 3
    assert lit("back") >= 8


def test_an_unknown_rig_is_refused_with_the_names_there_are():
    for call in (studio_rig, studio_environment, lambda name: studio_weights(name, DOME)):
        with pytest.raises(InputError, match=r"'disco'.*rembrandt.*split"):
            call("disco")


def test_a_lights_direction_follows_azimuth_and_elevation():
    key = studio_rig("rembrandt")[0]
    azimuth, elevation = np.deg2rad([key.azimuth_deg, key.elevation_deg])
    expected = [
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    ]
    np.testing.assert_allclose(key.direction, expected, atol=1e-12)
