"""Stacks: the conditioning maps of consecutive frames on the network's channels (Fig. 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lightstage.errors import InputError
from relight_model.conditioning.landmark_lines import CHANNELS as LANDMARK_CHANNELS
from relight_model.conditioning.maps import NETWORK_MAPS, channel_count, checked_maps

_PARTS = {
    "diffuse": ("red", "green", "blue"),
    "pncc": ("x", "y", "z"),
    "landmarks": LANDMARK_CHANNELS,
    "normal": ("x", "y", "z"),
    "mask": ("coverage",),
}


class Frames(Protocol):
    """Maps of many frames, ``(n, channels, h, w)``: an array, in memory or on the disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channels, h, w)``."""

    def __getitem__(self, index: Any) -> Any:
        """Return one frame's channels."""


@dataclass(frozen=True)
class StackLayout:
    """What the network's input channels are; a checkpoint keeps it (:meth:`as_json`).

    The oldest frame comes first; within a frame, maps in the order of ``maps``.

    Attributes:
        maps: the maps of each frame.
        frames: how many, the paper's 11: t - 10 to t.
        step: frames of the clip from one to the next, 1 for the rate that the network was trained
            at. At 1000 frames/s with a network trained at 25 sets/s it is 40. A clip whose rate is
            no multiple is brought to one first, by interpolating its parameters.

    Raises:
        InputError: a map that is not known, or numbers below 1.
    """

    maps: tuple[str, ...] = NETWORK_MAPS
    frames: int = 11
    step: int = 1

    def __post_init__(self) -> None:
        """Check names and numbers."""
        object.__setattr__(self, "maps", checked_maps(self.maps))
        if self.frames < 1 or self.step < 1:
            raise InputError(
                f"a stack has 1 frame or more, 1 or more apart, not {self.frames} and {self.step}."
            )

    @property
    def channels(self) -> int:
        """How many channels the stack has."""
        return self.frames * channel_count(self.maps)

    @property
    def history(self) -> int:
        """How many frames, with those between, a stack reaches over."""
        return (self.frames - 1) * self.step + 1

    def indices(self, index: int) -> NDArray[np.int64]:
        """Return the frames of the stack at frame ``index``, oldest first, ``(frames,)``.

        Where a clip does not reach back so far, its first frame stands for those before it.
        """
        if index < 0:
            raise InputError(f"a clip's frames count from 0, there is none of {index}.")
        return np.maximum(index - self.step * np.arange(self.frames - 1, -1, -1), 0)

    def channel_names(self) -> tuple[str, ...]:
        """Return each channel's name, such as ``pncc.x@-10``: the age in frames of the stack."""
        return tuple(
            f"{name}.{part}@{-age}"
            for age in range(self.frames - 1, -1, -1)
            for name in self.maps
            for part in _PARTS[name]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the layout as JSON holds it."""
        return {"maps": list(self.maps), "frames": self.frames, "step": self.step}

    @classmethod
    def from_json(cls, about: dict[str, Any]) -> Self:
        """Return what :meth:`as_json` gave.

        Raises:
            InputError: it is not that.
        """
        try:
            return cls(tuple(about["maps"]), int(about["frames"]), int(about["step"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{about!r} is no layout of a stack of maps.") from None


def stack(
    maps: Frames | Sequence[NDArray[np.floating]], index: int, frames: int = 11, step: int = 1
) -> NDArray[np.floating]:
    """Return the stack at frame ``index``, ``(frames * channels, h, w)``, oldest first.

    Before a clip's first frame, the first is repeated.

    Args:
        maps: every frame's channels, ``(n, channels, h, w)``.
        index: the newest frame.
        frames: how many frames.
        step: from one to the next.

    Raises:
        InputError: there is no such frame.
    """
    count = maps.shape[0] if hasattr(maps, "shape") else len(maps)
    if not 0 <= index < count:
        raise InputError(f"there is no frame {index}, the maps are of 0 to {count - 1}.")
    wanted = StackLayout(frames=frames, step=step).indices(index)
    return np.concatenate([np.asarray(maps[int(i)]) for i in wanted])


class FrameStack:
    """The stack of a stream of frames: the same as :func:`stack`, frame by frame.

    Each frame is kept twice, so that the newest ``history`` lie in a row in memory whatever came
    last, and none is moved.
    """

    def __init__(self, layout: StackLayout, dtype: DTypeLike = np.float32) -> None:
        """Wait for the first frame."""
        self.layout = layout
        self._dtype = np.dtype(dtype)
        self._kept: NDArray[np.floating] | None = None
        self._seen = 0

    def reset(self) -> None:
        """Begin a new clip."""
        self._seen = 0

    def push(self, channels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Take the next frame's ``(channels, h, w)`` and return the stack ``(frames * c, h, w)``.

        With ``step`` 1 what is returned is valid until the next frame is pushed; copy it to keep
        it.

        Raises:
            InputError: another size than the frames before, or other channels than the layout's.
        """
        history = self.layout.history
        expected = channel_count(self.layout.maps)
        if channels.ndim != 3 or channels.shape[0] != expected:
            raise InputError(
                f"a frame of {'+'.join(self.layout.maps)} has ({expected}, h, w) channels, not "
                f"{channels.shape}."
            )
        if self._kept is None or (self._seen == 0 and self._kept.shape[1:] != channels.shape):
            self._kept = np.empty((2 * history, *channels.shape), self._dtype)
        if self._kept.shape[1:] != channels.shape:
            raise InputError(
                f"the stack is of {self._kept.shape[1:]} frames, this is {channels.shape}; reset "
                "it before another clip."
            )
        if self._seen == 0:
            self._kept[:] = channels
        else:
            slot = self._seen % history
            self._kept[slot] = channels
            self._kept[slot + history] = channels
        start = self._seen % history + 1
        self._seen += 1
        newest = self._kept[start : start + history : self.layout.step]
        return newest.reshape(-1, *channels.shape[1:])
