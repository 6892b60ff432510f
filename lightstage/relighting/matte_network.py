"""Matting by a network of the user's: an ONNX or TorchScript file run on the rim-lit picture.

The paper mattes with MODNet (Ke et al., *MODNet: Real-Time Trimap-Free Portrait Matting via
Objective Decomposition*, AAAI 2022). No weights are shipped. A file takes a picture
``(1, 3, height, width)`` in [-1, 1], sides multiples of 32, and gives the matte
``(1, 1, height, width)`` in [0, 1] as its last output, as MODNet's own exports do.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import encode_srgb
from lightstage.errors import InputError

Array = NDArray[np.float32]
#: ``(1, 3, height, width)`` float32 to ``(1, 1, height, width)``.
Network = Callable[[Array], Array]

#: Packages that run other kinds of network files offer ``load(path) -> Network`` here.
ENTRY_POINTS = "lightstage.matte"
_TORCHSCRIPT_SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")
#: Sides of what a network is given are multiples of this.
_SIDE_STEP = 32
_DOWNLOAD_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 20


def fetch_network(where: str, sha256: str | None = None) -> tuple[Path, str]:
    """Return a network's file and its SHA-256, downloaded where ``where`` is a URL.

    Downloads are kept in the user's cache folder under their hash, and fetched once.

    Args:
        where: a path, or an http or https URL.
        sha256: the file's expected hash, 64 hexadecimal digits; must be given with a URL.

    Raises:
        InputError: there is no such file, the download failed, or the hash is another.
    """
    wanted = None if sha256 is None else sha256.strip().lower()
    if wanted is not None and (len(wanted) != 64 or set(wanted) - set("0123456789abcdef")):
        raise InputError(f"--sha256 must be 64 hexadecimal digits, not {sha256!r}.")
    if "://" not in where:
        path = Path(where)
        if not path.is_file():
            raise InputError(f"{path}: there is no such network file.")
    else:
        if wanted is None:
            raise InputError(
                f"{where}: give the file's hash with --sha256, so that what comes is what you mean."
            )
        path = _cache_folder() / f"{wanted}{Path(where.split('?')[0]).suffix}"
        if not path.is_file():
            _download(where, path, wanted)
    found = _hash_of(path)
    if wanted is not None and found != wanted:
        raise InputError(f"{path}: its SHA-256 is {found}, not {wanted}; it is another file.")
    return path, found


@lru_cache(maxsize=2)
def open_network(path: Path) -> Network:
    """Return the function that runs a network file.

    Raises:
        InputError: the file is damaged or of a kind that nothing here can run.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return _open_onnx(path)
    if suffix in _TORCHSCRIPT_SUFFIXES:
        for point in entry_points(group=ENTRY_POINTS):
            if point.name == "torchscript":
                opened: Network = point.load()(path)
                return opened
        raise InputError(
            f"{path}: is run by relight_model, which is not installed; install it, or export the "
            f"network with torch.onnx.export and give the .onnx file."
        )
    raise InputError(
        f"{path}: a matting network is an .onnx file, or TorchScript "
        f"({', '.join(_TORCHSCRIPT_SUFFIXES)})."
    )


def network_matte(network: Network, guide: Array, shorter_side: int = 512) -> Array:
    """Return the matte that a network sees in a picture, ``(height, width)`` in [0, 1].

    Args:
        network: as :func:`open_network` returns it.
        guide: linear picture exposed for display, ``(height, width, 3)``.
        shorter_side: what the picture's shorter side is resized to, pixels; MODNet learned 512.

    Raises:
        InputError: the network cannot take such a picture, or returns no matte.
    """
    height, width = guide.shape[:2]
    scale = shorter_side / min(height, width)
    columns, rows = (
        max(_SIDE_STEP, round(side * scale / _SIDE_STEP) * _SIDE_STEP) for side in (width, height)
    )
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = cv2.resize(encode_srgb(guide), (columns, rows), interpolation=interpolation)
    batch = np.ascontiguousarray(np.moveaxis(2.0 * shown - 1.0, -1, 0)[None], np.float32)
    found = np.asarray(network(batch), np.float32)
    if found.size != rows * columns or not np.isfinite(found).all():
        raise InputError(
            f"the matting network made {found.shape} of a picture of {columns} x {rows}; a matte "
            f"has one finite value for each pixel. Is it a matting network?"
        )
    back = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_AREA
    matte = cv2.resize(found.reshape(rows, columns), (width, height), interpolation=back)
    return np.asarray(np.clip(matte, 0.0, 1.0), np.float32)


def _open_onnx(path: Path) -> Network:
    try:
        net: Any = cv2.dnn.readNetFromONNX(str(path))
        names = list(net.getUnconnectedOutLayersNames())
    except cv2.error as reason:
        raise InputError(f"{path}: cannot be read as ONNX: {reason.err}.") from None

    def run(batch: Array) -> Array:
        try:
            net.setInput(batch)
            return np.asarray(net.forward(names)[-1], np.float32)
        except cv2.error as reason:
            raise InputError(
                f"{path}: cannot take a picture of {batch.shape[3]} x {batch.shape[2]} "
                f"({reason.err}); try another --network-size, or export it with sizes left open."
            ) from None

    return run


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lightstage" / "networks"


def _download(url: str, path: Path, wanted: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: only http and https addresses are fetched; give a path instead.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as answer,
            partial.open("wb") as file,
        ):
            while block := answer.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != wanted:
            raise InputError(
                f"{url}: what came has the SHA-256 {digest.hexdigest()}, not {wanted}; it was not "
                f"kept."
            )
        partial.replace(path)
    except (urllib.error.URLError, OSError, ValueError) as reason:
        raise InputError(f"{url}: cannot be downloaded: {reason}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
