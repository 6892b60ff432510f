"""``lightstage matte`` and ``lightstage composite`` as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lightstage import ReflectanceFields
from lightstage.cli import main
from lightstage.exchange.film import read_film
from lightstage.images import read_image, write_image

SAMPLE = Path(__file__).parents[2] / "sample_sessions" / "talking"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "session"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="lightstage")


def worked(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_matte_stores_each_sets_matte_and_does_nothing_twice(session: Path) -> None:
    first = json.loads(worked("matte", session, "--workers", 1, "--json").stdout)
    assert first["made"] == first["sets"] == 2
    assert json.loads(worked("matte", session, "--workers", 1, "--json").stdout)["made"] == 0
    fields = ReflectanceFields.open(session)
    assert fields.read("matte", 1).shape == (fields.height, fields.width)


@pytest.mark.parametrize("show", ["matte", "trimap", "guide", "foreground"])
def test_matte_shows_a_set_as_a_picture(session: Path, tmp_path: Path, show: str) -> None:
    worked("matte", session, "--set", -1, "--show", show, "-o", tmp_path / "shown.png")
    shown = read_image(tmp_path / "shown.png")
    assert shown.shape == (96, 128, 3)
    assert 0.02 < shown.mean() < 0.98
    if show == "trimap":
        assert set(np.unique(np.round(shown, 2))) == {0.0, 0.5, 1.0}
    assert not ReflectanceFields.open(session).has("matte")


def test_matte_says_what_is_wrong(session: Path, tmp_path: Path) -> None:
    assert "-o" in refused("matte", session, "--set", 0)
    assert "0 to 1" in refused("matte", session, "--set", 9, "-o", tmp_path / "x.png")
    assert "no such network" in refused("matte", session, "--network", tmp_path / "no.onnx")
    assert "--sha256" in refused("matte", session, "--network", "http://127.0.0.1:1/a.onnx")
    assert "--network" in refused("matte", session, "--sha256", "0" * 64)
    assert "no such file" in refused("matte", tmp_path / "nowhere")


def test_composite_puts_the_background_where_the_performer_is_not(
    session: Path, tmp_path: Path
) -> None:
    even = tmp_path / "even.exr"
    write_image(even, np.full((32, 64, 3), (1.0, 2.0, 4.0), np.float32))
    output = tmp_path / "picture.exr"
    report = json.loads(
        worked("composite", session, "--environment", even, "-o", output, "--json").stdout
    )
    picture = read_image(output)
    # an even environment is its radiance times the exposure, wherever it shows
    corner = picture[:8, :8] / report["background_factor"]
    assert np.allclose(corner, [1.0, 2.0, 4.0], rtol=1e-4)
    # and no performer of grey or brown is brighter than it, wherever light comes evenly from
    assert np.percentile(picture / report["background_factor"], 99) < 5.0


def test_composite_uses_the_stored_matte(session: Path, tmp_path: Path) -> None:
    worked("matte", session, "--workers", 1, "-q")
    fields = ReflectanceFields.open(session)
    white = tmp_path / "white.png"
    write_image(white, np.ones((96, 128, 3)))
    output = tmp_path / "over.exr"
    worked(
        "composite", session, "--studio", "rembrandt", "--background", white, "--wrap", 0,
        "--exposure", -40, "--no-auto-exposure", "-o", output,
    )  # fmt: skip
    # the performer is black: what shows of the white is 1 - alpha
    assert np.allclose(read_image(output)[..., 0], 1.0 - fields.read("matte", 0), atol=2e-3)


def test_composite_takes_a_matte_of_ones_own(session: Path, tmp_path: Path) -> None:
    half = np.zeros((96, 128), np.float32)
    half[:, 64:] = 1.0
    write_image(tmp_path / "half.exr", half)
    write_image(tmp_path / "white.png", np.ones((96, 128, 3)))
    output = tmp_path / "over.exr"
    arguments = ("composite", session, "--studio", "rim", "--background", tmp_path / "white.png")
    worked(
        *arguments, "--matte", tmp_path / "half.exr", "--wrap", 0, "--exposure", -40,
        "--no-auto-exposure", "-o", output,
    )  # fmt: skip
    assert np.allclose(read_image(output)[..., 0], 1.0 - half, atol=1e-6)
    write_image(tmp_path / "small.png", np.ones((8, 8)))
    small = refused(*arguments, "--matte", tmp_path / "small.png", "-o", output)
    assert "128 x 96" in small


def test_composite_turns_an_environment_film_into_a_film(session: Path, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    for frame, level in enumerate((1.0, 2.0, 3.0)):
        write_image(folder / f"e_{frame}.exr", np.full((16, 32, 3), level, np.float32))
    output = tmp_path / "out" / "frame_%04d.exr"
    worked("composite", session, "--environment", folder, "--set", 0, "-o", output, "-q")
    frames = list(read_film(output))
    corners = np.array([frame[:8, :8].mean() for frame in frames])
    faces = np.array([frame[50, 64].mean() for frame in frames])
    # exposure is locked: light and background rise together
    assert np.allclose(corners / corners[0], [1, 2, 3], rtol=1e-3)
    assert np.allclose(faces / faces[0], [1, 2, 3], rtol=1e-3)


def test_composite_reads_a_video_as_maps_and_as_a_background(session: Path, tmp_path: Path) -> None:
    video = tmp_path / "turn.mp4"
    worked(
        "composite", session, "--environment", "sunset", "--rotate", "0:360", "--frames", 3,
        "--set", 0, "-o", video, "-q",
    )  # fmt: skip
    output = tmp_path / "over.mp4"
    result = worked(
        "composite", session, "--environment", "studio", "--background", video, "--set", 0,
        "-o", output, "--json",
    )  # fmt: skip
    assert json.loads(result.stdout)["frames"] == len(list(read_film(output))) == 3


def test_composite_says_what_is_wrong(session: Path, tmp_path: Path) -> None:
    png = tmp_path / "x.png"
    assert "--environment or --studio" in refused("composite", session, "-o", png)
    assert "--background" in refused("composite", session, "--studio", "rim", "-o", png)
    assert "neither" in refused("composite", session, "--environment", "nothing", "-o", png)
    assert ".xyz" in refused(
        "composite", session, "--environment", "studio", "-o", tmp_path / "x.xyz"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in refused("composite", session, "--environment", empty, "-o", png)
    write_image(tmp_path / "square.exr", np.ones((8, 8, 3), np.float32))
    gone = tmp_path / "maps_%04d.exr"
    assert "maps_" in refused("composite", session, "--environment", gone, "-o", png)
