"""Which step of the sequence each frame of a simulated take truly shows, and what is wrong with it.

What a pipeline has to find out is drawn here: drops, repeats, swaps and false frames.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.errors import FieldsError, SequenceError
from lightstage.simulation.take_faults import TakeFaults

#: What ``TakeSteps.fault`` counts: the fault of a frame is its place here.
FAULTS = ("sound", "repeated", "swapped", "extra")
SOUND, REPEATED, SWAPPED, EXTRA = range(4)
#: Value of ``TakeSteps.step_index`` where a frame shows no step of the sequence.
NO_STEP = -1
_DROPPED = -1
_ARRAYS = ("step_index", "beat", "fault", "garbage_stamp", "gain", "dropped_steps", "light_gain")


@dataclass(frozen=True, eq=False)
class TakeSteps:
    """The truth about a take's frames, in the order of the recording.

    Attributes:
        step_index: the step whose picture each frame shows, ``(frame,)`` int64; -1 for a false
            frame.
        beat: when each frame's exposure began by the camera's clock, in frame periods since step
            0, ``(frame,)`` float64: the frame's own step, which a repeated or swapped frame does
            not show, or half a period after one for a false frame.
        fault: what is wrong with each frame, ``(frame,)`` uint8, a place in :data:`FAULTS`.
        garbage_stamp: whether its time stamp means nothing, ``(frame,)`` bool.
        gain: brightness of what it shows, against a sound stage, ``(frame,)`` float32, before
            ``light_gain``; 1 for dark and false frames.
        dropped_steps: the steps that were not recorded, ``(n,)`` int64. The picture of a step that
            a repetition replaced is lost too, but not listed here: its frame is there.
        light_gain: each light's brightness over the whole take, ``(light,)`` float32.
    """

    step_index: NDArray[np.int64]
    beat: NDArray[np.float64]
    fault: NDArray[np.uint8]
    garbage_stamp: NDArray[np.bool_]
    gain: NDArray[np.float32]
    dropped_steps: NDArray[np.int64]
    light_gain: NDArray[np.float32]

    def __len__(self) -> int:
        """Return how many frames the take has."""
        return len(self.step_index)


def draw_steps(
    faults: TakeFaults, steps: int, first_step: int = 0
) -> tuple[TakeSteps, NDArray[np.int64]]:
    """Return what each frame shows of a take that ran ``steps`` steps from ``first_step``.

    Gains are 1. Named faults come first; random ones fall on steps that are sound until then.

    Returns:
        the frames, and the step after which each was exposed, ``(frame,)``: an extra frame is
        rendered from that.

    Raises:
        SequenceError: a fault names a step or a frame that the take does not have, or nothing is
            left to be recorded.
    """
    rng = np.random.default_rng([faults.seed, 0])
    # draws are made whether they are needed or not, so that one fault does not move another
    chance = rng.random((5, steps), dtype=np.float32)
    bursts = rng.random(faults.drop_bursts)
    state = np.zeros(steps, np.int8)
    _mark_named(state, faults, first_step)
    extra = np.zeros(steps, bool)
    extra[_places(faults.extra, "extra", first_step, steps)] = True
    busy = (state != SOUND) | extra
    # what is named stays: the step that a named repetition shows again must not be lost
    busy[:-1] |= state[1:] == REPEATED
    lost = (chance[0] < faults.drop_rate) & ~busy
    for start in (bursts * steps).astype(np.int64):
        burst = slice(start, start + faults.burst_frames)
        lost[burst] |= ~busy[burst]
    state[lost] = _DROPPED
    _mark_random(state, extra, chance, faults)
    if not (state != _DROPPED).any():
        raise SequenceError(f"all {steps} frames of the take are dropped: nothing is recorded.")
    return _recorded(state, extra, chance[4], faults, first_step)


def _mark_named(state: NDArray[np.int8], faults: TakeFaults, first_step: int) -> None:
    steps = len(state)
    state[_places(faults.dropped, "dropped", first_step, steps)] = _DROPPED
    repeated = _places(faults.repeated, "repeated", first_step, steps)
    if len(repeated) and repeated.min() == 0:
        raise SequenceError(f"step {first_step} is the take's first, it cannot repeat another.")
    state[repeated] = REPEATED
    swapped = _places(faults.swapped, "swapped", first_step, steps)
    if len(swapped) and swapped.max() == steps - 1:
        raise SequenceError(f"step {first_step + steps - 1} is the last, it has none to swap with.")
    state[swapped] = SWAPPED
    state[swapped + 1] = SWAPPED


def _places(named: tuple[int, ...], what: str, first_step: int, steps: int) -> NDArray[np.int64]:
    places = np.array(named, np.int64) - first_step
    outside = np.flatnonzero((places < 0) | (places >= steps))
    if len(outside):
        raise SequenceError(
            f"step {named[outside[0]]} is named as {what}, the take has steps {first_step} to "
            f"{first_step + steps - 1}."
        )
    return places


def _mark_random(
    state: NDArray[np.int8], extra: NDArray[np.bool_], chance: NDArray[np.float32],
    faults: TakeFaults,
) -> None:  # fmt: skip
    """Mark random swaps, repetitions and false frames among the steps that are still sound."""
    for place in np.flatnonzero(chance[1, :-1] < faults.swap_rate):
        if not state[place : place + 2].any() and not extra[place : place + 2].any():
            state[place : place + 2] = SWAPPED
    for place in np.flatnonzero(chance[2, 1:] < faults.repeat_rate) + 1:
        if not state[place - 1 : place + 1].any() and not extra[place - 1]:
            state[place] = REPEATED
    extra |= (chance[3] < faults.extra_rate) & (state == SOUND)


def _recorded(
    state: NDArray[np.int8], extra: NDArray[np.bool_], chance: NDArray[np.float32],
    faults: TakeFaults, first_step: int,
) -> tuple[TakeSteps, NDArray[np.int64]]:  # fmt: skip
    step = np.arange(len(state), dtype=np.int64)
    shows = step.copy()
    swapped = np.flatnonzero(state == SWAPPED)
    # they come in pairs
    shows[swapped[::2]], shows[swapped[1::2]] = swapped[1::2], swapped[::2]
    for place in np.flatnonzero(state == REPEATED):
        shows[place] = shows[place - 1]
    kept = state != _DROPPED
    times = kept.astype(np.int64) + (kept & extra)
    owner = np.repeat(step, times)
    false = np.zeros(len(owner), bool)
    false[1:] = owner[1:] == owner[:-1]
    fault = np.where(false, EXTRA, state[owner]).astype(np.uint8)
    garbage = chance[owner] < faults.garbage_stamp_rate
    garbage &= ~false
    count = len(owner)
    for index in faults.garbage_stamps:
        if index >= count:
            raise SequenceError(f"frame {index} has no stamp to spoil: the take has {count}.")
        garbage[index] = True
    drawn = TakeSteps(
        step_index=np.where(false, NO_STEP, shows[owner] + first_step),
        beat=owner + first_step + 0.5 * false,
        fault=fault,
        garbage_stamp=garbage,
        gain=np.ones(count, np.float32),
        dropped_steps=step[~kept] + first_step,
        light_gain=np.ones(0, np.float32),
    )
    return drawn, owner + first_step


def write_steps(path: str | os.PathLike[str], steps: TakeSteps, faults: TakeFaults) -> None:
    """Write ``steps`` as the Zarr v3 group ``path``, whole or not at all; replaces what is there.

    The arrays are :class:`TakeSteps`'s; the attribute ``faults`` names the values of ``fault``,
    ``caused_by`` holds the :class:`TakeFaults`.
    """
    path = Path(path)
    partial = path.with_name(path.stem + ".partial" + path.suffix)
    group: Any = zarr.open_group(str(partial), mode="w", zarr_format=3)
    for name in _ARRAYS:
        group.create_array(name, data=getattr(steps, name))
    group.attrs["faults"] = list(FAULTS)
    group.attrs["caused_by"] = faults.model_dump(mode="json")
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)


def read_steps(path: str | os.PathLike[str]) -> TakeSteps:
    """Return the truth about a take's frames from its ``truth_steps.zarr``.

    Raises:
        FieldsError: the store is missing or damaged.
    """
    if not (Path(path) / "zarr.json").is_file():
        raise FieldsError(f"{path}: is no truth_steps.zarr; simulate-take makes one.")
    try:
        group: Any = zarr.open_group(str(path), mode="r")
        return TakeSteps(**{name: np.asarray(group[name]) for name in _ARRAYS})
    except (KeyError, TypeError, ValueError) as reason:
        raise FieldsError(f"{path}: is damaged or unfinished: {reason}.") from None
