"""Expectation: what each frame of a take should look like, and how far it is off.

A frame is compared with what its step should look like by the other frames of that light, and a
tracking frame with those around it. How far frames are usually off is found from the take.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.appearance import Floats, Ints, LightModel, features, follow_subject
from lightstage.preprocess.beat import Beat
from lightstage.preprocess.step_table import DARK, NONE, OLAT, TRACKING, StepTable
from lightstage.preprocess.tracking_frames import alike_over_time, same_as_before, tracking_beside
from lightstage.sequence import CaptureSequence

#: What is usual around a frame is the median over so many OLAT frames before and after.
_AROUND = 5
#: Before anything is seen, frames have changed places with this logarithm of probability.
_SWAP_PRIOR = -9.0
#: Frames that changed places differ the other way round by at least this share.
_TURNED = 0.4
_HALF_TURNED = 0.25
#: One of them is then off what its place promises by as many spreads.
_STRANGE = 6.0
#: Lights that differ less, as a share of a usual light's brightness, are not told apart.
_LEAST_APART = 0.2
#: unless the gain (logarithm) is that large, as for a performer who keeps still; then by this.
_PLAIN, _LEAST_PLAINLY_APART = 30.0, 0.08
#: Nor are two frames that are both darker than this share of it.
LEAST_SHOWN = 0.3


class Expectation:
    """What the frames of a take, whose places are known, should look like by their steps."""

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
        of_tracking = self.off[self.tracking] / np.sqrt(squared_length(self.promise[self.tracking]))
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

    def suspects(self) -> NDArray[np.bool_]:
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
        turned = np.flatnonzero(self.swap_gain(smooth)[1])
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
            change = np.sqrt(squared_length(own - own.mean(axis=0))).max()
            wrong = float(np.median(np.sqrt(squared_length(own - self._smooth(frames)))))
            suspects[frames] &= change > 0.3 * wrong
            hoped = float(np.sqrt(squared_length(self._smooth(frames))).mean())
            if change <= 0.3 * wrong and wrong > 0.5 * hoped:
                self.faulty.append(light)

    def _smooth(self, frames: NDArray[np.intp]) -> Floats:
        """Return what OLAT frames should look like by their lights' directions alone."""
        block = self.model.block(self.place[frames])
        return np.asarray(self.model.smooth[block, self.light[frames]])

    def swap_gain(self, promise: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return how much likelier it is that frames ``i`` and ``i + 1`` changed places.

        Returned beside it is whether they look turned round at all.

        Only what is between the two counts: an error that both share, as when the performer moved
        otherwise than thought, does not tell them apart.
        """
        first, second = self.seen[:-1], self.seen[1:]
        a, b = promise[:-1], promise[1:]
        apart = np.sqrt(squared_length(a - b)) + 1e-12
        along = ((first - second) * (a - b)).sum(axis=1) / apart
        size = np.sqrt(np.maximum(squared_length(a), squared_length(b)))
        possible = (
            self.in_slot[:-1]
            & self.in_slot[1:]
            & (np.abs(np.diff(self.place)) == 1)
            & (self.kind[:-1] != NONE)
            & (self.kind[1:] != NONE)
        )
        followed = self.apart_from_tracking() <= self.near
        around = np.maximum(1.0, self.usual_around(self.off / self.spread(self.promise, self.kind)))
        error = np.abs(along - apart)
        order = np.flatnonzero(possible)
        order = order[np.argsort(size[order])]
        third = max(1, len(order) // 3)
        least = 1.5 * float(np.median(error[order[:third]])) + 1e-4
        share = 1.5 * float(np.median(error[order[-third:]] / size[order[-third:]])) + 0.005
        spread = np.hypot(least, share * size)
        spread *= np.maximum(around[:-1], around[1:])
        gain = -2.0 * along * apart / spread**2 + _SWAP_PRIOR
        own = squared_length(first - a) + squared_length(second - b)
        other = squared_length(first - b) + squared_length(second - a)
        usual = float(np.median(np.sqrt(squared_length(promise[self.kind == OLAT]))))
        # without a tracking frame nearby nobody knows where the performer was
        better = np.where(followed[:-1] & followed[1:], 0.6, 0.2)
        turned = possible & (along < -_TURNED * apart) & (other < better * own)
        plainly = (gain > _PLAIN) & (other < 0.1 * own)
        turned &= apart > np.where(plainly, _LEAST_PLAINLY_APART, _LEAST_APART) * usual
        shown = np.sqrt(np.maximum(squared_length(first), squared_length(second)))
        turned &= shown > LEAST_SHOWN * usual
        doubtful = np.asarray(possible & (gain > _SWAP_PRIOR + 0.5))
        self.perhaps = np.asarray(turned & (gain <= 0.0))
        # a frontal light looks much like all lights, and far from others of its kind no frame is
        # quite what was promised: what looks turned round there is not trusted
        of_tracking = (self.kind[:-1] == TRACKING) != (self.kind[1:] == TRACKING)
        strange = self.off / self.spread(self.promise, self.kind) > _STRANGE
        alone = of_tracking & ~(followed[:-1] & followed[1:]) & (along < -_TURNED * apart)
        alone &= strange[:-1] | strange[1:]
        # nor are two that both look wrong, and less so the other way round
        both = (along < -_HALF_TURNED * apart) & (other < 0.5 * own) & strange[:-1] & strange[1:]
        both &= apart > _LEAST_APART * usual
        self.perhaps |= possible & (alone | both) & (shown > LEAST_SHOWN * usual)
        # dim ones, where each is wholly what the other should be
        off_both = np.minimum(self.off[:-1], self.off[1:]) > 3.0 * spread
        self.perhaps |= possible & (along < -0.7 * apart) & (other < 0.1 * own) & off_both
        gain = np.where(turned, gain, np.where(possible, np.minimum(gain, -0.5), -30.0))
        surely = possible & self.beside
        return np.where(surely, np.maximum(gain, 1.0), gain), doubtful | surely

    def usual_around(self, spreads: Floats) -> Floats:
        """Return the median over the nearest OLAT frames, ``(frames,)``."""
        olat = np.flatnonzero((self.kind == OLAT) & self.in_slot)
        reach = min(_AROUND, (len(olat) - 1) // 2)
        windows = np.lib.stride_tricks.sliding_window_view(spreads[olat], 2 * reach + 1)
        usual = np.pad(np.median(windows, axis=1), reach, mode="edge")
        out = np.ones(len(spreads))
        out[olat] = usual
        return out

    def apart_from_tracking(self) -> Ints:
        """Return how many places off the nearest other tracking frame is."""
        last = len(self._tracking_place) - 1
        after = np.searchsorted(self._tracking_place, self.place, side="right")
        before = np.searchsorted(self._tracking_place, self.place, side="left") - 1
        ahead = self._tracking_place[np.minimum(after, last)] - self.place
        behind = self.place - self._tracking_place[np.maximum(before, 0)]
        ahead = np.where(after <= last, ahead, 1 << 30)
        behind = np.where(before >= 0, behind, 1 << 30)
        return np.asarray(np.minimum(ahead, behind))


def squared_length(a: Floats) -> Floats:
    """Return the sum of squares over the last axis."""
    return np.asarray((a * a).sum(axis=-1))
