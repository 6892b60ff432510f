"""Conditioning maps of a whole clip, drawn once: in memory, or in a file that is mapped into it.

Drawing a frame takes a hundred times as long as reading it, and a stack has eleven; so frames are
drawn once. The file is named for all that the maps depend on: other parameters, another head or
size make another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.conditioning import ConditioningRenderer
from relight_model.conditioning.maps import channel_count
from relight_model.head.clip import HeadClip

#: Raised whenever the same parameters come to make other maps.
_METHOD = 1


def rendered_maps(
    renderer: ConditioningRenderer,
    clip: HeadClip,
    maps: Sequence[str],
    size: tuple[int, int],
    *,
    folder: Path | None = None,
    workers: int = 1,
) -> NDArray[np.float16]:
    """Return every frame's channels, ``(n, channels, h, w)`` float16.

    Args:
        renderer: the performer's.
        clip: the frames.
        maps: which maps.
        size: width and height of the pictures.
        folder: where the file is kept and looked for; without one, all frames are in memory.
        workers: threads that draw.

    Raises:
        InputError: the clip is of another head, the size has other proportions, or the folder
            cannot be written.
    """
    if folder is None:
        return np.asarray(
            renderer.render_channels(clip, size=size, maps=maps, workers=workers), np.float16
        )
    path = folder / f"maps_{_key(renderer, clip, maps, size)}.npy"
    shape = (len(clip), channel_count(maps), size[1], size[0])
    kept = _opened(path, shape)
    if kept is not None:
        return kept
    partial = path.with_name(path.name + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        with closing(renderer.render_clip(clip, size=size, maps=maps, workers=workers)) as frames:
            for index, frame in enumerate(frames):
                out[index] = frame.channels(maps, np.float16)
        out.flush()
        del out
        partial.replace(path)
    except OSError as reason:
        raise InputError(
            f"{folder}: conditioning maps cannot be kept there: {reason.strerror or reason}."
        ) from None
    found = _opened(path, shape)
    if found is None:
        raise InputError(f"{path}: was written, but cannot be read.")
    return found


def maps_bytes(clip: HeadClip, maps: Sequence[str], size: tuple[int, int]) -> int:
    """Return how much memory :func:`rendered_maps` takes."""
    return len(clip) * channel_count(maps) * size[0] * size[1] * 2


def _opened(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16] | None:
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None  # not there, or damaged: drawn anew
    return kept if kept.shape == shape and kept.dtype == np.float16 else None


def _key(
    renderer: ConditioningRenderer, clip: HeadClip, maps: Sequence[str], size: tuple[int, int]
) -> str:
    """Return a hash of all that the maps depend on."""
    digest = hashlib.sha256()
    camera = clip.camera
    about: dict[str, Any] = {
        "method": _METHOD,
        "maps": list(maps),
        "size": list(size),
        "camera": [camera.width, camera.height, camera.focal_px, camera.distance_m, *camera.centre],
        "view_size": clip.view_size,
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    for part in (clip.expression, clip.pose, clip.translation_m, clip.view):
        digest.update(b"-" if part is None else part.tobytes())
    # what the performer looks like and how it is drawn: by looking
    looks = sorted({0, len(clip) // 2, len(clip) - 1})
    with closing(renderer.render_clip(clip, looks, size, maps)) as frames:
        for frame in frames:
            digest.update(frame.channels(maps, np.float16).tobytes())
    return digest.hexdigest()[:24]
