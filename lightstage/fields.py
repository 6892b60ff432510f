"""Reflectance fields on disk: one OLAT set per output time, one image per light.

``aligned.zarr`` is a Zarr v3 group; ``docs/formats/aligned.md`` describes it. Viewer, relighting,
export and training all read through :class:`ReflectanceFields`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.dome import Dome
from lightstage.errors import FieldsError, InputError
from lightstage.session import Session, Take

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

#: Version of the store's layout; a reader refuses a newer one.
SCHEMA_VERSION = 1
_CODECS = [
    {
        "name": "blosc",
        "configuration": {
            "cname": "lz4",
            "clevel": 5,
            "shuffle": "bitshuffle",
            "typesize": 2,
            "blocksize": 0,
        },
    }
]
#: The largest value that float16 holds; brighter light is stored as this.
FLOAT16_MAX = float(np.finfo(np.float16).max)


class ReflectanceField:
    """One OLAT set: what ``ReflectanceFields[i]`` returns; its arrays are read when asked for."""

    def __init__(self, fields: ReflectanceFields, index: int) -> None:
        self._fields = fields
        self.index = index

    @cached_property
    def olat(self) -> NDArray[np.float32]:
        """One image per light, ``(lights, height, width, 3)``, linear; NaN where there is none."""
        return self._fields.read_olat(self.index)

    @cached_property
    def full_lit(self) -> NDArray[np.float32]:
        """The centre tracking frame, ``(height, width, 3)``, linear."""
        return self._fields.read("full_lit", self.index)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """How far each light's alignment is trusted, ``(lights,)`` in [0, 1]."""
        return self._fields.read("confidence", self.index)

    @property
    def time_s(self) -> float:
        """The set's time, in seconds from the take's first frame."""
        return float(self._fields.time_s[self.index])

    @property
    def centre_frame(self) -> int:
        """The camera's number of the tracking frame that the set is aligned to."""
        return int(self._fields.centre_frame[self.index])


class ReflectanceFields:
    """All OLAT sets of a take, read one at a time.

    ``len(fields)`` sets; ``fields[i]`` a :class:`ReflectanceField`. Memory holds only what the
    caller keeps.
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path = path
        self._group = group

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store, a take's folder, or a session that has one take.

        Raises:
            InputError: there is nothing at ``path``, or no fields have been made for it yet.
            FieldsError: the store is damaged, unfinished or of a newer version.
        """
        path = _find_store(Path(path))
        try:
            group = zarr.open_group(str(path), mode="r")
            attributes = dict(group.attrs)
        except Exception as reason:  # zarr raises many kinds for a damaged store
            raise FieldsError(f"{path}: cannot be opened as a Zarr group: {reason}.") from None
        version = attributes.get("lightstage_schema")
        if not isinstance(version, int):
            raise FieldsError(f"{path}: is a Zarr group, but not a store of reflectance fields.")
        if version > SCHEMA_VERSION:
            raise FieldsError(
                f"{path}: was written by a newer lightstage (layout {version}, this one reads up "
                f"to {SCHEMA_VERSION}); update lightstage."
            )
        if not attributes.get("finished"):
            raise FieldsError(
                f"{path}: is unfinished, its making was interrupted; run the command again."
            )
        fields = cls(path, group)
        fields._check()
        return fields

    def _check(self) -> None:
        shapes = {}
        for name in ("olat", "full_lit", "time_s", "centre_frame", "confidence"):
            array = self._group.get(name)
            if not isinstance(array, zarr.Array):
                raise FieldsError(f"{self.path}: the array '{name}' is missing.")
            shapes[name] = array.shape
        olat = shapes["olat"]
        if len(olat) != 5 or olat[4] != 3:
            raise FieldsError(f"{self.path}: 'olat' must be (set, light, height, width, 3): {olat}")
        expected = {
            "full_lit": (olat[0], *olat[2:]),
            "time_s": olat[:1],
            "centre_frame": olat[:1],
            "confidence": olat[:2],
        }
        for name, shape in expected.items():
            if shapes[name] != shape:
                raise FieldsError(
                    f"{self.path}: '{name}' must have the shape {shape}, it has {shapes[name]}."
                )
        if not np.isfinite(self.time_s).all():
            lost = int(np.flatnonzero(~np.isfinite(self.time_s))[0])
            raise FieldsError(f"{self.path}: set {lost} has no time; the store is damaged.")
        if len(self.dome) != olat[1]:
            raise FieldsError(
                f"{self.path}: the dome has {len(self.dome)} lights, 'olat' holds {olat[1]}."
            )

    def __len__(self) -> int:
        """Return the number of OLAT sets."""
        return int(self._group["olat"].shape[0])

    def __getitem__(self, index: int) -> ReflectanceField:
        """Return set ``index``; negative counts from the end."""
        return ReflectanceField(self, range(len(self))[index])

    def __iter__(self) -> Iterator[ReflectanceField]:
        """Yield the sets in order of time."""
        return (self[index] for index in range(len(self)))

    @property
    def lights(self) -> int:
        """Lights in each set."""
        return int(self._group["olat"].shape[1])

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return int(self._group["olat"].shape[2])

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return int(self._group["olat"].shape[3])

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The store's attributes: dome, crop, rate, provenance."""
        return dict(self._group.attrs)

    @cached_property
    def dome(self) -> Dome:
        """The dome that lit the sets."""
        try:
            data = json.loads(json.dumps(self._group.attrs["dome"]))
        except KeyError:
            raise FieldsError(f"{self.path}: the attribute 'dome' is missing.") from None
        return Dome.parse(data, f"{self.path}: attribute 'dome'")

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors towards the lights, ``(lights, 3)``."""
        return self.dome.directions

    @cached_property
    def time_s(self) -> NDArray[np.float64]:
        """Each set's time in seconds from the take's first frame, ``(sets,)``."""
        return np.asarray(self._group["time_s"][:])

    @cached_property
    def centre_frame(self) -> NDArray[np.int64]:
        """The camera's number of each set's centre tracking frame, ``(sets,)``."""
        return np.asarray(self._group["centre_frame"][:])

    @property
    def rate_hz(self) -> float | None:
        """Sets per second as asked for, ``None`` where there is only one instant."""
        rate = self.attributes.get("rate_hz")
        return None if rate is None else float(rate)

    def has(self, name: str) -> bool:
        """Whether the optional array ``name`` (``matte``, ``normal``, ``albedo``) is there."""
        return name in self._group

    def read(self, name: str, index: int) -> NDArray[np.float32]:
        """Return set ``index`` of the array ``name`` as float32."""
        if name not in self._group:
            raise FieldsError(f"{self.path}: has no '{name}'.")
        return self._read(name, index)

    def read_olat(self, index: int) -> NDArray[np.float32]:
        """Return set ``index`` as ``(lights, height, width, 3)`` linear float32."""
        return self._read("olat", index)

    def _read(self, name: str, index: int) -> NDArray[np.float32]:
        index = range(len(self))[index]
        try:
            stored = self._group[name][index]
        except Exception as reason:  # zarrs raises RuntimeError and its own kinds alike
            raise FieldsError(
                f"{self.path}: set {index} of '{name}' is damaged: {reason}."
            ) from None
        # Zarr gives the fill value for a file that is gone: a set that is all NaN was lost.
        if np.isnan(np.ravel(stored)[:: max(1, stored.size // 4096)]).all():
            raise FieldsError(f"{self.path}: set {index} of '{name}' is missing from the store.")
        return to_float(stored)


class FieldsWriter:
    """Writes an ``aligned.zarr``: whole sets in any order, then :meth:`finish`.

    Until it is finished the store cannot be opened as :class:`ReflectanceFields`, so that a job
    that was interrupted is never taken for one that was done.
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
                "finished": False,
                "rate_hz": rate_hz,
                "dome": dome.model_dump(mode="json"),
            }
        )
        group.create_array(
            "olat",
            shape=(sets, lights, height, width, 3),
            chunks=(1, 1, height, width, 3),
            shards=(1, lights, height, width, 3),
            dtype="float16",
            compressors=_CODECS,
            fill_value=float("nan"),
            dimension_names=("set", "light", "height", "width", "rgb"),
        )
        images = {"full_lit": 3, **(extra or {})}
        for name, channels in images.items():
            shape = (sets, height, width) + ((3,) if channels == 3 else ())
            group.create_array(
                name,
                shape=shape,
                chunks=(1, *shape[1:]),
                dtype="float16",
                compressors=_CODECS,
                fill_value=float("nan"),
                dimension_names=("set", "height", "width", "rgb")[: len(shape)],
            )
        small: list[tuple[str, tuple[int, ...], str, Any]] = [
            ("time_s", (sets,), "float64", float("nan")),
            ("centre_frame", (sets,), "int64", 0),
            ("confidence", (sets, lights), "float32", float("nan")),
        ]
        for name, shape, dtype, fill in small:
            # one chunk a set: sets are written by different workers
            group.create_array(
                name, shape=shape, chunks=(1, *shape[1:]), dtype=dtype, fill_value=fill
            )
        return cls(path, group)

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
        """Write one whole set; arrays as :class:`ReflectanceField` returns them."""
        # one thread lays the lights of a shard down in order: the same set is the same bytes
        with zarr.config.set({"threading.max_workers": 1}):
            self._group["olat"][index] = to_half(olat)
            self._group["full_lit"][index] = to_half(full_lit)
            for name, image in extra.items():
                self._group[name][index] = to_half(image)
            trusted = np.ones(len(olat)) if confidence is None else confidence
            self._group["confidence"][index] = np.asarray(trusted, dtype=np.float32)
            self._group["time_s"][index] = time_s
            self._group["centre_frame"][index] = centre_frame

    def finish(self, **attributes: Any) -> None:
        """Mark the store as whole, adding ``attributes``."""
        self._group.attrs.update({**attributes, "finished": True})


def to_half(image: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return values as they are stored: rounded to float16, at most ±65504; NaN stays NaN.

    Equal to numpy's conversion of the clipped values, and 5 to 10 times as fast: OpenCV uses the
    processor's own instruction for it.
    """
    if image.dtype == np.float16 or image.size == 0:
        return np.asarray(image, dtype=np.float16)
    flat = np.ascontiguousarray(image, dtype=np.float32).reshape(1, -1)
    half = cv2.add(np.clip(flat, -FLOAT16_MAX, FLOAT16_MAX), 0.0, dtype=cv2.CV_16F)
    return np.asarray(half).reshape(image.shape)


def to_float(stored: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return stored values as float32; exact, and for float16 8 times as fast as numpy."""
    if stored.dtype != np.float16 or stored.size == 0:
        return np.asarray(stored, dtype=np.float32)
    rows = np.ascontiguousarray(stored).reshape(stored.shape[0], -1)
    return np.asarray(cv2.add(rows, 0.0, dtype=cv2.CV_32F)).reshape(stored.shape)


def _find_store(path: Path) -> Path:
    if (path / "zarr.json").is_file():
        return path
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if Session.is_at(path):
        path = Session.open(path).only_take().path
    if Take.is_at(path):
        store = path / "aligned.zarr"
        if not (store / "zarr.json").is_file():
            raise InputError(
                f"{path}: this take has no reflectance fields yet; run 'lightstage preprocess'."
            )
        return store
    raise InputError(
        f"{path}: is neither a session, nor a take, nor a store of reflectance fields "
        f"(aligned.zarr)."
    )
