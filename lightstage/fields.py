"""Reflectance fields on disk: one OLAT set per output time, one image per light.

``aligned.zarr`` is a Zarr v3 group; ``docs/formats/aligned.md`` describes it. Viewer, relighting,
export and training all read through :class:`ReflectanceFields`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.aligned_store import SCHEMA_VERSION, olat_shard
from lightstage.dome import Dome
from lightstage.errors import DamagedDataError, FieldsError, InputError
from lightstage.half_floats import to_float
from lightstage.session import Session, Take
from lightstage.zarr_shards import ShardReader

if TYPE_CHECKING:
    from lightstage.preprocess.virtual import VirtualSets


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
        path = find_store(Path(path))
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
        names = ["full_lit", "time_s", "centre_frame", "confidence"]
        if not self.is_virtual:
            names.append("olat")
        shapes = {}
        for name in names:
            try:
                array = self._group.get(name)
            except Exception as reason:  # as in open: its metadata may be no JSON, or not zarr's
                raise FieldsError(f"{self.path}: '{name}' is damaged: {reason}.") from None
            if not isinstance(array, zarr.Array):
                raise FieldsError(f"{self.path}: the array '{name}' is missing.")
            shapes[name] = array.shape
        full_lit, lights = shapes["full_lit"], len(self.dome)
        if len(full_lit) != 4 or full_lit[3] != 3:
            raise FieldsError(
                f"{self.path}: 'full_lit' must be (set, height, width, 3): {full_lit}"
            )
        sets = full_lit[0]
        expected = {
            "olat": (sets, lights, *full_lit[1:]),
            "time_s": (sets,),
            "centre_frame": (sets,),
            "confidence": (sets, lights),
        }
        for name, shape in shapes.items():
            if name in expected and expected[name] != shape:
                raise FieldsError(
                    f"{self.path}: '{name}' must have the shape {expected[name]}, with "
                    f"{lights} lights in the dome; it has {shape}."
                )
        if not np.isfinite(self.time_s).all():
            lost = int(np.flatnonzero(~np.isfinite(self.time_s))[0])
            raise FieldsError(f"{self.path}: set {lost} has no time; the store is damaged.")

    def __len__(self) -> int:
        """Return the number of OLAT sets."""
        return int(self._group["full_lit"].shape[0])

    def __getitem__(self, index: int) -> ReflectanceField:
        """Return set ``index``; negative counts from the end."""
        return ReflectanceField(self, range(len(self))[index])

    def __iter__(self) -> Iterator[ReflectanceField]:
        """Yield the sets in order of time."""
        return (self[index] for index in range(len(self)))

    @property
    def lights(self) -> int:
        """Lights in each set."""
        return int(self._group["confidence"].shape[1])

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return int(self._group["full_lit"].shape[1])

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return int(self._group["full_lit"].shape[2])

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

    def missing_lights(self, index: int) -> list[int]:
        """Return the lights that set ``index`` has no image of."""
        return [int(light) for at, light in self.attributes.get("missing") or [] if at == index]

    def has(self, name: str) -> bool:
        """Whether the optional array ``name`` (``matte``, ``normal``, ``albedo``) is there."""
        return name in self._group

    def read(self, name: str, index: int) -> NDArray[np.float32]:
        """Return set ``index`` of the array ``name`` as float32."""
        if name not in self._group:
            raise FieldsError(f"{self.path}: has no '{name}'.")
        return self._read(name, index)

    def read_olat(self, index: int) -> NDArray[np.float32]:
        """Return set ``index`` as ``(lights, height, width, 3)`` linear float32.

        Of a virtual store the images are made now, from the recording: seconds, not milliseconds.
        """
        if self.is_virtual:
            return self._virtual.olat(range(len(self))[index])
        return self._read("olat", index)

    def read_light(self, index: int, light: int) -> NDArray[np.float32]:
        """Return one light's image of set ``index``, ``(height, width, 3)``, and read no other."""
        index, light = range(len(self))[index], range(self.lights)[light]
        if self.is_virtual:
            return to_float(self._virtual.light(index, light))
        return self._read("olat", index, light)

    def read_stored(
        self,
        index: int,
        lights: Sequence[int] | NDArray[np.integer] | None = None,
        out: NDArray[np.float16] | None = None,
    ) -> NDArray[np.float16]:
        """Return images of set ``index`` as they are stored, and read no others.

        A third of :meth:`read_olat`'s time and half of its memory: what reads a set once, in
        parts, should read so. Several threads may call it, unless the store is virtual.

        Args:
            index: the set.
            lights: which lights' images; all of them unless said otherwise.
            out: where they go, C-ordered ``(lights, height, width, 3)``.

        Returns:
            ``(lights, height, width, 3)`` linear float16; NaN where there is no image.

        Raises:
            FieldsError: the set is damaged or missing.
        """
        index = range(len(self))[index]
        chosen = range(self.lights) if lights is None else [int(light) for light in lights]
        if out is None:
            out = np.empty((len(chosen), self.height, self.width, 3), np.float16)
        if self.is_virtual:
            aligner = self._virtual.aligner(index)
            for image, light in zip(out, chosen, strict=True):
                image[...] = aligner.light(light)
        elif self._has_our_shards:
            self._read_shard(index, chosen, out)
        else:
            for image, light in zip(out, chosen, strict=True):
                image[...] = self._stored("olat", index, light)
        return out

    @cached_property
    def _has_our_shards(self) -> bool:
        """Whether the images lie as ``FieldsWriter`` lays them; others may have rewritten them."""
        array = self._group["olat"]
        image = (self.height, self.width, 3)
        return (
            array.dtype == np.dtype("<f2")
            and array.chunks == (1, 1, *image)
            and array.shards == (1, self.lights, *image)
            and [codec.to_dict()["name"] for codec in array.compressors] == ["blosc"]
        )

    def _read_shard(self, index: int, lights: Sequence[int], out: NDArray[np.float16]) -> None:
        path = olat_shard(self.path, index)
        if not path.is_file():
            raise FieldsError(f"{self.path}: set {index} of 'olat' is missing from the store.")
        try:
            with ShardReader(path, self.lights) as shard:
                for image, light in zip(out, lights, strict=True):
                    if shard.has(light):
                        shard.read_into(light, image)
                    else:  # a light that has no frame
                        image[...] = np.nan
        except DamagedDataError as reason:
            raise FieldsError(f"{self.path}: set {index} of 'olat' is damaged: {reason}") from None

    def read_values(self, name: str) -> NDArray[Any]:
        """Return an array with a few values per set, such as ``flag`` or ``residual``, whole."""
        if name not in self._group:
            raise FieldsError(f"{self.path}: has no '{name}'.")
        return np.asarray(self._group[name][...])

    @property
    def is_virtual(self) -> bool:
        """Whether the images are made from the recording when they are read."""
        return self.attributes.get("kind") == "virtual"

    @cached_property
    def _virtual(self) -> VirtualSets:
        from lightstage.preprocess.virtual import VirtualSets

        return VirtualSets(self.path)

    def _stored(self, name: str, index: int, *within: int) -> NDArray[Any]:
        try:
            return np.asarray(self._group[name][(index, *within)])
        except Exception as reason:  # zarrs raises RuntimeError and its own kinds alike
            raise FieldsError(
                f"{self.path}: set {index} of '{name}' is damaged: {reason}."
            ) from None

    def _read(self, name: str, index: int, *within: int) -> NDArray[np.float32]:
        index = range(len(self))[index]
        stored = self._stored(name, index, *within)
        if within:  # a light that has no frame is NaN
            return to_float(stored)
        # Zarr gives the fill value for a file that is gone: a set that is all NaN was lost.
        if np.isnan(np.ravel(stored)[:: max(1, stored.size // 4096)]).all():
            raise FieldsError(f"{self.path}: set {index} of '{name}' is missing from the store.")
        return to_float(stored)


def find_store(path: Path) -> Path:
    """Return the store meant by its own path, a take's folder, or a session's of one take.

    Raises:
        InputError: there is none.
    """
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
