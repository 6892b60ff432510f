"""Values of manifests and lists of numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: A list of numbers on the page names so many runs at most.
_MOST_RUNS = 400
#: Dashes as they are set in print: from … to, and no value.
_TO = _NOTHING = "\N{EN DASH}"


def runs(numbers: Sequence[int]) -> str:
    """Return sorted numbers as runs: ``3, 7–9, 12``."""
    if not len(numbers):
        return "none"
    values = np.asarray(numbers)
    pieces = np.split(values, np.flatnonzero(np.diff(values) != 1) + 1)
    told = [
        f"{piece[0]}" if len(piece) == 1 else f"{piece[0]}{_TO}{piece[-1]}"
        for piece in pieces[:_MOST_RUNS]
    ]
    more = len(pieces) - _MOST_RUNS
    return ", ".join(told) + (f" and {more} more runs" if more > 0 else "")


def words(value: Any) -> str:
    """Return a value of a manifest as a person reads it."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(words(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {words(item)}" for name, item in value.items()) or _NOTHING
    return str(value)
