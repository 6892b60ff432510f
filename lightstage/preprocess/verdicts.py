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

from lightstage.errors import SequenceError
from lightstage.preprocess.appearance import Floats, Ints, LightModel, features, follow_subject
from lightstage.preprocess.beat import Beat
from lightstage.preprocess.light_faults import LightFaults, find_light_faults
from lightstage.preprocess.step_table import DARK, NONE, OLAT, TRACKING, StepTable
from lightstage.preprocess.tracking_frames import alike_over_time, same_as_before, tracking_beside
from lightstage.sequence import CaptureSequence

#: A frame is not what its step says when it is this many spreads and this share off.
_STRANGE_SPREADS, _STRANGE_SHARE, _STRANGE_TRACKING = 10.0, 0.7, 0.4
#: and this share of a usual light's brightness.
_LEAST_STRANGE = 0.5
#: and this many times what OLAT frames are that lie up to so many before and after.
_AROUND = 5
#: Before anything is seen, frames have changed places with this logarithm of probability.
_SWAP_PRIOR = -9.0
#: Frames that changed places differ the other way round by at least this share.
_TURNED = 0.4
#: A frame on the beat that shows again what the one before shows differs by at most this share.
_SAME = 0.03
#: A frame at an end whose stamp is garbage shows the next step if it is off by less than this.
_SURELY = 0.15
#: Lights that differ less, as a share of a usual light's brightness, are not told apart.
_LEAST_APART = 0.2
#: Nor are two frames that are both darker than this share of it.
_LEAST_SHOWN = 0.3


@dataclass
class Verdicts:
    """What was found out about each frame; see ``Identification``."""

    step: Ints
    known: NDArray[np.bool_]
    confidence: Floats
    repeated: list[int]
    swapped: list[int]
    extra: list[int]


class Judge:
    """Compares the frames of a take, whose places are known, with what their steps promise."""

    def __init__(
        self,
        pictures: NDArray[np.float32],
        beat: Beat,
        offset: int,
        sequence: CaptureSequence,
        directions: Floats,
        prior: Floats | None = None,
    ) -> None:
        """Learn what steps look like from frames at ``place``, of step ``place + offset``.

        Raises:
            SequenceError: hardly any tracking frame is like its neighbours.
        """
        self.pictures, self.place, self.in_slot = pictures, beat.place.copy(), beat.in_slot.copy()
        self.possible, self.between, self.lone = dict(beat.possible), beat.between, beat.lone
        self.offset, self.table = offset, StepTable(sequence)
        self.prior = prior
        self.faulty: list[int] = []
        self.guessed: list[int] = []
        self.perhaps = np.zeros(max(0, len(pictures) - 1), dtype=bool)
        self.near = 2 * sequence.period
        self.directions, self.block_places = directions, 3 * sequence.cycle_frames
        self.same = same_as_before(pictures)
        self.stamped = beat.stamped
        # whose stamps are garbage where there is but one slot: there, until the pictures are asked
        self.in_order = np.zeros(len(pictures), dtype=bool)
        for frame in beat.lone - beat.between:
            if not self.same[frame] and len(self.possible[frame]) == 1:
                self.place[frame], self.in_order[frame] = self.possible[frame][0], True
        self.in_slot |= self.in_order
        self.step = self.place + offset
        self.kind, self.light = self.table.kind(self.step), self.table.light(self.step)
        tracking = np.flatnonzero((self.kind == TRACKING) & self.in_slot)
        self.beside = tracking_beside(pictures, tracking, self.place, self.in_slot)
        good = alike_over_time(pictures, tracking, self.place)
        if good.sum() < max(2, 0.5 * len(tracking)):
            raise SequenceError(
                f"the take does not fit the sequence: only {int(good.sum())} of {len(tracking)} "
                f"tracking frames are like those around them. Check lights, olat_per_tracking and "
                f"frame_rate_hz in sequence.json."
            )
        if not ((self.kind == OLAT) & self.in_slot).any():
            raise SequenceError(
                "the take does not fit the sequence: none of its frames has the place of an OLAT "
                "frame. Check lights and frame_rate_hz in sequence.json."
            )
        turned = np.append(self.beside, False) | np.append(False, self.beside)
        kept = good & ~turned[tracking]
        self.tracking = tracking[kept if kept.any() else good]
        subject = follow_subject(pictures, self.place, self.tracking)
        self.seen = features(pictures, subject)
        self._tracking_place = np.sort(self.place[self.tracking])
        self._tracking_seen = self.seen[self.tracking][np.argsort(self.place[self.tracking])]
        dark = self.seen[(self.kind == DARK) & self.in_slot]
        self.dark = np.median(dark, axis=0) if len(dark) else np.zeros(self.seen.shape[1])
        self.learn(self.in_order)

    def learn(self, left_out: NDArray[np.bool_]) -> None:
        """Learn the lights from all frames but those left out; measure how far frames are off."""
        learned = (self.kind == OLAT) & self.in_slot
        used = np.flatnonzero(learned & ~left_out)
        if len(used) < 0.5 * learned.sum():  # what fits so badly is not learned better from less
            used = np.flatnonzero(learned)
        self.model = LightModel(
            self.seen[used],
            self.light[used],
            self.place[used],
            self.directions,
            self.block_places,
            self.prior,
        )
        self.promise = self.promised(self.place, self.step)
        self.off = np.sqrt(((self.seen - self.promise) ** 2).sum(axis=1))
        size = np.sqrt((self.promise[used] ** 2).sum(axis=1))
        # spread grows with brightness: motion and gloss; the darkest third tells the rest
        order = np.argsort(size)
        third = max(1, len(order) // 3)
        off = self.off[used][order]
        self.least_spread = 1.5 * float(np.median(off[:third])) + 1e-4
        share = off[-third:] / np.maximum(size[order][-third:], 1e-12)
        self.relative_spread = 1.5 * float(np.median(share)) + 0.01
        of_tracking = self.off[self.tracking] / np.sqrt(_square(self.promise[self.tracking]))
        self.tracking_spread = 1.5 * float(np.median(of_tracking)) + 0.01

    def promised(self, place: Ints, step: Ints) -> Floats:
        """Return what each step should look like at each place, by other frames, ``(n, 16)``."""
        kind, light = self.table.kind(step), self.table.light(step)
        out = np.tile(self.dark, (len(place), 1))
        olat = kind == OLAT
        out[olat] = self.model.promised(place[olat], light[olat])
        tracking = kind == TRACKING
        if tracking.any():
            where, last = place[tracking], len(self._tracking_place) - 1
            after = np.searchsorted(self._tracking_place, where)
            itself = self._tracking_place[np.minimum(after, last)] == where
            following = np.minimum(after + itself, last)
            before = np.maximum(after - 1, 0)
            # at an end there is but one other
            following = np.where(itself & (after == last), before, following)
            before = np.where(after == 0, following, before)
            out[tracking] = (self._tracking_seen[before] + self._tracking_seen[following]) / 2
        return out

    def spread(self, promise: Floats, kind: Ints) -> Floats:
        """Return by how much frames of a kind are usually off what is promised, ``(n,)``."""
        size = np.sqrt((promise**2).sum(axis=-1))
        share = np.where(kind == TRACKING, self.tracking_spread, self.relative_spread)
        return np.asarray(np.hypot(self.least_spread, share * size))

    def distance(self, frame: int, place: int, step: int) -> tuple[float, float]:
        """Return how far a frame is off a step, plainly and in spreads."""
        promise = self.promised(np.array([place]), np.array([step]))
        off = float(np.sqrt(((self.seen[frame] - promise[0]) ** 2).sum()))
        return off, off / float(self.spread(promise, self.table.kind(np.array([step])))[0])

    def judge(self) -> Verdicts:
        """Return what each frame shows."""
        suspects = self._suspects()
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

    def _suspects(self) -> NDArray[np.bool_]:
        """Return frames that are better not learned from: off by far, or better the other way."""
        spread = self.spread(self.promise, self.kind)
        size = np.sqrt(np.maximum((self.promise**2).sum(axis=1), (self.seen**2).sum(axis=1)))
        usual = float(np.median(size[self.kind == OLAT]))
        suspects = (self.off > 5.0 * spread) & (self.off > 0.3 * np.maximum(size, 0.5 * usual))
        suspects |= self.same
        # by direction alone: where a light was seen twice, each of the two seems wrong
        smooth = self.promise.copy()
        olat = self.kind == OLAT
        smooth[olat] = self._smooth(np.flatnonzero(olat))
        self._clear_faulty_lights(suspects)
        turned = np.flatnonzero(self._swap_gain(smooth)[1])
        suspects[turned] = suspects[turned + 1] = True
        suspects |= self.in_order
        suspects &= olat
        return np.asarray(suspects)

    def _clear_faulty_lights(self, suspects: NDArray[np.bool_]) -> None:
        """Take frames off the suspects whose light looks the same wrong way each time."""
        for light in np.unique(self.light[suspects & (self.kind == OLAT)]).tolist():
            frames = np.flatnonzero((self.light == light) & self.in_slot & ~self.same)
            if len(frames) < 2:
                continue
            own = self.seen[frames]
            if own.sum() > self._smooth(frames).sum():
                continue  # a faulty light is dark, not bright
            change = np.sqrt(_square(own - own.mean(axis=0))).max()
            wrong = float(np.median(np.sqrt(_square(own - self._smooth(frames)))))
            suspects[frames] &= change > 0.3 * wrong
            hoped = float(np.sqrt(_square(self._smooth(frames))).mean())
            if change <= 0.3 * wrong and wrong > 0.5 * hoped:
                self.faulty.append(light)

    def _smooth(self, frames: NDArray[np.intp]) -> Floats:
        """Return what OLAT frames should look like by their lights' directions alone."""
        block = self.model.block(self.place[frames])
        return np.asarray(self.model.smooth[block, self.light[frames]])

    def _swap_gain(self, promise: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return how much likelier it is that frames ``i`` and ``i + 1`` changed places.

        Returned beside it is whether they look turned round at all.

        Only what is between the two counts: an error that both share, as when the performer moved
        otherwise than thought, does not tell them apart.
        """
        first, second = self.seen[:-1], self.seen[1:]
        a, b = promise[:-1], promise[1:]
        apart = np.sqrt(_square(a - b)) + 1e-12
        along = ((first - second) * (a - b)).sum(axis=1) / apart
        size = np.sqrt(np.maximum(_square(a), _square(b)))
        possible = (
            self.in_slot[:-1]
            & self.in_slot[1:]
            & (np.abs(np.diff(self.place)) == 1)
            & (self.kind[:-1] != NONE)
            & (self.kind[1:] != NONE)
        )
        error = np.abs(along - apart)
        order = np.flatnonzero(possible)
        order = order[np.argsort(size[order])]
        third = max(1, len(order) // 3)
        least = 1.5 * float(np.median(error[order[:third]])) + 1e-4
        share = 1.5 * float(np.median(error[order[-third:]] / size[order[-third:]])) + 0.005
        spread = np.hypot(least, share * size)
        gain = -2.0 * along * apart / spread**2 + _SWAP_PRIOR
        own = _square(first - a) + _square(second - b)
        other = _square(first - b) + _square(second - a)
        usual = float(np.median(np.sqrt(_square(promise[self.kind == OLAT]))))
        turned = possible & (along < -_TURNED * apart) & (other < 0.6 * own)
        turned &= apart > _LEAST_APART * usual
        shown = np.sqrt(np.maximum(_square(first), _square(second)))
        turned &= shown > _LEAST_SHOWN * usual
        doubtful = np.asarray(possible & (gain > _SWAP_PRIOR + 0.5))
        self.perhaps = np.asarray(turned & (gain <= 0.0))
        gain = np.where(turned, gain, np.where(possible, np.minimum(gain, -0.5), -30.0))
        surely = possible & self.beside
        return np.where(surely, np.maximum(gain, 1.0), gain), doubtful | surely

    def _place_loose_frames(self) -> None:
        """Give frames without a slot of their own the free one nearby that they fit."""
        if not self.stamped:  # else a stamp on the beat is worth more than a likeness
            self._share_places()
        self.in_slot &= ~self.in_order
        taken = set(self.place[self.in_slot].tolist())
        slotted = np.flatnonzero(self.in_slot)
        first, last = int(slotted[0]), int(slotted[-1])
        own = np.sqrt(_square(self.seen))
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
            if frame in self.between:  # a false trigger, unless it fits its only slot well
                if frame not in self.lone or best > 3.0:
                    continue
            elif at_an_end:  # likeliest the next place, but nothing beyond it says so
                off, spreads = self.distance(frame, free[0], free[0] + self.offset)
                if spreads > 4.0 or off > _SURELY * max(usual, float(own[frame])):
                    continue
                place = free[0]
            elif frame in self.lone:  # it may have changed places with one beside it
                if best > 4.0:
                    self.guessed.append(frame)
            elif best > 4.0 or rival < 2.0 * best + 1.0:
                continue
            self.place[frame], self.in_slot[frame] = place, True
            self.step[frame] = place + self.offset
            taken.add(place)
        self.kind, self.light = self.table.kind(self.step), self.table.light(self.step)
        self.promise = self.promised(self.place, self.step)
        self.off = np.sqrt(_square(self.seen - self.promise))

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
        change = np.sqrt(_square(np.diff(self.seen, axis=0)))
        swapped = set(found.swapped)
        size = np.sqrt(_square(self.seen))
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
        gain, _ = self._swap_gain(self.promise)
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
        usual = float(np.median(np.sqrt(_square(self.promise[self.kind == OLAT]))))
        far = self.off > 6.0 * self.spread(self.promise, self.kind)
        far &= self.off > _LEAST_SHOWN * usual
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
        size = np.sqrt(np.maximum(_square(self.promise), _square(self.seen)))
        usual = float(np.median(size[self.kind == OLAT]))
        share = np.where(self.kind == TRACKING, _STRANGE_TRACKING, _STRANGE_SHARE)
        # as far as such a frame may be off that is as bright as this one or as was promised
        own = np.sqrt(_square(self.seen))
        spread = np.hypot(spread, self.relative_spread * np.where(self.kind == OLAT, own, 0.0))
        # and where all frames around are off, the performer did what nobody could know
        around = np.maximum(1.0, self._usual_around(self.off / spread))
        far = (
            (self.off > _STRANGE_SPREADS * spread * around)
            & (self.off > share * size)
            # without a tracking frame nearby nobody knows where the performer was
            & (self._apart_from_tracking() <= self.near)
            & (self.off > _LEAST_STRANGE * usual)
        )
        strange = far & ~moved & (self.kind != NONE)
        strange[self.guessed] = ~moved[self.guessed]
        strange &= ~np.isin(self.light, self.faulty)
        found.known &= ~strange
        found.extra += [
            frame for frame in np.flatnonzero(~self.in_slot).tolist() if not moved[frame]
        ]

    def _usual_around(self, spreads: Floats) -> Floats:
        """Return the median over the nearest OLAT frames, ``(frames,)``."""
        olat = np.flatnonzero((self.kind == OLAT) & self.in_slot)
        reach = min(_AROUND, (len(olat) - 1) // 2)
        windows = np.lib.stride_tricks.sliding_window_view(spreads[olat], 2 * reach + 1)
        usual = np.pad(np.median(windows, axis=1), reach, mode="edge")
        out = np.ones(len(spreads))
        out[olat] = usual
        return out

    def _apart_from_tracking(self) -> Ints:
        """Return how many places off the nearest other tracking frame is."""
        last = len(self._tracking_place) - 1
        after = np.searchsorted(self._tracking_place, self.place, side="right")
        before = np.searchsorted(self._tracking_place, self.place, side="left") - 1
        ahead = self._tracking_place[np.minimum(after, last)] - self.place
        behind = self.place - self._tracking_place[np.maximum(before, 0)]
        ahead = np.where(after <= last, ahead, 1 << 30)
        behind = np.where(before >= 0, behind, 1 << 30)
        return np.asarray(np.minimum(ahead, behind))

    def _weigh(self, found: Verdicts) -> None:
        """Say how sure each verdict is: against its being the other way, or none of them."""
        gain, _ = self._swap_gain(self.promise)
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


def _square(a: Floats) -> Floats:
    return np.asarray((a * a).sum(axis=-1))
