"""Store: what preprocessing writes into ``aligned.zarr`` beside the images, and reads again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.aligned_store import FieldsWriter, Kind
from lightstage.errors import FieldsError
from lightstage.preprocess.align import SetFrames
from lightstage.preprocess.motion import flow_unit_px
from lightstage.preprocess.plan import SetFlag, TakePlan, view_of
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import FrameSource
from lightstage.session import Take

#: A set below this mean confidence, or above this share of the full-lit brightness in residual, is
#: flagged.
LEAST_CONFIDENCE = 0.6
MOST_RESIDUAL = 0.08
#: The arrays from which a set's images can be made again.
MADE_FROM_FLOWS = ("flow", "trust", "light_frame", "tracking_frame", "crop")
#: Values per set that come from the work itself: name, type, fill, further axes.
_FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "residual": ("float32", ()),
    "residual_unaligned": ("float32", ()),
    "motion_px": ("float32", ()),
}


def create_store(
    path: Path,
    take: Take,
    source: FrameSource,
    plan: TakePlan,
    settings: PreprocessSettings,
    digest: str,
    kind: Kind,
) -> None:
    """Make a take's empty store with the recipe of all its sets."""
    view = view_of(plan.sets[0].part, source, settings)
    found = plan.identification
    lights, sets = len(take.dome), len(plan.sets)
    writer = FieldsWriter.create(
        path,
        sets=sets,
        height=view.out_height,
        width=view.out_width,
        dome=take.dome,
        rate_hz=settings.rate_hz or take.sequence.tracking_rate_hz,
        kind=kind,
        grid=(plan.tracking, view.grid_height, view.grid_width),
        attributes={
            "digest": digest,
            "take": take.name,
            "recording": os.path.relpath(source.path.absolute(), path.parent.absolute()),
            "recording_identity": source.identity(),
            "sequence": take.sequence.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "identified_by": found.method,
            "dropped_steps": found.dropped.tolist(),
            "missing": [list(pair) for pair in plan.missing],
            "filled": [list(pair) for pair in plan.filled],
            "skipped_s": list(plan.skipped_s),
            "flow_unit_px": flow_unit_px(view),
            "flags": {flag.name: int(flag) for flag in SetFlag},
        },
    )
    values = {
        "light_frame": np.stack([_padded(p.frames.light_frames, plan.samples) for p in plan.sets]),
        "light_time_s": np.stack(
            [_padded(p.frames.light_times_s, plan.samples, np.nan) for p in plan.sets]
        ),
        "tracking_frame": _padded_rows([p.frames.tracking_frames for p in plan.sets], -1),
        "tracking_time_s": _padded_rows([p.frames.tracking_times_s for p in plan.sets], np.nan),
        "centre_tracking": np.array([p.frames.centre for p in plan.sets], np.int64),
        "crop": np.array([p.part for p in plan.sets], np.float64),
        "flag": np.array([int(p.flag) for p in plan.sets], np.uint8),
    }
    axes = {
        "light_frame": ("light", "sample"),
        "light_time_s": ("light", "sample"),
        "tracking_frame": ("tracking",),
        "tracking_time_s": ("tracking",),
        "crop": ("left_top_width_height",),
    }
    for name, value in values.items():
        writer.create_values(name, value.shape, str(value.dtype), 0, axes.get(name, ()))
    for name, (dtype, further) in _FIGURES.items():
        writer.create_values(name, (sets,), dtype, float("nan"), further)
    writer.write_values(
        time_s=np.array([p.time_s for p in plan.sets]),
        centre_frame=np.array([p.centre_frame_number for p in plan.sets], np.int64),
        confidence=np.zeros((sets, lights), np.float32),
        **values,
    )


def finish_store(path: Path, plan: TakePlan, figures: list[dict[str, Any]]) -> None:
    """Write the figures of all sets and mark the store as whole.

    Args:
        path: the store.
        plan: what was made.
        figures: what each set's worker reported, in order.
    """
    writer = FieldsWriter.open(path)
    confidence = np.array([item["confidence"] for item in figures], np.float32)
    values = {
        name: np.array([item[name] for item in figures], dtype)
        for name, (dtype, _) in _FIGURES.items()
    }
    flags = np.array([int(item.flag) for item in plan.sets], np.uint8)
    for index, item in enumerate(plan.sets):
        there = ~item.frames.missing
        trusted = float(confidence[index][there].mean()) if there.any() else 0.0
        if trusted < LEAST_CONFIDENCE:
            flags[index] |= SetFlag.LOW_CONFIDENCE
        if values["residual"][index] > MOST_RESIDUAL:
            flags[index] |= SetFlag.HIGH_RESIDUAL
    writer.write_values(confidence=confidence, flag=flags, **values)
    writer.finish()


def note_calibration(path: Path, take: Take, settings: PreprocessSettings) -> None:
    """Note in a finished store the dome and calibration that the take has now, if they are others.

    Gains are used when fields are lit, not when they are made: new ones need no new images.
    """
    group = zarr.open_group(str(path), mode="r+")
    lit_by = ("lights", "gains")
    calibrated = {
        name: told
        for name, told in take.calibration_provenance.items()
        if name in lit_by or settings.develop.use_calibration
    }
    now = {"dome": take.dome.model_dump(mode="json"), "calibration": calibrated}
    if any(group.attrs.get(name) != value for name, value in now.items()):
        group.attrs.update(now)


def flagged_sets(path: Path) -> int:
    """Return how many sets of a finished store a person should look at."""
    flags = np.asarray(zarr.open_group(str(path), mode="r")["flag"][...])
    return int((flags != 0).sum())


def set_frames(group: zarr.Group, index: int) -> SetFrames:
    """Return which frames a set of a store was made of."""
    tracking = np.asarray(group["tracking_frame"][index])
    there = tracking >= 0
    return SetFrames(
        light_frames=np.asarray(group["light_frame"][index]),
        light_times_s=np.asarray(group["light_time_s"][index]),
        tracking_frames=tracking[there],
        tracking_times_s=np.asarray(group["tracking_time_s"][index])[there],
        centre=int(group["centre_tracking"][index]),
        time_s=float(group["time_s"][index]),
    )


def store_digest(path: Path) -> tuple[str, str, bool] | None:
    """Return a store's digest, its kind and whether it is finished; ``None`` where it is none."""
    if not (path / "zarr.json").is_file():
        return None
    try:
        attributes = dict(zarr.open_group(str(path), mode="r").attrs)
        return str(attributes["digest"]), str(attributes["kind"]), bool(attributes["finished"])
    except Exception:  # zarr raises many kinds for a damaged store, which is then made anew
        return None


def settings_of(path: Path, attributes: dict[str, Any]) -> PreprocessSettings:
    """Return the settings that a store was made with."""
    if "settings" not in attributes:
        raise FieldsError(f"{path}: was not made from a recording; it has no settings.")
    return PreprocessSettings.parse(attributes["settings"], f"{path}: attribute 'settings'")


def padded_motion(values: NDArray[Any], tracking: int) -> NDArray[Any]:
    """Return a set's grid array with as many tracking frames as the store has."""
    if len(values) == tracking:
        return values
    wide = np.zeros((tracking, *values.shape[1:]), values.dtype)
    wide[: len(values)] = values
    return wide


def _padded(values: NDArray[Any], samples: int, fill: float = -1) -> NDArray[Any]:
    wide = np.full((len(values), samples), fill, values.dtype)
    wide[:, : values.shape[1]] = values
    return wide


def _padded_rows(rows: list[NDArray[Any]], fill: float) -> NDArray[Any]:
    longest = max(len(row) for row in rows)
    wide = np.full((len(rows), longest), fill, rows[0].dtype)
    for index, row in enumerate(rows):
        wide[index, : len(row)] = row
    return wide
