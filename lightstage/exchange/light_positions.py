"""Light positions for other programs: ``.lp`` for RTI tools, JSON for everything else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.manifest import write_atomically


def write_light_positions(
    path: str | os.PathLike[str], names: Sequence[str], directions: NDArray[np.floating]
) -> None:
    """Write a ``.lp`` file: the count, then ``name x y z`` for each light.

    Args:
        path: the file.
        names: a picture's file name for each light, relative to the file; no line breaks.
        directions: ``(lights, 3)`` in the RTI world, which is the toolkit's: +X image right, +Y up,
            +Z from the object to the camera. Written as unit vectors, as RTI tools expect.

    Raises:
        InputError: names and directions do not fit each other.
    """
    vectors = np.asarray(directions, dtype=np.float64).reshape(-1, 3)
    if len(names) != len(vectors) or not names:
        raise InputError(f"{path}: {len(names)} pictures for {len(vectors)} light positions.")
    if any("\n" in name or not name.strip() for name in names):
        raise InputError(f"{path}: a picture's name is empty or has a line break.")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = [str(len(names))]
    lines += [f"{n} {x:.9f} {y:.9f} {z:.9f}" for n, (x, y, z) in zip(names, unit, strict=True)]
    write_atomically(Path(path), "\n".join(lines) + "\n")
