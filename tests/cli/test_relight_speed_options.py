"""``lightstage relight --basis`` and ``--workers``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightstage import Dome
from lightstage.aligned_store import FieldsWriter
from lightstage.cli import main


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "aligned.zarr"
    rng = np.random.default_rng(0)
    writer = FieldsWriter.create(
        path, sets=3, height=24, width=32, dome=Dome.evenly_spread(12), rate_hz=25.0
    )
    for index in range(3):
        olat = rng.random((12, 24, 32, 3), dtype=np.float32)
        writer.write_set(index, olat=olat, full_lit=olat[0], time_s=index / 25, centre_frame=index)
    writer.finish()
    return path


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["lightstage", "relight", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_workers_do_not_change_a_films_frames(store, tmp_path, monkeypatch):
    films = []
    for workers in (1, 3):
        frames = tmp_path / f"{workers}" / "frame_%04d.png"
        options = ("--environment", "studio", "--rotate", "0:360", "--frames", 7)
        assert run(monkeypatch, store, *options, "--workers", workers, "-o", frames) == 0
        films.append([path.read_bytes() for path in sorted(frames.parent.iterdir())])
    assert len(films[0]) == 7
    assert films[0] == films[1]


def test_a_basis_of_all_lights_gives_the_same_picture_and_a_small_one_its_psnr(
    store, tmp_path, monkeypatch, capsys
):
    pictures = {}
    psnr = {}
    for size in (None, 3, 12):
        picture = tmp_path / f"{size}.png"
        basis = () if size is None else ("--basis", size)
        options = ("--studio", "rim", "--no-auto-exposure", *basis, "--json", "-o", picture)
        assert run(monkeypatch, store, *options) == 0
        report = json.loads(capsys.readouterr().out)
        pictures[size] = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).astype(int)
        if size is not None:
            assert report["basis"]["images"] == size
            psnr[size] = report["basis"]["psnr_db"]["least"]
    assert np.abs(pictures[12] - pictures[None]).max() <= 1
    assert np.abs(pictures[3] - pictures[None]).max() > 1
    assert psnr[3] < 40
    assert psnr[12] is None or psnr[12] > 100


def test_a_basis_larger_than_the_set_is_refused(store, tmp_path, monkeypatch, capsys):
    options = ("--studio", "rim", "--basis", 13, "-o", tmp_path / "a.png")
    assert run(monkeypatch, store, *options) == 2
    assert "12" in capsys.readouterr().err
