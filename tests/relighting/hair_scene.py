"""A simulated head with loose strands of hair, whose matte is known exactly.

The simulator's head has no hair that stands off it. Strands are drawn here at many times the
resolution, so that the share of each pixel that they cover is known, lit after Kajiya and Kay
(*Rendering fur with three dimensional textures*, 1989) with the forward lobe that makes hair glow
against the light (Marschner et al., *Light scattering from human hair fibers*, 2003, the TT path),
and laid over the head's noise-free one-light images.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.dome import Dome
from lightstage.preprocess.demosaic import demosaic
from lightstage.simulation import Performer, Scene, SimulatedCamera, SimulatedSensor, render_lights
from lightstage.simulation.sensor import frame_generator

Array = NDArray[np.float32]

#: Strands are drawn at this many times the resolution.
_FINE = 8
#: Dark brown hair: what comes back all round, what glints, what is let through towards the camera.
_DIFFUSE = np.array([0.030, 0.021, 0.015], np.float32)
_GLINT = 0.05
_THROUGH = np.array([0.55, 0.36, 0.22], np.float32)


@dataclass(frozen=True)
class HairScene:
    """``olat`` (lights, height, width, 3), ``matte`` and ``hair`` (height, width): the truth."""

    olat: Array
    matte: Array
    hair: Array
    dome: Dome


def hair_scene(
    width: int = 512,
    height: int = 384,
    *,
    lights: int = 96,
    strands: int = 120,
    seed: int = 0,
    noise: bool = True,
    levels: int = 8,
    fill: float = 0.62,
) -> HairScene:
    """Return the one-light images of a head with loose hair, as a camera records them.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        lights: of the dome.
        strands: how many stand off the head; 0 for the simulator's head alone.
        seed: of the performer, the strands and the noise.
        noise: whether the sensor mosaics, adds noise and rounds.
        levels: the sensor's bits.
        fill: share of the picture's height that the head takes.
    """
    dome = Dome.evenly_spread(lights)
    performer = Performer(seed=seed)
    camera = SimulatedCamera(width, height, head_fill=fill)
    scene = Scene(performer.model, camera, performer.vertices(0.0))
    olat = render_lights(scene, dome, range(lights))
    matte = scene.matte
    hair = np.zeros_like(matte)
    if strands:
        cover, tangent = _strands(matte, strands, np.random.default_rng(seed))
        hair = cover
        for light, direction in enumerate(dome.directions):
            lit = _shade(tangent, direction.astype(np.float32), 1.0 - matte)
            olat[light] = olat[light] * (1.0 - cover[..., None]) + cover[..., None] * lit
    truth = matte + hair * (1.0 - matte)
    if noise:
        sensor = SimulatedSensor(bit_depth=levels)
        for light in range(lights):
            frame = sensor.expose(olat[light], frame_generator(seed, light))
            olat[light] = demosaic(sensor.develop(frame), sensor.cfa)
    return HairScene(olat, truth.astype(np.float32), hair, dome)


def _strands(matte: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return each pixel's share of hair, and the hair's unit tangent ``(height, width, 3)``."""
    height, width = matte.shape
    rows, columns = np.nonzero(matte > 0.5)
    middle = np.array([columns.mean(), rows.min() + 0.42 * (rows.max() - rows.min())])
    reach = 0.5 * (rows.max() - rows.min())
    drawn = np.zeros((height * _FINE, width * _FINE), np.uint8)
    along = np.zeros((2, height, width), np.float32)
    for _ in range(count):
        angle = rng.uniform(np.deg2rad(15), np.deg2rad(165))  # the upper part of the head
        out = np.array([np.cos(angle), -np.sin(angle)])
        # from inside the outline outwards, then bending down
        start = middle + out * reach * rng.uniform(0.45, 0.7)
        length = reach * rng.uniform(0.35, 0.75)
        bend = rng.uniform(-0.9, 0.9) * np.array([-out[1], out[0]])
        t = np.linspace(0.0, 1.0, 24)[:, None]
        path = start + length * (t * out + 0.6 * t**2 * (bend + [0.0, 0.35]))
        thick = max(1, round(_FINE * width / 512 * rng.uniform(0.3, 1.0)))
        fine = np.rint((path + 0.5) * _FINE).astype(np.int32)
        cv2.polylines(drawn, [fine], False, 255, thick, cv2.LINE_8)
        step = np.gradient(path, axis=0)
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        for (x, y), direction in zip(path, step, strict=True):
            for plane, part in zip(along, direction, strict=True):
                cv2.circle(plane, (round(x), round(y)), 4, float(part), -1)
    cover = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    tangent = np.zeros((height, width, 3), np.float32)
    tangent[..., 0], tangent[..., 1] = along[0], -along[1]
    length = np.linalg.norm(tangent, axis=-1, keepdims=True)
    return cover / 255.0, tangent / np.maximum(length, 1e-6)


def _shade(tangent: Array, light: Array, clear: Array) -> Array:
    """Return the hair's radiance under one light, ``(height, width, 3)``; the camera is at +Z.

    ``clear`` is the share of each pixel that has no head behind it to keep out the light.
    """
    along = tangent @ light
    across = np.sqrt(np.maximum(0.0, 1.0 - along**2))
    view_across = np.sqrt(np.maximum(0.0, 1.0 - tangent[..., 2] ** 2))
    glint = np.maximum(0.0, across * view_across - along * tangent[..., 2]) ** 40
    facing = 0.5 + 0.5 * float(light[2])
    through = np.exp(-(((1.0 + float(light[2])) / 0.45) ** 2))
    return np.asarray(
        _DIFFUSE * across[..., None] * (0.35 + 0.65 * facing)
        + _GLINT * glint[..., None] * facing
        + _THROUGH * (across * through * clear)[..., None],
        np.float32,
    )
