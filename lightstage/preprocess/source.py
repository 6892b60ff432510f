"""Frame sources: where preprocessing reads a take's frames from."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lightstage.cine import CineFile


class FrameSource(Protocol):
    """A take's frames as the sensor stored them, whatever holds them."""

    @property
    def width(self) -> int:
        """Frame width in pixels."""

    @property
    def height(self) -> int:
        """Frame height in pixels."""

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels, such as ``GBRG``; ``GRAY`` for none."""

    @property
    def black_level(self) -> float:
        """Stored value of no light."""

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time stamp, or ``None`` where there are none."""

    @property
    def first_frame_number(self) -> int:
        """The camera's number of frame 0."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """Return the stored frame ``(height, width)``, top row first."""


class CineSource:
    """A .cine file as a frame source."""

    def __init__(self, path: Path) -> None:
        self._cine = CineFile(path)

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._cine.close()

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return self._cine.width

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return self._cine.height

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels; ``GRAY`` for none."""
        return str(self._cine.cfa)

    @property
    def black_level(self) -> float:
        """Stored value of no light."""
        return float(self._cine.black_level)

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""
        return float(self._cine.white_level)

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time stamp in UTC nanoseconds, or ``None``."""
        return self._cine.time_ns

    @property
    def first_frame_number(self) -> int:
        """The camera's number of the file's first frame."""
        return self._cine.first_frame_number

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._cine)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """Return the stored frame, top row first."""
        return self._cine[index]
