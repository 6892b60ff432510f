"""Counting: the place of frames whose time stamps do not tell it, from the pictures alone.

First tracking frames: they are like each other a period apart. Then the lights, as a matt ball
would look under them; then as the performer looks under them, learned from the frames placed so
far. Each time dynamic programming (:mod:`slips`) finds the likeliest places of all frames at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.appearance import (
    Floats,
    Ints,
    LightModel,
    features,
    follow_subject,
    look_features,
)
from lightstage.preprocess.beat import Beat, free_slots
from lightstage.preprocess.phase import Looks
from lightstage.preprocess.slips import find_slips, unwrapped
from lightstage.sequence import CaptureSequence, StepKind

#: How often lights are learned and frames placed again.
_ROUNDS = 3
#: A frame that shows nothing known is this unlikely (logarithm).
_FLOOR = -14.0
#: A frame of a preamble is that much less likely than one of the cycle.
_NOT_A_PREAMBLE = 3.0
#: A matt ball and a performer differ by about this share of a usual light.
_UNLIKE_A_BALL = 0.35
#: A tracking frame is this like another one a period apart, and this bright.
_LIKE, _BRIGHT = 0.75, 0.45


def settle(
    pictures: NDArray[np.float32],
    beat: Beat,
    sequence: CaptureSequence,
    directions: Floats,
    looks: Looks,
) -> tuple[Beat, Floats]:
    """Return a beat on which every frame has its place, and how sure each is.

    Args:
        pictures: coarse pictures, ``(frames, rows, columns)``.
        beat: places that may slip where it says ``loose``.
        sequence: what the lights did.
        directions: unit vectors towards the lights.
        looks: what something under the lights looks like, such as a ball.

    Returns:
        The beat, and for each frame by how much the likeliest course of all frames is ahead of the
        likeliest one in which this frame shows another step, in logarithms.
    """
    evidence = _looks_like_tracking(pictures, sequence.period)
    by_period = np.tile(-evidence[:, None], (1, sequence.period)).astype(np.float32)
    by_period[:, -1] = evidence
    residue, _ = find_slips(by_period, beat.place, beat.loose)
    tracking = np.flatnonzero((residue == sequence.period - 1) & (evidence > 0))
    if len(tracking) < 3:
        return beat, np.zeros(len(pictures))
    # features ask for places only to know which tracking frames are nearest
    count = np.arange(len(pictures), dtype=np.int64)
    seen = features(pictures, follow_subject(pictures, count, tracking))
    lights = np.array([step.light for step in sequence.cycle], dtype=np.int64)
    full = np.array([step.kind is StepKind.TRACKING for step in sequence.cycle])
    fit = _fit_of_looks(seen, evidence, lights, full, looks)
    fit = _with_preamble(fit, seen, evidence, sequence)
    step, lead = find_slips(fit, beat.place, beat.loose)
    for _ in range(_ROUNDS):
        if (lights[step] >= 0).sum() < 2:
            break
        place = unwrapped(step, sequence.cycle_frames, beat)
        fit = _fit_of_learned(seen, step, place, lead, evidence, lights, full, sequence, directions)
        fit = _with_preamble(fit, seen, evidence, sequence)
        step, lead = find_slips(fit, beat.place, beat.loose)
    place = unwrapped(step, sequence.cycle_frames, beat)
    place -= place.min()
    own = np.take_along_axis(fit, step[:, None], axis=1)[:, 0]
    in_slot = beat.in_slot & _best_of_each_place(place, own, beat.in_slot)
    possible, lone = free_slots(place, in_slot)
    loose = np.zeros(len(pictures), dtype=bool)
    settled = replace(beat, place=place, in_slot=in_slot, loose=loose, possible=possible, lone=lone)
    return settled, lead


def _looks_like_tracking(pictures: NDArray[np.float32], period: int) -> Floats:
    """Return evidence that each frame is a tracking frame, -4 to 4, ``(frames,)``.

    A frame lost in between, or one too many, makes the next tracking frame come early or late.
    """
    flat = pictures.reshape(len(pictures), -1)
    level = flat.mean(axis=1)
    usual = max(float(np.quantile(level, 0.9)), 1e-9)
    like = np.full(len(pictures), -1.0)
    for apart in {max(1, period + k) for k in (-2, -1, 0, 1)} | {2 * period, 2 * period - 1}:
        if apart >= len(flat):
            continue
        change = np.abs(flat[apart:] - flat[:-apart]).mean(axis=1)
        pair = 1.0 - change / np.maximum((level[apart:] + level[:-apart]) / 2.0, 0.1 * usual)
        like[apart:] = np.maximum(like[apart:], pair)
        like[:-apart] = np.maximum(like[:-apart], pair)
    evidence = np.clip((like - _LIKE) / 0.05, -4.0, 4.0)
    return np.asarray(np.where(level > _BRIGHT * usual, evidence, -4.0))


def _fit_of_looks(
    seen: Floats, evidence: Floats, lights: Ints, full: NDArray[np.bool_], looks: Looks
) -> NDArray[np.float32]:
    """Return how well each frame fits each step if the performer looked like that."""
    expected = look_features(*looks)
    ordinary = evidence < 0
    size = np.sqrt((seen[ordinary] ** 2).sum(axis=1))
    expected *= np.sqrt(np.mean(size**2) / np.mean((expected**2).sum(axis=1)))
    usual = float(np.sqrt(np.mean(size**2)))
    off = _distances(seen, expected)[:, np.maximum(lights, 0)]
    fit = -0.5 * (off / (_UNLIKE_A_BALL * usual)) ** 2
    fit = np.maximum(fit, 0.5 * _FLOOR) - evidence[:, None]
    fit[:, lights < 0] = -evidence[:, None]
    fit[:, full] = evidence[:, None]
    return np.asarray(fit, dtype=np.float32)


def _with_preamble(
    fit: NDArray[np.float32], seen: Floats, evidence: Floats, sequence: CaptureSequence
) -> NDArray[np.float32]:
    """Return the fit where the take's first frames may as well be a preamble's."""
    length, steps = min(len(sequence.preamble), fit.shape[1]), fit.shape[1]
    early = max(length, len(fit) // 4)
    size = np.sqrt((seen[:early] ** 2).sum(axis=1))
    usual = float(np.median(np.sqrt((seen**2).sum(axis=1))))
    dark = np.maximum(-0.5 * (size / (0.1 * usual)) ** 2, _FLOOR) - evidence[:early]
    for k, mark in enumerate(sequence.preamble[len(sequence.preamble) - length :]):
        column = steps - length + k
        other = 2.0 * evidence[:early] if mark == StepKind.TRACKING.value else dark
        fit[:early, column] = np.maximum(fit[:early, column], other - _NOT_A_PREAMBLE)
    return fit


def _fit_of_learned(
    seen: Floats,
    step: Ints,
    place: Ints,
    lead: Floats,
    evidence: Floats,
    lights: Ints,
    full: NDArray[np.bool_],
    sequence: CaptureSequence,
    directions: Floats,
) -> NDArray[np.float32]:
    """Return how well each frame fits each step, as learned from all frames placed so far."""
    light = lights[step]
    used = np.flatnonzero((light >= 0) & (lead > 1.0))
    if len(used) < 2 * len(directions) // 3:
        used = np.flatnonzero(light >= 0)
    block_places = 3 * sequence.cycle_frames
    model = LightModel(seen[used], light[used], place[used], directions, block_places)
    particular = np.zeros((len(directions), seen.shape[1]))
    counts = np.bincount(light[used], minlength=len(directions)).astype(np.float64)
    np.add.at(particular, light[used], model.particular)
    share = counts * model.between / (counts * model.between + model.within + 1e-12)
    particular *= (share / np.maximum(counts, 1.0))[:, None]
    block = model.block(place)
    fit = np.empty((len(seen), len(lights)), dtype=np.float32)
    own = seen[used] - (
        model.smooth[model.block(place[used]), light[used]] + particular[light[used]]
    )
    size = np.sqrt((seen[used] ** 2).sum(axis=1))
    order = np.argsort(size)
    third = max(1, len(order) // 3)
    off = np.sqrt((own**2).sum(axis=1))[order]
    least = 1.5 * float(np.median(off[:third])) + 1e-3
    relative = 1.5 * float(np.median(off[-third:] / size[order][-third:])) + 0.03
    shown = np.maximum(lights, 0)
    for b in range(len(model.smooth)):
        frames = np.flatnonzero(block == b)
        promise = model.smooth[b] + particular
        spread = np.hypot(least, relative * np.sqrt((promise**2).sum(axis=1)))
        score = -0.5 * (_distances(seen[frames], promise) / spread) ** 2
        score -= 3.0 * np.log(spread / least)
        fit[frames] = np.maximum(score, _FLOOR)[:, shown]
    fit -= evidence[:, None].astype(np.float32)
    dark = (lights < 0) & ~full
    if dark.any():
        nothing = -0.5 * (np.sqrt((seen**2).sum(axis=1)) / (2.0 * least)) ** 2
        fit[:, dark] = (np.maximum(nothing, _FLOOR) - evidence)[:, None]
    fit[:, full] = (2.0 * evidence - 3.0 * np.log(1.0 + relative / least))[:, None]
    return fit


def _distances(a: Floats, b: Floats) -> Floats:
    square = (a**2).sum(axis=1)[:, None] - 2.0 * a @ b.T + (b**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _best_of_each_place(
    place: Ints, fit: NDArray[np.floating], candidate: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which frames fit best of those at their place."""
    order = np.lexsort((np.arange(len(place)), -fit, ~candidate, place))
    first = np.ones(len(place), dtype=bool)
    first[1:] = place[order][1:] != place[order][:-1]
    best = np.zeros(len(place), dtype=bool)
    best[order[first]] = True
    return best
