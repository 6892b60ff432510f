"""A matt, textured ball that moves: frames and truth from closed forms, no code under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage import CaptureSequence, Dome
from lightstage.cine import CineWriter
from lightstage.preprocess.identify import Identification
from lightstage.sequence import StepKind

BLACK, WHITE = 4.0, 254.0
#: Brightness of a white, fully lit point in an OLAT frame.
OLAT_LEVEL = 0.8


@dataclass
class MovingBall:
    """Frames of a take, as ``FrameSource`` asks for them.

    The ball's centre moves at ``speed_px_per_s``; ``drop`` lists sequence steps that the camera
    lost; ``first_step`` is where the recording starts; ``gains`` is how bright single steps are;
    the camera's clock runs ``drift_ppm`` fast; ``stamps`` replaces stamps of single frames (by
    index, ns after the take's start); ``swapped`` frames (by index) change places with the next.
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
    gains: dict[int, float] = field(default_factory=dict)
    drift_ppm: float = 0.0
    stamps: dict[int, int] = field(default_factory=dict)
    swapped: tuple[int, ...] = ()
    steps: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        steps = np.arange(self.first_step, self.first_step + self.frame_count + len(self.drop))
        self.steps = steps[~np.isin(steps, self.drop)][: self.frame_count]
        for index in self.swapped:
            self.steps[[index, index + 1]] = self.steps[[index + 1, index]]

    def __len__(self) -> int:
        return len(self.steps)

    def step_time_s(self, step: int) -> float:
        return step / self.sequence.frame_rate_hz

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        if not self.stamped:
            return None
        period_ns = 1e9 / self.sequence.frame_rate_hz * (1 + 1e-6 * self.drift_ppm)
        # the camera's clock ticks every 240 ns; frames that change places keep their stamps' order
        stamps = (np.rint(np.sort(self.steps) * period_ns / 240) * 240).astype(np.int64)
        for index, stamp in self.stamps.items():
            stamps[index] = stamp
        return stamps + 10**18

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        step_index = int(self.steps[index])
        linear = self.linear(self.sequence.step(step_index), self.step_time_s(step_index))
        rng = np.random.default_rng(step_index)
        linear *= self.gains.get(step_index, 1.0)
        mosaic = np.empty(linear.shape[:2])
        # GBRG: the first row is G B, the second R G
        for row, column, channel in ((0, 0, 1), (0, 1, 2), (1, 0, 0), (1, 1, 1)):
            mosaic[row::2, column::2] = linear[row::2, column::2, channel]
        mosaic += rng.normal(0, self.noise, mosaic.shape)
        return np.clip(np.rint(BLACK + mosaic * (WHITE - BLACK)), 0, 255).astype(np.uint8)

    def read_rows(self, index: int, rows) -> NDArray[np.uint8]:
        return self[index][np.asarray(rows)]

    def read_window(self, index: int, top: int, bottom: int) -> NDArray[np.uint8]:
        return self[index][top:bottom]

    def linear(self, step, time_s: float, at=None) -> NDArray[np.float64]:
        """The noise-free picture of a step at a time, ``(height, width, 3)``.

        ``at`` is the x and y of each pixel, where they are not the sensor's.
        """
        if step.kind is StepKind.DARK:
            return np.zeros((self.height, self.width, 3))
        albedo, normals = self.surface(time_s, at)
        directions = self.dome.directions
        if step.kind is StepKind.OLAT:
            lit = np.maximum(normals @ directions[step.light], 0.0)
            return OLAT_LEVEL * albedo * lit[..., None]
        lit = np.maximum(normals @ directions.T, 0.0)
        return OLAT_LEVEL * albedo * (lit.sum(axis=-1) * 3.0 / len(directions))[..., None]

    def shown_at(self, step, time_s: float, part, size, fine: int = 6) -> NDArray[np.float64]:
        """The noise-free picture of a part of the frame (left, top, width, height) at a size.

        Each output pixel is the mean of ``fine`` x ``fine`` places that its square holds.
        """
        left, top, width, height = part
        columns, rows = size[0] * fine, size[1] * fine
        x = left - 0.5 + (np.arange(columns) + 0.5) * width / columns
        y = top - 0.5 + (np.arange(rows) + 0.5) * height / rows
        picture = self.linear(step, time_s, np.meshgrid(x, y))
        return picture.reshape(size[1], fine, size[0], fine, 3).mean(axis=(1, 3))

    def surface(self, time_s: float, at=None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Albedo and normals as the camera sees them; zero off the ball."""
        radius = 0.36 * self.height
        x0 = 0.45 * self.width + self.speed_px_per_s[0] * (time_s - 0.1)
        y0 = 0.5 * self.height + self.speed_px_per_s[1] * (time_s - 0.1)
        x, y = np.meshgrid(np.arange(self.width), np.arange(self.height)) if at is None else at
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


def true_identification(ball: MovingBall) -> Identification:
    """What identification should find of a ball's take, told by the ball itself."""
    drop = np.setdiff1d(np.arange(ball.steps.min(), ball.steps.max() + 1), ball.steps)
    known = np.ones(len(ball), bool)
    return Identification(
        ball.steps.copy(), known, drop, method="told", margin=1.0, confidence=known.astype(float)
    )


def record(ball: MovingBall, path: Path) -> None:
    """Write a ball's take as a recording."""
    with CineWriter(
        path,
        width=ball.width,
        height=ball.height,
        frame_count=len(ball),
        frame_rate_hz=ball.sequence.frame_rate_hz,
        exposure_us=700,
        bit_depth=8,
        cfa="GBRG",
        first_frame_number=ball.first_frame_number,
    ) as writer:
        time_ns = ball.time_ns
        for index in range(len(ball)):
            writer.write(ball[index], int(time_ns[index]), 700_000)
