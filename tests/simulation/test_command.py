"""`lightstage simulate-take` makes what its options say, and can be interrupted."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lightstage.cine import CineFile
from lightstage.cli import main
from lightstage.manifest import read_json
from lightstage.simulation import read_steps

SMALL = ["--size", "64x48", "--lights", "12", "--seconds", "0.05", "--workers", "1", "--json"]


def test_options_become_the_faults_of_the_take(tmp_path: Path) -> None:
    options = shlex.split(
        "--drops 0.1 --repeats 0.02 --swaps 0.02 --extra 0.02 --garbage-stamps 0.05 --bursts 1 "
        "--burst-frames 5 --tracking-jitter 0.05 --olat-jitter 0.01 --light-errors 0.1 "
        "--droop 0.1 --fade 0.2 --stuck-on 3 --stuck-dark 4 --dim 5 0.5 --first-step 20 "
        "--read-noise 30 --full-well 9000 --seed 6 --truth 1"
    )
    session = tmp_path / "s"
    result = CliRunner().invoke(main, ["simulate-take", str(session), *SMALL, *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["takes"] == ["talk"]
    take = session / "takes" / "talk"
    made = read_json(take / "take.json")["details"]["recipe"]["takes"][0]
    faults = made["faults"]
    assert faults["drop_rate"] == 0.1 and faults["supply_droop"] == 0.1 and faults["seed"] == 6
    assert faults["stuck_on"] == [3] and faults["dim"] == {"5": 0.5}
    assert made["first_step"] == 20 and made["read_noise"] == 30
    steps = read_steps(take / "truth_steps.zarr")
    assert len(steps) == len(CineFile(take / "take.cine")) and steps.light_gain[4] == 0
    assert steps.step_index[steps.step_index >= 0].min() >= 20
    assert (take / "truth.zarr").is_dir()


def test_a_take_can_be_made_without_noise_and_stamps(tmp_path: Path) -> None:
    session = tmp_path / "s"
    arguments = ["simulate-take", str(session), *SMALL, "--no-noise", "--no-stamps"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    cine = CineFile(session / "takes" / "talk" / "take.cine")
    assert cine.time_ns is None
    np.testing.assert_array_equal(cine[0], 4)


@pytest.mark.parametrize(
    "options, reason",
    [
        (("--drops", "1.5"), "drop_rate"),
        (("--stuck-on", "12"), "light 12"),
        (("--drops", "1"), "nothing is recorded"),
        (("--first-step", "-1"), "first_step"),
        (("--full-well", "0"), "full_well"),
    ],
)
def test_impossible_options_are_refused_and_leave_nothing(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    session = tmp_path / "s"
    result = CliRunner().invoke(main, ["simulate-take", str(session), *SMALL, *options])
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())
    assert not session.exists()


def test_an_interrupted_command_leaves_no_recording_and_goes_on_when_run_again(
    tmp_path: Path,
) -> None:
    session = tmp_path / "s"
    command = [
        sys.executable, "-c", "from lightstage.cli import main; main()", "simulate-take",
        str(session), "--size", "128x96", "--lights", "12", "--seconds", "60", "--workers", "2",
    ]  # fmt: skip
    take = session / "takes" / "talk"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        partial = take / "take.cine.partial"
        while not (partial.is_file() and partial.stat().st_size > 1_000_000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors and "interrupted" in errors
    assert sorted(path.name for path in take.iterdir()) == ["take.json"]
