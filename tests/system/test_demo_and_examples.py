"""The demo from end to end, small, and every example script as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightstage import ReflectanceFields
from lightstage.images import read_image

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_makes_all_it_promises_and_alignment_helps(tmp_path):
    command = [sys.executable, "-m", "lightstage.cli", "demo", "-o", str(tmp_path / "demo")]
    small = ["--seconds", "0.12", "--size", "192x144", "--json"]
    done = subprocess.run(command + small, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "demo/summary.json").read_text())
    assert report["psnr_aligned_db"] > report["psnr_unaligned_db"] + 1.0
    assert report["dropped_frames"] == 0
    assert len(ReflectanceFields.open(tmp_path / "demo/session")) == report["sets"]
    for name in ("contact_sheet.png", "alignment.png"):
        assert read_image(tmp_path / "demo" / name).shape[1] > 1000
    assert (tmp_path / "demo/turn.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("script", "arguments", "made"),
    [
        ("read_cine.py", [], "brightest.png"),
        ("plan_sequence.py", ["2"], None),
        ("relight_field.py", [], "relit.png"),
        ("import_olat_stack.py", ["ball"], "ball/rembrandt.png"),
        ("make_training_session.py", ["session", "--small", "--shortcut"], None),
    ],
)
def test_each_example_runs_on_the_sample_session(tmp_path, script, arguments, made):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / script), *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if made:
        assert read_image(tmp_path / made).max() > 0.3


def test_every_example_has_a_test():
    tested = {
        "read_cine.py", "plan_sequence.py", "relight_field.py", "import_olat_stack.py",
        "make_training_session.py",
    }  # fmt: skip
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == tested
