"""Evaluation of relit sequences: weights, matching, figures, steadiness, the command."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import InputError
from lightstage.images import read_image
from lightstage.relighting import relight
from relight_model.cli import main
from relight_model.evaluate import (
    EvaluationSettings,
    check_same_lights,
    direction_weights,
    evaluate,
    evenly_spread_directions,
    matched,
    scores_of,
)
from relight_model.evaluation_report import report_of, table_of, telling_frames
from relight_model.metrics import picture_scores
from relight_model.temporal import StabilityMeter

DOME = Dome.evenly_spread(20)
SMALL = EvaluationSettings(directions=5)


def _sets(count: int = 3, *, size: int = 32, lights: Dome = DOME, shift: float = 1.0):
    """A ball of texture that slides, lit by a cosine."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    found = []
    for k in range(count):
        u, v = (x - size / 2 - shift * k) / (size / 3), (y - size / 2) / (size / 3)
        z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        normal = np.stack([u, -v, z], axis=-1)
        paint = 0.5 + 0.3 * np.stack([np.sin(9 * u + c) * np.cos(7 * v) for c in range(3)], -1)
        light = np.clip(np.einsum("hwc,lc->lhw", normal, lights.directions), 0, None)
        olat = light[..., None] * (paint * (z > 0)[..., None]) + 0.001
        found.append(
            SimpleNamespace(olat=olat.astype(np.float32), time_s=0.04 * k, matte=1.0 * (z > 0))
        )
    return found


def _changed(sets, change):
    return [SimpleNamespace(olat=change(s.olat, k), time_s=s.time_s) for k, s in enumerate(sets)]


def test_directions_are_spread_over_the_whole_sphere():
    directions = evenly_spread_directions(24)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1.0)
    assert np.abs(directions.mean(axis=0)).max() < 0.01
    cosines = directions @ directions.T - 2 * np.eye(24)
    nearest = np.rad2deg(np.arccos(cosines.max(axis=1)))
    # 24 even caps of the sphere are some 47 degrees across
    assert nearest.min() > 30 and nearest.max() < 50


def test_a_directions_weights_are_one_light_of_that_direction():
    directions = evenly_spread_directions(7)
    dome = Dome.evenly_spread(96)
    weights = direction_weights(directions, dome, 15.0)
    # every direction has the power of light 1 from everywhere, whatever its lights
    assert weights.sum(axis=1) == pytest.approx(4 * np.pi, rel=1e-4)
    middle = np.einsum("nlc,lx->ncx", weights, dome.directions)
    middle /= np.linalg.norm(middle, axis=2, keepdims=True)
    apart = np.rad2deg(np.arccos(np.clip((middle * directions[:, None]).sum(axis=2), -1, 1)))
    assert apart.max() < 6.0  # a quarter of the lights' spacing
    # gains of lights are divided out
    bright = dome.replace(leds=tuple(led.replace(gain=(2.0, 1.0, 1.0)) for led in dome.leds))
    halved = direction_weights(directions, bright, 15.0)
    assert halved == pytest.approx(weights * [0.5, 1, 1])


def test_figures_are_those_of_the_pictures_relit_by_hand():
    truth = _sets(2)
    prediction = _changed(truth, lambda olat, k: olat * 0.9 + 0.01 * k)
    found = evaluate(prediction, truth, DOME, SMALL, mattes=lambda k: truth[k].matte)
    assert (len(found.frames), len(found.olat_frames)) == (10, 40)
    weights = direction_weights(evenly_spread_directions(5), DOME, 15.0)
    for frame in found.frames:
        pair = [relight(sets[frame.set].olat, weights[frame.light]) for sets in (prediction, truth)]
        assert frame.whole == picture_scores(*pair)
        assert frame.inside == picture_scores(*pair, inside=truth[frame.set].matte > 0.5)
    for frame in found.olat_frames[::7]:
        pair = [sets[frame.set].olat[frame.light] for sets in (prediction, truth)]
        assert frame.whole == picture_scores(*pair)
    scores = scores_of(found.frames, "inside")
    values = [frame.inside.psnr_db for frame in found.frames]
    assert scores["psnr_db"]["mean"] == pytest.approx(np.mean(values))
    assert scores["psnr_db"]["std"] == pytest.approx(np.std(values))


def test_a_perfect_prediction():
    truth = _sets(3)
    found = evaluate(truth, truth, DOME, SMALL, mattes=lambda k: truth[k].matte)
    report = report_of(found)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    inside = report["relit"]["inside"]
    assert float(inside["psnr_db"]["mean"]) == math.inf
    assert inside["ssim"]["mean"] == pytest.approx(1.0, abs=1e-5)
    assert inside["mae"]["mean"] == 0.0
    assert report["temporal"]["flicker"] == 0.0
    assert report["temporal"]["pairs"] == 2


def test_worst_median_and_best_are_in_order():
    truth = _sets(4)
    prediction = _changed(truth, lambda olat, k: olat * (1 + 0.1 * k) + 0.002)
    found = evaluate(prediction, truth, DOME, SMALL)
    told = telling_frames(found)
    assert [told[name].whole.psnr_db for name in ("worst", "median", "best")] == sorted(
        frame.whole.psnr_db for frame in told.values()
    )
    assert told["worst"].set == 3 and told["best"].set == 0
    assert "whole picture alone" in found.notes[0]
    table = table_of({"ours": found}, "whole")
    assert "| Neural Relighting (paper) | 27.271 ± 1.659 | 0.862 ± 0.016 | 0.029 ± 0.004 |" in table
    mean = scores_of(found.frames, "whole")["psnr_db"]["mean"]
    assert f"| ours | {mean:.3f} ±" in table


def test_missing_lights_are_left_out_of_both():
    truth = _sets(1)
    prediction = _changed(truth, lambda olat, k: olat.copy())
    truth[0].olat[3] = np.nan
    found = evaluate(prediction, truth, DOME, SMALL)
    assert scores_of(found.frames, "whole")["mae"]["mean"] == 0.0
    assert len(found.olat_frames) == 19
    assert "1 images" in found.notes[0]


def test_flicker_is_found_and_motion_is_not():
    truth = _sets(6, size=64, shift=1.5)

    def wavering(olat, k):
        return olat * (1.0 + 0.1 * (-1) ** k)

    def steady_error(olat, k):
        return olat * 1.1

    figures = {}
    for name, change in (("wavering", wavering), ("steady", steady_error)):
        found = evaluate(_changed(truth, change), truth, DOME, SMALL,
                         mattes=lambda k: truth[k].matte)  # fmt: skip
        figures[name] = found.stability
    assert figures["wavering"].flicker > 5 * figures["steady"].flicker
    assert figures["steady"].warping_error == pytest.approx(
        figures["steady"].truth_warping_error, rel=0.25
    )
    # it moves by 1.5 pixels a frame: without the flow the change would be several times as large
    moved = np.abs(np.diff([s.olat.sum(axis=0) for s in truth], axis=0)).mean()
    assert moved > 0
    still = StabilityMeter()
    for s in truth:
        even = s.olat.sum(axis=0)
        still.add(s.time_s, even[None], even[None], even * 0 + 1, s.matte > 0.5)  # no flow found
    assert figures["steady"].truth_warping_error < 0.5 * still.scores().truth_warping_error


def test_sets_over_a_gap_are_no_neighbours():
    truth = _sets(5)
    meter = StabilityMeter()
    for s, time_s in zip(truth, (0.0, 0.04, 0.08, 1.0, 1.04), strict=True):
        even = s.olat.sum(axis=0)
        meter.add(time_s, even[None], even[None], even, None)
    assert meter.scores().pairs == 3


def test_sets_are_matched_by_time():
    truth = np.arange(10) * 0.04
    a, b = matched(np.array([0.0805, 0.2, 0.22, 0.36]), truth)
    assert (a.tolist(), b.tolist()) == ([0, 1, 3], [2, 5, 9])
    assert matched(np.array([0.0]), np.array([0.0]))[1].tolist() == [0]
    with pytest.raises(InputError, match="same take"):
        matched(truth + 100, truth)


def test_stores_of_different_lights_are_refused():
    with pytest.raises(InputError, match="20 lights, the truth 21"):
        check_same_lights(DOME, Dome.evenly_spread(21))
    turned = Dome.from_directions(DOME.directions[::-1])
    with pytest.raises(InputError, match="degrees from"):
        check_same_lights(DOME, turned)
    with pytest.raises(InputError, match="same size"):
        evaluate(_sets(1, size=24), _sets(1, size=32), DOME, SMALL)
    with pytest.raises(InputError, match="each needs"):
        evaluate(_sets(1), _sets(2), DOME, SMALL)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    truth = _sets(6)
    for name, change in (("truth", 1.0), ("guess", 0.9)):
        writer = FieldsWriter.create(
            folder / name, sets=6, height=32, width=32, dome=DOME, rate_hz=25.0, extra={"matte": 1}
        )
        for k, s in enumerate(truth):
            olat = cv2.blur(s.olat.reshape(20 * 32, 32, 3), (3, 1)).reshape(s.olat.shape) * change
            writer.write_set(k, olat=olat, full_lit=olat.sum(axis=0), time_s=s.time_s,
                             centre_frame=k, matte=s.matte)  # fmt: skip
        writer.finish()
    return folder


def test_the_command(stores, tmp_path):
    arguments = ["evaluate", str(stores / "guess"), str(stores / "truth"), "--directions", "4",
                 "-o", str(tmp_path / "out"), "--json", "--from", "0.1"]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["sets"] == 3
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert written == report
    assert "Inside the matte" in (tmp_path / "out/table.md").read_text()
    assert read_image(tmp_path / "out/frames.png").shape[1] > 500
    fields = [ReflectanceFields.open(stores / name) for name in ("guess", "truth")]
    direct = evaluate(*fields, DOME, EvaluationSettings(directions=4),
                      mattes=lambda k: fields[1].read("matte", k))  # fmt: skip
    direct = [frame for frame in direct.frames if frame.set >= 3]
    mean = np.mean([frame.inside.psnr_db for frame in direct])
    assert report["relit"]["inside"]["psnr_db"]["mean"] == pytest.approx(mean)


def test_the_command_refuses_in_words(stores):
    run = CliRunner().invoke
    done = run(main, ["evaluate", str(stores / "guess"), str(stores / "truth"), "--from", "9"])
    assert done.exit_code == 2 and "no set with a prediction" in done.stderr
    done = run(main, ["evaluate", str(stores / "nothing"), str(stores / "truth")])
    assert done.exit_code == 2 and "no such file" in done.stderr
