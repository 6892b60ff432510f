"""How right light directions from a ray-traced mirror sphere are; draws the picture of the docs.

python benchmarks/calibrate_lights.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import numpy as np

from lightstage import Dome
from lightstage.calibration.light_directions import SphereSetup, calibrate_lights
from lightstage.calibration.mirror_sphere import angle_deg
from lightstage.images import write_image
from lightstage.report.light_directions import light_directions_picture
from lightstage.simulation.mirror_ball import MirrorBall, MirrorBallScene, expose


class Stack:
    """Pictures in memory."""

    def __init__(self, pictures):
        self.pictures = list(pictures)
        self.names = [f"light {index}" for index in range(len(self.pictures))]

    def read(self, index):
        return self.pictures[index]


def main() -> None:
    dome = Dome.evenly_spread(96, 1.3)
    ideal = list(MirrorBallScene([MirrorBall()], dome.positions_m).pictures())
    rng = np.random.default_rng(1)
    kinds = {
        "no noise": [expose(picture) for picture in ideal],
        "8 bits with noise": [expose(picture, rng) for picture in ideal],
        "the same, 10 times overexposed": [expose(10 * picture, rng) for picture in ideal],
    }
    setup = SphereSetup(focal_px=2400.0, radius_m=0.06, distance_m=1.3)
    print("| pictures | lights found | median | 95 % | worst |\n|---|---|---|---|---|")
    for name, pictures in kinds.items():
        found = calibrate_lights(Stack(pictures), setup, nominal=dome.directions)
        off = angle_deg(found.directions, dome.directions)[found.seen]
        figures = " | ".join(f"{v:.2f}°" for v in np.percentile(off, [50, 95, 100]))
        print(f"| {name} | {found.seen.sum()} of {len(dome)} | {figures} |")
        if name == "no noise" and len(sys.argv) > 1:
            write_image(sys.argv[1], light_directions_picture(found, dome.directions))


if __name__ == "__main__":
    main()
