"""The sensor's noise follows its closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.errors import InputError
from lightstage.simulation import SimulatedSensor
from lightstage.simulation.sensor import frame_generator


@pytest.mark.parametrize("light", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("bits", [8, 12])
def test_mean_and_variance_are_those_of_photons(light: float, bits: int) -> None:
    sensor = SimulatedSensor(bit_depth=bits)
    picture = np.full((400, 400, 3), light, np.float32)
    frame = sensor.expose(picture, np.random.default_rng(0)).astype(np.float64)
    span = sensor.white_level - sensor.black_level
    variance = span**2 * (light / sensor.full_well + (sensor.read_noise / sensor.full_well) ** 2)
    variance += 1.0 / 12.0  # of rounding
    # five standard errors of 160,000 samples
    assert frame.mean() == pytest.approx(
        sensor.black_level + span * light, abs=5 * np.sqrt(variance / frame.size)
    )
    assert frame.var() == pytest.approx(variance, rel=5 * np.sqrt(2.0 / frame.size) + 0.01)


@pytest.mark.parametrize("cfa", ["GBRG", "GRBG", "RGGB", "BGGR"])
def test_each_pixel_shows_its_filters_colour(cfa: str) -> None:
    sensor = SimulatedSensor(cfa=cfa, read_noise=0.0, full_well=1e12)  # type: ignore[arg-type]
    picture = np.tile(np.float32([0.2, 0.4, 0.8]), (4, 6, 1))
    frame = sensor.expose(picture, np.random.default_rng(0))
    named = {"R": 54, "G": 104, "B": 204}
    top, below = [named[c] for c in cfa[:2]], [named[c] for c in cfa[2:]]
    np.testing.assert_array_equal(frame[0], top * 3)
    np.testing.assert_array_equal(frame[1], below * 3)
    np.testing.assert_allclose(sensor.develop(frame)[0, :2], (np.array(top) - 4) / 250, atol=1e-6)


def test_too_much_light_is_clipped() -> None:
    frame = SimulatedSensor().expose(np.full((8, 8, 3), 30.0), np.random.default_rng(0))
    assert frame.min() == 255


def test_a_frames_noise_is_its_own() -> None:
    draws = [frame_generator(1, index).standard_normal(4) for index in (5, 6, 5)]
    np.testing.assert_array_equal(draws[0], draws[2])
    assert np.abs(draws[0] - draws[1]).max() > 0


def test_impossible_sensors_are_refused() -> None:
    with pytest.raises(InputError, match="bits"):
        SimulatedSensor(bit_depth=9)
    with pytest.raises(InputError, match="Bayer"):
        SimulatedSensor(cfa="RGBG")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fit"):
        SimulatedSensor(white_level=300)
