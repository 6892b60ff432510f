"""Ground truth of a simulated take: the OLAT set of a performer who stands still, and true flow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.errors import FieldsError
from lightstage.sequence import StepKind
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import rasterise, render_lights
from lightstage.simulation.take import SimulatedStage

Array = NDArray[np.float32]

#: A surface point that lies this far behind what is seen at its place is hidden.
_HIDDEN_M = 0.004
_FIELDS = ("olat", "full_lit", "normal", "albedo", "matte", "flow")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a perfect pipeline would make of one window, noise-free and not clipped.

    ``olat`` (lights, height, width, 3) linear, as OLAT frames are exposed; ``full_lit`` (height,
    width, 3) as the tracking frame ``centre_frame`` is exposed: the sum of ``olat`` times tracking
    pulse over exposure; ``normal`` (height, width, 3) unit, world axes; ``albedo`` (height, width,
    3) times the matte; ``matte`` (height, width); ``flow`` (tracking, height, width, 2): from
    ``centre_frame`` to each frame of ``tracking``, see :func:`true_flow`; ``time_s`` when the
    performer is seen.
    """

    centre_frame: int
    time_s: float
    tracking: NDArray[np.int64]
    olat: Array
    full_lit: Array
    normal: Array
    albedo: Array
    matte: Array
    flow: Array


def ground_truth(
    stage: SimulatedStage, centre_frame: int, tracking: Sequence[int] | None = None
) -> GroundTruth:
    """Return the truth for the set centred on the tracking frame ``centre_frame``.

    Args:
        stage: what was recorded.
        centre_frame: index of the window's centre.
        tracking: frames to which the flow is given; ``None`` = the window's tracking frames.

    Raises:
        SequenceError: no whole window is centred there.
    """
    if tracking is None:
        frames = stage.sequence.window(centre_frame).tracking
    else:
        frames = np.asarray(tracking, dtype=np.int64)
    scene = stage.scene(centre_frame)
    # one light at a time at unit share: their sum is the tracking frame whatever its pulse
    pictures = render_lights(scene, stage.dome, range(stage.sequence.lights))
    now = stage.time_s(centre_frame)
    flow = [
        true_flow(stage.performer, stage.camera, now, stage.time_s(int(frame))) for frame in frames
    ]
    full_lit = np.float32(stage.light_share(StepKind.TRACKING)) * pictures.sum(axis=0)
    pictures *= np.float32(stage.light_share(StepKind.OLAT))
    size = (stage.camera.height, stage.camera.width, 2)
    return GroundTruth(
        centre_frame=centre_frame,
        time_s=now,
        tracking=frames,
        olat=pictures,
        full_lit=full_lit,
        normal=scene.normal,
        albedo=scene.albedo,
        matte=scene.matte,
        flow=np.stack(flow) if flow else np.zeros((0, *size), np.float32),
    )


def true_flow(
    performer: Performer, camera: SimulatedCamera, time_s: float, other_s: float
) -> Array:
    """Return the backward flow ``(height, width, 2)`` in pixels from one time to another.

    ``flow[y, x] = (dx, dy)``: what pixel (x, y) shows at ``time_s`` is at (x + dx, y + dy) at
    ``other_s``. NaN off the performer, and where that point is hidden or outside at ``other_s``.
    """
    here, there = performer.vertices(time_s), performer.vertices(other_s)
    faces = performer.model.faces
    fragments = rasterise(here, faces, camera)
    flow = np.full((camera.height * camera.width, 2), np.nan, np.float32)
    moved = fragments.gather(there)
    place = camera.project(moved)
    row, column = np.divmod(fragments.pixel, max(fragments.width, 1))
    x, y = column + fragments.left, row + fragments.top
    shown = np.full((camera.height, camera.width), np.inf, np.float32)
    other = rasterise(there, faces, camera)
    other_row, other_column = np.divmod(other.pixel, max(other.width, 1))
    distance = camera.distance_m - other.gather(there)[:, 2]
    shown[other_row + other.top, other_column + other.left] = distance
    # at an outline the nearest of four pixels may be the background: then the farthest one counts
    around = cv2.dilate(np.where(np.isinf(shown), 0.0, shown).astype(np.float32), np.ones((2, 2)))
    near_x = np.rint(place[:, 0]).astype(np.int64)
    near_y = np.rint(place[:, 1]).astype(np.int64)
    inside = (near_x >= 0) & (near_x < camera.width) & (near_y >= 0) & (near_y < camera.height)
    near_x, near_y = np.clip(near_x, 0, camera.width - 1), np.clip(near_y, 0, camera.height - 1)
    reach = camera.distance_m - moved[:, 2]
    seen = inside & (reach < np.asarray(around)[near_y, near_x] + _HIDDEN_M)
    values = place - np.column_stack([x, y])
    flow[y[seen] * camera.width + x[seen]] = values[seen]
    return flow.reshape(camera.height, camera.width, 2)


def write_truth(path: str | os.PathLike[str], truths: Iterable[GroundTruth]) -> None:
    """Write sets of one stage to ``path``, a Zarr v3 group, usually ``truth.zarr``.

    Arrays: ``olat`` (set, light, height, width, rgb) float16; ``full_lit``, ``normal``, ``albedo``
    (set, height, width, 3) float16; ``matte`` (set, height, width) float16; ``flow`` (set,
    tracking, height, width, 2) float32; ``tracking`` (set, tracking), ``centre_frame`` (set) int64,
    ``time_s`` (set) float64.
    """
    group: Any = None
    count = 0
    for count, truth in enumerate(truths, 1):
        values = {name: getattr(truth, name) for name in _FIELDS}
        values |= {
            "tracking": truth.tracking,
            "centre_frame": np.int64(truth.centre_frame),
            "time_s": np.float64(truth.time_s),
        }
        if group is None:
            group = zarr.open_group(str(path), mode="w", zarr_format=3)
            for name, value in values.items():
                _create(group, name, np.asarray(value))
        for name, value in values.items():
            group[name].resize((count, *np.shape(value)))
            group[name][count - 1] = value
    if group is None:
        raise FieldsError(f"{path}: no sets to write were given.")
    group.attrs["sets"] = count


def truth_sets(path: str | os.PathLike[str]) -> int:
    """Return how many sets a ``truth.zarr`` holds; raises FieldsError where it is none."""
    try:
        return int(zarr.open_group(str(path), mode="r").attrs["sets"])
    except (FileNotFoundError, KeyError, TypeError, ValueError) as reason:
        raise FieldsError(f"{path}: is no truth.zarr, or damaged: {reason}.") from None


def read_truth(path: str | os.PathLike[str], index: int = 0) -> GroundTruth:
    """Return set ``index`` of a ``truth.zarr``; pictures become float32.

    Raises:
        FieldsError: the store is missing, damaged or has no such set.
    """
    if not (Path(path) / "zarr.json").is_file():
        raise FieldsError(f"{path}: is no truth.zarr; write_truth makes one.")
    try:
        group: Any = zarr.open_group(str(path), mode="r")
        sets = int(group.attrs["sets"])
        if not -sets <= index < sets:
            raise FieldsError(f"{path}: has {sets} sets, there is no set {index}.")
        index %= sets
        fields = {name: np.asarray(group[name][index], np.float32) for name in _FIELDS}
        return GroundTruth(
            centre_frame=int(group["centre_frame"][index]),
            time_s=float(group["time_s"][index]),
            tracking=np.asarray(group["tracking"][index], np.int64),
            **fields,
        )
    except (KeyError, TypeError, ValueError) as reason:
        raise FieldsError(f"{path}: is damaged or unfinished: {reason}.") from None


def _create(group: Any, name: str, value: NDArray[Any]) -> None:
    half = name in _FIELDS and name != "flow"
    chunks = (1, *value.shape)
    if name in ("olat", "flow"):
        chunks = (1, 1, *value.shape[1:])
    group.create_array(
        name,
        shape=(0, *value.shape),
        chunks=chunks,
        dtype="float16" if half else ("float32" if name == "flow" else value.dtype),
    )
