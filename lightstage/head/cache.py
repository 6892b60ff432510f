"""The procedural head on disk: made once, then read in a few hundredths of a second.

A file is named by a hash of the code that makes the head and of the libraries it uses, so another
version never reads it. It is written beside its place and then moved there. Whatever is wrong with
it - cut short, changed, not ours - it is made anew; a folder that cannot be written to only means
that the head is made each time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

#: How many files of one name are kept: other versions of the code may be in use at the same time.
_KEPT = 4


def cache_folder() -> Path:
    """Return the user's cache folder for this software; it need not exist."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen:
        base = Path(chosen)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "lightstage"


def cached(name: str, make: Callable[[], Arrays]) -> Arrays:
    """Return named arrays from the cache, or make them and put them there.

    Args:
        name: what they are, a file name's beginning.
        make: makes them; called when there is no file of this version or it is damaged.
    """
    try:
        path = cache_folder() / f"{name}-{_version()}.npz"
    except (OSError, RuntimeError):  # no home, or code that lies in no files
        return make()
    found = _read(path)
    if found is not None:
        return found
    made = make()
    _write(path, made)
    _tidy(path.parent, name)
    return made


def _version() -> str:
    """Return a hash of the code that makes the head, and of what it is made with."""
    import cv2
    import scipy

    digest = hashlib.sha256()
    for part in (sys.version, np.__version__, scipy.__version__, cv2.__version__):
        digest.update(part.encode() + b"\0")
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def _read(path: Path) -> Arrays | None:
    """Return the arrays of a file, or nothing where it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError):
        return None
    names = arrays.pop("names", None)
    if names is None or sorted(arrays) != names.tolist():
        return None
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    """Write arrays to a file at once or not at all; that it cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=path.stem, suffix=".partial", dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, names=np.array(sorted(arrays)), **arrays)
        Path(partial).replace(path)
    except OSError:
        Path(partial).unlink(missing_ok=True)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _tidy(folder: Path, name: str) -> None:
    """Remove all but the newest files of a name."""
    try:
        files = sorted(folder.glob(f"{name}-*.npz"), key=lambda file: file.stat().st_mtime)
        for old in files[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return
