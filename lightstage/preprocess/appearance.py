"""Appearance: what each light makes the performer look like, learned from the take itself.

A coarse picture becomes sixteen numbers: how much light falls on each part of the performer, as the
tracking frames around it show where that is and how bright. So a performer who moves stays
comparable. How those numbers depend on the light's direction is smooth (spherical harmonics); what
is particular to a light is learned from its other frames, never from the frame that is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Where the parts of the performer lie, in standard deviations from the middle, each way.
_PARTS = np.array([-1.35, -0.45, 0.45, 1.35])
_PART_WIDTH = 0.6
#: Frames of the same light that tell what is particular to it, before and after a frame.
_OTHERS = 2


@dataclass(frozen=True)
class Subject:
    """Where the performer is and how bright a tracking frame is, for each frame ``(frames,)``."""

    centre_x: Floats
    centre_y: Floats
    width: Floats
    height: Floats
    total: Floats


def follow_subject(
    pictures: NDArray[np.float32], place: Ints, tracking: NDArray[np.intp]
) -> Subject:
    """Return where the performer is in each frame, by the tracking frames around it.

    Args:
        pictures: coarse pictures, ``(frames, rows, columns)``.
        place: each frame's place in time.
        tracking: indices of trusted tracking frames, at least one.
    """
    shown = pictures[tracking].astype(np.float64)
    weight = np.maximum(shown, 0.0)
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-9)
    x, y = (
        np.arange(weight.shape[2], dtype=np.float64),
        np.arange(weight.shape[1], dtype=np.float64),
    )
    along_x, along_y = weight.sum(axis=1) / total[:, None], weight.sum(axis=2) / total[:, None]
    centre_x, centre_y = along_x @ x, along_y @ y
    width = np.sqrt(np.maximum(along_x @ (x * x) - centre_x**2, 0.25))
    height = np.sqrt(np.maximum(along_y @ (y * y) - centre_y**2, 0.25))
    order = np.argsort(place[tracking], kind="stable")
    at = place[tracking][order].astype(np.float64)
    when = place.astype(np.float64)
    values = (centre_x, centre_y, width, height, total)
    return Subject(*(np.interp(when, at, value[order]) for value in values))


def features(pictures: NDArray[np.float32], subject: Subject) -> Floats:
    """Return how bright each part of the performer is, ``(frames, 16)``, 1 = all of full light."""
    count, rows, columns = pictures.shape
    u = (np.arange(columns) - subject.centre_x[:, None]) / subject.width[:, None]
    v = (np.arange(rows) - subject.centre_y[:, None]) / subject.height[:, None]
    across = _parts(u.astype(np.float32))
    down = _parts(v.astype(np.float32))
    seen = down @ pictures @ across.transpose(0, 2, 1)
    return np.asarray(seen.reshape(count, -1) / subject.total[:, None], dtype=np.float64)


def _parts(u: NDArray[np.float32]) -> NDArray[np.float32]:
    apart = (u[:, None, :] - _PARTS[:, None].astype(np.float32)) / np.float32(_PART_WIDTH)
    return np.asarray(np.exp(-0.5 * apart * apart), dtype=np.float32)


def harmonics(directions: Floats, degree: int) -> Floats:
    """Return smooth functions of direction, ``(lights, (degree + 1) ** 2)``.

    They span the spherical harmonics up to ``degree``: polynomials in x, y and z.
    """
    x, y, z = directions.T
    powers = [
        (total - b - c, b, c)
        for total in range(degree + 1)
        for b in range(total + 1)
        for c in range(min(1, total - b) + 1)
    ]
    return np.stack([x**a * y**b * z**c for a, b, c in powers], axis=1)


def harmonic_degree(lights: int) -> int:
    """Return up to which degree so many lights can tell."""
    return next((d for d, least in ((4, 80), (3, 48), (2, 20), (1, 8)) if lights >= least), 0)


class LightModel:
    """What each light looks like, learned from frames whose light is believed known.

    Attributes:
        smooth: by direction alone, ``(blocks, lights, 16)``.
        particular: by how much each frame learned from is off that, ``(frames, 16)``.
        within: how much frames of one light differ, squared; ``between``: frames of all lights.
    """

    def __init__(
        self,
        seen: Floats,
        light: Ints,
        place: Ints,
        directions: Floats,
        block_places: int,
        prior: Floats | None = None,
    ) -> None:
        """Learn from features ``(frames, 16)`` of frames that show ``light`` at ``place``.

        ``prior`` are features of each light from a calibration, ``(lights, 16)``.
        """
        self._seen, self._light, self._place = seen, light, place
        self._block_places = block_places
        self._first = int(place.min())
        basis = harmonics(directions, harmonic_degree(len(np.unique(light))))
        blocks = max(1, round((int(place.max()) - self._first) / block_places))
        self._last_block = blocks - 1
        block = self.block(place)
        self.smooth = np.empty((blocks, len(directions), seen.shape[1]))
        start = np.ones(len(seen))
        known = np.zeros((len(directions), seen.shape[1])) if prior is None else prior
        unknown = seen - known[light]
        for b in range(blocks):
            # half a block more on either side, so that each has all lights
            near = np.abs(place - self._first - (b + 0.5) * block_places) <= block_places
            if blocks == 1 or near.sum() < 2 * basis.shape[1]:
                near = np.ones(len(seen), dtype=bool)
            fit = robust_fit(basis[light[near]], unknown[near], start[near])
            self.smooth[b] = known + basis @ fit
        self.particular = seen - self.smooth[block, light]
        self._sort()
        self._weigh()

    def block(self, place: Ints) -> Ints:
        """Return in which stretch of the take places lie."""
        found = (place - self._first) // self._block_places
        return np.clip(found, 0, self._last_block)

    def _sort(self) -> None:
        self._order = np.lexsort((self._place, self._light))
        self._sorted_light = self._light[self._order]
        self._key = self._sorted_light.astype(np.float64) * 1e9 + self._place[self._order]

    def _weigh(self) -> None:
        """Find how much a light's other frames tell: spread within lights and between them."""
        sorted_particular = self.particular[self._order]
        same = np.flatnonzero(self._sorted_light[1:] == self._sorted_light[:-1])
        size = np.sqrt((self.particular**2).sum(axis=1))
        between = float(np.median(size)) ** 2 + 1e-12
        if len(same) >= 8:
            change = sorted_particular[same + 1] - sorted_particular[same]
            within = float(np.median((change**2).sum(axis=1))) / 2.0 + 1e-14
        else:
            within = between
        self.within, self.between = within, max(between - within, 1e-12)

    def promised(self, place: Ints, light: Ints) -> Floats:
        """Return what ``light`` should look like at ``place``, ``(n, 16)``, by other places."""
        smooth = self.smooth[self.block(place), light]
        key = light * 1e9 + place
        at = np.searchsorted(self._key, key)
        total = np.zeros_like(smooth)
        count = np.zeros(len(place))
        last = len(self._key) - 1
        for shift in range(-_OTHERS, _OTHERS + 1):
            other = np.clip(at + shift, 0, last)
            frame = self._order[other]
            usable = (
                (at + shift >= 0)
                & (at + shift <= last)
                & (self._light[frame] == light)
                & (self._place[frame] != place)
            )
            total += np.where(usable[:, None], self.particular[frame], 0.0)
            count += usable
        share = count * self.between / (count * self.between + self.within)
        mean = total / np.maximum(count, 1.0)[:, None]
        return np.asarray(smooth + share[:, None] * mean)


def look_features(lit: NDArray[np.float32], whole: NDArray[np.float32]) -> Floats:
    """Return :func:`features` of pictures ``(lights, rows, columns)`` of one still subject.

    ``whole`` is the same under all lights, as a tracking frame shows it.
    """
    every = np.concatenate([lit, whole[None]])
    at = np.zeros(len(every), dtype=np.int64)
    return features(every, follow_subject(every, at, np.array([len(lit)])))[:-1]


def robust_fit(basis: Floats, seen: Floats, weight: Floats) -> Floats:
    """Return coefficients of a least-squares fit in which frames that stand out count little."""
    ridge = 1e-6 * np.eye(basis.shape[1]) * max(len(basis), 1)
    fit: Floats = np.zeros((basis.shape[1], seen.shape[1]))
    counted = weight
    for _ in range(3):
        weighted = basis * counted[:, None]
        fit = np.asarray(np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ seen))
        error = np.sqrt(((seen - basis @ fit) ** 2).sum(axis=1))
        usual = float(np.median(error)) + 1e-12
        counted = weight * np.minimum(1.0, 2.0 * usual / np.maximum(error, 1e-12)) ** 2
    return fit
