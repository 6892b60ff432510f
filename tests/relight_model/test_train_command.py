"""relight_model train, render, export and evaluate as commands: a run from its start to its use."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lightstage import ReflectanceFields
from lightstage.images import read_image
from relight_model.checkpoint import checkpoints
from relight_model.cli import main
from relight_model.head.clip import HeadClip
from relight_model.run import TrainedRun
from relight_model.training_log import TrainingLog, read_log
from tests.relight_model.smooth_samples import small_config, smooth_trainer

#: Without the regressor and the discriminator a start takes a second.
QUICK = ("--set", "losses.context=0", "--set", "losses.gan=0", "--set", "sample_every=0", "-q")
ROOT = Path(__file__).parents[2]


def run_command(*arguments, code=0):
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == code, (done.output, done.stderr, done.exception)
    return done


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def talk(simulated_session):
    return simulated_session.take("talk").path


@pytest.fixture(scope="module")
def held_out(simulated_session):
    return simulated_session.take("held_out").path


@pytest.fixture(scope="module")
def trained(talk, tmp_path_factory):
    """A run with everything, three steps long."""
    run = tmp_path_factory.mktemp("trained") / "run"
    done = run_command(
        "train", "tiny", "--data", talk, "--out", run, "--steps", 3, "--set", "data.held_out=0.2",
        "--json",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["step"], told["interrupted"]) == (3, False)
    return run


def weights_of(run: Path, step: int) -> dict[str, bytes]:
    folder = run / "checkpoints" / f"{step:08d}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_run_holds_what_its_use_needs(trained, talk):
    entries = read_log(trained)
    error = entries[0]["shape_regressor"]
    assert {"error", "constant_error", "performer_error"} == set(error)
    assert [e["step"] for e in entries[1:]] == [1, 2, 3]
    assert set(entries[-1]["losses"]) > {"light_mse", "gan", "context", "discriminator", "total"}
    run = TrainedRun.open(trained)
    clip = HeadClip.load(talk / "truth_head.npz")
    np.testing.assert_allclose(run.beta_bar, clip.shape)
    assert (run.step, run.size, len(run.dome)) == (3, 32, 24)
    (take,) = run.data.takes
    assert take.learnt < take.sets and take.held_out_from_s == pytest.approx(0.8 * 1.16)
    assert run.data.made_by["data_sha256"]
    pictures = sorted((trained / "samples").glob("*.png"))
    assert len(pictures) == 2
    assert read_image(pictures[0]).std() > 0.05
    assert list((trained / "tensorboard").iterdir())


def test_averaged_weights_are_those_that_are_used(trained):
    average, last = TrainedRun.open(trained), TrainedRun.open(trained, average=False)
    a, b = (r.network.light_head.convolution.weight for r in (average, last))
    assert not torch.equal(a, b)


def test_rendered_fields_are_the_networks_and_a_take_like_any(trained, held_out, tmp_path):
    from lightstage.cli import main as lightstage
    from lightstage.relighting import relight, studio_weights

    take = tmp_path / "out/takes/unseen"
    parameters = held_out / "truth_head.npz"
    command = ("render", parameters, "--run", trained, "-o", take, "--frames", "3:6", "--json")
    assert json.loads(run_command(*command).stdout)["sets"] == 3
    fields = ReflectanceFields.open(take)
    clip = HeadClip.load(parameters)
    assert fields.time_s == pytest.approx(clip.time_s[3:6])
    run = TrainedRun.open(trained)
    predicted = run.predictor(clip)
    np.testing.assert_allclose(fields[1].olat, predicted[4].olat, rtol=2e-3, atol=1e-5)
    output = predicted.output(4)
    np.testing.assert_allclose(
        fields.read("normal", 1), output.normal[0].permute(1, 2, 0).numpy(), atol=1e-3
    )
    picture = tmp_path / "rim.exr"
    done = CliRunner().invoke(
        lightstage,
        ["relight", str(take), "--studio", "rim", "--set", "1", "-o", str(picture), "--json"],
    )
    assert done.exit_code == 0, done.output
    expected = relight(predicted[4].olat, studio_weights("rim", fields.directions))
    factor = json.loads(done.stdout)["exposure_factor"]
    np.testing.assert_allclose(read_image(picture), expected * factor, rtol=5e-3, atol=1e-4)


def test_a_run_is_evaluated_at_its_own_size(trained, held_out):
    options = ("--directions", 2, "--no-olat", "--json")
    found = json.loads(run_command("evaluate", trained, held_out, *options).stdout)
    assert found["relit"]["inside"]["psnr_db"]["mean"] > 0
    assert found["size"] == "32x32"


def test_the_exported_network_answers_alike(trained, tmp_path):
    file = tmp_path / "network.onnx"
    told = json.loads(run_command("export", trained, "-o", file, "--json").stdout)
    assert told["largest_difference"] < 1e-5
    assert told["bytes"] == file.stat().st_size


def test_a_clip_at_another_rate_is_refused_or_stepped_over(trained, held_out):
    run = TrainedRun.open(trained)
    clip = HeadClip.load(held_out / "truth_head.npz")
    twice = clip.replace(time_s=clip.time_s / 2)
    assert run.predictor(twice)._layout.step == 2
    with pytest.raises(Exception, match="relight_model resample"):
        run.predictor(clip.replace(time_s=clip.time_s / 1.4))


def test_a_run_is_neither_replaced_nor_gone_on_with_by_mistake(trained, talk, held_out, tmp_path):
    told = run_command("train", "tiny", "--data", talk, "--out", trained, code=2)
    assert "holds a training; go on with it by --resume" in told.stderr
    told = run_command("train", "tiny", "--data", talk, "--out", tmp_path / "x", "--resume", code=2)
    assert "is no RUN" in told.stderr
    other = ("train", trained / "config.json", "--out", trained, "--resume")
    told = run_command(*other, "--data", talk, "--set", "optimiser.rate=0.5", code=2)
    assert "another optimiser.rate (0.002, now 0.5)" in told.stderr
    told = run_command(*other, "--data", held_out, code=2)
    assert "was trained on other takes" in told.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    told = run_command("train", "tiny", "--data", talk, "--out", tmp_path / "full", code=2)
    assert "is no training; name another folder" in told.stderr
    told = run_command("render", held_out / "truth_head.npz", "--run", tmp_path / "full",
                       "-o", tmp_path / "o/takes/x", code=2)  # fmt: skip
    assert "is no RUN" in told.stderr


def test_ctrl_c_writes_a_checkpoint_and_resume_ends_where_a_whole_run_does(
    talk, tmp_path, monkeypatch
):
    common = ("train", "tiny", "--data", talk, *QUICK, "--steps", 5)
    run_command(*common, "--out", tmp_path / "whole")
    stepped = TrainingLog.stepped

    def interrupted(self, report):
        stepped(self, report)
        if report.step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "stepped", interrupted)
        told = run_command(*common, "--out", tmp_path / "broken", code=130)
    assert "--resume" in told.stderr or "stopping" in told.stderr
    assert [c.name for c in checkpoints(tmp_path / "broken")] == ["00000002"]
    run_command(*common, "--out", tmp_path / "broken", "--resume")
    assert weights_of(tmp_path / "broken", 5) == weights_of(tmp_path / "whole", 5)
    assert [e["step"] for e in read_log(tmp_path / "broken")] == [1, 2, 3, 4, 5]


def test_a_killed_run_that_is_resumed_ends_in_the_same_bits(talk, tmp_path):
    """Killed by SIGKILL wherever it happens to be after a random step."""
    settings = (*QUICK, "--set", "checkpoint_every=2", "--set", "network.dropout=0.3",
                "--steps", 300, "--set", "keep=1000")  # fmt: skip
    common = ("train", "tiny", "--data", talk, *settings)
    after = int(np.random.default_rng().integers(1, 8))
    command = [sys.executable, "-m", "relight_model", *map(str, common)]
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [*command, "--out", str(broken)], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if len(read_log(broken)) >= after:
            break
        time.sleep(0.02)
    assert process.poll() is None, "ended before it could be killed"
    process.kill()
    process.wait(30)
    steps = len(read_log(broken)) + 3
    # the schedule depends on the number of steps: both stop at the same one of 300
    for run, resume in ((tmp_path / "whole", ()), (broken, ("--resume",))):
        stop_after(steps, (*common, "--out", run, *resume))
    whole, resumed = (weights_of(run, steps) for run in (tmp_path / "whole", broken))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if whole[name] != resumed[name]] == [], f"killed after {after}"


def stop_after(steps: int, command: tuple[object, ...]) -> None:
    stepped = TrainingLog.stepped

    def interrupted(self, report):
        stepped(self, report)
        if report.step == steps:
            signal.raise_signal(signal.SIGINT)

    TrainingLog.stepped = interrupted
    try:
        run_command(*command, code=130)
    finally:
        TrainingLog.stepped = stepped


def test_two_processes_have_the_curve_of_one_with_twice_the_batch(tmp_path):
    plain = ["network.norm='group'", "network.dropout=0.0", "discriminator.norm='group'",
             "steps=4", "accumulate=2", "losses.context=0", "losses.albedo_vgg=0"]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.relight_model.train_together", str(tmp_path)]
    processes = [
        subprocess.Popen(
            [*command, *plain, "batch_size=2"], cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": "2",
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        )
        for rank in range(2)
    ]  # fmt: skip
    alone, reports = smooth_trainer(small_config(*plain, "batch_size=4"))
    alone.train(0)
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert told[0]["weights"] == told[1]["weights"]
    assert told[0]["losses"] == told[1]["losses"]
    for step, (one, two) in enumerate(zip(reports, told[0]["losses"], strict=True)):
        # what is masked is averaged within a process first, so the curves part slowly
        assert two["total"] == pytest.approx(one.losses["total"], rel=2e-3), step


@pytest.mark.slow
def test_torchrun_trains_a_run_by_two_processes(talk, tmp_path):
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [
        torchrun, "--nproc-per-node", "2", "--standalone", "-m", "relight_model", "train",
        "tiny", "--data", talk, "--out", tmp_path / "run", "--steps", "4",
    ]  # fmt: skip
    done = subprocess.run(
        [str(c) for c in command], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=280,
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert TrainedRun.open(tmp_path / "run").step == 4
    assert len(read_log(tmp_path / "run")) == 5
