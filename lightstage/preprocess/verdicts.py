"""Verdicts: whether each frame shows the step that its place promises, and if not, which.

A frame is compared with what its step should look like by the other frames of that light. Two
frames that each fit the other's step have changed places; one that is the same as the frame before
it is a repetition; one that fits nothing is not trusted. Two lights that look the same to the
camera, as two behind the performer do, cannot be told apart: there the place decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.appearance import Floats, Ints
from lightstage.preprocess.expectation import LEAST_SHOWN, Expectation, squared_length
from lightstage.preprocess.light_faults import LightFaults, find_light_faults
from lightstage.preprocess.step_table import DARK, NONE, OLAT, TRACKING

#: A frame is not what its step says when it is this many spreads and this share off.
_STRANGE_SPREADS, _STRANGE_SHARE, _STRANGE_TRACKING = 10.0, 0.7, 0.4
#: and this share of a usual light's brightness, and as many times what is usual around it.
_LEAST_STRANGE = 0.5
#: A frame on the beat that shows again what the one before shows differs by at most this share.
_SAME = 0.03
#: A frame whose stamp is garbage shows a step that it is off by less than this share, where other
#: steps may be possible.
_SURELY = 0.15


@dataclass
class Verdicts:
    """What was found out about each frame; see ``Identification``."""

    step: Ints
    known: NDArray[np.bool_]
    confidence: Floats
    repeated: list[int]
    swapped: list[int]
    extra: list[int]


class Judge(Expectation):
    """Says of each frame whether it is what it should be, and if not, what it is."""

    def judge(self) -> Verdicts:
        """Return what each frame shows."""
        suspects = self.suspects()
        if suspects.any():
            self.learn(suspects)
        self._place_loose_frames()
        count = len(self.place)
        found = Verdicts(
            step=self.step.copy(),
            known=(self.kind != NONE) & self.in_slot,
            confidence=np.zeros(count),
            repeated=[],
            swapped=[],
            extra=[],
        )
        self._find_swapped(found)
        self._find_repeated(found)
        self._find_strange(found)
        self._weigh(found)
        return found

    def light_faults(self, found: Verdicts) -> LightFaults:
        """Return which lights were not as they should be."""
        used = self.in_slot & (self.kind == OLAT)  # of a light that is dark, frames may be unknown
        used[found.repeated + found.swapped] = False
        dark = (self.kind == DARK) & found.known
        dark[found.repeated + found.swapped] = False
        nothing = np.median(self.seen[dark], axis=0) if dark.any() else None
        return find_light_faults(self.seen[used], self.light[used], nothing, self.directions)

    def _place_loose_frames(self) -> None:
        """Give frames without a slot of their own the free one nearby that they fit."""
        if not self.stamped:  # else a stamp on the beat is worth more than a likeness
            self._share_places()
        self.in_slot &= ~self.in_order
        taken = set(self.place[self.in_slot].tolist())
        slotted = np.flatnonzero(self.in_slot)
        first, last = int(slotted[0]), int(slotted[-1])
        own = np.sqrt(squared_length(self.seen))
        usual = float(np.median(own[self.kind == OLAT]))
        for frame, places in self.possible.items():
            if self.same[frame]:
                continue
            free = [p for p in places if p not in taken]
            scored = sorted((self.distance(frame, p, p + self.offset)[1], p) for p in free)
            if not scored:
                continue
            best, place = scored[0]
            rival = scored[1][0] if len(scored) > 1 else np.inf
            at_an_end = frame < first or frame > last
            if at_an_end and frame not in self.between:
                place = free[0]  # likeliest the next place, but nothing beyond it says so
            off, spreads = self.distance(frame, place, place + self.offset)
            surely = spreads < 4.0 and off < _SURELY * max(usual, float(own[frame]))
            if frame in self.between:  # a false trigger, unless it fits its only slot well
                if frame not in self.lone or not surely:
                    continue
            elif frame in self.lone and not at_an_end:  # or it changed places with one beside it
                if spreads > 4.0:
                    self.guessed.append(frame)
            elif not surely or (not at_an_end and rival < 2.0 * best + 1.0):
                continue
            self.place[frame], self.in_slot[frame] = place, True
            self.step[frame] = place + self.offset
            taken.add(place)
        self.kind, self.light = self.table.kind(self.step), self.table.light(self.step)
        self.promise = self.promised(self.place, self.step)
        self.off = np.sqrt(squared_length(self.seen - self.promise))

    def _share_places(self) -> None:
        """Of two frames with one place, let that have it which fits."""
        for frame in list(self.possible):
            before = frame - 1
            place = int(self.place[frame])
            if before < 0 or not self.in_slot[before] or self.place[before] != place:
                continue
            step = place + self.offset
            ours, theirs = (
                self.distance(frame, place, step)[1],
                self.distance(before, place, step)[1],
            )
            if self.same[frame] or ours > 4.0 or theirs < 2.0 * ours + 2.0:
                continue
            self.in_slot[[before, frame]] = False, True
            taken = set(self.place[self.in_slot].tolist())
            near = [place - 1, place + 1, place - 2, place + 2]
            free = tuple(p for p in near if p not in taken)
            del self.possible[frame]
            self.possible[before] = free

    def _find_repeated(self, found: Verdicts) -> None:
        spread = self.spread(self.promise, self.kind)
        change = np.sqrt(squared_length(np.diff(self.seen, axis=0)))
        swapped = set(found.swapped)
        size = np.sqrt(squared_length(self.seen))
        bright = size > _LEAST_STRANGE / 2 * float(np.median(size[self.kind == OLAT]))
        slotless = ~self.in_slot
        likely = self.same | slotless | (self.off > 4.0 * spread)
        for frame in np.flatnonzero(likely).tolist():
            if frame == 0 or frame in swapped:
                continue
            same = bool(self.same[frame])
            if not same and self.in_slot[frame]:
                much = self.off[frame] > 4.0 * spread[frame] and bright[frame]
                if not much or change[frame - 1] > _SAME * size[frame]:
                    continue
            elif not same and not (bright[frame] and change[frame - 1] < 0.5 * spread[frame - 1]):
                continue
            if self.in_slot[frame] and self._alike(found, frame):
                continue
            before_is_wrong = (
                self.off[frame - 1] > 5.0 * spread[frame - 1]
                and self.off[frame] < 3.0 * spread[frame]
                and self.in_slot[frame]
                and frame - 1 not in found.repeated
            )
            wrong, right = (frame - 1, frame) if before_is_wrong else (frame, frame - 1)
            found.repeated.append(wrong)
            found.step[wrong] = found.step[right]
            found.known[wrong] = found.known[right]

    def _alike(self, found: Verdicts, frame: int) -> bool:
        """Return whether a frame is what its step promises if it looks like the one before it."""
        steps = np.array([found.step[frame - 1], self.step[frame]])
        kind, light = self.table.kind(steps), self.table.light(steps)
        if self.same[frame] and kind[1] == OLAT:
            return False  # noise is never the same twice
        return bool(kind[0] == kind[1] and light[0] == light[1])

    def _find_swapped(self, found: Verdicts) -> None:
        gain, _ = self.swap_gain(self.promise)
        taken = set(np.flatnonzero(self.same).tolist())
        for first in np.argsort(-gain).tolist():
            if gain[first] <= 0.0:
                break
            if first in taken or first + 1 in taken:
                continue
            self._exchange(found, first, first + 1)
            taken |= {first, first + 1}
        # they look turned round, but not surely
        for first in np.flatnonzero(self.perhaps).tolist():
            if not {first, first + 1} & taken:
                found.known[[first, first + 1]] = False
        self._drop_mutual(found)
        usual = float(np.median(np.sqrt(squared_length(self.promise[self.kind == OLAT]))))
        far = self.off > 6.0 * self.spread(self.promise, self.kind)
        far &= self.off > LEAST_SHOWN * usual
        strange = [
            frame
            for frame in np.flatnonzero(far).tolist()
            if frame not in taken and self.in_slot[frame] and self.kind[frame] != NONE
        ]
        for k, first in enumerate(strange):
            for second in strange[k + 1 : k + 5]:
                if second - first > 4 or {first, second} & taken:
                    continue
                one = self.distance(first, int(self.place[second]), int(self.step[second]))
                two = self.distance(second, int(self.place[first]), int(self.step[first]))
                if max(one[1], two[1]) < 4.0:
                    self._exchange(found, first, second)
                    taken |= {first, second}
        self._exchange_slotless(found, far & self.in_slot & (self.kind != NONE), taken)

    def _exchange_slotless(self, found: Verdicts, far: NDArray[np.bool_], taken: set[int]) -> None:
        """Find frames with garbage stamps that changed places with one that looks wrong."""
        used = set(self.place[self.in_slot].tolist())
        for frame in np.flatnonzero(~self.in_slot).tolist():
            if self.same[frame] or frame in self.between:
                continue
            for other in (frame - 1, frame + 1):
                if not 0 <= other < len(far) or not far[other] or other in taken:
                    continue
                if self.distance(frame, int(self.place[other]), int(self.step[other]))[1] > 4.0:
                    continue
                free = [p for p in self.possible.get(frame, ()) if p not in used]
                fits = [p for p in free if self.distance(other, p, p + self.offset)[1] < 4.0]
                if len(fits) != 1:
                    found.known[other] = False
                    continue
                self.place[frame], self.in_slot[frame] = fits[0], True
                self.step[frame] = found.step[frame] = fits[0] + self.offset
                found.known[frame] = True
                used.add(fits[0])
                self._exchange(found, *sorted((frame, other)))
                taken |= {frame, other}
                break

    def _drop_mutual(self, found: Verdicts) -> None:
        """Doubt pairs of frames that are swapped only by each other's word.

        Where a pair of lights was seen twice and once the other way round, each of the two says
        that the other is wrong.
        """
        pairs = [
            tuple(sorted(self.light[found.swapped[k : k + 2]].tolist()))
            for k in range(0, len(found.swapped), 2)
        ]
        kept: list[int] = []
        for k, pair in enumerate(pairs):
            frames = found.swapped[2 * k : 2 * k + 2]
            seen = np.flatnonzero(self.in_slot & np.isin(self.light, pair))
            if -1 not in pair and pairs.count(pair) > 1 and len(seen) <= 2 * pairs.count(pair):
                found.known[frames] = False
                found.step[frames] = self.step[frames]
            else:
                kept += frames
        found.swapped[:] = kept

    def _exchange(self, found: Verdicts, first: int, second: int) -> None:
        found.step[first], found.step[second] = self.step[second], self.step[first]
        found.swapped += [first, second]

    def _find_strange(self, found: Verdicts) -> None:
        moved = np.zeros(len(self.place), dtype=bool)
        moved[found.repeated + found.swapped] = True
        spread = self.spread(self.promise, self.kind)
        size = np.sqrt(np.maximum(squared_length(self.promise), squared_length(self.seen)))
        usual = float(np.median(size[self.kind == OLAT]))
        share = np.where(self.kind == TRACKING, _STRANGE_TRACKING, _STRANGE_SHARE)
        # as far as such a frame may be off that is as bright as this one or as was promised
        own = np.sqrt(squared_length(self.seen))
        spread = np.hypot(spread, self.relative_spread * np.where(self.kind == OLAT, own, 0.0))
        # and where all frames around are off, the performer did what nobody could know
        around = np.maximum(1.0, self.usual_around(self.off / spread))
        far = (
            (self.off > _STRANGE_SPREADS * spread * around)
            & (self.off > share * size)
            & (self.apart_from_tracking() <= self.near)
            & (self.off > _LEAST_STRANGE * usual)
        )
        strange = far & ~moved & (self.kind != NONE)
        strange[self.guessed] = ~moved[self.guessed]
        strange &= ~np.isin(self.light, self.faulty)
        found.known &= ~strange
        found.extra += [
            frame for frame in np.flatnonzero(~self.in_slot).tolist() if not moved[frame]
        ]

    def _weigh(self, found: Verdicts) -> None:
        """Say how sure each verdict is: against its being the other way, or none of them."""
        gain, _ = self.swap_gain(self.promise)
        worst = np.full(len(self.place), -30.0)
        if len(gain):
            doubt = -np.abs(gain)
            worst[:-1] = np.maximum(worst[:-1], doubt)
            worst[1:] = np.maximum(worst[1:], doubt)
        unmoved = np.ones(len(self.place), dtype=bool)
        unmoved[found.repeated + found.swapped] = False
        strangeness = self.off / (_STRANGE_SPREADS * self.spread(self.promise, self.kind))
        worst = np.where(unmoved, np.maximum(worst, np.minimum(0.0, 20 * (strangeness - 1))), worst)
        found.confidence = np.where(found.known, 1.0 / (1.0 + np.exp(worst)), 0.0)
