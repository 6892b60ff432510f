"""Conditioning maps: what the network sees of one frame, equation (7) of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lightstage.errors import InputError

Array = NDArray[np.float32]

#: Every map, and how many channels it has.
MAP_CHANNELS: Mapping[str, int] = MappingProxyType(
    {"diffuse": 3, "pncc": 3, "landmarks": 3, "normal": 3, "mask": 1}
)
#: The maps of equation (7), in the order of the network's channels.
NETWORK_MAPS = ("diffuse", "pncc", "landmarks")


@dataclass(frozen=True, eq=False)
class ConditioningMaps:
    """The maps of one frame, float32, top row first; those that were not asked for are absent.

    * ``diffuse`` (h, w, 3): the head's texture over black, **display-encoded** (sRGB) in [0, 1]. It
      is averaged as linear light and multiplied by the mask before the curve.
    * ``pncc`` (h, w, 3): the place on the mean head, each axis from 0 to 1. A pixel holds the mean
      of the surface it shows, not mixed with the background; 0 where less than half of it shows
      the head.
    * ``landmarks`` (h, w, 3): coverage by lines in [0, 1]: outline (jaw, brows, nose); lids; lips
      and pupils.
    * ``normal`` (h, w, 3): unit, world axes, of smooth shading; edges as ``pncc``.
    * ``mask`` (h, w): the share of each pixel that shows the head.
    """

    arrays: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        """Return a map by its name.

        Raises:
            InputError: it was not rendered.
        """
        if name not in self.arrays:
            raise InputError(f"there is no {name} map here, only {', '.join(self.arrays)}.")
        return self.arrays[name]

    @property
    def diffuse(self) -> Array:
        """The texture over black, ``(h, w, 3)`` sRGB-encoded."""
        return self["diffuse"]

    @property
    def pncc(self) -> Array:
        """The place on the mean head, ``(h, w, 3)``."""
        return self["pncc"]

    @property
    def landmarks(self) -> Array:
        """The landmark image, ``(h, w, 3)``."""
        return self["landmarks"]

    @property
    def normal(self) -> Array:
        """Unit normals, ``(h, w, 3)``."""
        return self["normal"]

    @property
    def mask(self) -> Array:
        """Coverage, ``(h, w)``."""
        return self["mask"]

    def channels(
        self, names: Sequence[str] = NETWORK_MAPS, dtype: DTypeLike = np.float32
    ) -> NDArray[np.floating]:
        """Return maps as the network takes them, ``(channels, h, w)``, in order of ``names``."""
        arrays = [self[name] for name in names]
        height, width = arrays[0].shape[:2]
        out = np.empty((channel_count(names), height, width), dtype)
        at = 0
        for array in arrays:
            planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
            out[at : at + len(planes)] = planes
            at += len(planes)
        return out


def channel_count(names: Sequence[str]) -> int:
    """Return how many channels these maps have together."""
    return sum(MAP_CHANNELS[name] for name in checked_maps(names))


def checked_maps(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of maps.

    Raises:
        InputError: one is not known or named twice, or there is none.
    """
    chosen = tuple(names)
    unknown = [name for name in chosen if name not in MAP_CHANNELS]
    if unknown or not chosen or len(set(chosen)) != len(chosen):
        raise InputError(
            f"maps must be some of {', '.join(MAP_CHANNELS)}, each once, not "
            f"{', '.join(chosen) or 'none'}."
        )
    return chosen
