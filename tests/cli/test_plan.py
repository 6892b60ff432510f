"""``lightstage plan``: its figures against the sequence's own laws, and what it refuses."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import CaptureSequence, Dome
from lightstage.images import read_image


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, ["plan", *map(str, arguments)], prog_name="lightstage"
    )


def report(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "\n\n" not in result.stderr.strip()
    return result.stderr.strip()


def test_the_papers_take_fills_74_gb():
    told = report()
    assert told["timing"]["cycle_frames"] == 112
    assert told["timing"]["spare_us"] == 210
    assert told["take"]["frames"] == 25_000
    assert told["take"]["camera_bytes"] == 73_728_000_000
    assert told["safety"]["refused"]  # no radiance was given
    assert told["safety"]["needs_consent"]


@pytest.mark.parametrize(("seconds", "rate"), [(1.0, 25.0), (0.9, 142.0), (0.129, 10), (0.05, 10)])
def test_windows_and_sets_are_those_of_the_sequence(seconds, rate):
    told = report("--seconds", seconds, "--sets-rate", rate, "--size", "64x48")["take"]
    sequence = CaptureSequence()
    frames = told["frames"]
    assert told["windows"] == len(sequence.possible_centres(frames))
    sets = sequence.windows(rate, frame_count=frames)
    assert told["sets"] == len(sets)
    per_set = 97 * 48 * 64 * 3 * 2 + 96 * 4
    assert told["aligned_bytes"] == len(sets) * per_set


def test_a_slow_sequence_makes_as_many_sets_as_it_can():
    told = report("--rate", 70, "--seconds", 5)
    assert told["take"]["sets_per_s"] == 10.0
    assert told["take"]["sets"] == told["take"]["windows"] > 0


def test_a_saved_optimised_order_flickers_less_and_comes_back(tmp_path):
    path, picture = tmp_path / "sequence.json", tmp_path / "plan.png"
    told = report("--lights", 24, "--optimise", "-o", path, "--picture", picture, "--radiance", 1e4)
    assert told["order"]["after"]["worst_percent"] < told["order"]["before"]["worst_percent"]
    assert not told["safety"]["refused"]
    saved = CaptureSequence.load(path)
    assert list(saved.light_order) == told["light_order"] != list(range(24))
    again = report("--sequence", path)
    assert again["order"]["before"] == told["order"]["after"]
    drawn = read_image(picture, "srgb")
    assert drawn.shape == (900, 1400, 3)
    assert 0.02 < (drawn < 0.6).any(axis=2).mean() < 0.6  # ink and bars on paper


def test_options_override_the_sequence_and_fit_what_depends_on_them(tmp_path):
    path = tmp_path / "sequence.json"
    CaptureSequence(settle_us=60).save(path)
    timing = report("--sequence", path, "--lights", 48, "--exposure", 350)["timing"]
    assert timing["settle_us"] == 60
    assert (
        timing["tracking_pulse_us"] == CaptureSequence(lights=48, exposure_us=350).tracking_pulse_us
    )


def test_a_domes_lights_are_the_sequences(tmp_path):
    path = tmp_path / "dome.json"
    Dome.evenly_spread(40).save(path)
    assert report("--dome", path)["timing"]["lights"] == 40
    assert "40" in refused("--dome", path, "--lights", 41)


def test_the_tables_name_what_people_ask_for():
    result = run("--seconds", 31, "--radiance", 1e4)
    assert result.exit_code == 0
    for words in (
        "settle", "tracking pulse", "camera memory", "8.93 Hz", "refuse: burst length",
        "consent: photosensitive band",
    ):  # fmt: skip
        assert words in result.stdout
    assert run("-q").output == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--exposure", 990), "do not fit the frame period"),
        (("--rate", 0), "frame_rate_hz"),
        (("--rate", "nan"), "frame_rate_hz"),
        (("--exposure", -5), "exposure_us"),
        (("--sets-rate", 143), "sets/s cannot be made"),
        (("--sets-rate", "nan"), "sets/s cannot be made"),
        (("--seconds", "nan"), "--seconds"),
        (("--seconds", -1), "--seconds"),
        (("--size", "wide"), "--size"),
        (("--size", "0x10"), "--size"),
        (("--radiance", -3), "radiance"),
        (("--dome", "nowhere.json"), "nowhere.json"),
        (("--sequence", "nowhere.json"), "nowhere.json"),
        (("--picture", "plan.xyz"), "plan.xyz"),
        (("--lights", 0), "--lights"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_paragraph(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(*arguments)
    assert list(tmp_path.iterdir()) == []
