"""Mattes with and without the rim light, against known truth: the paper's Fig. 11 as numbers.

Simulated heads as an 8-bit sensor records them (mosaic, noise, rounding), bare and with loose hair
whose share of each pixel is known (``tests/relighting/hair_scene.py``). Both variants go through
the same code and settings; without rim light every light behind the performer is left out. Since a
setting may suit one of them better, the variant without is also given the setting of its own that
does best on these very scenes.

    python benchmarks/matte.py [--scenes 4] [--picture docs/pictures/matte_rim_light.png]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lightstage.images import write_image
from lightstage.relighting.matte import MatteSettings, find_matte
from lightstage.relighting.trimap import lit_sums
from tests.relighting.hair_scene import HairScene, hair_scene

#: The matting's own settings were chosen on seeds 0 and 1; these it has not seen.
FIRST_SEED = 100
#: Tried for the variant without rim light: trust and epsilon.
TRIED = [(trust, epsilon) for trust in (0.01, 0.03, 0.1, 0.3) for epsilon in (1e-6, 1e-5, 1e-4)]
#: Errors at edges are told of pixels this near to a mixed one.
EDGE_PX = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=4, help="performers and hair, each by a seed")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    print("mean absolute error times 1000: of the whole picture | within 3 pixels of edges")
    for name, strands in (("bare head", 0), ("loose hair", 120)):
        seeds = range(FIRST_SEED, FIRST_SEED + options.scenes)
        scenes = [hair_scene(strands=strands, seed=seed) for seed in seeds]
        began = time.perf_counter()
        rim = [error(scene, MatteSettings()) for scene in scenes]
        took = (time.perf_counter() - began) / len(scenes)
        front = [error(scene, MatteSettings(rim_light=False)) for scene in scenes]
        print(f"{name}, rim light:      {told(rim)}   ({took:.2f} s a matte)")
        print(f"{name}, without:        {told(front)}")
        best = min(
            (
                [error(s, MatteSettings(False, trust, epsilon)) for s in scenes]
                for trust, epsilon in TRIED
            ),
            key=lambda errors: np.mean(errors, axis=0)[0],
        )
        print(f"{name}, without, best:  {told(best)}")
    if options.picture:
        draw(hair_scene(seed=0), options.picture)


def error(scene: HairScene, settings: MatteSettings) -> tuple[float, float]:
    sums = lit_sums(scene.olat, scene.dome.directions, rim_light=settings.rim_light)
    wrong = np.abs(find_matte(sums, settings).alpha - scene.matte)
    mixed = ((scene.matte > 0) & (scene.matte < 1)).astype(np.uint8)
    near = cv2.dilate(mixed, np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)) > 0
    return float(wrong.mean()), float(wrong[near].mean())


def told(errors: list[tuple[float, float]]) -> str:
    whole, edges = 1000 * np.mean(errors, axis=0)
    return f"{whole:6.2f} | {edges:6.1f}"


def draw(scene: HairScene, path: Path) -> None:
    """Pictures and mattes with rim light above, without below, the truth at the right."""
    rows = []
    for rim_light in (True, False):
        sums = lit_sums(scene.olat, scene.dome.directions, rim_light=rim_light)
        matte = find_matte(sums, MatteSettings(rim_light=rim_light))
        planes = [
            matte.guide,
            *(np.repeat(a[..., None] ** 2.2, 3, 2) for a in (matte.alpha, scene.matte)),
        ]
        rows.append(np.hstack([plane[:300, 20:492] for plane in planes]))
    picture = np.vstack(rows).astype(np.float32)
    size = (picture.shape[1] * 2 // 3, picture.shape[0] * 2 // 3)
    write_image(path, cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
