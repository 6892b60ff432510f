"""Files that have their name only when they are whole, power failures included."""

from __future__ import annotations

import os
from pathlib import Path


def finish_file(partial: Path, path: Path) -> None:
    """Flush a written ``partial`` to the disk and give it its name."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
