"""Simulated faces as a video camera shows them, with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import to_8bit
from lightstage.dome import Dome
from lightstage.head import pose_head, procedural_head
from lightstage.pinhole import PinholeCamera
from lightstage.simulation import Performer, Scene, SimulatedCamera, render_full_lit

Float = NDArray[np.float64]
#: Of the face's brightest skin, linear; noise of the sensor at white, root mean square.
BRIGHT, NOISE = 0.75, 0.012


@dataclass(frozen=True, eq=False)
class FaceRender:
    """A picture (height, width, 3) linear without noise, its mesh (V, 3) metres, and the camera."""

    linear: NDArray[np.float32]
    vertices: Float
    camera: PinholeCamera

    def picture(self, seed: int, noise: float = NOISE) -> NDArray[np.uint8]:
        """Return it as 8-bit RGB with the sensor's noise."""
        rng = np.random.default_rng(seed)
        shot = noise * np.sqrt(np.maximum(self.linear, 0.02))
        noisy = self.linear + shot * rng.standard_normal(self.linear.shape)
        return to_8bit(noisy)

    def pixels(self, faces: NDArray[np.int64], weights: Float) -> Float:
        """Return where places of the surface are in the picture, ``(n, 2)``."""
        corners = self.vertices[procedural_head().f[faces].astype(np.int64)]
        return self.camera.project(np.einsum("kc,kcd->kd", weights, corners))


def render_face(
    seed: int,
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    time_s: float | None = None,
    size: tuple[int, int] = (512, 384),
) -> FaceRender:
    """Return performer ``seed``, fully lit, the head turned.

    Args:
        seed: who.
        turn_deg: pitch (down is positive), yaw (to the subject's left) and roll, about one axis
            each; small angles, so that their order does not matter.
        time_s: the face's expression is that of a talking performer then; ``None`` = neutral.
        size: width and height in pixels.
    """
    performer = Performer(seed, "still" if time_s is None else "talking")
    now = performer.parameters(time_s or 0.0)
    pose = now.pose.copy()
    pose[:3], pose[3:6] = 0.0, np.radians(turn_deg)
    vertices = pose_head(procedural_head(), now.shape, now.expression, pose)
    camera = SimulatedCamera(*size)
    scene = Scene(performer.model, camera, vertices.astype(np.float32))
    lit = render_full_lit(scene, Dome.evenly_spread(96))
    level = np.percentile(lit[scene.matte > 0.9], 97)
    return FaceRender((lit * (BRIGHT / level)).astype(np.float32), vertices, camera.pinhole)
