"""The technician's commands as typed: capture, verify, doctor, simulate-hardware."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import Dome, ReflectanceFields, Session


def run(*arguments, **options):
    arguments = [str(argument) for argument in arguments]
    return CliRunner().invoke(lightstage.cli.main, arguments, prog_name="lightstage", **options)


@pytest.fixture
def small(tmp_path):
    """A new session's options: 24 lights, so that the simulated stage is quick."""
    Dome.evenly_spread(24).save(tmp_path / "dome.json")
    (tmp_path / "sequence.json").write_text('{"lights": 24}')
    return ["--dome", tmp_path / "dome.json", "--sequence", tmp_path / "sequence.json"]


def test_from_capture_to_a_relit_picture_and_verify_finds_a_flipped_byte(tmp_path, small):
    session = tmp_path / "day"
    done = run(
        "capture", session, "--take", "a,b", "--seconds", "0.06", "--simulated",
        "--size", "128x96", "--performer", "Ada", "--note", "first try", *small,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "take a: good" in done.stderr
    assert "take b: good" in done.stderr
    record = json.loads((session / "takes/b/capture.json").read_text())
    assert (record["good"], record["performer"], record["note"]) == (True, "Ada", "first try")
    assert run("verify", session).exit_code == 0
    assert run("preprocess", session, "--take", "a", "-q", "--workers", 1).exit_code == 0
    assert len(ReflectanceFields.open(session / "takes/a")) >= 1
    picture = tmp_path / "relit.png"
    assert run("relight", session / "takes/a", "--studio", "loop", "-o", picture).exit_code == 0
    assert picture.stat().st_size > 1000

    recording = session / "takes/b/take.cine"
    data = bytearray(recording.read_bytes())
    data[-100] ^= 1
    recording.write_bytes(data)
    damaged = run("verify", session)
    assert damaged.exit_code == 4
    assert "checksum" in damaged.stderr
    report = json.loads(run("verify", session, "--json").stdout)
    assert report["takes"]["a"] == []
    assert len(report["takes"]["b"]) == 1


def test_a_faulty_stage_ends_with_3_and_says_what_happened(tmp_path, small):
    faults = tmp_path / "faults.toml"
    faults.write_text("[camera]\nmissed_edges = [40]\n")
    done = run(
        "capture", tmp_path / "day", "--take", "a", "--seconds", "0.06", "--simulated",
        "--no-light-check", "--size", "128x96", "--faults", faults, *small,
    )  # fmt: skip
    assert done.exit_code == 3
    assert "NOT GOOD" in done.stderr
    assert "Traceback" not in done.stderr
    assert not json.loads((tmp_path / "day/takes/a/capture.json").read_text())["good"]
    assert run("verify", tmp_path / "day").exit_code == 4


def test_a_dry_run_records_nothing(tmp_path, small):
    done = run(
        "capture", tmp_path / "day", "--take", "a", "--simulated", "--dry-run",
        "--no-light-check", "--size", "128x96", *small,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert Session.open(tmp_path / "day").takes == []


@pytest.mark.parametrize(
    ("stage", "exit_code", "said"),
    [
        ('leds = "serial:/dev/no-such-port"\ncamera = "phantom:127.0.0.1:1"\n'
         "radiance_w_m2_sr = 10.0\n", 3, "/dev/no-such-port"),
        ('leds = "serial:/dev/no-such-port"\ncamera = "phantom:127.0.0.1:1"\n', 2, "radiance"),
        ('leds = "usb:1"\ncamera = "phantom:127.0.0.1:1"\n', 2, "serial:PORT"),
        ('leds = "serial:x"\n', 2, "camera"),
        ("leds = serial", 2, "TOML"),
    ],
)  # fmt: skip
def test_wrong_cables_and_wrong_stage_files_are_told(tmp_path, small, stage, exit_code, said):
    path = tmp_path / "stage.toml"
    path.write_text(stage)
    phrase = "Ada\nno photosensitive epilepsy, flicker accepted\n"
    done = run(
        "capture", tmp_path / "day", "--take", "a", "--stage", path, "--seconds", "0.1", *small,
        input=phrase,
    )  # fmt: skip
    assert done.exit_code == exit_code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_capture_needs_a_stage_or_the_simulated_one(tmp_path):
    assert run("capture", tmp_path / "day", "--take", "a").exit_code == 2
    long = run("capture", tmp_path / "day", "--take", "a", "--simulated", "--seconds", "1e6")
    assert long.exit_code == 2


def test_doctor_says_what_is_here_and_which_device_does_not_answer(tmp_path):
    fine = run("doctor", "--json")
    assert fine.exit_code == 0
    checks = {line["what"]: line for line in json.loads(fine.stdout)["checks"]}
    assert checks["numpy"]["state"] == "good"
    path = tmp_path / "stage.toml"
    path.write_text('leds = "serial:/dev/no-such-port"\ncamera = "phantom:127.0.0.1:1"\n')
    silent = run("doctor", "--stage", path)
    assert silent.exit_code == 3
    assert "/dev/no-such-port" in silent.output
    assert "phantom:127.0.0.1:1" in silent.output


def test_simulated_hardware_can_be_asked_by_another_process(tmp_path):
    stage = tmp_path / "stage.toml"
    command = [sys.executable, "-m", "lightstage.cli", "simulate-hardware", "--stage", str(stage)]
    options = ["--lights", "24", "--size", "128x96", "--seconds", "40"]
    with subprocess.Popen(command + options, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(5)]
            assert any(re.match(r'leds = "serial:/dev/pts/\d+"', line) for line in lines)
            assert stage.exists()
            report = run("doctor", "--stage", stage, "--json")
        finally:
            process.terminate()
            process.wait(timeout=20)
    assert report.exit_code == 0, report.output
    checks = {line["what"]: line["text"] for line in json.loads(report.stdout)["checks"]}
    assert "simulated" in checks["camera"]
    assert "simulated" in checks["LED controller"]
    assert Path(tmp_path / "dome.json").exists()
