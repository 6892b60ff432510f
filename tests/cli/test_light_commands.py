"""``lightstage environment`` and ``lightstage studio``: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from lightstage.cli import main
from lightstage.dome import Dome
from lightstage.images import read_image, write_image


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_environment_reports_what_the_lights_carry(tmp_path: Path):
    result = run(
        "environment", "overcast", "--json", "--report", tmp_path / "lights.png",
        "-o", tmp_path / "map.exr", "--exposure", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    np.testing.assert_allclose(report["weights_sum"], report["integral"], rtol=1e-6)
    assert sum(lamp["share"] for lamp in report["lights"]) == pytest.approx(1)
    assert report["coverage"]["energy"] == pytest.approx(1)
    assert cv2.imread(str(tmp_path / "lights.png")).shape == (512, 1024, 3)
    assert read_image(tmp_path / "map.exr").shape == (256, 512, 3)


def test_a_probe_is_converted_and_a_square_asks(tmp_path: Path):
    write_image(tmp_path / "probe.exr", np.full((64, 64, 3), 0.5, np.float32))
    asked = run("environment", tmp_path / "probe.exr")
    assert asked.exit_code == 2
    assert "--layout angular" in asked.output
    made = tmp_path / "map.exr"
    done = run("environment", tmp_path / "probe.exr", "--layout", "angular", "-o", made, "-q")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(read_image(made), 0.5, rtol=1e-3)


def test_a_half_dome_is_reported(tmp_path: Path):
    directions = Dome.evenly_spread(96).directions
    Dome.from_directions(directions[directions[:, 2] > 0]).save(tmp_path / "dome.json")
    words = ("environment", "overcast", "--dome", tmp_path / "dome.json", "--json")
    moved = json.loads(run(*words).stdout)
    assert 0.4 < moved["coverage"]["energy"] < 0.8
    assert moved["coverage"]["largest_gap_deg"] > 60
    np.testing.assert_allclose(moved["weights_sum"], moved["integral"], rtol=1e-6)
    left = json.loads(run(*words, "--uncovered", "leave-out", "--method", "cosine").stdout)
    share = np.array(left["weights_sum"]) / left["integral"]
    np.testing.assert_allclose(share, left["coverage"]["energy"], atol=0.03)


def test_studio_lists_prints_and_draws(tmp_path: Path):
    assert "rembrandt" in run("studio", "--list").output
    mine = tmp_path / "mine.toml"
    mine.write_text(run("studio", "two-tone", "--toml").stdout)
    assert json.loads(run("studio", mine, "--json").stdout)["lights"][1]["kelvin"] == 9000
    drawn = run("studio", mine, "-o", tmp_path / "card.png", "-q")
    assert drawn.exit_code == 0, drawn.output
    assert cv2.imread(str(tmp_path / "card.png")).shape[1] == 3 * 520


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("studio",), "name a rig"),
        (("studio", "disco"), "there is no studio light 'disco'"),
        (("environment", "nowhere"), "neither a built-in environment"),
        (("environment", "overcast", "--dome", "nowhere.json"), "there is no such file"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(words, text):
    result = run(*words)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
    assert "Traceback" not in result.output
