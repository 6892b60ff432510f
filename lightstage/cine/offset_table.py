"""Where the images lie: the table of offsets, checked against the file without reading images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.cine.header import CineHeader
from lightstage.cine.source import CineBytes, damaged
from lightstage.errors import CineError

#: Tables up to this many images are read at once (8 MB); of larger ones a few entries at a time.
_READ_AT_ONCE = 1 << 20
#: The shortest annotation: its own size and the image's size.
EMPTY_ANNOTATION = 8


class OffsetTable:
    """The image offsets of a file.

    Attributes:
        count: images that are wholly in the file.
        suspects: indices (at most the first 1000) whose offset contradicts its neighbours.

    Raises:
        CineError: the file is cut off and ``allow_truncated`` is not set, or no image is whole.
    """

    def __init__(self, source: CineBytes, header: CineHeader, allow_truncated: bool) -> None:
        self._source = source
        self._start = header.file.off_image_offsets
        self._entry = 8 if header.file.version else 4
        self._claimed = header.file.image_count
        self._need = header.pixel_format.frame_bytes + EMPTY_ANNOTATION
        self._end = self._start + self._entry * self._claimed
        self._all: NDArray[np.int64] | None = None
        if self._claimed <= _READ_AT_ONCE:
            self._all = self._read(0, self._claimed)
        self.count = self._claimed
        self._check_end(allow_truncated)
        self.suspects: list[int] = []
        if self._all is not None:
            self._all = self._all[: self.count]
            suspects = self._suspects_among(0, self.count)
            if len(suspects) == self.count:
                raise damaged(source.path, "pImage (image offsets)", self._span(), self._all[0])
            self.suspects = suspects[:1000]

    def window(self, index: int) -> tuple[int, int]:
        """Return the byte where image ``index`` starts and the byte where it must have ended.

        Raises:
            CineError: the offset lies outside the file or contradicts its neighbours.
        """
        first, last = max(0, index - 3), min(self.count, index + 4)
        offset = int(self._part(index, index + 1)[0])
        suspects = self._suspects_among(first, last)
        if index in suspects:
            raise damaged(
                self._source.path,
                f"pImage[{index}]",
                f"{self._span()}, {self._need} bytes or more from its neighbours",
                offset,
                "The image's offset is damaged; other images can be read.",
            )
        end = self._source.size
        if index + 1 < self.count and index + 1 not in suspects:
            end = int(self._part(index + 1, index + 2)[0])
        return offset, end

    def _span(self) -> str:
        return f"an offset from {self._end} to {self._source.size - self._need}"

    def _inside(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (offsets >= self._end) & (
            offsets <= self._source.size - self._need
        )
        return found

    def _read(self, first: int, last: int) -> NDArray[np.int64]:
        count = (last - first) * self._entry
        data = self._source.read(self._start + first * self._entry, count, "pImage")
        return data.view("<i8" if self._entry == 8 else "<u4").astype(np.int64)

    def _part(self, first: int, last: int) -> NDArray[np.int64]:
        return self._read(first, last) if self._all is None else self._all[first:last]

    def _check_end(self, allow_truncated: bool) -> None:
        """Set ``count`` to the images before the cut, if the file is cut off."""
        if self._inside(self._part(self._claimed - 1, self._claimed))[0]:
            return
        whole = self._whole_images()
        size = self._source.size
        first = int(self._part(0, 1)[0])
        if whole and size >= first + self._claimed * self._need:
            return  # long enough for all: single offsets are damaged, and reported as such
        if whole and allow_truncated:
            self.count = whole
            return
        remedy = (
            "Copy it again if you can; CineFile(path, allow_truncated=True) reads the whole ones."
            if whole
            else "Copy it again from the camera or a backup."
        )
        raise CineError(
            f"{self._source.path}: the file is cut off or ImageCount is wrong: expected "
            f"ImageCount = {self._claimed} images of {self._need} bytes, found {whole} whole in "
            f"{size} bytes. {remedy}"
        )

    def _whole_images(self) -> int:
        if self._all is not None:
            inside = np.flatnonzero(self._inside(self._all))
            return int(inside[-1]) + 1 if len(inside) else 0
        low, high = 0, self._claimed  # offsets grow: the cut is found by halving
        while low < high:
            middle = (low + high) // 2
            if self._inside(self._part(middle, middle + 1))[0]:
                low = middle + 1
            else:
                high = middle
        return low

    def _suspects_among(self, first: int, last: int) -> list[int]:
        """Return the indices in ``[first, last)`` whose offset cannot be right.

        Of two neighbours too close to each other the one is blamed without which the rest fits.
        """
        offsets = self._part(first, last)
        suspect = ~self._inside(offsets)
        # Clipped to the file, no difference of garbage can overflow.
        offsets = np.clip(offsets, 0, self._source.size)
        close = np.flatnonzero(np.diff(offsets) < self._need)
        if len(close):
            before = self._end - self._need if first == 0 else -2 * self._need
            after = self._source.size if last == self.count else self._source.size + 2 * self._need
            padded = np.concatenate(([before], offsets, [after]))
            fits_without = padded[2:] - padded[:-2] >= 2 * self._need
            left, right = fits_without[close], fits_without[close + 1]
            suspect[close[left | ~right]] = True
            suspect[close[right | ~left] + 1] = True
        return [int(i) + first for i in np.flatnonzero(suspect)]
