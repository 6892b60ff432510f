"""The simulated performer: how a head moves as a smooth function of time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.head import express_head, procedural_head, skin_head
from lightstage.simulation.model import PerformerModel, performer_model

Float = NDArray[np.float64]
Motion = Literal["talking", "still", "slow", "violent"]

#: Time runs this much faster for the head and the face, and swings are this much wider.
_SPEED: dict[str, float] = {"talking": 1.3, "slow": 0.4, "violent": 2.4}
_SWING: dict[str, float] = {"talking": 1.0, "slow": 0.8, "violent": 1.7}


@dataclass(frozen=True, eq=False)
class HeadParameters:
    """The head model's parameters at one moment.

    ``shape`` (S,), ``expression`` (E,) coefficients; ``pose`` (15,) axis-angle radians of global,
    neck, jaw, left eye, right eye; ``translation_m`` (3,) in world axes.
    """

    shape: Float
    expression: Float
    pose: Float
    translation_m: Float


@dataclass(frozen=True)
class Performer:
    """A performer: ``seed`` chooses the person and the way they move, ``motion`` how much.

    Motion is a sum of sines below 8 Hz (lips and jaw 1 to 6 Hz, head below 1 Hz), gaze that jumps
    and rests, and blinks; it depends on the time alone, so any frame can be made without the ones
    before it. ``still`` holds the neutral face.
    """

    seed: int = 0
    motion: Motion = "talking"

    def __post_init__(self) -> None:
        """Check the name of the motion."""
        if self.motion not in get_args(Motion):
            known = ", ".join(get_args(Motion))
            raise InputError(f"{self.motion!r} is no motion of a performer ({known}).")

    @property
    def model(self) -> PerformerModel:
        """What stays the same of this performer from frame to frame."""
        return performer_model(self.seed)

    def parameters(self, time_s: float) -> HeadParameters:
        """Return the head model's parameters at ``time_s`` seconds."""
        head = procedural_head()
        pose, translation = np.zeros(15), np.zeros(3)
        expression = np.zeros(head.expression_count)
        if self.motion == "still":
            return HeadParameters(self.model.shape, expression, pose, translation)
        t, swing = time_s * _SPEED[self.motion], _SWING[self.motion]

        def wave(name: str, low_hz: float, high_hz: float) -> float:
            return _wave(self.seed, name, low_hz, high_hz, t)

        # the head turns, nods and tilts; the body sways with it
        pose[3:6] = (
            swing
            * np.array([0.070, 0.16, 0.05])
            * [
                wave("nod", 0.2, 1.1),
                wave("turn", 0.1, 0.55),
                wave("tilt", 0.1, 0.6),
            ]
        )
        pose[0:3] = (
            swing
            * np.array([0.024, 0.055, 0.022])
            * [
                wave("bow", 0.1, 0.4),
                wave("sway turn", 0.08, 0.3),
                wave("lean", 0.08, 0.35),
            ]
        )
        translation[:] = (
            swing
            * np.array([0.008, 0.004, 0.006])
            * [
                wave("sway x", 0.1, 0.45),
                wave("sway y", 0.15, 0.6),
                wave("sway z", 0.1, 0.4),
            ]
        )
        # speech: bursts of syllables with rests between
        speaking = _soft_step(0.5 + 1.6 * wave("phrase", 0.15, 0.5))
        syllable = max(0.0, 0.35 + 0.5 * wave("syllable", 1.8, 5.0)) * speaking
        pose[6] = swing * 0.19 * syllable
        pose[7] = swing * 0.010 * wave("jaw aside", 0.5, 1.5) * speaking
        gaze = _gaze(self.seed, t)
        level = np.array([gaze[0] - 0.6 * pose[3], gaze[1] - 0.6 * pose[4]])
        pose[9:11] = level
        pose[12:14] = level
        smile, brows = wave("smile", 0.1, 0.5), wave("brows", 0.2, 1.0)
        lopsided = 0.15 * wave("smile aside", 0.1, 0.4)
        frown = 0.35 * max(0.0, wave("frown", 0.15, 0.7))
        stretch = 0.35 * speaking * max(0.0, wave("stretch", 0.8, 2.5))
        upper = 0.22 * speaking * max(0.0, wave("upper lip", 1.0, 3.5))
        lower = 0.26 * speaking * max(0.0, wave("lower lip", 1.0, 3.5))
        cheeks = 0.12 * speaking * max(0.0, wave("cheeks", 0.8, 2.0))
        inner = 0.22 + 0.45 * brows + 0.10 * wave("inner brows", 0.2, 0.9)
        values = {
            "lips apart": 0.45 * syllable + 0.25 * speaking * wave("lips", 1.5, 4.5),
            "pucker": 0.50 * speaking * max(0.0, wave("pucker", 0.8, 2.8)),
            "funnel": 0.30 * speaking * max(0.0, wave("funnel", 0.8, 2.8)),
            "lips pressed": 0.35 * (1.0 - speaking) * max(0.0, wave("press", 0.2, 0.8)),
            "mouth aside": 0.10 * speaking * wave("mouth aside", 0.4, 1.2),
            "nostrils wide": 0.20 * wave("breath", 0.2, 0.5),
        }
        for side, sign in (("left", 1.0), ("right", -1.0)):
            values[f"smile {side}"] = 0.30 + 0.32 * smile + sign * lopsided
            values[f"cheek raise {side}"] = 0.20 + 0.25 * smile
            values[f"brow inner up {side}"] = inner
            values[f"brow outer up {side}"] = 0.15 + 0.40 * brows + sign * 0.8 * lopsided
            values[f"frown {side}"] = frown
            values[f"stretch {side}"] = stretch
            values[f"upper lip up {side}"] = upper
            values[f"lower lip down {side}"] = lower
            values[f"cheek puff {side}"] = cheeks
            values[f"squint {side}"] = 0.20 + 0.25 * wave("squint", 0.1, 0.5)
        blink = _blink(self.seed, t)
        values["blink left"] = values["blink right"] = blink
        for name, value in values.items():
            face = 1.0 if name.startswith("blink") else swing
            expression[head.expression_names.index(name)] = face * value
        return HeadParameters(self.model.shape, expression, pose, translation)

    def vertices(self, time_s: float) -> NDArray[np.float32]:
        """Return the mesh ``(V, 3)`` in world metres at ``time_s`` seconds."""
        now = self.parameters(time_s)
        head = procedural_head()
        shaped = express_head(head, self.model.rest, now.expression)
        posed = skin_head(head, shaped, head.J_regressor @ shaped, now.pose)
        return (posed + now.translation_m).astype(np.float32)


def _wave(seed: int, name: str, low_hz: float, high_hz: float, t: float) -> float:
    """Return a smooth signal of variance about 0.4 with all its power in a band."""
    frequency, phase, share = _tones(seed, name, low_hz, high_hz)
    return float((share * np.sin(2.0 * np.pi * frequency * t + phase)).sum())


@lru_cache(maxsize=512)
def _tones(seed: int, name: str, low_hz: float, high_hz: float) -> tuple[Float, Float, Float]:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    count = 6
    steps = (np.arange(count) + rng.uniform(0.0, 1.0, count)) / count
    frequency = low_hz * (high_hz / low_hz) ** steps
    share = 1.0 / np.sqrt(frequency / low_hz)
    return frequency, rng.uniform(0.0, 2.0 * np.pi, count), share * 0.9 / np.sqrt((share**2).sum())


def _gaze(seed: int, t: float) -> Float:
    """Return pitch and yaw of the eyes in radians: rests of about a second, jumps of 40 ms."""
    interval = 0.9
    slot = int(np.floor(t / interval))
    here, before = (_random(seed, "gaze", slot - back, 3) for back in (0, 1))
    start = interval * (slot + 0.6 * here[2])
    moved = _soft_step((t - start) / 0.040)
    scale = np.array([0.16, 0.34])
    return np.asarray(scale * ((before[:2] - 0.5) + moved * (here[:2] - before[:2])))


def _blink(seed: int, t: float) -> float:
    """Return how far the lids are closed, 0 to 1: a blink of 0.2 s every 2 to 5 s."""
    interval = 3.2
    slot = int(np.floor(t / interval))
    closed = 0.0
    for number in (slot - 1, slot):
        start = interval * (number + 0.15 + 0.6 * _random(seed, "blink", number, 1)[0])
        down, up = (t - start) / 0.075, (start + 0.235 - t) / 0.130
        closed = max(closed, _soft_step(min(down, up)))
    return closed


@lru_cache(maxsize=4096)
def _random(seed: int, name: str, slot: int, count: int) -> Float:
    key = [seed, zlib.crc32(name.encode()), slot + (1 << 20)]
    return np.asarray(np.random.default_rng(key).uniform(0.0, 1.0, count))


def _soft_step(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
