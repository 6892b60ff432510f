"""A small store with everything that can be exported, and truth to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter

HEIGHT, WIDTH, LIGHTS, SETS = 12, 16, 8, 3


@dataclass(frozen=True)
class SmallFields:
    """The store and what was written into it, float32 values that float16 holds."""

    fields: ReflectanceFields
    olat: np.ndarray
    full_lit: np.ndarray
    albedo: np.ndarray
    normal: np.ndarray
    matte: np.ndarray


def make_small_fields(path: Path, *, extras: bool = True, gains: bool = False) -> SmallFields:
    """Write ``path`` (an aligned.zarr) with smooth pictures; light 5 of set 1 has no frame."""
    dome = Dome.evenly_spread(LIGHTS)
    if gains:
        leds = [led.replace(gain=(1.0, 0.5 + i / 8, 2.0)) for i, led in enumerate(dome.leds)]
        dome = dome.replace(leds=tuple(leds))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / 16.0
    places = np.arange(SETS)[:, None, None]

    def picture(phase):
        planes = [0.4 + 0.3 * np.sin(3 * x + y + phase + places + c) for c in range(3)]
        return half(np.stack(planes, axis=-1))

    olat = np.stack([picture(light) * (1 + light / 4) for light in range(LIGHTS)], axis=1)
    olat = half(olat)
    olat[0, 2, 0, 0] = half([1.5, -0.01, 0.0])  # beyond white, below black
    olat[1, 5] = np.nan
    normal = np.stack([x - 0.4, 0.3 - y, np.ones_like(x)], axis=-1)
    normal = half(normal / np.linalg.norm(normal, axis=-1, keepdims=True))
    normals = np.repeat(normal[None], SETS, axis=0)
    matte = half(np.clip(x + places / 8, 0, 1))
    truth = {"full_lit": picture(0.5), "albedo": picture(2.0), "normal": normals, "matte": matte}
    optional = {"albedo": 3, "normal": 3, "matte": 1} if extras else {}
    writer = FieldsWriter.create(
        path,
        sets=SETS,
        height=HEIGHT,
        width=WIDTH,
        dome=dome,
        rate_hz=24.0,
        attributes={"missing": [[1, 5]], "digest": "small"},
        extra=optional,
    )
    for index in range(SETS):
        writer.write_set(
            index,
            olat=olat[index],
            full_lit=truth["full_lit"][index],
            time_s=index / 24.0,
            centre_frame=100 * index,
            **{name: truth[name][index] for name in optional},
        )
    writer.finish()
    return SmallFields(ReflectanceFields.open(path), olat, **truth)


def half(values):
    """Round to float16, as the store does."""
    return np.asarray(values, np.float16).astype(np.float32)
