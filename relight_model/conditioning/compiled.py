"""How the rasteriser's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at first use, without the interpreter's lock; the result is kept on the disk.

    No fast arithmetic: two triangles find exactly opposite numbers for the edge that they share, so
    that no sample falls between them.
    """
    return _made(function, {})


def compiled_fast(function: Function) -> Function:
    """The same for what decides nothing: sums may be taken in another order."""
    return _made(function, {"fastmath": {"contract", "reassoc", "nsz", "arcp"}})


def _made(function: Function, more: dict[str, Any]) -> Function:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's may be written to
        return cast(Function, numba.njit(**options)(function))
