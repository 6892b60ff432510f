"""Figures of a take's reflectance fields: motion, confidence, residuals and flags of each set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.fields import ReflectanceFields
from lightstage.preprocess.plan import SetFlag

#: What each flag means, for a person, and whether it is a reason to look at the set.
FLAG_MEANINGS: dict[SetFlag, tuple[str, bool]] = {
    SetFlag.MISSING_LIGHTS: ("lights are missing: their frames were lost", True),
    SetFlag.FILLED_LIGHTS: ("lights were taken from a neighbouring cycle", False),
    SetFlag.MISSING_TRACKING: ("tracking frames are missing within the window", False),
    SetFlag.OFF_CENTRE: ("centred on a neighbouring tracking frame", False),
    SetFlag.LOW_CONFIDENCE: ("alignment is little trusted", True),
    SetFlag.HIGH_RESIDUAL: ("tracking frames still differ after alignment", True),
}


@dataclass(frozen=True)
class FieldFigures:
    """Figures of all sets of a store; an array is ``None`` where the store does not have it.

    Attributes:
        sets, lights, width, height: what the store holds.
        rate_hz: sets per second, ``None`` for a still.
        kind: materialised or virtual.
        time_s: ``(sets,)`` from the take's first frame.
        confidence: ``(sets, lights)``, 0 to 1.
        motion_px: ``(sets,)`` the largest mean motion within the window, recording's pixels.
        residual, residual_unaligned: ``(sets,)`` how far tracking frames are from the centre's,
            as a share of its brightness.
        flagged: sets of each flag.
        missing, filled: (set, light) pairs.
        skipped_s: output times without a set.
        software: the version that made it.
        settings: what it was made with, as JSON data.
        identified_by: what its frames' places rest on.
    """

    sets: int
    lights: int
    width: int
    height: int
    rate_hz: float | None
    kind: str
    time_s: NDArray[np.float64]
    confidence: NDArray[np.float32]
    motion_px: NDArray[np.float32] | None
    residual: NDArray[np.float32] | None
    residual_unaligned: NDArray[np.float32] | None
    flagged: dict[SetFlag, tuple[int, ...]]
    missing: tuple[tuple[int, int], ...]
    filled: tuple[tuple[int, int], ...]
    skipped_s: tuple[float, ...]
    software: str
    settings: dict[str, Any]
    identified_by: str

    @property
    def flagged_sets(self) -> tuple[int, ...]:
        """All sets with any flag, in order."""
        return tuple(sorted({index for sets in self.flagged.values() for index in sets}))

    def showing(self) -> list[int]:
        """Return the sets in the order in which they tell most: whole ones, most motion first."""
        incomplete = np.zeros(self.sets, dtype=bool)
        incomplete[[index for index, _ in self.missing]] = True
        motion = np.zeros(self.sets) if self.motion_px is None else np.nan_to_num(self.motion_px)
        middle = -np.abs(np.arange(self.sets) - self.sets // 2)
        return [int(index) for index in np.lexsort((-middle, -motion, incomplete))]


def field_figures(fields: ReflectanceFields) -> FieldFigures:
    """Return the figures of a store; no image is read.

    Raises:
        FieldsError: the store is damaged.
    """
    attributes = fields.attributes

    def values(name: str) -> NDArray[Any] | None:
        return fields.read_values(name) if fields.has(name) else None

    flags = values("flag")
    flagged = {}
    for flag in FLAG_MEANINGS:
        if flags is not None and (flags & int(flag)).any():
            flagged[flag] = tuple(np.flatnonzero(flags & int(flag)).tolist())
    confidence = fields.read_values("confidence")
    return FieldFigures(
        sets=len(fields),
        lights=fields.lights,
        width=fields.width,
        height=fields.height,
        rate_hz=fields.rate_hz,
        kind=str(attributes.get("kind", "materialised")),
        time_s=fields.time_s,
        confidence=confidence,
        motion_px=values("motion_px"),
        residual=values("residual"),
        residual_unaligned=values("residual_unaligned"),
        flagged=flagged,
        missing=_pairs(attributes.get("missing")),
        filled=_pairs(attributes.get("filled")),
        skipped_s=tuple(float(time) for time in attributes.get("skipped_s") or ()),
        software=str(attributes.get("lightstage_version", "unknown")),
        settings=dict(attributes.get("settings") or {}),
        identified_by=str(attributes.get("identified_by", "")),
    )


def _pairs(stored: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(index), int(light)) for index, light in stored or ())
