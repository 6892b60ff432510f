"""``relight_model parameters``, ``statistics``, ``retarget`` and ``resample`` as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import relight_model.cli
from relight_model.head.clip import JOINTS, HeadClip
from relight_model.head.clip_report import clip_report
from relight_model.head.clip_statistics import ClipStatistics
from relight_model.head.rotations import angle_between, compose
from tests.relight_model.head.clips import made_up, performed


def run(*arguments):
    return CliRunner().invoke(relight_model.cli.main, [str(a) for a in arguments])


def report(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


@pytest.fixture
def files(tmp_path):
    # times that a file of seconds at 25 frames a second would hold
    time_s = np.arange(40) / 25.0
    made_up(1, time_s=time_s).save(tmp_path / "source.npz")
    made_up(2, time_s=time_s).save(tmp_path / "target.npz")
    return tmp_path


def test_parameters_tells_ranges_jitter_and_gaps(files):
    rng = np.random.default_rng(0)
    n = 4000
    time_s = np.arange(n) / 25.0
    time_s[2000:] += 0.5
    pose = np.zeros((n, 15))
    pose[:, :3] = compose([0, 0.3, 0], np.radians(0.2) * rng.normal(size=(n, 3)))
    noisy = made_up(
        0,
        n,
        time_s=time_s,
        pose=pose,
        translation_m=2e-3 * rng.normal(size=(n, 3)),
        confidence=np.where(np.arange(n) < 400, 0.3, 1.0),
    )
    noisy.save(files / "noisy.npz")
    told = report("parameters", files / "noisy.npz")
    assert told["frames"] == n and told["rate_hz"] == pytest.approx(25)
    assert told["gaps"] == [{"after_s": pytest.approx(1999 / 25), "length_s": pytest.approx(0.54)}]
    assert told["frames_of_little_confidence"] == 400
    # white noise has its own deviation as jitter, and as spread; yaw stands at 0.3 rad
    yaw = told["ranges"]["global yaw"]
    assert yaw["jitter"] == pytest.approx(0.2, rel=0.05)
    assert yaw["deviation"] == pytest.approx(0.2, rel=0.05)
    assert yaw["mean"] == pytest.approx(np.degrees(0.3), abs=0.05)
    assert told["ranges"]["translation x"]["jitter"] == pytest.approx(2.0, rel=0.05)
    assert "smile" in told["ranges"]
    # steady turning is no jitter
    turning = np.zeros((40, 15))
    turning[:, :3] = np.outer(np.arange(40) * 0.4, [0.6, 0.0, 0.8])
    assert clip_report(made_up(0, 40, time_s=np.arange(40.0), pose=turning))["ranges"][
        "global pitch"
    ]["jitter"] < 1e-9  # fmt: skip
    result = run("parameters", files / "noisy.npz")
    assert result.exit_code == 0 and "0.540 s after 79.960 s" in result.output
    one = report("parameters", _saved(files / "one.npz", made_up(0, 1)))
    assert one["rate_hz"] is None


def _saved(path, clip):
    clip.save(path)
    return path


def test_statistics_are_those_of_the_clips(files):
    out = files / "performer.json"
    told = report("statistics", files / "source.npz", files / "target.npz", "-o", out)
    clips = [HeadClip.load(files / f"{name}.npz") for name in ("source", "target")]
    clips[1] = clips[1].replace(shape=clips[1].shape)
    assert ClipStatistics.load(out) == ClipStatistics.of(clips)
    assert told["frames"] == 80
    assert report("statistics", files / "source.npz", "-o", out, "--robust")["method"] == "robust"


def test_retarget_normalises_to_saved_statistics(files):
    stats, out = files / "performer.json", files / "drive.npz"
    report("statistics", files / "target.npz", "-o", stats)
    told = report(
        "retarget", files / "source.npz", "--target", files / "target.npz",
        "--statistics", stats, "-o", out,
    )  # fmt: skip
    assert told["frames"] == 40 and told["source"] == "source.npz"
    made, target = HeadClip.load(out), HeadClip.load(files / "target.npz")
    np.testing.assert_array_equal(made.shape, target.shape)
    got, wanted = ClipStatistics.of(made), ClipStatistics.load(stats)
    source = HeadClip.load(files / "source.npz")
    np.testing.assert_allclose(
        ClipStatistics.of(made.replace(confidence=source.confidence)).expression.mean[:3],
        wanted.expression.mean[:3],
        atol=1e-6,
    )
    assert angle_between(got.joints["jaw"].array("mean"), wanted.joints["jaw"].array("mean")) < 1e-6


def test_retarget_holds_edits_and_scales(files):
    out = files / "drive.npz"
    told = report(
        "retarget", files / "source.npz", "--target", files / "target.npz", "-o", out,
        "--hold-pose", "--yaw", 10, "--amount", "smile=0", "--amount", "jaw=0.5", "--mirror",
        "--blink", "mean", "--gaze", files / "target.npz", "--smooth-pose", 0.1, "--no-limit",
    )  # fmt: skip
    assert told["retargeted"]["origins"]["gaze"] == "clip"
    made, target = HeadClip.load(out), HeadClip.load(files / "target.npz")
    assert np.ptp(made.pose[:, :6], axis=0).max() < 1e-9
    assert np.ptp(made.expression[:, [0, 3, 4]], axis=0).max() < 1e-9
    for name in ("eye_left", "eye_right"):
        part = JOINTS[name]
        assert angle_between(made.pose[:, part], target.pose[:, part]).max() < 1e-6


def test_eyes_can_look_into_the_camera(files):
    performed(0, seconds=1).save(files / "talk.npz")
    report(
        "retarget", files / "talk.npz", "--target", files / "talk.npz", "--gaze", "camera",
        "-o", files / "look.npz",
    )  # fmt: skip
    assert np.ptp(HeadClip.load(files / "look.npz").pose[:, 9:11], axis=0).max() > 1e-3
    told = refused(
        "retarget", files / "source.npz", "--target", files / "target.npz", "--gaze", "camera",
        "-o", files / "look.npz",
    )  # fmt: skip
    assert "is not the head model of the target's parameters" in told


def test_resample_makes_a_thousand_frames_a_second(files):
    out = files / "fast.npz"
    told = report("resample", files / "source.npz", "--rate", 1000, "-o", out)
    assert (told["frames_before"], told["frames"]) == (40, 1561)
    np.testing.assert_allclose(np.diff(HeadClip.load(out).time_s), 1e-3)
    told = report("resample", files / "source.npz", "--trim", "0.4:0.8", "-o", out)
    assert told["frames"] == 11
    told = report(
        "resample", out, "--rate", 10, "--low-pass", "--smooth", 0.05, "-o", files / "slow.npz"
    )
    assert told["frames"] == 5


def test_what_is_wrong_is_said(files):
    source, target, out = files / "source.npz", files / "target.npz", files / "o.npz"
    (files / "junk.npz").write_bytes(b"junk")
    for arguments, told in (
        (("parameters", files / "none.npz"), "there is no such file"),
        (("parameters", files / "junk.npz"), "no file of head parameters"),
        (("statistics", source, files / "junk.npz", "-o", out), "no file of head parameters"),
        (("resample", source, "-o", out), "nothing to do"),
        (("resample", source, "--rate", 0, "-o", out), "above 0 frames a second"),
        (("resample", source, "--trim", "9:10", "-o", out), "no frame lies between"),
        (("resample", source, "--trim", "now", "-o", out), "FROM:TO"),
        (("retarget", source, "--target", target, "-o", out, "--amount", "smile"), "NAME=FACTOR"),
        (("retarget", source, "--target", target, "-o", out, "--amount", "x=2"), "no 'x' to scale"),
        (("retarget", source, "--target", target, "-o", out, "--pose", "camera"), "cannot come"),
        (
            ("retarget", source, "--target", target, "-o", out, "--pose", source, "--hold-pose"),
            "contradict",
        ),
        (("retarget", source, "--target", target, "-o", out, "--most-gain", 0.1), "most gain"),
        (("retarget", source, "--target", target, "-o", out, "--statistics", source), "text"),
        (("retarget", source, "--target", target, "-o", out, "--yaw", "nan"), "finite"),
    ):
        assert told in refused(*arguments), arguments
        assert not out.exists()


def test_help_tells_what_each_option_is_for():
    for name in ("parameters", "statistics", "retarget", "resample"):
        result = run(name, "--help")
        assert result.exit_code == 0 and "Example" in result.output
