"""Random takes as coarse pictures, with the truth of every frame beside them: no code under test.

A performer is an ellipsoid with bumps, a patchy skin and a gloss, lit by one light of a dome at a
time, seen through soft shadows and stray light; it moves and turns from not at all to violently.
The camera then loses, repeats, swaps and adds frames, and its clock drifts, jitters and goes mad.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightstage import CaptureSequence, Dome
from lightstage.preprocess.identify import Identification
from lightstage.sequence import StepKind

FINE, REPEATED, SWAPPED, EXTRA = range(4)
#: Pictures are made twice as fine as coarse pictures and averaged.
FINE_ROWS, FINE_COLUMNS = 24, 32
#: Two pictures are the same to anybody if they differ by at most this share of a tracking frame's
#: brightness, or if both are darker than this share of it: lights behind the performer.
SAME, HIDDEN = 0.04, 0.1
#: With fewer frames of the preamble than this, nobody can tell which they are.
TELLING_PREAMBLE = 5
#: Coarse cells the performer moves within a second, at most, and radians it turns. A head is about
#: eight cells wide: the most is 0.7 m/s, and as fast as a head turns when shaken.
MOTIONS = {
    "still": (0.02, 0.005),
    "talking": (3.0, 0.8),
    "fast": (15.0, 3.0),
    "violent": (40.0, 7.0),
}
DOME = Dome.evenly_spread(96)
SEQUENCE = CaptureSequence()


@dataclass
class Mishaps:
    """How often things go wrong, as shares of frames; ``bursts`` are counted."""

    drops: float = 0.0
    repeats: float = 0.0
    swaps: float = 0.0
    extras: float = 0.0
    bursts: int = 0
    longest_burst: int = 112
    garbage_stamps: float = 0.0


@dataclass
class RandomTake:
    """A take and its truth.

    ``shows`` is the step each frame shows (-1 for an extra frame), ``fate`` what happened to it.
    ``pictures`` are what the camera gave, ``clean`` the same without noise.
    """

    pictures: NDArray[np.float32]
    clean: NDArray[np.float32]
    time_ns: NDArray[np.int64] | None
    shows: NDArray[np.int64]
    fate: NDArray[np.int64]
    preamble: bool
    noise: float
    motion: str
    garbage: set[int] = field(default_factory=set)


def random_take(
    rng: np.random.Generator,
    performance: Performance | None = None,
    *,
    frames: int | None = None,
    mishaps: Mishaps | None = None,
    preamble: bool | None = None,
    stamped: bool = True,
    noise: float | None = None,
) -> RandomTake:
    """Return a random take of a performance; what is not said is drawn."""
    performance = performance or Performance(rng)
    sequence = performance.sequence
    mishaps = mishaps or random_mishaps(rng)
    noise = float(10 ** rng.uniform(-5, -2.5)) if noise is None else noise
    with_preamble = bool(rng.random() < 0.5) if preamble is None else preamble
    wanted = frames or int(rng.integers(130, 420))
    mark = len(sequence.preamble)
    first = 0 if with_preamble else mark + int(rng.integers(0, 2 * sequence.cycle_frames))
    steps = _recorded(first, wanted, mishaps, rng)
    clean = performance.shown(steps)
    return _spoil(clean, steps, mishaps, with_preamble, noise, stamped, performance, rng)


@dataclass
class Score:
    """Frame by frame, what is wrong with an identification; each entry names a frame.

    ``errors``: a frame said to show what it does not, or one that serves a step it should not.
    ``false_alarms``: a good frame with a good stamp that is not trusted, or said to be repeated,
    swapped or extra. ``untold``: mishaps that were marked unknown, or are not in their list.
    """

    errors: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)


def score(take: RandomTake, found: Identification, performance: Performance) -> Score:
    """Compare what was found with the truth.

    Where the phase rests on the pictures alone, whole cycles at the take's start cannot be told;
    without time stamps, no whole cycles lost. Frames that look the same to anybody may be taken
    one for the other, and a frame whose stamp is garbage may be marked unknown. So may two lights
    that both hardly light what the camera sees (``HIDDEN``): the set then holds a rim of light a
    frame early or late, each darker than a tenth of a tracking frame.
    """
    out, cycle = Score(), performance.sequence.cycle_frames
    serving = set(found.frame_of_step().values())
    flagged = [set(found.repeated), set(found.swapped), set(found.extra)]
    level = float(np.median(performance.shown(np.arange(16, 400, 7)).mean(axis=(1, 2))))
    cycles = (take.shows - found.step_index) / cycle
    if take.time_ns is None:
        behind = np.where(take.shows < 0, 0, np.rint(cycles)).astype(int) * cycle
    elif take.preamble and "preamble" in found.method:
        behind = np.zeros(len(cycles), dtype=int)
    else:
        sure = (take.fate == FINE) & found.known
        behind = np.full(len(cycles), round(float(np.median(cycles[sure]))) * cycle)
    claimed = found.step_index + behind
    right = claimed == take.shows
    few_marks = 0 < ((take.shows >= 0) & (take.shows < 10)).sum() < TELLING_PREAMBLE

    def looks_right(frame: int) -> bool:
        if right[frame]:
            return True
        if claimed[frame] < 0:
            return False
        would_be = performance.shown(claimed[frame : frame + 1])[0]
        if max(would_be.mean(), take.clean[frame].mean()) < HIDDEN * level:
            return True
        return bool(np.abs(would_be - take.clean[frame]).mean() < SAME * level)

    def has_serving_twin(frame: int) -> bool:
        near = [k for k in range(frame - 2, frame + 3) if k != frame and 0 <= k < len(claimed)]
        return any(k in serving and (take.pictures[k] == take.pictures[frame]).all() for k in near)

    for frame, fate in enumerate(take.fate.tolist()):
        known = bool(found.known[frame])
        if fate == EXTRA:
            if frame in serving and not looks_right(frame):
                out.errors.append(f"extra frame {frame} serves a step")
            elif frame not in flagged[2]:
                out.untold.append(f"extra frame {frame}")
        elif fate == REPEATED:
            if frame in serving and not looks_right(frame):
                out.errors.append(f"repeated frame {frame} serves a step")
            elif frame not in flagged[0] and frame not in serving:
                out.untold.append(f"repeated frame {frame}")
        elif known and not looks_right(frame):
            what = "good" if fate == FINE else "swapped"
            out.errors.append(f"{what} frame {frame} is said to show step {claimed[frame]}")
        elif fate == SWAPPED:
            if not known or not right[frame]:
                out.untold.append(f"swapped frame {frame}")
        elif frame in take.garbage or (few_marks and 0 <= take.shows[frame] < 10):
            pass
        elif not known:
            out.false_alarms.append(f"good frame {frame} is not trusted")
        elif frame in flagged[1] | flagged[2] or (
            frame in flagged[0] and not has_serving_twin(frame)
        ):
            out.false_alarms.append(f"good frame {frame} is said to be out of place")
    return out


def random_mishaps(rng: np.random.Generator) -> Mishaps:
    """Return anything from a perfect camera to a bad one."""

    def bad(most: float) -> float:
        return float(rng.choice([0.0, 10 ** rng.uniform(-3, np.log10(most))]))

    return Mishaps(
        drops=bad(0.05),
        repeats=bad(0.02),
        swaps=bad(0.02),
        extras=bad(0.02),
        bursts=int(rng.choice([0, 0, 1, 2])),
        longest_burst=int(rng.choice([12, 112, 112, 250])),
        garbage_stamps=bad(0.01),
    )


def _recorded(
    first: int, wanted: int, mishaps: Mishaps, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the steps the camera did not lose."""
    kept: list[int] = []
    step = first
    burst_at = set(rng.integers(1, wanted, mishaps.bursts).tolist())
    while len(kept) < wanted:
        if len(kept) in burst_at:
            burst_at.discard(len(kept))
            step += int(rng.integers(2, mishaps.longest_burst + 1))
        if rng.random() >= mishaps.drops or not kept:
            kept.append(step)
        step += 1
    return np.array(kept, dtype=np.int64)


class Performance:
    """A performer moving under a dome, as coarse pictures; steps are drawn once and kept."""

    def __init__(
        self,
        rng: np.random.Generator,
        motion: str | None = None,
        sequence: CaptureSequence = SEQUENCE,
        dome: Dome = DOME,
    ) -> None:
        self.sequence, self.rate = sequence, sequence.frame_rate_hz
        self.motion = motion = motion or str(rng.choice(list(MOTIONS)))
        self._kept = np.zeros((0, FINE_ROWS // 2, FINE_COLUMNS // 2), dtype=np.float32)
        self.directions = dome.directions[: sequence.lights]
        self.gain = rng.uniform(0.85, 1.15, sequence.lights)
        self.share = sequence.tracking_pulse_us / sequence.exposure_us
        self.level = rng.uniform(0.4, 0.9)
        self.gloss = rng.uniform(0.0, 0.25)
        self.stray = 10 ** rng.uniform(-4, -2.3)
        self.behind = 10 ** rng.uniform(-3, -1.5)  # through ears and hair
        self.radii = rng.uniform(3.4, 4.8), rng.uniform(3.8, 5.2)  # columns, rows
        self.albedo = _smooth_noise(rng, 4)
        self.bumps = 0.35 * rng.random(), _smooth_noise(rng, 5), _smooth_noise(rng, 5)
        self.shadow = 0.5 * rng.random(), _smooth_noise(rng, 3), rng.normal(0, 1, 3)
        cells, turn = MOTIONS[motion]
        speed = rng.uniform(0.5, 1.0)
        self.moves = [_wander(rng, cells * speed * s) for s in (1.0, 0.6)]
        self.turns = [_wander(rng, turn * speed * s) for s in (1.0, 0.4)]

    def shown(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what each step shows, ``(n, 12, 16)``, from those kept."""
        have, need = len(self._kept), int(steps.max()) + 1
        if need > have:
            more = self.pictures(np.arange(have, need + 200))
            self._kept = np.concatenate([self._kept, more])
        return self._kept[steps]

    def pictures(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what each step shows, ``(n, 12, 16)``."""
        out = np.zeros((len(steps), FINE_ROWS // 2, FINE_COLUMNS // 2), dtype=np.float32)
        shown = [self.sequence.step(int(step)) for step in steps]
        kinds = np.array([step.kind for step in shown])
        lights = np.array([step.light for step in shown])
        olat = np.flatnonzero(kinds == StepKind.OLAT)
        full = np.flatnonzero(kinds == StepKind.TRACKING)
        out[olat] = self.lit(steps[olat] / self.rate, lights[olat])
        every = np.full(len(full), -1)
        out[full] = self.lit(steps[full] / self.rate, every)
        return out

    def lit(self, time_s: NDArray[np.float64], light: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return pictures at times under one light each, or all of them (-1)."""
        n = len(time_s)
        if n == 0:
            return np.zeros((0, FINE_ROWS // 2, FINE_COLUMNS // 2), dtype=np.float32)
        y, x = np.mgrid[0:FINE_ROWS, 0:FINE_COLUMNS].astype(np.float32) / 2
        move = [m(time_s).astype(np.float32)[:, None, None] for m in self.moves]
        turn = [m(time_s).astype(np.float32)[:, None, None] for m in self.turns]
        u = (x[None] - 7.6 - move[0]) / np.float32(self.radii[0])
        v = (5.7 + move[1] - y[None]) / np.float32(self.radii[1])
        square = u * u + v * v
        inside = np.clip((1.0 - square) * 6.0, 0.0, 1.0)
        towards = np.sqrt(np.maximum(1.0 - square, 0.0))
        # what is painted on the performer turns with it
        a, b = u + np.sin(turn[0]), v + np.sin(turn[1])
        size, bump_x, bump_y = self.bumps
        nx, ny = u + size * bump_x(a, b), v + size * bump_y(a, b)
        nz = np.maximum(towards, 0.05)
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / length, ny / length, nz / length
        albedo = (0.65 + 0.3 * self.albedo(a, b)) * inside
        depth, pattern, axis = self.shadow
        cast = pattern(a, b)
        if (light < 0).all():
            # the mean over an even dome: a matt surface sees the same from everywhere
            sums = sum(
                self._shade(d, nx, ny, nz, depth, cast, axis) * g
                for d, g in zip(self.directions[::6], self.gain[::6], strict=True)
            )
            sums = sums * (len(self.directions) / len(self.directions[::6])) * self.share
        else:
            d = self.directions[light].astype(np.float32)
            each = [d[:, k, None, None] for k in range(3)]
            sums = self._shade(each, nx, ny, nz, depth, cast, axis)
            sums = sums * self.gain[light].astype(np.float32)[:, None, None]
        picture = self.level * (albedo * sums + self.stray * (1 if (light >= 0).all() else 3))
        return picture.reshape(n, FINE_ROWS // 2, 2, FINE_COLUMNS // 2, 2).mean(axis=(2, 4))

    def _shade(self, d, nx, ny, nz, depth, cast, axis):
        matt = np.maximum(nx * d[0] + ny * d[1] + nz * d[2], 0.0)
        half = (d[0] ** 2 + d[1] ** 2 + (d[2] + 1.0) ** 2) ** 0.5 + 1e-3
        glossy = np.maximum((nx * d[0] + ny * d[1] + nz * (d[2] + 1.0)) / half, 0.0) ** 16
        shadow = 1.0 - depth * np.clip(cast * (d[0] * axis[0] + d[1] * axis[1]), 0.0, 1.0)
        through = self.behind * np.maximum(-d[2], 0.0) * (1.0 - nz)
        return matt * shadow + self.gloss * glossy * (matt > 0) + through


def _smooth_noise(rng: np.random.Generator, waves: int):
    kx, ky = rng.normal(0, 2.5, (2, waves))
    phase = rng.uniform(0, 2 * np.pi, waves)

    def noise(a, b):
        return sum(
            np.sin(np.float32(kx[k]) * a + np.float32(ky[k]) * b + np.float32(phase[k]))
            for k in range(waves)
        ) / np.float32(np.sqrt(waves))

    return noise


def _wander(rng: np.random.Generator, speed: float):
    """Return a smooth motion whose speed is at most about ``speed``, within 3 units."""
    frequency = 10 ** rng.uniform(-0.5, 0.7, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    amplitude = np.minimum(speed / (2 * np.pi * frequency) / 2, 1.5)

    def place(time_s):
        return sum(
            amplitude[k] * np.sin(2 * np.pi * frequency[k] * time_s + phase[k]) for k in range(2)
        )

    return place


def _spoil(
    clean: NDArray[np.float32],
    steps: NDArray[np.int64],
    mishaps: Mishaps,
    preamble: bool,
    noise: float,
    stamped: bool,
    performance: Performance,
    rng: np.random.Generator,
) -> RandomTake:
    def noisy(picture):
        grain = rng.standard_normal(picture.shape, dtype=np.float32)
        return picture + grain * np.float32(noise) * np.sqrt(0.1 + np.abs(picture))

    n = len(steps)
    pictures = noisy(clean)
    # each row: picture, clean picture, step shown, slot on the beat, fate
    shown, slot = steps.copy(), steps.astype(np.float64)
    source = np.arange(n)
    fate = np.full(n, FINE)
    carried = np.zeros(n, dtype=bool)
    index = 1
    while index < n - 1:
        draw = rng.random()
        if draw < mishaps.repeats:
            source[index], shown[index], fate[index] = source[index - 1], shown[index - 1], REPEATED
        elif draw < mishaps.repeats + mishaps.swaps and steps[index + 1] == steps[index] + 1:
            source[[index, index + 1]] = source[[index + 1, index]]
            shown[[index, index + 1]] = shown[[index + 1, index]]
            fate[[index, index + 1]] = SWAPPED
            if rng.random() < 0.3:  # the stamps go with the pictures
                slot[[index, index + 1]] = slot[[index + 1, index]]
                carried[[index, index + 1]] = True
            index += 2
        index += 1
    pictures, clean = pictures[source], clean[source]
    for at in sorted(np.flatnonzero(rng.random(n) < mishaps.extras).tolist(), reverse=True):
        if not 0 < at < n - 1 or (fate[at - 1 : at + 1] != FINE).any():
            continue
        kind = rng.choice(["partial", "dark", "again"])
        if kind == "again":  # the same picture is given twice, with the same stamp
            extra, what, where, step = pictures[at - 1], REPEATED, slot[at - 1], shown[at - 1]
            plain = clean[at - 1]
        else:
            share = 0.0 if kind == "dark" else rng.uniform(0.05, 0.95)
            plain = clean[at - 1] * np.float32(share)
            extra, what, step = noisy(plain), EXTRA, -1
            where = slot[at - 1] + rng.uniform(0.15, 0.85)
        pictures = np.insert(pictures, at, extra, axis=0)
        clean = np.insert(clean, at, plain, axis=0)
        shown, slot = np.insert(shown, at, step), np.insert(slot, at, where)
        fate = np.insert(fate, at, what)
    take = RandomTake(pictures, clean, None, shown, fate, preamble, noise, performance.motion)
    if stamped:
        _stamp(take, slot, performance.rate, mishaps, rng)
    return take


def _stamp(
    take: RandomTake,
    slot: NDArray[np.float64],
    rate: float,
    mishaps: Mishaps,
    rng: np.random.Generator,
) -> None:
    period = 1e9 / rate * (1.0 + rng.normal(0, 5e-5))
    jitter = 10 ** rng.uniform(1, 4)  # 10 ns to 10 us
    time = slot * period + rng.normal(0, jitter, len(slot))
    stamps = (np.rint(time / 240) * 240).astype(np.int64) + 10**18
    again = np.flatnonzero(np.diff(slot) == 0) + 1
    stamps[again] = stamps[again - 1]
    for index in np.flatnonzero(rng.random(len(slot)) < mishaps.garbage_stamps).tolist():
        kind = rng.integers(5)
        if kind == 0:
            stamps[index] = 0
        elif kind == 1:
            stamps[index] = rng.integers(-(2**62), 2**62)
        elif kind == 2:
            stamps[index] += rng.integers(-(10**10), 10**10)
        elif kind == 3:
            stamps[index] = stamps[max(0, index - 1)]
        else:
            stamps[index] += 1 << int(rng.integers(20, 50))
        take.garbage.add(index)
    take.time_ns = stamps
