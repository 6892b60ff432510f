"""The layout of ``aligned.zarr`` and its writer; ``docs/formats/aligned.md`` describes it.

A store is *materialised* when it holds every light's image (``olat``), *virtual* when it holds
flows and the recipe by which they are made out of the recording. ``lightstage.fields`` reads both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.dome import Dome
from lightstage.errors import InputError
from lightstage.half_floats import to_half
from lightstage.zarr_shards import BloscCodec, ShardWriter, write_chunk

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

Kind = Literal["materialised", "virtual"]
#: Version of the store's layout; a reader refuses a newer one.
SCHEMA_VERSION = 2
#: How images of half floats are compressed.
HALF_CODEC = BloscCodec(typesize=2, clevel=1)
_BYTE_CODEC = BloscCodec(typesize=1)
#: Names of an image's axes after the set's.
_IMAGE_AXES = ("height", "width", "rgb")
#: Grid arrays that virtual sets are made from: name, type, values in each cell.
GRID_ARRAYS: dict[str, tuple[str, int]] = {"flow": ("int16", 2), "trust": ("uint8", 1)}


class FieldsWriter:
    """Writes an ``aligned.zarr``: whole sets in any order, then :meth:`finish`.

    Until it is finished the store cannot be opened as ``ReflectanceFields``, so that a job that was
    interrupted is never taken for one that was done. Images of different sets may be written by
    different processes at once; values per set are written by one.
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path = path
        self._group = group

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        sets: int,
        height: int,
        width: int,
        dome: Dome,
        rate_hz: float | None,
        attributes: dict[str, Any] | None = None,
        extra: dict[str, int] | None = None,
        kind: Kind = "materialised",
        grid: tuple[int, int, int] | None = None,
    ) -> Self:
        """Make an empty store; one that stands at ``path`` is replaced.

        Args:
            path: the folder, usually ``aligned.zarr``.
            sets: how many OLAT sets it will hold.
            height: image height in pixels.
            width: image width in pixels.
            dome: the lights, in the order of the ``light`` axis.
            rate_hz: sets per second; ``None`` for a still.
            attributes: provenance and whatever else belongs to the store, JSON-able.
            extra: optional arrays per set: name to channels, such as ``{"matte": 1}``.
            kind: whether the images of single lights are stored.
            grid: tracking frames, height and width of the flow grid, where flows are stored.

        Raises:
            InputError: something else stands at ``path``.
        """
        path = Path(path)
        if path.exists():
            if not (path / "zarr.json").is_file():
                raise InputError(f"{path}: stands in the way and is no Zarr store; move it.")
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        lights = len(dome)
        group.attrs.update(
            {
                **(attributes or {}),
                "lightstage_schema": SCHEMA_VERSION,
                "lightstage_version": __version__,
                "kind": kind,
                "finished": False,
                "rate_hz": rate_hz,
                "dome": dome.model_dump(mode="json"),
            }
        )
        writer = cls(path, group)
        if kind == "materialised":
            writer.create_olat(sets, lights, height, width)
        for name, channels in {"full_lit": 3, **(extra or {})}.items():
            create_images(group, name, (sets, height, width), channels)
        if grid is not None:
            for name, (dtype, channels) in GRID_ARRAYS.items():
                shape = (sets, *grid) + ((channels,) if channels > 1 else ())
                group.create_array(
                    name,
                    shape=shape,
                    chunks=(1, *shape[1:]),
                    dtype=dtype,
                    compressors=[_grid_codec(dtype).configuration()],
                    fill_value=0,
                    dimension_names=("set", "tracking", "height", "width", "xy")[: len(shape)],
                )
        writer.create_values("time_s", (sets,), "float64", float("nan"))
        writer.create_values("centre_frame", (sets,), "int64", 0)
        writer.create_values("confidence", (sets, lights), "float32", float("nan"), ("light",))
        return writer

    def create_olat(self, sets: int, lights: int, height: int, width: int) -> None:
        """Make the array of images, one shard for each set."""
        self._group.create_array(
            "olat",
            shape=(sets, lights, height, width, 3),
            chunks=(1, 1, height, width, 3),
            shards=(1, lights, height, width, 3),
            dtype="float16",
            compressors=[HALF_CODEC.configuration()],
            fill_value=float("nan"),
            dimension_names=("set", "light", *_IMAGE_AXES),
        )

    def create_values(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        fill: float,
        axes: tuple[str, ...] = (),
    ) -> None:
        """Make a small array with a few values per set, one chunk in all."""
        self._group.create_array(
            name,
            shape=shape,
            chunks=shape,
            dtype=dtype,
            fill_value=fill,
            dimension_names=("set", *axes),
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store that :meth:`create` made, to write further sets into it."""
        return cls(Path(path), zarr.open_group(str(path), mode="r+"))

    def write_set(
        self,
        index: int,
        *,
        olat: NDArray[np.floating],
        full_lit: NDArray[np.floating],
        time_s: float,
        centre_frame: int,
        confidence: NDArray[np.floating] | None = None,
        **extra: NDArray[np.floating],
    ) -> None:
        """Write one whole set; arrays as ``ReflectanceField`` returns them."""
        self.write_olat(index, (to_half(image) for image in olat))
        self.write_images(index, full_lit=full_lit, **extra)
        trusted = np.ones(len(olat)) if confidence is None else confidence
        self._group["confidence"][index] = np.asarray(trusted, dtype=np.float32)
        self._group["time_s"][index] = time_s
        self._group["centre_frame"][index] = centre_frame

    def write_olat(self, index: int, images: Iterable[NDArray[np.float16]]) -> None:
        """Write a set's images, light by light as they come: none waits for another in memory."""
        write_olat(self.path, index, images, int(self._group["olat"].shape[1]))

    def write_images(self, index: int, **images: NDArray[Any]) -> None:
        """Write images or grids of one set by the names of their arrays, each whole."""
        for name, image in images.items():
            write_image(self.path, name, index, image)

    def write_values(self, **values: NDArray[Any]) -> None:
        """Write values for all sets at once, ``(sets, …)``."""
        for name, value in values.items():
            self._group[name][...] = value

    def finish(self, **attributes: Any) -> None:
        """Mark the store as whole, adding ``attributes``."""
        for left in self.path.rglob("*.partial"):  # by a process that was killed while it wrote
            left.unlink()
        self._group.attrs.update({**attributes, "finished": True})


def write_olat(path: Path, index: int, images: Iterable[NDArray[np.float16]], lights: int) -> None:
    """Write set ``index``'s shard of a store that exists, without opening its metadata."""
    with ShardWriter(olat_shard(path, index), lights, HALF_CODEC) as writer:
        for light, image in enumerate(images):
            writer.add(light, image)


def olat_shard(path: Path, index: int) -> Path:
    """Return the file of set ``index``'s images; it is there when they all are."""
    return path / "olat" / "c" / str(index) / "0" / "0" / "0" / "0"


def write_image(path: Path, name: str, index: int, image: NDArray[Any]) -> None:
    """Write set ``index``'s chunk of the array ``name`` of a store that exists."""
    if name in GRID_ARRAYS:
        stored, codec = np.asarray(image), _grid_codec(GRID_ARRAYS[name][0])
    else:
        stored, codec = to_half(image), HALF_CODEC
    chunk = path / name / "c" / str(index)
    for _ in range(stored.ndim):
        chunk /= "0"
    write_chunk(chunk, stored, codec)


def add_image_array(path: Path, name: str, channels: int) -> bool:
    """Make the array ``name`` of one image per set in a store that is finished, unless it is there.

    Its images are then written by :func:`write_image`, by any process; one that has not been
    written reads as missing.

    Args:
        path: the store.
        name: such as ``matte`` or ``normal``.
        channels: 1 for ``(set, height, width)``, 3 for ``(set, height, width, rgb)``.

    Returns:
        Whether it was made now.
    """
    group = zarr.open_group(str(path), mode="r+")
    if name in group:
        return False
    create_images(group, name, group["full_lit"].shape[:3], channels)
    return True


def create_images(
    group: zarr.Group,
    name: str,
    size: tuple[int, int, int],
    channels: int,
    *,
    last_axis: str = _IMAGE_AXES[-1],
    overwrite: bool = False,
) -> None:
    """Make an empty array of one image per set.

    Args:
        group: the store.
        name: of the array.
        size: sets, height and width.
        channels: 1 for ``(set, height, width)``, more for a further axis.
        last_axis: what the further axis counts.
        overwrite: replace one that is there.
    """
    shape = size + ((channels,) if channels > 1 else ())
    group.create_array(
        name,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype="float16",
        compressors=[HALF_CODEC.configuration()],
        fill_value=float("nan"),
        dimension_names=("set", *_IMAGE_AXES[:-1], last_axis)[: len(shape)],
        overwrite=overwrite,
    )


def _grid_codec(dtype: str) -> BloscCodec:
    return _BYTE_CODEC if np.dtype(dtype).itemsize == 1 else HALF_CODEC
