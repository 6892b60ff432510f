"""The light log: what the simulated LEDs really did, by the stage's one true clock."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class LightLog:
    """Every pulse of every LED, in the order of their starts; shared by all simulated devices.

    The simulated controller writes it, the simulated camera asks it what lit each exposure. Times
    are nanoseconds of the stage's clock, which no device sees directly.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._lit: list[tuple[int, ...]] = []
        self._longest_ns = 0

    def add(self, start_ns: int, end_ns: int, channels: Sequence[int]) -> None:
        """Record that ``channels`` were on from ``start_ns`` to ``end_ns``."""
        if end_ns <= start_ns or not channels:
            return
        with self._lock:
            place = bisect_left(self._starts, start_ns)
            self._starts.insert(place, start_ns)
            self._ends.insert(place, end_ns)
            self._lit.insert(place, tuple(channels))
            self._longest_ns = max(self._longest_ns, end_ns - start_ns)

    def cut(self, at_ns: int) -> None:
        """Record that all lights went dark at ``at_ns``: what was to last longer did not."""
        with self._lock:
            self._ends = [
                min(end, max(at_ns, start))
                for start, end in zip(self._starts, self._ends, strict=True)
            ]

    def on_time_ns(self, start_ns: int, end_ns: int) -> NDArray[np.int64]:
        """Return how long each channel was on within ``[start_ns, end_ns)``, ``(channels,)``."""
        total = np.zeros(self.channels, dtype=np.int64)
        with self._lock:
            place = bisect_left(self._starts, start_ns - self._longest_ns)
            while place < len(self._starts) and self._starts[place] < end_ns:
                shared = min(self._ends[place], end_ns) - max(self._starts[place], start_ns)
                if shared > 0:
                    total[list(self._lit[place])] += shared
                place += 1
        return total

    @property
    def last_lit_ns(self) -> int:
        """When the last light went dark; a very early time where none ever was on."""
        with self._lock:
            lit = [e for s, e in zip(self._starts, self._ends, strict=True) if e > s]
        return max(lit, default=-(2**62))
