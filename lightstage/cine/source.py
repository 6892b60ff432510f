"""Reading a .cine file by position, and saying what is wrong with it.

Reads are positional (``pread``), not a memory map: a file that shrinks or a disk that fails while
it is read must become an error that names the file, and through a map it kills the process.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import CineError, InputError

COPY_AGAIN = "Copy the file again from the camera or a backup, and compare checksums."


def damaged(
    path: Path, name: str, expected: str, found: object, remedy: str = COPY_AGAIN
) -> CineError:
    """Return the error that says which field is wrong, what was expected, found, and what to do."""
    return CineError(f"{path}: {name} is wrong: expected {expected}, found {found}. {remedy}")


class CineBytes:
    """An open file that is read by position; safe to share between threads.

    Raises:
        InputError: there is no such file, it is a folder or a device, or it may not be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            # Asked before opening: opening a named pipe would wait for ever.
            if not stat.S_ISREG(self.path.stat().st_mode):
                kind = "a folder" if self.path.is_dir() else "not a regular file"
                raise InputError(f"{self.path}: a .cine file is expected, this is {kind}.")
            flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            raise InputError(f"{self.path}: there is no such .cine file.") from None
        except (OSError, ValueError) as reason:
            raise InputError(f"{self.path}: cannot be opened: {reason}.") from None
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    @property
    def closed(self) -> bool:
        """Whether the file has been closed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        self._finalizer()

    def read(self, offset: int, count: int, name: str) -> NDArray[np.uint8]:
        """Return ``count`` bytes from ``offset`` on; ``name`` is what they hold, for the error.

        Raises:
            CineError: the file does not hold them, or the disk fails.
            ValueError: the file has been closed.
        """
        if self.closed:
            raise ValueError(f"{self.path}: the CineFile has been closed.")
        if offset < 0 or offset + count > self.size:
            raise self._ends(offset, count, name, self.size)
        data = np.empty(count, np.uint8)
        view = memoryview(data)  # type: ignore[arg-type]
        got = 0
        while got < count:
            try:
                part = self._read_at(view[got:], offset + got)
            except OSError as reason:
                raise CineError(
                    f"{self.path}: {name} cannot be read at byte {offset + got}: {reason}. "
                    "Check the disk or the network share."
                ) from None
            if part == 0:
                raise self._ends(offset, count, name, offset + got)
            got += part
        return data

    def _read_at(self, view: memoryview[Any], offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        with self._lock:  # Windows has no positional read
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            part = os.read(self._descriptor, min(len(view), 1 << 24))
        view[: len(part)] = part
        return len(part)

    def _ends(self, offset: int, count: int, name: str, end: int) -> CineError:
        return damaged(
            self.path, name, f"{count} bytes from byte {offset} on", f"a file that ends at {end}"
        )
