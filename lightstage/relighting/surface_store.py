"""Normals, albedo and what goes with them, made for all sets of a store and kept in it.

A set is done when the files of all its maps are there, each written whole and then named; so an
interrupted job goes on where it stopped. What they were made from is hashed into the store's
attribute ``normals``: other settings or another dome make them anew. ``lightstage preprocess``
replaces the whole store when it makes other sets, and these arrays go with it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import xxhash
import zarr
from numpy.typing import NDArray
from pydantic import Field

from lightstage.aligned_store import create_images, write_image
from lightstage.errors import InputError
from lightstage.fields import ReflectanceFields
from lightstage.half_floats import to_float
from lightstage.manifest import Manifest
from lightstage.preprocess.jobs import JobOptions, run_jobs
from lightstage.relighting.photometric_stereo import StereoSettings, SurfaceMaps, surface_maps

#: Called with the number of sets done and the number of all sets.
Progress = Callable[[int, int], None]

#: The arrays that are made and their channels; the last is written last.
SURFACE_ARRAYS = {"normal": 3, "albedo": 3, "visibility": 1, "specular": 1, "normal_confidence": 1}
#: Which way of making them this is: another number makes all stores' maps anew.
_METHOD = 1
#: The attribute that tells what the arrays were made from.
_ATTRIBUTE = "normals"
#: Bytes of a worker beyond a set's images: libraries and the blocks that are worked on.
_OTHER_BYTES = 200_000_000


class Placement(Manifest):
    """Where the picture lies in the world, so that lights are where each pixel sees them.

    Attributes:
        pixel_size_m: width of a pixel on the performer, in metres.
        centre_px: column and row where the dome's centre is seen; the picture's middle unless
            given.
    """

    error = InputError

    pixel_size_m: Annotated[float, Field(gt=0)]
    centre_px: tuple[float, float] | None = None

    def points_m(self, height: int, width: int) -> NDArray[np.float32]:
        """Return each pixel's place on the plane through the dome's centre, ``(h, w, 3)``."""
        x, y = self.centre_px or (0.5 * (width - 1), 0.5 * (height - 1))
        points = np.zeros((height, width, 3), np.float32)
        points[..., 0] = (np.arange(width) - x) * self.pixel_size_m
        points[..., 1] = ((y - np.arange(height)) * self.pixel_size_m)[:, None]
        return points


@dataclass(frozen=True)
class SurfaceWork:
    """Makes and stores the maps of one set; sent to worker processes."""

    path: str
    settings: StereoSettings
    placement: Placement | None

    def __call__(self, index: int) -> dict[str, Any]:
        """Make set ``index`` and return figures about it."""
        maps = set_maps(_fields_of_this_process(self.path), index, self.settings, self.placement)
        for name in SURFACE_ARRAYS:
            write_image(Path(self.path), name, index, getattr(maps, name))
        return set_figures(maps)


@dataclass(frozen=True)
class SurfaceResult:
    """What :func:`make_surface_maps` did; ``figures`` are means over the sets made now."""

    path: Path
    sets: int
    made: int
    seconds: float
    figures: dict[str, float]


def set_maps(
    fields: ReflectanceFields,
    index: int,
    settings: StereoSettings | None = None,
    placement: Placement | None = None,
) -> SurfaceMaps:
    """Return the maps of one set of a store, with the dome's directions and gains.

    Where nothing in the set is above 1.0, that is taken as the sensor's white, and light at it is
    left out.
    """
    settings = settings or StereoSettings()
    olat, brightest = _images(fields, index)
    if settings.white_level is None and brightest <= 1.0:
        settings = settings.replace(white_level=1.0)
    dome = fields.dome
    near = placement is not None
    return surface_maps(
        olat,
        dome.directions,
        dome.gains,
        settings,
        positions_m=dome.positions_m if near else None,
        points_m=placement.points_m(fields.height, fields.width) if placement else None,
    )


def set_figures(maps: SurfaceMaps) -> dict[str, float]:
    """Return what a person wants to know about a set's maps."""
    known = maps.normal_confidence > 0
    if not known.any():
        return {"known": 0.0, "confidence": 0.0, "visibility": 0.0, "lights_used": 0.0}
    return {
        "known": float(known.mean()),
        "confidence": float(maps.normal_confidence[known].mean()),
        "visibility": float(maps.visibility[known].mean()),
        "lights_used": float(maps.lights_used[known].mean()),
    }


def make_surface_maps(
    path: Path,
    settings: StereoSettings | None = None,
    *,
    placement: Placement | None = None,
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> SurfaceResult:
    """Make the maps of all sets of a store; sets that are done already are not made again.

    Args:
        path: the store, a take's folder, or a session that has one take.
        settings: how they are made.
        placement: where the picture lies; lights are taken as far away unless given.
        options: how the job is run.
        progress: called after each set.

    Raises:
        LightstageError: the store is damaged, or a set does not fit into memory.
    """
    settings, options = settings or StereoSettings(), options or JobOptions()
    started = time.perf_counter()
    fields = ReflectanceFields.open(path)
    _check_memory(fields, options.workers)
    sets = len(fields)
    digest = _digest(
        settings.model_dump_json(),
        fields.dome.model_dump_json(),
        placement.model_dump_json() if placement else "",
        str(fields.attributes.get("digest")),
    )
    group = zarr.open_group(str(fields.path), mode="r+")
    recipe: dict[str, Any] = {
        "digest": digest,
        "settings": settings.model_dump(mode="json"),
        "placement": placement.model_dump(mode="json") if placement else None,
    }
    held: Any = fields.attributes.get(_ATTRIBUTE) or {}
    if held.get("digest") != digest or any(name not in group for name in SURFACE_ARRAYS):
        _create_arrays(group, fields)
        group.attrs[_ATTRIBUTE] = {**recipe, "finished": False}
        held = {}
    todo = [index for index in range(sets) if not _is_done(fields.path, index)]
    done, figures = sets - len(todo), []
    if progress:
        progress(done, sets)
    work = SurfaceWork(str(fields.path.absolute()), settings, placement)
    try:
        with closing(run_jobs(work, todo, options)) as made:  # closed, it drains the workers
            for found in made:
                figures.append(found)
                if progress:
                    progress(done + len(figures), sets)
    finally:
        _fields_of_this_process.cache_clear()
    if not held.get("finished"):
        group.attrs[_ATTRIBUTE] = {**recipe, "finished": True}
    means = {
        name: round(float(np.mean([item[name] for item in figures])), 4)
        for name in (figures[0] if figures else ())
    }
    return SurfaceResult(fields.path, sets, len(todo), time.perf_counter() - started, means)


def _digest(*made_from: str) -> str:
    return str(xxhash.xxh3_128_hexdigest("\n".join((str(_METHOD), *made_from)).encode()))


def _create_arrays(group: zarr.Group, fields: ReflectanceFields) -> None:
    """Make the arrays empty; those that stand there are replaced."""
    size = (len(fields), fields.height, fields.width)
    for name, channels in SURFACE_ARRAYS.items():
        last_axis = "xyz" if name == "normal" else "rgb"
        create_images(group, name, size, channels, last_axis=last_axis, overwrite=True)


def _is_done(path: Path, index: int) -> bool:
    return all(
        path.joinpath(name, "c", str(index), *"00", *("0" if channels == 3 else "")).is_file()
        for name, channels in SURFACE_ARRAYS.items()
    )


def _images(fields: ReflectanceFields, index: int) -> tuple[NDArray[np.float16], float]:
    """Return a set's images as they are stored, half floats, and their largest value."""
    olat = fields.read_stored(index)
    brightest = [np.fmax.reduce(to_float(image), axis=None) for image in olat]
    return olat, float(np.fmax.reduce(brightest, initial=-np.inf))


@lru_cache(maxsize=1)
def _fields_of_this_process(path: str) -> ReflectanceFields:
    return ReflectanceFields.open(path)


def _check_memory(fields: ReflectanceFields, workers: int) -> None:
    pixels = fields.height * fields.width
    each = pixels * (3 * fields.lights * 2 + 4 * 10 * 2) + _OTHER_BYTES
    free = int(psutil.virtual_memory().available)
    if each * workers > free:
        raise InputError(
            f"{fields.path}: a set of {fields.lights} images of {fields.width} x {fields.height} "
            f"takes {each / 1e9:.1f} GB in each of {workers} workers, {free / 1e9:.1f} GB are "
            f"free; use fewer --workers or a store of smaller images."
        )


assert set(SURFACE_ARRAYS) < {field.name for field in dataclasses.fields(SurfaceMaps)}
