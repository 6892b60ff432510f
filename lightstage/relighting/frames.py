"""Frames of a film out of reflectance fields, relit by several threads in bounded memory.

A film of many sets is bound by reading and decoding them. So sets are not read whole: a few lights
at a time are decoded as they are stored (float16) and added while they are still in the cache, each
set by one thread. Frames of the same set, as of a still under turning light, share its reading.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance
from lightstage.relighting.combine import (
    Missing,
    checked_weights,
    exposure_for,
    relight,
    relight_many,
)

if TYPE_CHECKING:  # Zarr takes a second to import
    from lightstage.fields import ReflectanceFields

#: Frames that share one reading of their set, and what they may take.
_MOST_TOGETHER = 36
_TOGETHER_BYTES = 256 << 20
#: Images decoded before they are added: each turn opens the set's file anew.
_DECODED_BYTES = 64 << 20
#: The sum takes this many lights at a time.
_LIGHTS_AT_ONCE = 4


def relight_frames(
    fields: ReflectanceFields,
    plan: Iterable[tuple[int, ArrayLike]],
    *,
    missing: Missing = "raise",
    workers: int | None = None,
) -> Generator[NDArray[np.float32], None, None]:
    """Yield one relit image for each ``(set index, weights)`` of a plan.

    Memory holds a few images and the frames that are ahead, never a whole set; only of virtual
    stores, whose images take seconds to make, the last set is held.

    Args:
        fields: the reflectance fields.
        plan: set indices with weights ``(lights, 3)``; it may be a generator, and is read somewhat
            ahead.
        missing: as in :func:`~lightstage.relighting.relight`.
        workers: threads that read and relight ahead, one for each core unless said otherwise. The
            frames do not depend on it.

    Raises:
        DomeError: the number of lights differs.
        InputError: a weight is not finite, or an image is missing.
        FieldsError: a set is damaged.
    """
    batches = batches_of(fields, plan)
    if fields.is_virtual:
        yield from _relight_virtual(fields, batches, missing)
        return
    import numba

    workers = workers or numba.get_num_threads()
    stop = threading.Event()
    ahead: deque[Future[NDArray[np.float32]]] = deque()
    pool = ThreadPoolExecutor(workers, "relight")
    try:
        for index, weights in batches:
            ahead.append(pool.submit(_relight_set, fields, index, weights, missing, stop))
            if len(ahead) > workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:  # also when the film is given up: nothing goes on behind the caller's back
        stop.set()
        pool.shutdown(cancel_futures=True)


def film_exposure(
    fields: ReflectanceFields,
    plan: Iterable[tuple[int, ArrayLike]],
    *,
    looks: int = 5,
    missing: Missing = "raise",
    workers: int | None = None,
) -> float:
    """Return one exposure for a whole film: that of the brightest of a few of its frames.

    ``looks`` frames spread evenly over the plan are relit; the factor is the least of theirs, so
    that none of them burns out. ``workers`` as in :func:`relight_frames`.
    """
    whole = list(plan)
    if not whole:
        return 1.0
    chosen = np.unique(np.linspace(0, len(whole) - 1, max(1, looks)).round().astype(int))
    looked_at = (whole[place] for place in chosen)
    frames = relight_frames(fields, looked_at, missing=missing, workers=workers)
    lit = [frame for frame in frames if (luminance(frame) > 0).any()]
    return min((exposure_for(frame) for frame in lit), default=1.0)


def batches_of(
    fields: ReflectanceFields, plan: Iterable[tuple[int, ArrayLike]]
) -> Iterator[tuple[int, list[ArrayLike]]]:
    """Put consecutive frames of the same set together, as many as memory should hold."""
    most = _TOGETHER_BYTES // (12 * fields.height * fields.width)
    most = max(1, min(_MOST_TOGETHER, most))
    held, together = -1, list[ArrayLike]()
    for asked, weights in plan:
        index = range(len(fields))[asked]
        if together and (index != held or len(together) == most):
            yield held, together
            together = []
        held = index
        together.append(weights)
    if together:
        yield held, together


def _relight_set(
    fields: ReflectanceFields,
    index: int,
    weights: list[ArrayLike],
    missing: Missing,
    stop: threading.Event,
) -> NDArray[np.float32]:
    """Return ``(n, height, width, 3)``: what ``relight_many`` makes of the whole set."""
    from lightstage.relighting.weighted_sum import add_weighted

    weight = _stacked(weights, fields.lights, missing)
    images = np.zeros((len(weight), fields.height, fields.width, 3), dtype=np.float32)
    used = np.flatnonzero(weight.any(axis=(0, 2)))
    group = _DECODED_BYTES * 2 // max(1, images[0].nbytes) // _LIGHTS_AT_ONCE * _LIGHTS_AT_ONCE
    group = min(max(group, _LIGHTS_AT_ONCE), max(1, len(used)))
    decoded = np.empty((group, *images.shape[1:]), dtype=np.float16)
    for start in range(0, len(used), group):
        if stop.is_set():
            break
        lights = used[start : start + group]
        stored = fields.read_stored(index, lights, decoded[: len(lights)])
        add_weighted(stored, weight[:, lights], images, dark=missing == "skip", threads=1)
    for image, own in zip(images, weight, strict=True):
        if np.isnan(image).any():  # rare enough to read the set again: it is refused, or mended
            image[...] = relight(fields.read_stored(index), own, missing=missing, threads=1)
    return images


def _relight_virtual(
    fields: ReflectanceFields, batches: Iterable[tuple[int, list[ArrayLike]]], missing: Missing
) -> Iterator[NDArray[np.float32]]:
    held, olat = -1, np.empty(0, np.float16)
    for index, weights in batches:
        if index != held:
            olat = np.empty(0, np.float16)  # let the old set go before the next one is made
            held, olat = index, fields.read_stored(index)
        weight = _stacked(weights, fields.lights, missing)
        yield from relight_many(olat, weight, missing=missing)


def _stacked(weights: list[ArrayLike], lights: int, missing: Missing) -> NDArray[np.float32]:
    return np.concatenate(
        [checked_weights(np.asarray(weight)[None], lights, missing) for weight in weights]
    )
