"""``lightstage calibrate gains`` and ``colour`` as a user types them, and what uses the results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import ReflectanceFields, Session
from lightstage.calibration.colour_chart import PATCH_REC709
from lightstage.calibration.colour_difference import delta_e_2000, lab_from_rec709
from lightstage.calibration.results import CalibratedLight, LightsResult, save_result
from lightstage.cine import CineWriter
from lightstage.images import write_image, write_stored
from lightstage.simulation.sensor import SimulatedSensor, frame_generator
from tests.calibration.test_colour_chart import (
    BALANCE,
    CORNERS,
    MATRIX,
    camera_colours,
    chart_picture,
)
from tests.calibration.white_targets import new_session, record_ball, uneven_dome
from tests.preprocess.dng_files import write_dng

LIGHTS = 16
TRUE_DOME = uneven_dome(LIGHTS)
BALL = ("--ball-radius", 0.06, "--camera-distance", 1.5)


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, [str(a) for a in arguments], prog_name="lightstage"
    )


def done(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(*arguments):
    """Assert that a command ended with one paragraph and exit code 2; return the paragraph."""
    result = run(*arguments)
    text = result.stderr.strip()
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return text


def sets_made(session):
    report = done("preprocess", session, "--take", "ball", "--align", "none", "--workers", 1)
    return report["takes"]["ball"]["sets_made_now"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrated") / "session"
    session = new_session(path, LIGHTS)
    record_ball(session, TRUE_DOME, size=(96, 80))
    record_ball(session, TRUE_DOME, size=(96, 80), name="dim", brightness=0.002, cycles=1)
    return path


@pytest.fixture
def session(recorded, tmp_path):
    return Path(shutil.copytree(recorded, tmp_path / "session"))


@pytest.fixture
def chart(tmp_path):
    path = tmp_path / "chart.exr"
    write_image(path, chart_picture(camera_colours()))
    return path


def test_gains_reach_the_dome_the_fields_and_their_provenance(session):
    assert sets_made(session) > 0
    before = ReflectanceFields.open(session / "takes/ball")
    assert (before.dome.gains == 1).all() and before.attributes["calibration"] == {}
    report = done("calibrate", "gains", session, "--take", "ball", *BALL)
    judged = np.array([verdict == "judged" for verdict in report["verdicts"]])
    assert judged.sum() >= 0.75 * LIGHTS
    ratio = (Session.open(session).dome.gains / TRUE_DOME.gains)[judged]
    assert (ratio / ratio.mean(axis=0)) == pytest.approx(np.ones_like(ratio), abs=0.05)
    # gains are divided by when fields are lit: no image is made anew
    assert sets_made(session) == 0
    after = ReflectanceFields.open(session / "takes/ball")
    assert after.dome == Session.open(session).dome != before.dome
    told = after.attributes["calibration"]["gains"]
    assert told["source"] == "ball" and told["digest"] and told["made"]
    assert f"gains {told['digest']}" in run("info", session).stdout
    assert cv2.imread(str(session / "calibration/gains.png")) is not None


def test_colour_is_used_by_preprocessing_unless_told_otherwise(session, chart):
    assert sets_made(session) > 0
    raw = ReflectanceFields.open(session / "takes/ball")[0].olat
    report = done("calibrate", "colour", session, "--chart", chart)
    assert np.array(report["colour_matrix"]) == pytest.approx(MATRIX, abs=2e-3)
    assert report["white_balance"] == pytest.approx(BALANCE.tolist(), abs=2e-3)
    assert sets_made(session) > 0
    assert sets_made(session) == 0
    fields = ReflectanceFields.open(session / "takes/ball")
    assert fields.attributes["calibration"].keys() == {"colour"}
    wanted = raw @ (np.array(report["colour_matrix"]) * report["white_balance"]).T
    assert fields[0].olat == pytest.approx(wanted, abs=5e-3)
    result = run("preprocess", session, "--take", "ball", "--align", "none", "--uncalibrated", "-q",
                 "--workers", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    plain = ReflectanceFields.open(session / "takes/ball")
    assert plain[0].olat == pytest.approx(raw, abs=1e-6)
    assert plain.attributes["calibration"] == {}


def test_gains_follow_the_colour_matrix_that_fields_went_through(session, chart):
    """A white ball relit by every light alike is white under each of them, whatever the matrix."""
    done("calibrate", "colour", session, "--chart", chart)
    done("calibrate", "gains", session, "--take", "ball", *BALL)
    sets_made(session)
    fields = ReflectanceFields.open(session / "takes/ball")
    found = Session.open(session).calibration.gains
    # of lights from behind a field has too few pixels, of one frame each, to tell a colour
    judged = [
        light for light, verdict in enumerate(found.verdicts)
        if verdict == "judged" and fields.directions[light, 2] > -0.2
    ]  # fmt: skip

    def cast(gains):
        """How far the ball's colour differs from light to light, root mean square."""
        colours = []
        for light in judged:
            picture = fields[0].olat[light] / gains[light]
            bright = picture.sum(axis=2) > 0.7 * picture.sum(axis=2).max()
            mean = picture[bright].mean(axis=0)
            colours.append(mean / mean.sum())
        colours = np.array(colours)
        return np.sqrt(np.mean((colours / colours.mean(axis=0) - 1.0) ** 2))

    assert cast(fields.dome.gains) < 0.015
    # the camera's own gains would leave a cast
    assert cast(found.gains) > 3 * cast(fields.dome.gains)


def test_dark_and_flat_are_kept_beside_the_gains(session, tmp_path):
    done("calibrate", "gains", session, "--dark", "ball")
    flat = tmp_path / "flat.png"
    y, x = np.mgrid[0:80, 0:96]
    share = 1.0 - 0.4 * (((x - 48) / 48) ** 2 + ((y - 40) / 48) ** 2) / 2
    write_stored(flat, np.round(200 * share).astype(np.uint8))
    report = done("calibrate", "gains", session, "--flat", flat)
    assert report["dark"] and report["flat"]
    done("calibrate", "gains", session, "--take", "ball", *BALL)
    kept = Session.open(session).calibration.gains
    assert kept.dark.file == report["dark"] and kept.flat.file == report["flat"] and kept.gains
    assert sets_made(session) > 0
    fields = ReflectanceFields.open(session / "takes/ball")
    assert set(fields.attributes["calibration"]) == {"gains", "dark", "flat"}
    # a virtual store reads the same, and finds the pictures where they are
    stored = fields[0].olat
    result = run("preprocess", session, "--take", "ball", "--align", "none", "--store", "virtual",
                 "-q", "--workers", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert ReflectanceFields.open(session / "takes/ball")[0].olat == pytest.approx(stored, abs=2e-3)
    for path in (session / "calibration").glob("flat.*.exr"):
        path.unlink()
    text = refused("preprocess", session, "--take", "ball", "--rate", "all", "-q", "--workers", 1)
    assert "this picture of the calibration is gone" in text


@pytest.mark.parametrize("given", [False, True])
def test_a_chart_in_a_dng_is_read_through_libraw(session, tmp_path, given):
    picture = chart_picture(camera_colours())
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    mosaic = np.empty((height, width))
    for place, colour in enumerate("RGGB"):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = picture[row:height:2, column:width:2, "RGB".index(colour)]
    path = tmp_path / "chart.dng"
    write_dng(path, np.round(64 + mosaic * (4095 - 64)).astype(np.uint16))
    corners = ["--corners", *(f"{x:g},{y:g}" for x, y in CORNERS)] if given else []
    report = done("calibrate", "colour", session, "--chart", path, *corners)
    assert np.array(report["colour_matrix"]) == pytest.approx(MATRIX, abs=0.02)
    assert report["mean_delta_e"] < 0.5
    kept = Session.open(session).calibration.colour
    assert sum(kept.colour_matrix[:3]) == pytest.approx(1.0)
    drawn = cv2.imread(str(session / "calibration/colour.png"))
    assert drawn is not None and PATCH_REC709.shape == (24, 3)


def test_a_chart_in_noisy_cine_frames(session, tmp_path):
    """8 bits with the simulated camera's noise: ten frames are met to 1 CIEDE2000, one to 2."""
    sensor = SimulatedSensor()
    picture = chart_picture(camera_colours())[:280, :460]
    path = tmp_path / "chart.cine"
    with CineWriter(
        path, width=picture.shape[1] // 4 * 4, height=picture.shape[0] // 4 * 4, frame_count=10,
        frame_rate_hz=1000.0, exposure_us=700.0, bit_depth=8, cfa=sensor.cfa,
        black_level=sensor.black_level, white_level=sensor.white_level,
    ) as writer:  # fmt: skip
        seen = picture[: picture.shape[0] // 4 * 4, : picture.shape[1] // 4 * 4]
        for index in range(10):
            stored = sensor.expose(seen, frame_generator(1, index))
            writer.write(stored, 1_704_110_400_000_000_000 + index * 1_000_000, 700_000)
    true = np.array(PATCH_REC709)
    for options, limit in (((), 1.0), (("--frame", 3), 2.0)):
        report = done("calibrate", "colour", session, "--chart", path, *options)
        transform = np.array(report["colour_matrix"]) * report["white_balance"]
        corrected = report["exposure_factor"] * camera_colours() @ transform.T
        off = delta_e_2000(lab_from_rec709(corrected), lab_from_rec709(true))
        assert off.mean() < limit and report["mean_delta_e"] < limit
    assert "has the frames 0 to 9" in refused(
        "calibrate", "colour", session, "--chart", path, "--frame", 10
    )


def test_a_card_and_a_mirror_sphere_are_measured_as_asked(session):
    """Of the ball's middle, which faces the camera, as of a card; a matt ball is no mirror."""
    card = ("--take", "ball", "--card", "43,35,10,10")
    shaded = done("calibrate", "gains", session, *card)
    front = Session.open(session).nominal_dome.directions[:, 2] > 0.6
    gains = np.array([gain or (np.nan,) * 3 for gain in shaded["gains"]])
    ratio = (gains / TRUE_DOME.gains)[front]
    assert ratio / ratio.mean(axis=0) == pytest.approx(np.ones_like(ratio), abs=0.08)
    behind = Session.open(session).nominal_dome.directions[:, 2] < 0.1
    assert np.isnan(gains[behind]).all()
    relative = done("calibrate", "gains", session, *card, "--relative")
    plain = np.array([gain or (np.nan,) * 3 for gain in relative["gains"]])
    cosine = Session.open(session).nominal_dome.directions[front, 2:]
    ratio = (plain / TRUE_DOME.gains)[front] / cosine
    assert ratio / ratio.mean(axis=0) == pytest.approx(np.ones_like(ratio), abs=0.08)
    assert "give one of" in refused(
        "calibrate", "gains", session, *card, "--mirror", "47.5,39.5,36"
    )


def test_light_directions_that_were_found_are_used(session):
    """A stage whose lights are turned about the vertical: identified and stored as they stand."""
    turn = np.array([[0.98, 0.0, 0.199], [0.0, 1.0, 0.0], [-0.199, 0.0, 0.98]])
    opened = Session.open(session)
    directions = opened.dome.directions @ turn.T
    lights = tuple(CalibratedLight(direction=tuple(d)) for d in directions.tolist())
    lights = (CalibratedLight(verdict="not seen"),) + lights[1:]
    save_result(opened, LightsResult(lights=lights, source="mirror balls"))
    assert sets_made(session) > 0
    fields = ReflectanceFields.open(session / "takes/ball")
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert fields.directions[1:] == pytest.approx(unit[1:], abs=1e-6)
    assert fields.directions[0] == pytest.approx(opened.nominal_dome.directions[0])
    assert fields.attributes["calibration"]["lights"]["source"] == "mirror balls"


def test_what_cannot_be_trusted_is_refused_and_nothing_is_written(session, tmp_path, chart):
    text = refused(
        "calibrate", "gains", session, "--take", "dim", "--ball", "47.5,39.5,30", *BALL
    )  # fmt: skip
    assert "little signal on the target" in text
    assert "Lambert" in refused(
        "calibrate", "gains", session, "--take", "ball", "--ball", "38,32,18", "--limit", "0.02"
    )
    assert "what is measured" in refused("calibrate", "gains", session)
    assert "has no take 'nobody'" in refused("calibrate", "gains", session, "--take", "nobody")
    assert "--ball must be 3 numbers" in refused(
        "calibrate", "gains", session, "--take", "ball", "--ball", "1,2"
    )
    assert "neither a file nor a take" in refused(
        "calibrate", "colour", session, "--chart", "missing.png"
    )
    gray = tmp_path / "gray.png"
    write_image(gray, np.full((200, 300, 3), 0.4, np.float32))
    assert "no chart of 24 patches" in refused("calibrate", "colour", session, "--chart", gray)
    assert "half a turn" in refused(
        "calibrate", "colour", session, "--chart", chart,
        "--corners", *(f"{x:g},{y:g}" for x, y in CORNERS[2:] + CORNERS[:2]),
    )  # fmt: skip
    assert "--corners takes four pairs" in refused(
        "calibrate", "colour", session, "--chart", chart, "--corners", "a", "b", "c", "d"
    )
    assert not (session / "calibration/gains.json").exists()
    assert not (session / "calibration/colour.json").exists()


def test_a_calibration_of_another_dome_is_refused(session):
    done("calibrate", "gains", session, "--take", "ball", *BALL)
    path = session / "calibration/gains.json"
    kept = json.loads(path.read_text())
    kept["gains"], kept["verdicts"] = kept["gains"][:-1], kept["verdicts"][:-1]
    path.write_text(json.dumps(kept))
    text = refused("info", session)
    assert f"is of {LIGHTS - 1} lights, the dome has {LIGHTS}" in text
