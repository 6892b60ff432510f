"""Pictures of mirror balls under single lights, to calibrate against: ray tracing, no fitting.

Each pixel is the mean over a grid of rays, behind a lens that blurs a little. A ray meets the
nearest ball by the quadratic formula, is mirrored about the normal, and sees what it then meets: a
light, a little ball of its own, or the dim room. Balls do not see each other. World and camera as
in :class:`~lightstage.simulation.camera.SimulatedCamera`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

#: Rays a side of each pixel in which a light may be seen.
_FINE_SAMPLES = 16
#: Pixels around those, into which the lens blurs.
_MARGIN_PX = 5


@dataclass(frozen=True)
class MirrorBall:
    """A mirror ball: where it hangs in metres from the dome's centre, and its radius."""

    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius_m: float = 0.06


@dataclass(frozen=True)
class MirrorBallScene:
    """Mirror balls among lights, and the camera on +Z that looks along -Z.

    Attributes:
        balls: what is in the picture.
        lights_m: where each light is, ``(lights, 3)`` in metres from the dome's centre.
        light_radius_m: how large each light is.
        width: the picture's width in pixels.
        height: its height in pixels.
        focal_px: focal length in pixels; ``None`` for a camera infinitely far away.
        camera_m: where the camera is, in metres; of one far away only X and Y count.
        px_per_m: the scale of a camera far away.
        reflectivity: what the balls reflect of the light.
        light_level: a light's radiance; 1.0 is the sensor's white level.
        room_level: radiance of the room in the mirror.
        backdrop_level: radiance of what the camera sees behind the balls.
        blur_px: standard deviation of the lens' blur.
        samples: rays a side of each pixel.
    """

    balls: Sequence[MirrorBall]
    lights_m: NDArray[np.float64]
    light_radius_m: float = 0.012
    width: int = 400
    height: int = 300
    focal_px: float | None = 2400.0
    camera_m: tuple[float, float, float] = (0.0, 0.0, 1.5)
    px_per_m: float = 1600.0
    reflectivity: float = 0.7
    light_level: float = 1.2
    room_level: float = 0.01
    backdrop_level: float = 0.06
    blur_px: float = 0.6
    samples: int = 4

    def __post_init__(self) -> None:
        """Check the scene."""
        if not self.balls or np.ndim(self.lights_m) != 2 or np.shape(self.lights_m)[1] != 3:
            raise InputError("a mirror ball scene needs a ball and lights (lights, 3).")

    def pictures(self) -> Iterator[NDArray[np.float32]]:
        """Yield one gray picture ``(height, width)`` for each light, linear, not clipped."""
        whole = (slice(0, self.height), slice(0, self.width))
        owner, points, mirrored = self._trace(*whole, self.samples)
        met = owner >= 0
        seen = np.full(owner.shape, self.backdrop_level)
        # the room: a floor somewhat brighter than the ceiling
        seen[met] = self.reflectivity * self.room_level * (1.2 - 0.8 * mirrored[:, 1])
        base = self._pixels(seen, self.samples)
        rows, columns = (place // self.samples for place in np.nonzero(met))
        for light in np.asarray(self.lights_m, dtype=np.float64):
            # many rays where the light may be seen: at the rim its picture is a fine line
            wide = self.light_radius_m + 0.03 * np.linalg.norm(light - points, axis=1)
            near = _passes(points, mirrored, light, wide)
            picture = base.copy()
            for ball in range(len(self.balls)):
                its = near & (owner[met] == ball)
                if not its.any():
                    continue
                patch = (
                    slice(max(0, rows[its].min() - _MARGIN_PX), rows[its].max() + _MARGIN_PX),
                    slice(max(0, columns[its].min() - _MARGIN_PX), columns[its].max() + _MARGIN_PX),
                )
                picture[patch] += self._light_seen(light, patch, ball)
            yield picture.astype(np.float32)

    def _light_seen(
        self, light: NDArray[np.float64], patch: tuple[slice, slice], ball: int
    ) -> NDArray[np.float64]:
        """Return what one ball shows of one light in the pixels of ``patch``."""
        patch = (slice(*patch[0].indices(self.height)), slice(*patch[1].indices(self.width)))
        owner, points, mirrored = self._trace(*patch, _FINE_SAMPLES)
        lit = np.zeros(owner.shape)
        lit[owner >= 0] = _passes(points, mirrored, light, self.light_radius_m)
        lit[owner != ball] = 0.0
        return self._pixels(lit, _FINE_SAMPLES) * self.reflectivity * self.light_level

    def _pixels(self, seen: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
        """Return the mean over each pixel of what its rays see, behind a lens that blurs."""
        if self.blur_px > 0:
            seen = cv2.GaussianBlur(seen, (0, 0), self.blur_px * samples)
        height, width = seen.shape[0] // samples, seen.shape[1] // samples
        return np.asarray(seen.reshape(height, samples, width, samples).mean(axis=(1, 3)))

    def _trace(
        self, rows: slice, columns: slice, samples: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Return what ball each ray meets (-1: none) ``(rows, columns)``, and where, and whither.

        ``samples`` rays to a pixel's side. Places and directions ``(rays that meet one, 3)``.
        """
        step = (np.arange(samples) + 0.5) / samples - 0.5
        x = (np.arange(columns.start, columns.stop)[:, None] + step).ravel()
        y = (np.arange(rows.start, rows.stop)[:, None] + step).ravel()
        shape = (len(y), len(x))
        column, row = np.meshgrid(x, y)
        right = column.ravel() - 0.5 * (self.width - 1)
        up = 0.5 * (self.height - 1) - row.ravel()
        eye = np.array(self.camera_m, dtype=np.float64)
        if self.focal_px is None:
            flat = np.stack([right, up], axis=1) / self.px_per_m + eye[:2]
            start = np.column_stack([flat, np.full(len(flat), 100.0)])
            ray = np.tile([0.0, 0.0, -1.0], (len(flat), 1))
        else:
            start = np.tile(eye, (len(right), 1))
            ray = np.stack([right, up, np.full(len(right), -self.focal_px)], axis=1)
            ray /= np.sqrt((ray * ray).sum(axis=1))[:, None]
        nearest = np.full(len(ray), np.inf)
        owner = np.full(len(ray), -1)
        for index, ball in enumerate(self.balls):
            from_centre = start - np.array(ball.centre_m)
            b = 2.0 * (ray * from_centre).sum(axis=1)
            c = (from_centre * from_centre).sum(axis=1) - ball.radius_m**2
            discriminant = b * b - 4.0 * c
            distance = np.where(
                discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0.0))) / 2.0, np.inf
            )
            nearer = (distance > 0) & (distance < nearest)
            nearest[nearer], owner[nearer] = distance[nearer], index
        met = owner >= 0
        points = start[met] + nearest[met, None] * ray[met]
        centres = np.array([ball.centre_m for ball in self.balls])[owner[met]]
        normals = points - centres
        normals /= np.sqrt((normals * normals).sum(axis=1))[:, None]
        mirrored = ray[met] - 2.0 * (ray[met] * normals).sum(axis=1)[:, None] * normals
        return owner.reshape(shape), points, mirrored


def _passes(
    points: NDArray[np.float64],
    along: NDArray[np.float64],
    light: NDArray[np.float64],
    radius: NDArray[np.float64] | float,
) -> NDArray[np.bool_]:
    """Return which rays pass a place within a radius, ahead of where they begin."""
    to_light = light - points
    ahead = (to_light * along).sum(axis=1)
    away = (to_light * to_light).sum(axis=1) - ahead * ahead
    return np.asarray((ahead > 0) & (away < np.square(radius)))


def expose(
    picture: NDArray[np.floating],
    rng: np.random.Generator | None = None,
    *,
    full_well: float = 11000.0,
    read_noise: float = 18.0,
    bits: int = 8,
) -> NDArray[np.float32]:
    """Return what a camera makes of a gray picture: noisy, clipped at 1.0 and rounded.

    Args:
        picture: linear light ``(height, width)``, 1.0 = white level.
        rng: where the noise comes from; without it there is none, nor rounding.
        full_well: electrons at white level: shot noise.
        read_noise: electrons of one reading.
        bits: stored levels are 2 to this power.
    """
    light = np.asarray(picture, dtype=np.float32)
    if rng is None:
        return np.minimum(light, np.float32(1.0))
    variance = np.maximum(light, 0.0) / full_well + (read_noise / full_well) ** 2
    noisy = light + rng.standard_normal(light.shape) * np.sqrt(variance)
    levels = float((1 << bits) - 1)
    return (np.rint(np.clip(noisy, 0.0, 1.0) * levels) / levels).astype(np.float32)
