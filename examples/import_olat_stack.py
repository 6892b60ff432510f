"""Make a tiny stack of one-light pictures of a ball, bring it in, and relight it.

python examples/import_olat_stack.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from lightstage import Dome, ReflectanceFields
from lightstage.exchange.image_stack import import_olat
from lightstage.images import write_image
from lightstage.relighting import exposure_for, relight, studio_weights


def main(folder: str = "ball") -> None:
    photos = Path(folder) / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    dome = Dome.evenly_spread(32)
    y, x = np.mgrid[1:-1:128j, -1:1:128j]
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    normals = np.stack([x, y, z], axis=-1) * (z > 0)[..., None]
    names = [f"light_{index:02d}.png" for index in range(len(dome))]
    for name, direction in zip(names, dome.directions, strict=True):
        lit = np.maximum(normals @ direction, 0)
        write_image(photos / name, lit[..., None] * np.array([0.9, 0.6, 0.4]))
    dome.save_lp(photos / "lights.lp", names)

    stack = import_olat(
        photos, Path(folder) / "ball.zarr", lights=photos / "lights.lp", transfer="srgb"
    )
    fields = ReflectanceFields.open(stack.path)
    image = relight(fields[0].olat, studio_weights("rembrandt", fields.directions))
    write_image(Path(folder) / "rembrandt.png", image * exposure_for(image))
    print(f"{stack.lights} pictures in {stack.path}, relit as {folder}/rembrandt.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
