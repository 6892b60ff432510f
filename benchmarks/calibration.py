"""How well gains and colour are calibrated, and the pictures of docs/calibrate_gains_and_colour.md.

Run: ``python benchmarks/calibration.py OUTPUT_FOLDER`` (under a minute).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from click.testing import CliRunner

import lightstage.cli
from lightstage.dome import Dome
from lightstage.images import write_image
from lightstage.relighting import divide_by_gains, light_weights, relight
from lightstage.relighting.procedural import procedural_environment
from lightstage.session import Session
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import Scene, render_lights, render_sum
from tests.calibration.test_colour_chart import camera_colours, chart_picture
from tests.calibration.white_targets import new_session, record_ball, uneven_dome

LIGHTS = 96


def main(folder: Path) -> None:
    """Calibrate a simulated stage by the commands, and relight a head by it."""
    true_dome = uneven_dome(LIGHTS)
    session = new_session(folder / "session", LIGHTS)
    record_ball(session, true_dome, size=(112, 96))
    run("gains", session.path, "--take", "ball", "--ball-radius", 0.06, "--camera-distance", 1.5)
    session = Session.open(session.path)
    judged = np.array([v == "judged" for v in session.calibration.gains.verdicts])
    ratio = (session.dome.gains / true_dome.gains)[judged]
    off = ratio / ratio.mean(axis=0) - 1.0
    print(
        f"{judged.sum()} of {LIGHTS} lights judged; gains off by {100 * off.std():.2f} % rms, "
        f"{100 * np.abs(off).max():.1f} % at worst"
    )
    compare(true_dome, session.dome.gains)
    rng = np.random.default_rng(1)
    picture = chart_picture(camera_colours())
    picture *= (1.0 + rng.normal(0.0, 0.02, picture.shape)).astype(np.float32)
    write_image(folder / "chart.exr", picture)
    run("colour", session.path, "--chart", folder / "chart.exr")


def compare(true_dome: Dome, gains: np.ndarray) -> None:
    """Print PSNR inside the matte: ideal stage, as built, as calibrated."""
    ideal, dense = Dome.evenly_spread(LIGHTS), Dome.evenly_spread(2500)
    camera = SimulatedCamera(128, 128)
    scene = Scene(Performer().model, camera, Performer(motion="still").vertices(0.0))
    inside = scene.matte > 0.99
    even = render_lights(scene, ideal, range(LIGHTS))
    built = render_lights(scene, true_dome, range(LIGHTS))
    for name in ("studio", "overcast", "sunset"):
        light = procedural_environment(name)
        weights = light_weights(light, ideal.directions)
        lit = light_weights(light, dense.directions)
        truth = render_sum(scene, dense, range(len(dense)), lit)[inside]
        cases = {
            "ideal": (even, weights),
            "as built": (built, weights),
            "calibrated": (built, divide_by_gains(weights, gains)),
        }
        figures = []
        for case, (olat, weight) in cases.items():
            picture = relight(olat, weight)[inside]
            picture = picture * ((picture * truth).sum(axis=0) / (picture**2).sum(axis=0))
            error = float(np.mean((picture - truth) ** 2))
            figures.append(f"{case} {10 * np.log10(truth.max() ** 2 / error):.1f} dB")
        print(f"{name}: {', '.join(figures)}")


def run(*arguments: object) -> None:
    """Run ``lightstage calibrate`` and print what it says."""
    words = ["calibrate", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(lightstage.cli.main, words)
    if result.exit_code:
        raise SystemExit(result.output)
    print(result.output)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
