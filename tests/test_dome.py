"""The dome: lights evenly spread, and read from what other tools write."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import SphericalVoronoi

from lightstage import Dome, Led
from lightstage.dome import read_light_positions
from lightstage.errors import DomeError


def test_the_default_dome_is_the_papers():
    dome = Dome.evenly_spread()
    assert len(dome) == 96
    assert np.allclose(np.linalg.norm(dome.positions_m, axis=1), 1.3)
    assert dome.radius_m == pytest.approx(1.3)


@pytest.mark.parametrize("lights", [4, 32, 96, 156, 331])
def test_each_light_owns_about_the_same_share_of_the_sphere(lights):
    areas = SphericalVoronoi(Dome.evenly_spread(lights).directions).calculate_areas()
    share = areas * lights / (4 * np.pi)
    assert share.sum() == pytest.approx(lights)
    assert 0.93 < share.min() <= share.max() < 1.07


@given(st.integers(1, 40), st.floats(0.2, 10))
def test_a_dome_survives_saving_and_loading(lights, radius_m):
    dome = Dome.evenly_spread(lights, radius_m)
    assert Dome.model_validate_json(dome.model_dump_json()) == dome


def test_positions_come_from_lp_and_json_alike(tmp_path):
    dome = Dome.evenly_spread(17)
    dome.save(tmp_path / "dome.json")
    dome.save_lp(tmp_path / "lights.lp")
    (tmp_path / "list.json").write_text(json.dumps(dome.positions_m.tolist()))
    for name in ("dome.json", "lights.lp", "list.json"):
        loaded = Dome.load(tmp_path / name)
        assert np.allclose(loaded.positions_m, dome.positions_m, atol=1e-7), name


def test_an_lp_file_keeps_the_pictures_names_even_with_spaces(tmp_path):
    path = tmp_path / "a.lp"
    path.write_text("2\nmy picture 1.jpg 0 0 1\nb.jpg 1 0 0\n")
    assert read_light_positions(path) == [
        ("my picture 1.jpg", (0.0, 0.0, 1.0)),
        ("b.jpg", (1.0, 0.0, 0.0)),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1"),
        ("x y\n", "line 1"),
        ("2\na 0 0 1\n", "promises 2 lights, 1 follow"),
        ("1\na 0 zero 1\n", "line 2"),
        ("1\na 0 nan 1\n", "line 2"),
        ("1\n0 0 1\n", "line 2"),
        ("1\na 0 0 0\n", "away from the centre"),
        ("2\na 0 0 1\nb 0 0 2\n", "same direction"),
        ("0\n", "no lights"),
    ],
)
def test_a_wrong_lp_file_is_refused_with_the_reason(tmp_path, text, complaint):
    path = tmp_path / "a.lp"
    path.write_text(text)
    with pytest.raises(DomeError, match=complaint):
        Dome.load(path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[[1,2]]", "[[1,2,NaN]]", '{"leds": []}', '{"leds": [{"position_m": [0,0,0]}]}'],
)
def test_a_wrong_json_dome_is_refused(tmp_path, text):
    path = tmp_path / "dome.json"
    path.write_text(text)
    with pytest.raises(DomeError, match=r"dome\.json"):
        Dome.load(path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("no.lp", "no.json"):
        with pytest.raises(DomeError, match=f"{name}: there is no such file"):
            Dome.load(tmp_path / name)


def test_a_gain_cannot_be_negative():
    with pytest.raises(DomeError, match="gain"):
        Led(position_m=(0, 0, 1), gain=(1, -1, 1))
