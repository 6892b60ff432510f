"""Predicted reflectance fields as an ``aligned.zarr``, as if they had been captured.

Set after set comes from the network and is written whole; a set whose one-light images are on the
disk is done, so a run that was interrupted goes on where it stopped. Until all are there the store
is not marked finished, and nothing opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.aligned_store import FieldsWriter, create_images, olat_shard
from lightstage.dome import Dome
from lightstage.errors import InputError
from lightstage.half_floats import to_half
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take

Array = NDArray[np.float32]
#: Called with the number of sets done and the number of all.
Progress = Callable[[int, int], None]

#: Maps that a set may have beside its images, and their channels.
MAP_ARRAYS = {"normal": 3, "albedo": 3, "matte": 1}
#: How a take that was rendered says so.
ORIGIN = "rendered"
#: The store's attribute that tells what it was rendered from.
_ATTRIBUTE = "rendered"


@dataclass(frozen=True, eq=False)
class RenderedSet:
    """One predicted set, linear; what a network gives for one frame.

    Attributes:
        olat: the images ``(h, w, 3)`` light by light: an array ``(lights, h, w, 3)``, or as they
            are made, so that they need never all be in memory.
        full_lit: ``(h, w, 3)``; made of the images as a tracking frame is unless given.
        normal: ``(h, w, 3)`` unit, world axes.
        albedo: ``(h, w, 3)``.
        matte: ``(h, w)`` in [0, 1].
    """

    olat: Iterable[NDArray[np.floating]]
    full_lit: NDArray[np.floating] | None = None
    normal: NDArray[np.floating] | None = None
    albedo: NDArray[np.floating] | None = None
    matte: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class FieldsPlan:
    """What a store of rendered sets will hold.

    Attributes:
        dome: the lights, in the images' order.
        width: of the pictures, in pixels.
        height: the same.
        time_s: each set's time in seconds, ``(sets,)``, rising.
        maps: which of :data:`MAP_ARRAYS` each set has.
        made_from: all that the sets depend on, as JSON: checkpoint, parameters, settings. A store
            that was begun from the same is gone on with, from anything else it is made anew.
        rate_hz: sets a second; from the times unless given.
        centre_frame: ``(sets,)`` numbers of the frames that the parameters were of; 0, 1, … unless
            given.
        crop: ``(sets, 4)`` left, top, width, height in the camera's picture, where pictures are
            crops of it.
        attributes: further ones of the store, as JSON holds them.
    """

    dome: Dome
    width: int
    height: int
    time_s: NDArray[np.float64]
    made_from: Mapping[str, Any]
    maps: tuple[str, ...] = tuple(MAP_ARRAYS)
    rate_hz: float | None = None
    centre_frame: NDArray[np.int64] | None = None
    crop: NDArray[np.float64] | None = None
    attributes: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check that the plan is one."""
        times = np.asarray(self.time_s, np.float64)
        if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
            raise InputError(f"a store of sets needs a time for each of them, not {times.shape}.")
        if (np.diff(times) <= 0).any():
            raise InputError("the sets' times must rise.")
        unknown = set(self.maps) - set(MAP_ARRAYS)
        if unknown:
            raise InputError(f"there are no maps {sorted(unknown)} (there are {list(MAP_ARRAYS)}).")
        for name, shape in (("centre_frame", (len(times),)), ("crop", (len(times), 4))):
            given = getattr(self, name)
            if given is not None and np.shape(given) != shape:
                raise InputError(f"{name} must be {shape}, it is {np.shape(given)}.")


def rendered_take(
    path: Path,
    dome: Dome,
    *,
    performer: str = "unnamed",
    sequence: CaptureSequence | None = None,
    details: Mapping[str, Any] | None = None,
) -> Take:
    """Return the take ``SESSION/takes/NAME`` for rendered sets, made where it is not there.

    Its session is made too, of this dome, where there is none.

    Args:
        path: the take's folder.
        dome: the lights.
        performer: for a new session.
        sequence: for a new session; the usual one of so many lights unless given.
        details: kept in a new take's manifest.

    Raises:
        InputError: the path is none of a take.
        SessionError: something else is there: a take that was captured, say.
    """
    if path.parent.name != "takes":
        raise InputError(f"{path}: a take's folder is SESSION/takes/NAME, such as out/takes/talk.")
    folder = path.parent.parent
    if Take.is_at(path):
        take = Take.open(path)
        if take.manifest.origin != ORIGIN:
            raise InputError(
                f"{path}: is a take that was {take.manifest.origin}; rendered sets would stand in "
                f"the place of its own. Name another take."
            )
        if len(take.dome) != len(dome):
            raise InputError(
                f"{path}: has a dome of {len(take.dome)} lights, the sets have {len(dome)}."
            )
        return take
    sequence = sequence or CaptureSequence(lights=len(dome))
    if Session.is_at(folder):
        session = Session.open(folder)
    else:
        session = Session.create(
            folder, dome=dome, sequence=sequence, performer=performer, stage="rendered"
        )
    return session.add_take(
        path.name, origin=ORIGIN, details=dict(details or {}), dome=dome, sequence=sequence
    )


def render_fields(
    path: Path,
    plan: FieldsPlan,
    render: Callable[[Sequence[int]], Iterator[RenderedSet]],
    *,
    progress: Progress | None = None,
) -> Path:
    """Write rendered sets into a store; those that are there already are not made again.

    Args:
        path: the store, usually ``TAKE/aligned.zarr``.
        plan: what it will hold.
        render: given indices of sets in rising order, yields them in that order. It is closed when
            the work ends, however it does.
        progress: called after each set.

    Returns:
        The store's path.

    Raises:
        InputError: a store that was captured stands there, or a set is not as planned.
    """
    sets = len(plan.time_s)
    digest = _digest(plan)
    held = _held(path)
    if held is not None and held != (digest, True) and held != (digest, False):
        if held[0] is None:
            raise InputError(
                f"{path}: holds reflectance fields that were not rendered; they are not replaced. "
                f"Name another take."
            )
        held = None
    if held is None:
        _create(path, plan, digest)
    if held == (digest, True):
        if progress:
            progress(sets, sets)
        return path
    todo = [index for index in range(sets) if not olat_shard(path, index).is_file()]
    writer = FieldsWriter.open(path)
    done = sets - len(todo)
    if progress:
        progress(done, sets)
    with closing(_closable(render(todo))) as rendered:
        for index in todo:
            one = next(rendered, None)
            if one is None:
                raise InputError(f"{path}: set {index} of {sets} was not rendered.")
            _write_set(writer, plan, index, one)
            done += 1
            if progress:
                progress(done, sets)
    writer.finish()
    return path


def full_lit_share(dome: Dome) -> float:
    """Return what a tracking frame gathers of each light, against its own image's 1.

    As a take of the usual sequence with so many lights: the sum of all images times this.
    """
    sequence = CaptureSequence(lights=len(dome))
    return sequence.tracking_pulse_us / sequence.exposure_us


def _write_set(writer: FieldsWriter, plan: FieldsPlan, index: int, one: RenderedSet) -> None:
    shape = (plan.height, plan.width, 3)
    total = np.zeros(shape, np.float32)
    share = full_lit_share(plan.dome)

    def images() -> Iterator[NDArray[np.float16]]:
        count = 0
        for count, image in enumerate(one.olat, 1):
            if image.shape != shape or count > len(plan.dome):
                raise InputError(
                    f"{writer.path}: set {index}: image {count} is {image.shape}; "
                    f"{len(plan.dome)} of {shape} are due."
                )
            np.add(total, image, out=total, casting="unsafe")
            yield to_half(image)
        if count != len(plan.dome):
            raise InputError(
                f"{writer.path}: set {index} has {count} images, {len(plan.dome)} are due."
            )
        # the maps go first: the images' file says that the set is done
        full_lit = total * np.float32(share) if one.full_lit is None else one.full_lit
        writer.write_images(index, full_lit=np.asarray(full_lit), **_maps(writer, plan, index, one))

    writer.write_olat(index, images())


def _maps(
    writer: FieldsWriter, plan: FieldsPlan, index: int, one: RenderedSet
) -> dict[str, NDArray[np.floating]]:
    found = {}
    for name in plan.maps:
        image = getattr(one, name)
        shape = (plan.height, plan.width) + ((3,) if MAP_ARRAYS[name] == 3 else ())
        if image is None or image.shape != shape:
            what = "none" if image is None else f"one of {image.shape}"
            raise InputError(
                f"{writer.path}: set {index}: {name} must be {shape}, there is {what}."
            )
        found[name] = image
    return found


def _create(path: Path, plan: FieldsPlan, digest: str) -> None:
    times = np.asarray(plan.time_s, np.float64)
    sets = len(times)
    rate = plan.rate_hz
    if rate is None and sets > 1:
        rate = float(1.0 / np.median(np.diff(times)))
    writer = FieldsWriter.create(
        path,
        sets=sets,
        height=plan.height,
        width=plan.width,
        dome=plan.dome,
        rate_hz=rate,
        attributes={
            **(plan.attributes or {}),
            _ATTRIBUTE: dict(plan.made_from),
            "digest": digest,
        },
    )
    group = zarr.open_group(str(path), mode="r+")
    for name in plan.maps:
        axis = "xyz" if name == "normal" else "rgb"
        create_images(
            group, name, (sets, plan.height, plan.width), MAP_ARRAYS[name], last_axis=axis
        )
    numbers = np.arange(sets) if plan.centre_frame is None else plan.centre_frame
    writer.write_values(
        time_s=times,
        centre_frame=np.asarray(numbers, np.int64),
        confidence=np.ones((sets, len(plan.dome)), np.float32),
    )
    if plan.crop is not None:
        crop = np.asarray(plan.crop, np.float64)
        writer.create_values("crop", crop.shape, "float64", 0.0, ("left_top_width_height",))
        writer.write_values(crop=crop)


def _held(path: Path) -> tuple[str | None, bool] | None:
    """Return the digest of the store at ``path`` and whether it is whole; ``None`` = no store."""
    if not (path / "zarr.json").is_file():
        return None
    try:
        attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    except Exception as reason:  # zarr raises many kinds for a damaged store
        raise InputError(f"{path}: is damaged ({reason}); remove it and run again.") from None
    if _ATTRIBUTE not in attributes:
        return None, bool(attributes.get("finished"))
    return str(attributes.get("digest")), bool(attributes.get("finished"))


def _digest(plan: FieldsPlan) -> str:
    import hashlib
    import json

    made_from = {
        "dome": plan.dome.model_dump(mode="json"),
        "size": [plan.width, plan.height],
        "time_s": np.asarray(plan.time_s, np.float64).tolist(),
        "maps": list(plan.maps),
        "crop": None if plan.crop is None else np.asarray(plan.crop).tolist(),
        "made_from": plan.made_from,
    }
    text = json.dumps(made_from, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _closable(rendered: Iterable[RenderedSet]) -> Any:
    """Return a generator over anything that yields."""
    return (one for one in rendered) if not hasattr(rendered, "close") else rendered
