"""Relit sums against the truth: the tables in docs/light.md.

    python benchmarks/relight_truth.py MAP.hdr … [--lights 96] [--dense 6000] [--size 256x192]

The simulated head is rendered directly under each map by thousands of directions, each with the
light of its part of the sphere, and relit from one picture for each of the dome's lights. PSNR is
on linear values where the performer covers a pixel wholly; its peak is the 99.9th percentile of the
truth. ``jump`` is the largest change of weights (share of all light that changes hands) as the map
turns by one degree, over 24 turns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lightstage.dome import Dome
from lightstage.relighting import EnvironmentMap, light_weights, load_environment, relight
from lightstage.relighting.weights import METHODS, Method
from lightstage.simulation import Performer, Scene, SimulatedCamera, render_lights, render_sum

BLURS_DEG = (0, 3, 5, 10, 15, 30)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--lights", type=int, default=96)
    parser.add_argument("--dense", type=int, default=6000)
    parser.add_argument("--size", default="256x192")
    parser.add_argument("--blurs", type=float, nargs="*", default=BLURS_DEG)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    scene = head(width, height)
    dome = Dome.evenly_spread(options.lights)
    olat = render_lights(scene, dome, range(len(dome)))
    print("| map, blurred by |", " | ".join(METHODS), "|")
    print("|---" * (len(METHODS) + 1) + "|")
    for name in options.maps:
        whole = load_environment(name)
        for degrees in options.blurs:
            environment = whole.blurred(degrees)
            truth = rendered_truth(scene, environment, options.dense)
            cells = []
            for method in METHODS:
                weights = light_weights(environment, dome.directions, method)
                figure = psnr(relight(olat, weights), truth, scene.matte)
                change = jump(environment, dome.directions, method)
                negative = ", negative weights" if (weights < 0).any() else ""
                cells.append(f"{figure:.1f} dB, jump {change:.1%}{negative}")
            blur = f"{degrees:g}°" if degrees else "as it is"
            print(f"| {Path(name).name}, {blur} |", " | ".join(cells), "|", flush=True)


def head(width: int, height: int) -> Scene:
    """Return the simulated performer at rest."""
    performer = Performer(0, "still")
    camera = SimulatedCamera(width=width, height=height)
    return Scene(performer.model, camera, performer.vertices(0.0))


def rendered_truth(scene: Scene, environment: EnvironmentMap, dense: int) -> np.ndarray:
    """Return the head under a map as ``dense`` lights give it, ``(height, width, 3)``."""
    fine = Dome.evenly_spread(dense)
    return render_sum(scene, fine, range(dense), light_weights(environment, fine.directions))


def psnr(image: np.ndarray, truth: np.ndarray, matte: np.ndarray) -> float:
    inside = matte > 0.999
    error = ((image - truth)[inside].astype(np.float64) ** 2).mean()
    return float(10 * np.log10(np.percentile(truth[inside], 99.9) ** 2 / error))


def jump(environment: EnvironmentMap, directions: np.ndarray, method: Method) -> float:
    """Return the largest share of the light that changes hands as the map turns by a degree."""
    largest = 0.0
    for degrees in range(0, 360, 15):
        one, other = (
            light_weights(environment.rotated(degrees + more), directions, method).sum(axis=1)
            for more in (0.0, 1.0)
        )
        largest = max(largest, float(np.abs(one - other).sum() / 2 / one.sum()))
    return largest


if __name__ == "__main__":
    main()
