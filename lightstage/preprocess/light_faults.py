"""Light faults: lights that were dark, dim or always on during a take, by its pictures.

A light is compared with what those around it promise. Lights that stand too far behind the
performer to be seen are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightstage.preprocess.appearance import Floats, Ints, harmonic_degree, harmonics, robust_fit

#: Lights are judged that promise at least this share of a bright light.
_JUDGED = 0.35
#: Below these shares of what is promised, a light is dark, or dim.
_DARK, _DIM = 0.15, 0.6
#: A dim light is darker than the darkest of its neighbours by this, too.
_BELOW_NEIGHBOURS, _NEIGHBOURS = 0.8, 5
#: Dark frames this bright, as a share of a usual light's, show that something is always on.
_ALWAYS_ON = 0.15
#: The light that is always on is named when it fits what it must look like by this share.
_NAMED = 0.9
#: With more faults than this share of the lights, it is the comparison that is at fault.
_MOST_FAULTS = 0.34


@dataclass(frozen=True)
class LightFaults:
    """Lights by number; ``always_on`` says that one is on that may not be among ``stuck``."""

    dark: tuple[int, ...] = ()
    dim: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    always_on: bool = False


def find_light_faults(
    seen: Floats, light: Ints, dark_frame: Floats | None, directions: Floats
) -> LightFaults:
    """Return which lights were not as they should be.

    Args:
        seen: features of OLAT frames whose step is known, ``(frames, 16)``.
        light: their lights, ``(frames,)``.
        dark_frame: features of a frame without any light, ``(16,)``, or ``None`` if there is none.
        directions: unit vectors towards the lights, ``(lights, 3)``.
    """
    lights, place = np.unique(light, return_inverse=True)
    degree = min(3, harmonic_degree(len(lights)))
    if degree < 2:
        return LightFaults()
    count = np.bincount(place)
    own = np.zeros((len(lights), seen.shape[1]))
    np.add.at(own, place, seen)
    own /= count[:, None]
    basis = harmonics(directions[lights], degree)
    promised = basis @ robust_fit(basis, own, np.ones(len(own)))
    usual = float(np.median(own.sum(axis=1)))
    nothing = np.zeros(seen.shape[1]) if dark_frame is None else dark_frame
    stuck: tuple[int, ...] = ()
    always_on = float(nothing.sum()) > _ALWAYS_ON * usual
    if always_on:
        # it adds nothing in its own frame, where its neighbours promise that it adds as much again
        size = float(np.linalg.norm(nothing))
        unlike = np.linalg.norm(promised - 2 * nothing, axis=1)
        unlike += np.linalg.norm(own - nothing, axis=1)
        if unlike.min() < _NAMED * size:
            stuck = (int(lights[unlike.argmin()]),)
    level, hoped = (own - nothing).sum(axis=1), (promised - nothing).sum(axis=1)
    bright = float(np.quantile(level, 0.8))
    share = level / np.maximum(hoped, 1e-9)
    judged = (hoped > _JUDGED * bright) & ~np.isin(lights, stuck)
    near = np.argsort(-(directions[lights] @ directions[lights].T), axis=1)[:, 1 : 1 + _NEIGHBOURS]
    # of the neighbours, the darkest that is not itself far below what is promised
    around = np.where(share[near] < _DIM, np.inf, level[near]).min(axis=1)
    below = level < _BELOW_NEIGHBOURS * around
    dark = judged & below & (share < _DARK)
    dim = judged & below & (share >= _DARK) & (share < _DIM)
    if (dark | dim).sum() > _MOST_FAULTS * len(lights):
        return LightFaults(stuck=stuck, always_on=always_on)
    return LightFaults(tuple(lights[dark].tolist()), tuple(lights[dim].tolist()), stuck, always_on)
