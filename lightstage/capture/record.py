"""``capture.json``: what happened while a take was recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lightstage import __version__
from lightstage.errors import SessionError
from lightstage.manifest import Manifest

CAPTURE_FILE = "capture.json"

FaultCode = Literal[
    "interrupted",
    "leds",
    "camera",
    "counts",
    "time-stamps",
    "pictures",
    "download",
    "checksum",
]


class Fault(Manifest):
    """Something that did not happen as it should; a take with any is never good."""

    code: FaultCode
    text: str


class Counts(Manifest):
    """What must agree after every take."""

    frames_wanted: int = 0
    steps_executed: int = 0
    steps_missed: int = 0
    triggers_sent: int = 0
    edges_seen: int = 0
    frames_recorded: int = 0
    frames_downloaded: int = 0


class StampSummary(Manifest):
    """What the camera's time stamps say."""

    frames: int
    frame_rate_hz: float
    jitter_us: Annotated[float, Field(description="standard deviation of the frame interval")]
    drift_ppm: Annotated[
        float,
        Field(description="how much faster the frames came than asked, by the camera's clock"),
    ] = 0.0
    gaps: tuple[int, ...] = ()
    backwards: tuple[int, ...] = ()
    early: tuple[int, ...] = ()


class CaptureRecord(Manifest):
    """What ``capture.json`` holds."""

    error: ClassVar = SessionError

    schema_version: Annotated[int, Field(ge=1)] = 1
    good: bool
    started: datetime
    finished: datetime = Field(default_factory=lambda: datetime.now(UTC))
    software: str = f"lightstage {__version__}"
    performer: str = ""
    note: str = ""
    simulated: bool = False
    leds: dict[str, Any] = Field(default_factory=dict)
    camera: dict[str, Any] = Field(default_factory=dict)
    counts: Counts = Counts()
    stamps: StampSummary | None = None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    preflight: tuple[dict[str, Any], ...] = ()
    safety: dict[str, Any] = Field(default_factory=dict)
    checksum_xxh3_128: Annotated[str, Field(description="of all frames' pixels, in order")] = ""


def summarise_stamps(time_ns: NDArray[np.int64], frame_rate_hz: float) -> StampSummary:
    """Return what time stamps ``(frames,)`` say about a recording at ``frame_rate_hz``.

    ``gaps`` are the indices of frames that came a frame or more late, ``early`` of those that came
    well before they were due, ``backwards`` of those whose stamp is not after the one before.
    """
    if len(time_ns) < 2:
        return StampSummary(frames=len(time_ns), frame_rate_hz=0.0, jitter_us=0.0)
    steps = np.diff(time_ns).astype(np.float64)
    beat = float(np.median(steps))
    normal = steps[np.abs(steps - beat) < 0.5 * beat]
    period_ns = 1e9 / frame_rate_hz
    beats = np.rint(steps / period_ns).sum()
    lasted_ns = float(time_ns[-1] - time_ns[0])
    drift_ppm = (beats * period_ns / lasted_ns - 1.0) * 1e6 if lasted_ns > 0 else 0.0
    return StampSummary(
        frames=len(time_ns),
        frame_rate_hz=round(1e9 / beat, 3) if beat > 0 else 0.0,
        jitter_us=round(float(normal.std()) / 1e3, 4) if len(normal) else 0.0,
        drift_ppm=round(float(drift_ppm), 1),
        gaps=tuple((np.flatnonzero(steps > 1.5 * period_ns) + 1).tolist()),
        backwards=tuple((np.flatnonzero(steps <= 0) + 1).tolist()),
        early=tuple((np.flatnonzero((steps > 0) & (steps < 0.9 * period_ns)) + 1).tolist()),
    )
