"""``relight_model condition``: what lies where, and that errors tell what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lightstage.exchange.film import read_film
from lightstage.images import read_image
from relight_model.cli import main
from relight_model.conditioning import ConditioningRenderer
from tests.relight_model.conditioning.conftest import talking_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.npz"
    talking_clip(6).save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["condition", *map(str, arguments)])


def test_pictures_in_a_folder_are_the_maps(clip: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "maps", tmp_path / "sheet.png"
    result = run(
        clip, "-o", out, "--size", 64, "--maps", "pncc,normal", "--frames", "2:5",
        "--format", "png16", "--contact-sheet", sheet, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["frames"], report["width"], report["height"]) == (3, 64, 48)
    assert sorted(p.name for p in out.iterdir()) == ["normal", "pncc"]
    maps = ConditioningRenderer(None).render_clip(talking_clip(6), [2, 3, 4], 64, ["pncc"])
    for index, expected in enumerate(maps):
        written = read_image(out / "pncc" / f"frame_{index:04d}.png")
        assert np.abs(written - expected.pncc).max() < 1e-4
    assert read_image(sheet).shape[0] == 2 * 48 + 4
    again = run(clip, "-o", out, "--size", 64, "--maps", "pncc")
    assert again.exit_code == 2 and "--overwrite" in again.output
    assert run(clip, "-o", out, "--size", 64, "--maps", "pncc", "--overwrite").exit_code == 0
    assert len(list((out / "pncc").iterdir())) == 6


def test_a_film_shows_the_maps_side_by_side(clip: Path, tmp_path: Path) -> None:
    film = tmp_path / "maps.mkv"
    result = run(clip, "-o", film, "--size", 48, "--follow-head", "-q")
    assert result.exit_code == 0, result.output
    frames = list(read_film(film))
    assert len(frames) == 6 and frames[0].shape == (48, 3 * 48, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "9:12", "-o", "x"], "out of 0 to 5"),
        (["--frames", "first", "-o", "x"], "A:B"),
        (["--maps", "depth", "-o", "x"], "some of diffuse"),
        (["-o", "maps.gif"], "folder"),
        ([], "--contact-sheet"),
        (["--head", "missing.npz", "-o", "x"], "missing.npz"),
    ],
)
def test_mistakes_end_as_one_paragraph(clip: Path, arguments: list[str], message: str) -> None:
    result = run(clip, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()) and "Traceback" not in result.output


def test_a_clip_of_another_head_is_refused(clip: Path, tmp_path: Path) -> None:
    replace(talking_clip(3), head="0123456789abcdef").save(clip)
    result = run(clip, "-o", tmp_path / "maps")
    assert result.exit_code == 2 and "0123456789abcdef" in result.output
    assert not (tmp_path / "maps").exists()
