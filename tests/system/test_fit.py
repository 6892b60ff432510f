"""``relight_model fit`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from relight_model.cli import main
from relight_model.head.clip import HeadClip


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("fit") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["fit", *arguments])
    return result.exit_code, result.output


def test_a_portrait_becomes_parameters_and_an_overlay(portrait: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "a.npz", tmp_path / "a.json"
    code, text = run(
        str(portrait), "-o", str(output), "--no-refine", "--json",
        "--overlay", str(tmp_path / "fit_%04d.png"), "--report", str(report),
    )  # fmt: skip
    assert code == 0, text
    figures = json.loads(report.read_text())
    # issue 6 asks for 4 % of the inter-ocular distance
    assert figures["residual_inner_percent_iod_mean"] < 4.0
    clip = HeadClip.load(output)
    assert len(clip) == 1 and clip.confidence is not None and clip.confidence[0] > 0.5
    drawn = cv2.imread(str(tmp_path / "fit_0000.png"))
    before = cv2.imread(str(portrait))
    changed = (drawn.astype(int) - before).astype(bool).any(axis=2)
    # the face of this picture lies about column 225, row 110
    assert changed[60:160, 180:270].mean() > 0.3 and changed[300:, :].mean() < 0.05


def test_a_file_that_exists_is_kept(portrait: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.npz"
    output.write_bytes(b"precious")
    code, text = run(str(portrait), "-o", str(output), "--no-refine")
    assert code == 2 and "--overwrite" in text
    assert output.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "a.txt"], "npz"),
        (["-o", "a.npz", "--backend", "deca"], "--deca"),
        (["-o", "nowhere/a.npz"], "folder"),
    ],
)
def test_wrong_options_are_told(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(str(portrait), *arguments)
    assert code == 2 and said in text


def test_a_picture_without_a_face_ends_in_one_sentence(tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    cv2.imwrite(str(wall), np.full((120, 160, 3), 90, np.uint8))
    code, text = run(str(wall), "-o", str(tmp_path / "a.npz"))
    assert code == 2 and "no face" in text and "Traceback" not in text
