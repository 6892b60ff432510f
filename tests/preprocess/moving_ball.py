"""A matt, textured ball that moves: frames and truth from closed forms, no code under test."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightstage import CaptureSequence, Dome
from lightstage.sequence import StepKind

BLACK, WHITE = 4.0, 254.0
#: Brightness of a white, fully lit point in an OLAT frame.
OLAT_LEVEL = 0.8


@dataclass
class MovingBall:
    """Frames of a take, as ``FrameSource`` asks for them.

    The ball's centre moves at ``speed_px_per_s``; ``drop`` lists sequence steps that the camera
    lost; ``first_step`` is where the recording starts.
    """

    dome: Dome
    sequence: CaptureSequence
    frame_count: int
    first_step: int = 0
    drop: tuple[int, ...] = ()
    width: int = 96
    height: int = 80
    speed_px_per_s: tuple[float, float] = (60.0, -25.0)
    noise: float = 0.004
    stamped: bool = True
    cfa: str = "GBRG"
    black_level: float = BLACK
    white_level: float = WHITE
    first_frame_number: int = -100
    steps: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        steps = np.arange(self.first_step, self.first_step + self.frame_count + len(self.drop))
        self.steps = steps[~np.isin(steps, self.drop)][: self.frame_count]

    def __len__(self) -> int:
        return len(self.steps)

    def step_time_s(self, step: int) -> float:
        return step / self.sequence.frame_rate_hz

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        if not self.stamped:
            return None
        period_ns = 1e9 / self.sequence.frame_rate_hz
        # the camera's clock ticks every 240 ns
        return (np.rint(self.steps * period_ns / 240) * 240).astype(np.int64) + 10**18

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        step_index = int(self.steps[index])
        linear = self.linear(self.sequence.step(step_index), self.step_time_s(step_index))
        rng = np.random.default_rng(step_index)
        mosaic = np.empty(linear.shape[:2])
        # GBRG: the first row is G B, the second R G
        for row, column, channel in ((0, 0, 1), (0, 1, 2), (1, 0, 0), (1, 1, 1)):
            mosaic[row::2, column::2] = linear[row::2, column::2, channel]
        mosaic += rng.normal(0, self.noise, mosaic.shape)
        return np.clip(np.rint(BLACK + mosaic * (WHITE - BLACK)), 0, 255).astype(np.uint8)

    def linear(self, step, time_s: float) -> NDArray[np.float64]:
        """The noise-free picture of a step at a time, ``(height, width, 3)``."""
        if step.kind is StepKind.DARK:
            return np.zeros((self.height, self.width, 3))
        albedo, normals = self.surface(time_s)
        directions = self.dome.directions
        lit = np.maximum(normals @ directions.T, 0.0)
        if step.kind is StepKind.OLAT:
            return OLAT_LEVEL * albedo * lit[..., step.light, None]
        return OLAT_LEVEL * albedo * (lit.sum(axis=-1) * 3.0 / len(directions))[..., None]

    def surface(self, time_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Albedo and normals as the camera sees them; zero off the ball."""
        radius = 0.36 * self.height
        x0 = 0.45 * self.width + self.speed_px_per_s[0] * (time_s - 0.1)
        y0 = 0.5 * self.height + self.speed_px_per_s[1] * (time_s - 0.1)
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(float)
        right, up = (x - x0) / radius, (y0 - y) / radius
        inside = right**2 + up**2 < 1
        towards = np.sqrt(np.maximum(1 - right**2 - up**2, 0))
        normals = np.stack([right, up, towards], axis=-1) * inside[..., None]
        pattern = 0.55 + 0.25 * np.sin(9 * right + 2) * np.cos(8 * up) + 0.15 * np.sin(17 * up - 5)
        tint = np.stack([pattern, pattern * 0.8, pattern * 0.6 + 0.05 * right], axis=-1)
        return np.clip(tint, 0, 1) * inside[..., None], normals


def psnr(a: NDArray, b: NDArray, mask: NDArray) -> float:
    """Peak signal-to-noise ratio in dB, for a peak of 1, inside ``mask``."""
    return float(-10 * np.log10(np.mean((a[:, mask] - b[:, mask]) ** 2)))
