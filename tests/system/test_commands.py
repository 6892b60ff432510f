"""Whole commands as a user types them: results, errors in one paragraph, exit codes."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lightstage.cli
import relight_model.cli
from lightstage import ReflectanceFields
from lightstage.cli.application import COMMAND_GROUPS
from lightstage.exchange.film import read_film
from lightstage.images import read_image, write_image

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_sessions" / "talking"
TAKE = SAMPLE / "takes" / "talk"
COMMANDS = [name for names in COMMAND_GROUPS.values() for name in names]


def run(*arguments, program=lightstage.cli.main):
    # in this process: a new one costs a second
    name = "relight_model" if program is relight_model.cli.main else "lightstage"
    return CliRunner().invoke(program, [str(a) for a in arguments], prog_name=name)


def refused(result, exit_code):
    """Assert that a command ended with one paragraph and the exit code; return the paragraph."""
    text = result.stderr.strip()
    assert result.exit_code == exit_code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "\n\n" not in text
    return text


@pytest.fixture
def session(tmp_path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "session"))


# What works


def test_help_lists_every_command_by_what_people_do():
    result = run("--help")
    assert result.exit_code == 0
    for title, names in COMMAND_GROUPS.items():
        assert title in result.output
        assert all(name in result.output for name in names)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_has_an_example(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lightstage.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'cv2', 'torch', 'zarr', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().endswith("[]")


def test_info_tells_of_a_session_a_take_a_recording_and_fields():
    for path, word in (
        (SAMPLE, "simulated stage"),
        (TAKE, "simulated"),
        (TAKE / "take.cine", "GBRG"),
        (TAKE / "aligned.zarr", "32"),
    ):
        result = run("info", path)
        assert result.exit_code == 0, result.output
        assert word in result.output
        report = run("info", path, "--json")
        assert isinstance(json.loads(report.stdout), dict)


def test_frames_are_named_for_the_cameras_numbers(tmp_path):
    result = run("frames", TAKE / "take.cine", "-o", tmp_path / "f", "--frames", "4:7")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert names == [f"take_{number:+08d}.png" for number in (4, 5, 6)]
    # frame 4 of the preamble is full-lit, frame 5 is dark
    bright, dark = (read_image(tmp_path / "f" / name, "srgb").mean() for name in names[:2])
    assert bright > 10 * dark


def test_raw_frames_are_the_stored_values(tmp_path):
    from lightstage.cine import CineFile

    run("frames", TAKE / "take.cine", "-o", tmp_path, "--frames", "4", "--raw", "--format", "tif")
    with CineFile(TAKE / "take.cine") as cine:
        stored = cine[4]
    written = read_image(tmp_path / "take_+0000004.tif")[..., 0] * 255
    assert np.array_equal(np.rint(written), stored)


def test_preprocess_makes_fields_and_then_nothing_again(session):
    shutil.rmtree(session / "takes" / "talk" / "aligned.zarr")
    first = json.loads(run("preprocess", session, "--json", "--workers", 1).stdout)["takes"]["talk"]
    again = json.loads(run("preprocess", session, "--json", "--workers", 1).stdout)["takes"]["talk"]
    assert first["sets"] == first["sets_made_now"] == len(ReflectanceFields.open(session))
    assert again["sets_made_now"] == 0
    made = ReflectanceFields.open(session)
    shipped = ReflectanceFields.open(SAMPLE)
    assert np.abs(made[0].olat - shipped[0].olat).max() < 0.02


def test_a_copied_session_is_not_made_anew(session):
    report = json.loads(run("preprocess", session, "--json", "--workers", 1).stdout)
    assert report["takes"]["talk"]["sets_made_now"] == 0


def test_an_imported_take_finds_its_phase_and_equals_the_original(session, tmp_path):
    result = run(
        "import-take", tmp_path / "new", TAKE / "take.cine", "--take", "again", "--copy",
        "--dome", SAMPLE / "dome.json", "--sequence", SAMPLE / "sequence.json", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["first_step"] == 0
    assert run("preprocess", tmp_path / "new", "-q", "--workers", 1).exit_code == 0
    a, b = ReflectanceFields.open(tmp_path / "new"), ReflectanceFields.open(SAMPLE)
    assert np.abs(a[0].olat - b[0].olat).max() < 0.02


@pytest.mark.parametrize(
    "light", [("--environment", "sunset"), ("--environment", "studio"), ("--studio", "rembrandt")]
)
def test_relight_writes_a_picture(tmp_path, light):
    result = run("relight", SAMPLE, *light, "-o", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    picture = read_image(tmp_path / "a.png")
    assert picture.shape == (96, 128, 3)
    assert 0.5 < picture.max() <= 1.0


def test_light_from_the_right_lights_the_images_right(tmp_path):
    environment = np.zeros((64, 128, 3), np.float32)
    environment[24:40, 88:104] = 1.0  # around u = 3/4: +X
    write_image(tmp_path / "right.exr", environment)
    run("relight", SAMPLE, "--environment", tmp_path / "right.exr", "-o", tmp_path / "r.exr")
    turned = ("--rotate", "180")
    run(
        "relight",
        SAMPLE,
        "--environment",
        tmp_path / "right.exr",
        *turned,
        "-o",
        tmp_path / "l.exr",
    )
    right, left = (read_image(tmp_path / name).mean(axis=(0, 2)) for name in ("r.exr", "l.exr"))
    centre = int((right + left).cumsum().searchsorted((right + left).sum() / 2))
    assert right[centre:].sum() > 3 * right[:centre].sum()
    assert left[:centre].sum() > 3 * left[centre:].sum()


def test_relight_writes_a_film_of_all_sets_and_of_a_held_one(tmp_path):
    turn = ("--environment", "studio", "--rotate", "0:360")
    assert run("relight", SAMPLE, *turn, "-o", tmp_path / "all.mp4").exit_code == 0
    held = ("--set", "0", "--frames", "5")
    assert run("relight", SAMPLE, *turn, *held, "-o", tmp_path / "held.mp4").exit_code == 0
    assert len(list(read_film(tmp_path / "all.mp4"))) == len(ReflectanceFields.open(SAMPLE))
    assert len(list(read_film(tmp_path / "held.mp4"))) == 5


def test_the_models_command_reports_on_a_take():
    result = run("inspect", SAMPLE, "--json", program=relight_model.cli.main)
    assert json.loads(result.stdout)["lights"] == 32


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell):
    assert "lightstage" in run("completion", shell).output


# What is refused


def damaged_cine(tmp_path):
    path = tmp_path / "damaged.cine"
    data = bytearray((TAKE / "take.cine").read_bytes())
    struct.pack_into("<I", data, 0x20, 0xFFFFFF00)  # OffImageOffsets beyond the file
    path.write_bytes(data)
    return path


def test_a_missing_file_is_named_by_every_command(tmp_path):
    no = tmp_path / "nothing"
    for arguments in (
        ("info", no),
        ("frames", no, "-o", tmp_path / "x"),
        ("preprocess", no),
        ("relight", no, "--studio", "rim", "-o", tmp_path / "x.png"),
        ("relight", SAMPLE, "--environment", no, "-o", tmp_path / "x.png"),
        ("import-take", tmp_path / "s", no, "--take", "a"),
        ("import-olat", no, "--lights", "yale"),
        ("simulate-take", tmp_path / "s", "--recipe", no),
    ):
        assert "nothing" in refused(run(*arguments), 2), arguments


def test_a_damaged_recording_is_told_apart_from_wrong_input(tmp_path):
    path = damaged_cine(tmp_path)
    assert "OffImageOffsets" in refused(run("info", path), 4)
    assert "OffImageOffsets" in refused(run("frames", path, "-o", tmp_path / "f"), 4)
    dome = ("--dome", SAMPLE / "dome.json", "--sequence", SAMPLE / "sequence.json")
    refused(run("import-take", tmp_path / "s", path, "--take", "a", *dome), 4)
    assert not (tmp_path / "s").exists()


def test_damaged_fields_end_with_4(session):
    shard = session / "takes/talk/aligned.zarr/olat/c/0/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:1000])
    text = refused(run("relight", session, "--studio", "rim", "-o", session / "x.png"), 4)
    assert "set 0 of 'olat'" in text


def test_what_is_not_a_session_is_told(tmp_path):
    assert "not a session" in refused(run("preprocess", tmp_path), 2)
    assert "neither" in refused(run("info", tmp_path), 2)
    assert "neither" in refused(
        run("relight", tmp_path, "--studio", "rim", "-o", tmp_path / "x.png"), 2
    )


def test_a_map_that_is_no_light_is_refused(tmp_path):
    for name, value in (("nan", np.nan), ("inf", np.inf), ("negative", -5.0)):
        radiance = np.ones((8, 16, 3), np.float32)
        radiance[3, 4, 1] = value
        write_image(tmp_path / f"{name}.exr", radiance)
        refused(
            run(
                "relight",
                SAMPLE,
                "--environment",
                tmp_path / f"{name}.exr",
                "-o",
                tmp_path / "x.png",
            ),
            2,
        )
    for name, shape, reason in (
        ("square", (8, 8, 3), "--layout"),
        ("wide", (8, 40, 3), "twice as wide"),
    ):
        write_image(tmp_path / f"{name}.exr", np.ones(shape, np.float32))
        environment = tmp_path / f"{name}.exr"
        text = refused(
            run("relight", SAMPLE, "--environment", environment, "-o", tmp_path / "x.png"), 2
        )
        assert reason in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("relight", SAMPLE, "-o", "x.png"),
        ("relight", SAMPLE, "--studio", "rim", "--environment", "studio", "-o", "x.png"),
        ("relight", SAMPLE, "--studio", "moonlight", "-o", "x.png"),
        ("relight", SAMPLE, "--studio", "rim", "--rotate", "a:b", "-o", "x.png"),
        ("relight", SAMPLE, "--studio", "rim", "--set", "99", "-o", "x.png"),
        ("relight", SAMPLE, "--studio", "rim", "-o", "x.xyz"),
        ("frames", TAKE / "take.cine", "-o", "f", "--frames", "900:"),
        ("frames", TAKE / "take.cine", "-o", "f", "--frames", "first"),
        ("preprocess", SAMPLE, "--rate", "1000"),
        ("preprocess", SAMPLE, "--rate", "often"),
        ("preprocess", SAMPLE, "--take", "sing"),
        ("simulate-take", "s", "--size", "large"),
        ("simulate-take", "s", "--seconds", "-1"),
        ("relight", SAMPLE, "--no-such-option"),
        ("no-such-command",),
    ],
)
def test_wrong_options_end_with_2_and_a_reason(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), 2)
    assert list(tmp_path.iterdir()) == []
