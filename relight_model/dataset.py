"""Samples to learn from: conditioning maps of a moment and its reflectance field.

Sets are read when they are asked for, some lights of them where that is enough; what fits into a
stated memory is kept. Nothing here is random: a sample is a function of its index, of the lights
asked for and of the change made to it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.dome import Dome
from lightstage.errors import FieldsError, InputError
from lightstage.fields import ReflectanceFields
from lightstage.half_floats import to_float, to_half
from relight_model.augmentation import (
    Augmentation,
    change_maps,
    change_matte,
    change_normals,
    change_pictures,
    mirror_lights,
)
from relight_model.conditioning import ConditioningRenderer, StackLayout
from relight_model.evaluate import check_same_lights
from relight_model.rendered_maps import maps_bytes, rendered_maps
from relight_model.split import split_by_time
from relight_model.training_take import TrainingTake

Array = NDArray[np.float32]
Part = Literal["train", "held_out", "all"]
#: Surface maps that are targets, by their arrays in the store, and how they are made.
_MADE_BY = {"albedo": "normals", "normal": "normals", "matte": "matte"}
#: Numbers for each pixel that a set keeps beside its images: surface, and full-lit picture.
_SURFACE, _FULL_LIT = 3 + 3 + 1, 3


class TrainingSample(TypedDict):
    """One moment, arrays of float32 unless told; ``s`` is the size, ``n`` the lights asked for.

    Linear light; axes of the world; 0 where a normal or an albedo is not known.
    """

    conditioning: Array  # (frames * channels, s, s)
    olat: Array  # (n, 3, s, s)
    lights: NDArray[np.int64]  # (n,) which lights these are
    albedo: Array  # (3, s, s)
    normal: Array  # (3, s, s)
    matte: Array  # (1, s, s)
    full_lit: NotRequired[Array]  # (3, s, s): as PerformanceDataset.full_lit_weights makes it
    directions: Array  # (lights, 3), of all lights
    index: int  # among the dataset's samples
    time_s: float


class Moment(NamedTuple):
    """Which set a sample is: the take among the dataset's, and the set in it."""

    take: int
    set: int


@dataclass(frozen=True)
class DatasetMemory:
    """What a dataset keeps in memory, in bytes.

    Attributes:
        maps: conditioning maps of all frames; 0 where they lie in a file.
        targets: surface and full-lit picture of all sets; 0 where they are not kept.
        images: all sets' one-light images; 0 where they are not kept.
        wanted: what keeping all of it would take.
    """

    maps: int
    targets: int
    images: int
    wanted: int


class PerformanceDataset:
    """The sets of one performer's takes. Several threads may read from it.

    Attributes:
        dome: the lights.
        layout: what the conditioning's channels are.
        size: width and height of all pictures.
        moments: which set each sample is.
        left_out: sets that lack a light and are not used.
        mirror: each light's mirror light; ``None`` where the dome has none.
        memory: what is kept.
        beta_bar: ``(S,)`` the performer's mean shape, which the maps are drawn with.
    """

    def __init__(
        self,
        takes: Sequence[TrainingTake],
        layout: StackLayout,
        size: int,
        *,
        renderer: ConditioningRenderer | None = None,
        part: Part = "all",
        held_out_share: float = 0.2,
        gap_s: float = 0.112,
        memory_bytes: int = 0,
        maps_folder: Path | None = None,
        full_lit: bool = True,
        workers: int = 1,
    ) -> None:
        """Take the takes; conditioning maps are drawn now, once.

        Args:
            takes: of one performer and one dome.
            layout: frames and maps of a stack.
            size: pictures become ``size`` x ``size``.
            renderer: draws the performer; the procedural head with :func:`mean_shape` by default.
            part: which sets of each take: those before its end, its end, or all.
            held_out_share: the end's share.
            gap_s: sets so long before the end are in neither.
            memory_bytes: what is kept of the sets may take so much, maps included: images, surface
                and full-lit pictures if all fit, else the latter alone, which spares the reading
                of every light for them, else nothing.
            maps_folder: keeps conditioning maps in files there instead of in memory, and finds
                them again in the next run.
            full_lit: whether samples have the full-lit picture. It is made of every light, so
                without it some lights' samples are read several times as fast where no targets
                are kept.
            workers: threads that draw maps.

        Raises:
            InputError: takes do not fit each other, none is left, or a picture has no square shape.
        """
        if not takes:
            raise InputError("there is no take to learn from.")
        self.takes, self.layout, self.size = tuple(takes), layout, size
        self.dome: Dome = takes[0].fields.dome
        for take in takes:
            check_same_lights(take.fields.dome, self.dome)
            if take.fields.width != take.fields.height:
                raise InputError(
                    f"{take.where}: the sets are {take.fields.width} x {take.fields.height}, a "
                    f"network takes squares; preprocess with --crop face --size {size}."
                )
        self.beta_bar = mean_shape(takes)
        renderer = renderer or ConditioningRenderer(None, self.beta_bar)
        moments, self.left_out = [], 0
        for number, take in enumerate(takes):
            chosen = _sets_of(take.fields, part, held_out_share, gap_s)
            whole = [k for k in chosen if not take.fields.missing_lights(k)]
            self.left_out += len(chosen) - len(whole)
            moments += [Moment(number, k) for k in whole]
        if not moments:
            raise InputError(
                f"{takes[0].where}: no set is left to use: {self.left_out} lack lights; preprocess "
                f"with --missing fill."
            )
        self.moments = tuple(moments)
        self.mirror = mirror_lights(self.dome.directions)
        low, high = (getattr(renderer.head.v_template[:, 0], name)() for name in ("min", "max"))
        self._mirror_x = float(-2.0 * low / (high - low))
        self._maps = [
            rendered_maps(
                renderer, take.clip, layout.maps, (size, size), folder=maps_folder, workers=workers
            )
            for take in takes
        ]
        pixels = len(moments) * size * size * 2
        beside = _SURFACE + (_FULL_LIT if full_lit else 0)
        self.memory = _planned(
            sum(0 if maps_folder else maps_bytes(t.clip, layout.maps, (size, size)) for t in takes),
            pixels * beside,
            pixels * 3 * len(self.dome),
            memory_bytes,
        )
        shape = (len(moments), size, size)
        self._targets = _Kept((*shape, beside)) if self.memory.targets else None
        self._images = (
            _Kept((shape[0], len(self.dome), size, size, 3)) if self.memory.images else None
        )
        self._virtual = threading.Lock()
        self._has_full_lit = full_lit

    @classmethod
    def open(
        cls, paths: Sequence[Path], layout: StackLayout, size: int, **options: object
    ) -> PerformanceDataset:
        """Open takes with the head parameters beside them; options as for the class."""
        takes = [TrainingTake.open(Path(path)) for path in paths]
        return cls(takes, layout, size, **options)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.moments)

    def __getitem__(self, index: int) -> TrainingSample:
        """Return a sample with all lights, unchanged."""
        return self.sample(index)

    @property
    def lights(self) -> int:
        """How many lights the dome has."""
        return len(self.dome)

    @property
    def full_lit_weights(self) -> Array:
        """Weights ``(lights, 3)`` with which the full-lit picture is made of the images.

        Every light counts as much, gains divided out; brightness is that of a tracking frame.
        """
        from relight_model.render_fields import full_lit_share

        gains = self.dome.gains
        even = np.divide(1.0, gains, out=np.zeros_like(gains), where=gains > 0)
        return np.asarray(even * full_lit_share(self.dome), np.float32)

    def sample(
        self,
        index: int,
        lights: NDArray[np.integer] | Sequence[int] | None = None,
        change: Augmentation | None = None,
    ) -> TrainingSample:
        """Return a sample.

        Args:
            index: which, from 0.
            lights: the lights whose pictures are wanted, in this order; all by default.
            change: what is done to it; nothing by default.

        Raises:
            InputError: a mirrored sample of a dome that has no mirror lights.
            FieldsError: the set is damaged.
        """
        index = range(len(self))[index]
        moment, change = self.moments[index], change or Augmentation()
        take = self.takes[moment.take]
        wanted = np.arange(self.lights) if lights is None else np.asarray(lights, np.int64)
        source = wanted
        if change.mirrored:
            if self.mirror is None:
                raise InputError("this dome's lights have no mirror lights: it cannot be mirrored.")
            source = self.mirror[wanted]
        olat, surface, full_lit = self._read(index, source)
        frames = take.stack_frames(moment.set, self.layout)
        kept = self._maps[moment.take]
        stack = np.concatenate([kept[int(frame)] for frame in frames]).astype(np.float32)
        sample = TrainingSample(
            conditioning=change_maps(stack, change, self.layout, self._mirror_x),
            olat=_planes(change_pictures(olat, change)),
            lights=wanted,
            albedo=_planes(change_pictures(surface[..., 0:3], change)),
            normal=_planes(change_normals(surface[..., 3:6], change)),
            matte=change_matte(surface[..., 6], change)[None],
            directions=self.dome.directions.astype(np.float32),
            index=index,
            time_s=float(take.fields.time_s[moment.set]),
        )
        if full_lit is not None:
            sample["full_lit"] = _planes(change_pictures(full_lit, change))
        return sample

    def _read(self, index: int, lights: NDArray[np.int64]) -> tuple[Array, Array, Array | None]:
        """Return images ``(n, s, s, 3)``, surface ``(s, s, 7)`` and full-lit picture."""
        fields, number = self.takes[self.moments[index].take].fields, self.moments[index].set
        images, targets = self._images, self._targets
        if targets is not None and targets.has[index] and (images is None or images.has[index]):
            beside = to_float(targets.values[index])
            if images is not None:
                small = to_float(images.values[index][lights])
            else:
                small = self._small(self._stored(fields, number, lights))
        else:
            every = images is not None or self._has_full_lit
            small = self._small(self._stored(fields, number, None if every else lights))
            parts = [self._surface(fields, number)]
            if self._has_full_lit:
                weights = self.full_lit_weights
                parts.append(np.einsum("lhwc,lc->hwc", small, weights, optimize=True))
            # as half floats, so that it does not matter what is kept and what is read again
            beside = _halved(np.concatenate(parts, axis=2))
            if images is not None:
                images.keep(index, small)
            if targets is not None:
                targets.keep(index, beside)
            small = small[lights] if every else small
        return small, beside[..., :7], beside[..., 7:] if self._has_full_lit else None

    def _small(self, stored: NDArray[np.float16]) -> Array:
        return _halved(np.stack([resized_picture(to_float(image), self.size) for image in stored]))

    def _stored(
        self, fields: ReflectanceFields, number: int, lights: NDArray[np.int64] | None
    ) -> NDArray[np.float16]:
        if fields.is_virtual:
            with self._virtual:
                stored = fields.read_stored(number, lights)
        else:
            stored = fields.read_stored(number, lights)
        if np.isnan(stored).any():
            raise FieldsError(
                f"{fields.path}: set {number} has pixels that are no numbers; preprocess it again "
                f"with --missing fill."
            )
        return stored

    def _surface(self, fields: ReflectanceFields, number: int) -> Array:
        """Return albedo, normal and matte ``(s, s, 7)``, 0 where not known."""
        arrays = surface_targets(fields, number)
        out = np.empty((self.size, self.size, 7), np.float32)
        for name, place in (("albedo", slice(0, 3)), ("matte", slice(6, 7))):
            image = arrays[name].reshape(fields.height, fields.width, -1)
            out[..., place] = resized_picture(image, self.size).reshape(self.size, self.size, -1)
        normal = resized_picture(arrays["normal"], self.size)
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        out[..., 3:6] = np.where(length > 0.5, normal / np.maximum(length, 1e-6), 0.0)
        return out


class _Kept:
    """Half floats of all sets in memory; pages are only taken once they are written."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.empty(shape, np.float16)
        self.has = np.zeros(shape[0], bool)

    def keep(self, index: int, values: Array) -> None:
        self.values[index] = to_half(values)
        self.has[index] = True


def _planned(maps: int, targets: int, images: int, limit: int) -> DatasetMemory:
    """Return what fits into the limit."""
    if maps + targets + images <= limit:
        return DatasetMemory(maps, targets, images, maps + targets + images)
    kept = targets if maps + targets <= limit else 0
    return DatasetMemory(maps, kept, 0, maps + targets + images)


def mean_shape(takes: Sequence[TrainingTake]) -> NDArray[np.float64]:
    """Return beta-bar ``(S,)``, the mean of the takes' shapes, each by its trusted frames.

    Raises:
        InputError: the clips are of different heads.
    """
    heads = {take.clip.head for take in takes if take.clip.head}
    if len(heads) > 1 or len({len(take.clip.shape) for take in takes}) > 1:
        raise InputError(
            f"{takes[0].where} and the other takes have parameters of different heads; fit all "
            f"takes with one head model."
        )
    weights = [max(float(take.clip.weight.sum()), 1e-9) for take in takes]
    return np.average([take.clip.shape for take in takes], axis=0, weights=weights)


def surface_targets(fields: ReflectanceFields, number: int) -> dict[str, Array]:
    """Return a set's ``albedo``, ``normal`` and ``matte``, 0 where not known.

    As the store holds them; what it lacks is made now, which takes a second: ``lightstage normals``
    and ``lightstage matte`` make it once for all.
    """
    found: dict[str, Array] = {}
    for name in _MADE_BY:
        if fields.has(name):
            found[name] = np.nan_to_num(fields.read(name, number))
    if "matte" not in found:
        from lightstage.relighting.matte_job import matte_of_set

        found["matte"] = matte_of_set(fields, number).alpha
    if "normal" not in found or "albedo" not in found:
        from lightstage.relighting.surface_store import set_maps

        maps = set_maps(fields, number)
        for name in ("normal", "albedo"):
            found.setdefault(name, np.nan_to_num(getattr(maps, name)))
    return found


def resized_picture(picture: Array, size: int) -> Array:
    """Return a linear picture ``(h, h, …)`` at ``size`` x ``size``, each pixel a mean."""
    side = picture.shape[0]
    if side == size:
        return picture
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), (size, size), interpolation=how))


def _sets_of(
    fields: ReflectanceFields, part: Part, held_out_share: float, gap_s: float
) -> list[int]:
    if part == "all":
        return list(range(len(fields)))
    split = split_by_time(fields.time_s, held_out_share, gap_s)
    return [int(k) for k in (split.train if part == "train" else split.held_out)]


def _halved(values: NDArray[np.floating]) -> Array:
    """Return values as half floats hold them."""
    return to_float(to_half(values))


def _planes(pictures: Array) -> Array:
    """Return ``(..., h, w, 3)`` as ``(..., 3, h, w)``."""
    return np.ascontiguousarray(np.moveaxis(pictures, -1, -3))
