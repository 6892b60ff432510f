"""The weighted sum of images as one pass over memory, compiled by Numba.

A set of 96 one-light images is hundreds of megabytes, and its relighting two operations on each
value: what it costs is the way from memory. So each value is fetched once, in a type as small as it
is stored in (float16 is converted by the processor on the way), and multiplied by all the weights
while it is in the cache. Rows of blocks are shared among threads; Numba lets go of Python's lock.

The order of a pixel's additions depends on neither threads nor blocks nor how many weights are
asked for at once: the same light gives the same bits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import NDArray

#: Values after which a row of colours begins anew at a vector register's edge: 3 colours by 16.
_PERIOD = 48
#: Values worked on at a time for one weight, and for many: these stay in the second cache.
_BLOCK_OF_ONE = 256 * _PERIOD
_BLOCK_OF_MANY = 64 * _PERIOD
#: Below so many products another thread costs more than it saves.
_PRODUCTS_FOR_THREADS = 1 << 20


def add_weighted(
    images: NDArray[np.floating],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    dark: bool = False,
    threads: int | None = None,
) -> None:
    """Add ``sum over l of weights[n, l] * images[l]`` to each ``out[n]``, per colour.

    Args:
        images: ``(lights, height, width, 3)`` of any floating type and layout. Quickest are
            C-ordered float32 and float16; others are converted a few lights at a time.
        weights: ``(n, lights, 3)``. An image whose weights are all 0 is not looked at.
        out: ``(n, height, width, 3)``, C-ordered.
        dark: take NaN as 0.
        threads: how many share the work; as many as Numba was given (its ``NUMBA_NUM_THREADS``,
            at first the cores that the process may use) unless said otherwise.
    """
    used = np.flatnonzero(weights.any(axis=(0, 2)))
    if not len(used) or not out.size:
        return
    if _is_plain(images):
        _add(images, used, weights[:, used], out, dark, threads)
        return
    group = max(1, _BLOCK_OF_ONE * 64 // max(1, images[0].size))
    for start in range(0, len(used), group):
        chosen = used[start : start + group]
        plain = np.ascontiguousarray(images[chosen], dtype=np.float32)
        _add(plain, np.arange(len(chosen)), weights[:, chosen], out, dark, threads)


def _is_plain(images: NDArray[np.floating]) -> bool:
    plain = images.dtype in (np.float32, np.float16) and images.dtype.isnative
    return plain and images.flags.c_contiguous and images.flags.aligned


def _add(
    images: NDArray[np.floating],
    used: NDArray[np.intp],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
    dark: bool,
    threads: int | None,
) -> None:
    values = images.reshape(len(images), -1)
    if values.dtype == np.float16:
        values = values.view(np.uint16)
    pattern = np.tile(weights, (1, 1, _PERIOD // 3))
    sums = out.reshape(len(out), -1)
    block = _BLOCK_OF_ONE if len(out) == 1 else _BLOCK_OF_MANY
    blocks = -(-sums.shape[1] // block)
    if threads is None:
        threads = numba.get_num_threads()
        if len(out) == 1 and images.dtype == np.float32:
            threads = max(1, threads // 2)  # half the cores fetch all that memory can give
    threads = min(threads, blocks)
    if sums.size * len(used) < _PRODUCTS_FOR_THREADS:
        threads = 1
    if threads == 1:
        _add_blocks(values, used, pattern, sums, dark, 0, blocks, block)
        return
    # in more parts than threads, each taken by who is free: on a busy machine some are held up
    edges = np.linspace(0, blocks, min(blocks, 16 * threads) + 1).astype(np.int64)
    parts = pairwise(edges)
    lock = Lock()

    def work() -> None:
        while True:
            with lock:
                part = next(parts, None)
            if part is None:
                return
            _add_blocks(values, used, pattern, sums, dark, part[0], part[1], block)

    with ThreadPoolExecutor(threads - 1) as pool:
        helpers = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for helper in helpers:
            helper.result()


def _as_linear(_: Any, stored: Any, dark: Any) -> Any:
    """Return a stored value as float32; NaN as 0 if ``dark``.

    Stored values are float32, or the 16 bits of a float16, which Numba has no type for: the
    compiler makes the processor's own conversion of this.
    """
    single = ir.FloatType()

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        value, is_dark = arguments
        if stored == numba.types.uint16:
            value = builder.fpext(builder.bitcast(value, ir.HalfType()), single)
        lost = builder.and_(is_dark, builder.fcmp_unordered("uno", value, value))
        return builder.select(lost, ir.Constant(single, 0.0), value)

    return numba.types.float32(stored, dark), generate


_linear = intrinsic(_as_linear)


def _add_block_range(
    values: Any, used: Any, pattern: Any, sums: Any, dark: Any, first: int, end: int, block: int
) -> None:
    """Add to blocks ``first`` to ``end`` of each sum; compiled.

    Four lights at a time, so that a sum is fetched and put back a quarter as often. It is all one
    function, and 48 is written out, because the compiler makes vector code of it only so.

    Args:
        values: ``(lights, values)``.
        used: which lights count, ``(used,)``.
        pattern: their weights, repeated over one period, ``(n, used, 48)``.
        sums: ``(n, values)``.
        dark: take NaN as 0.
        first: the first block.
        end: the block after the last.
        block: values in each, a multiple of 48.
    """
    for at in range(first, end):
        left, right = at * block, min(at * block + block, sums.shape[1])
        periods = (right - left) // 48
        for g in range(0, len(used) - 3, 4):
            a, b = values[used[g], left:right], values[used[g + 1], left:right]
            c, d = values[used[g + 2], left:right], values[used[g + 3], left:right]
            for n in range(sums.shape[0]):
                out = sums[n, left:right]
                wa, wb, wc, wd = (
                    pattern[n, g], pattern[n, g + 1], pattern[n, g + 2], pattern[n, g + 3],
                )  # fmt: skip
                for period in range(periods):
                    for k in range(48):
                        i = period * 48 + k
                        total = out[i]
                        total += wa[k] * _linear(a[i], dark)
                        total += wb[k] * _linear(b[i], dark)
                        total += wc[k] * _linear(c[i], dark)
                        total += wd[k] * _linear(d[i], dark)
                        out[i] = total
                for k in range(right - left - periods * 48):
                    i = periods * 48 + k
                    total = out[i]
                    total += wa[k] * _linear(a[i], dark)
                    total += wb[k] * _linear(b[i], dark)
                    total += wc[k] * _linear(c[i], dark)
                    total += wd[k] * _linear(d[i], dark)
                    out[i] = total
        for g in range(len(used) // 4 * 4, len(used)):
            a = values[used[g], left:right]
            for n in range(sums.shape[0]):
                out = sums[n, left:right]
                wa = pattern[n, g]
                for i in range(right - left):
                    out[i] += wa[i % 48] * _linear(a[i], dark)


def _compiled(function: Any) -> Any:
    """Compile at first use; the result is kept on the disk where there is a place for it."""
    # a product and its addition may become one instruction, but NaN keeps its meaning
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's may be written to
        return numba.njit(**options)(function)


_add_blocks = _compiled(_add_block_range)
