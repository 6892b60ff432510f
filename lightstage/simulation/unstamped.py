"""Recordings without time stamps, as cameras write whose clock is not recorded."""

from __future__ import annotations

import os
from pathlib import Path

from lightstage.cine.camera_setup import SETUP_BYTES
from lightstage.cine.header import BITMAP_HEADER_BYTES, FILE_HEADER_BYTES, TIME_BLOCK
from lightstage.errors import CineError

#: A kind of block that no reader knows, and so passes over.
_UNKNOWN_BLOCK = 0xFFFE


def remove_time_stamps(path: Path) -> None:
    """Take the time stamps out of a .cine file that CineWriter made; its frames stay as they are.

    The block that holds them becomes one of zeros of an unknown kind.

    Raises:
        CineError: the file is not laid out as CineWriter does.
    """
    # tagged blocks follow the headers: bytes of the block, its kind, whether more follow
    start = FILE_HEADER_BYTES + BITMAP_HEADER_BYTES + SETUP_BYTES
    with path.open("r+b") as file:
        file.seek(start)
        head = file.read(8)
        size, kind = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:6], "little")
        if kind != TIME_BLOCK:
            raise CineError(f"{path}: block {kind} comes first where the time stamps should.")
        file.seek(start + 4)
        file.write(_UNKNOWN_BLOCK.to_bytes(2, "little"))
        file.seek(start + 8)
        file.write(bytes(size - 8))
        file.flush()
        os.fsync(file.fileno())
