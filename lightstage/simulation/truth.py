"""Ground truth of a simulated take: the OLAT set of a performer who stands still, and true flow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.errors import FieldsError
from lightstage.sequence import StepKind
from lightstage.simulation.flow import true_flow_to_times
from lightstage.simulation.render import render_lights
from lightstage.simulation.sensor import frame_generator
from lightstage.simulation.take import SimulatedStage, Stored

Array = NDArray[np.float32]

_FIELDS = ("olat", "full_lit", "normal", "albedo", "matte", "flow")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a perfect pipeline would make of one window, noise-free and not clipped.

    ``olat`` (lights, height, width, 3) linear, as OLAT frames are exposed; ``full_lit`` (height,
    width, 3) as the tracking frame ``centre_frame`` is exposed: the sum of ``olat`` times tracking
    pulse over exposure; ``normal`` (height, width, 3) unit, world axes; ``albedo`` (height, width,
    3) times the matte; ``matte`` (height, width); ``flow`` (tracking, height, width, 2): from
    ``centre_frame`` to each frame of ``tracking``, see :func:`flow.true_flow`; ``time_s`` when the
    performer is seen; ``olat_flow`` (lights, height, width, 2) where it was asked for: to the frame
    of each light. Frames are numbered by the steps of the sequence, 0 = the preamble's first.
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
    olat_flow: Array | None = None


def ground_truth(
    stage: SimulatedStage,
    centre_frame: int,
    tracking: Sequence[int] | None = None,
    *,
    olat_flow: bool = False,
) -> GroundTruth:
    """Return the truth for the set centred on the tracking frame ``centre_frame``.

    Faults of the stage are left out: it is the truth of a sound one.

    Args:
        stage: what was recorded.
        centre_frame: index of the window's centre.
        tracking: frames to which the flow is given; ``None`` = the window's tracking frames.
        olat_flow: also the flow to each light's own frame; at 512x384 96 lights take 150 MB.

    Raises:
        SequenceError: no whole window is centred there.
    """
    if tracking is None:
        frames = stage.sequence.window(centre_frame).tracking
    else:
        frames = np.asarray(tracking, dtype=np.int64)
    stage = stage.sound
    scene = stage.scene(centre_frame)
    # one light at a time at unit share: their sum is the tracking frame whatever its pulse
    pictures = render_lights(scene, stage.dome, range(stage.sequence.lights))

    def flows(others: NDArray[np.int64]) -> Array:
        times = [stage.time_s(int(frame)) for frame in others]
        return true_flow_to_times(stage.performer, stage.camera, stage.time_s(centre_frame), times)

    full_lit = np.float32(stage.light_share(StepKind.TRACKING)) * pictures.sum(axis=0)
    pictures *= np.float32(stage.light_share(StepKind.OLAT))
    return GroundTruth(
        centre_frame=centre_frame,
        time_s=stage.time_s(centre_frame),
        tracking=frames,
        olat=pictures,
        full_lit=full_lit,
        normal=scene.normal,
        albedo=scene.albedo,
        matte=scene.matte,
        flow=flows(frames),
        olat_flow=flows(stage.sequence.window(centre_frame).frames) if olat_flow else None,
    )


def frozen_frames(stage: SimulatedStage, centre_frame: int) -> Iterator[Stored]:
    """Yield, light by light, the frame that the camera would have stored had nobody moved.

    The performer is frozen as ``centre_frame`` sees them; lights and noise are those of the
    light's own frame in the window. Developed as the take's frames are, they are the ceiling that
    alignment can reach with one frame a light.

    Args:
        stage: what was recorded; its lights' faults are seen, those of frames are not.
        centre_frame: index of the window's centre, a tracking frame.

    Yields:
        the stored mosaic ``(height, width)`` of each light, light 0 first.

    Raises:
        SequenceError: no whole window is centred there.
    """
    scene = stage.scene(centre_frame)
    for frame in stage.sequence.window(centre_frame).frames.tolist():
        noise = frame_generator(stage.seed, frame)
        yield stage.exposed(scene, stage.lighting(frame), noise)


def write_truth(path: str | os.PathLike[str], truths: Iterable[GroundTruth]) -> None:
    """Write sets of one stage to ``path``, a Zarr v3 group, usually ``truth.zarr``.

    Arrays: ``olat`` (set, light, height, width, rgb) float16; ``full_lit``, ``normal``, ``albedo``
    (set, height, width, 3) float16; ``matte`` (set, height, width) float16; ``flow`` (set,
    tracking, height, width, 2) float32; ``tracking`` (set, tracking), ``centre_frame`` (set) int64,
    ``time_s`` (set) float64; where the sets have it, ``olat_flow`` (set, light, height, width, 2)
    float32.
    """
    group: Any = None
    count = 0
    for count, truth in enumerate(truths, 1):
        values = {name: getattr(truth, name) for name in _FIELDS}
        if truth.olat_flow is not None:
            values["olat_flow"] = truth.olat_flow
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
            olat_flow=np.asarray(group["olat_flow"][index]) if "olat_flow" in group else None,
            **fields,
        )
    except (KeyError, TypeError, ValueError) as reason:
        raise FieldsError(f"{path}: is damaged or unfinished: {reason}.") from None


def _create(group: Any, name: str, value: NDArray[Any]) -> None:
    flow = name in ("flow", "olat_flow")
    half = name in _FIELDS and not flow
    chunks = (1, *value.shape)
    if name == "olat" or flow:
        chunks = (1, 1, *value.shape[1:])
    group.create_array(
        name,
        shape=(0, *value.shape),
        chunks=chunks,
        dtype="float16" if half else ("float32" if flow else value.dtype),
    )
