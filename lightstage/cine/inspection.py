"""What is odd in a recording: findings that a technician should see before relying on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightstage.cine.clock import SECOND_NS
from lightstage.cine.header import EXPOSURE_BLOCK, TIME_BLOCK
from lightstage.errors import CineError

if TYPE_CHECKING:
    from lightstage.cine.reader import CineFile

#: Images whose ImageSize is looked at: enough to notice garbage, few enough to stay quick.
_SAMPLES = 16
#: The camera quantises the period to about 0.24 us, and the exposure by a few ns to 3 %.
_EXPOSURE_TOLERANCE = 0.05
_RATE_TOLERANCE = 0.005
_PERIOD_STEP_NS = 500.0
#: A stamp this many periods after the one before means that a frame is missing between them.
_GAP_PERIODS = 1.5
_DAY_NS = 86_400 * SECOND_NS
_JUMP_NS = 3600 * SECOND_NS


@dataclass(frozen=True)
class StampStatistics:
    """What the time stamps say of a recording.

    Attributes:
        period_ns: the median time from one frame to the next.
        jitter_ns: root mean square deviation of the periods from ``period_ns``, gaps left out.
        backward: indices of frames that are stamped no later than the frame before.
        gaps: ``(index, missing)`` of frames in front of which ``missing`` frames are missing.
        jumps: indices of frames stamped an hour or more after the one before: a stamp is garbage.
    """

    period_ns: float
    jitter_ns: float
    backward: list[int]
    gaps: list[tuple[int, int]]
    jumps: list[int]


def stamp_statistics(time_ns: NDArray[np.int64]) -> StampStatistics | None:
    """Return the statistics of stamps ``(n,)`` in nanoseconds; None for fewer than two."""
    if len(time_ns) < 2:
        return None
    periods = np.diff(time_ns)
    forward = periods[periods > 0]
    backward = np.flatnonzero(periods <= 0) + 1
    if not len(forward):
        return StampStatistics(0.0, 0.0, backward.tolist(), [], [])
    period = float(np.median(forward))
    late = np.flatnonzero(periods > _GAP_PERIODS * period)
    # The frame after a stamp that ran back is late by as much: nothing is missing there.
    late = np.setdiff1d(late, np.concatenate([backward - 2, backward]))
    jumps = late[periods[late] >= _JUMP_NS]
    late = np.setdiff1d(late, jumps)
    missing = np.rint(periods[late] / period).astype(np.int64) - 1
    steady = periods[(periods > 0) & (periods <= _GAP_PERIODS * period)].astype(np.float64)
    jitter = float(np.sqrt(np.mean((steady - period) ** 2)))
    gaps = list(zip((late + 1).tolist(), missing.tolist(), strict=True))
    return StampStatistics(period, jitter, backward.tolist(), gaps, (jumps + 1).tolist())


def inspect(cine: CineFile) -> list[str]:
    """Return what is odd in an open file, in plain sentences; empty if nothing is."""
    return [
        *(f"{note}." for note in cine.header.notes),
        *_length(cine),
        *_offsets(cine),
        *_image_sizes(cine),
        *_blocks(cine),
        *_stamps(cine),
        *_exposures(cine),
    ]


def _length(cine: CineFile) -> list[str]:
    claimed = cine.header.file.image_count
    if len(cine) == claimed:
        return []
    return [f"The file is cut off: {len(cine)} of {claimed} frames are whole."]


def _offsets(cine: CineFile) -> list[str]:
    bad = cine.damaged_indices
    if not bad:
        return []
    return [f"The offsets of {_some(bad)} are damaged; reading them raises CineError."]


def _image_sizes(cine: CineFile) -> list[str]:
    """Garbage in ImageSize is known of real files; the bitmap header gives the images' size."""
    expected = cine.header.pixel_format.frame_bytes
    wrong = []
    for index in np.unique(np.linspace(0, len(cine) - 1, _SAMPLES).astype(int)):
        try:
            found = cine.image_size_field(index)
        except CineError as reason:
            return [str(reason)]
        if found != expected:
            wrong.append((int(index), found))
    if not wrong:
        return []
    index, found = wrong[0]
    return [
        f"ImageSize of image {index} is {found}, expected {expected}: garbage as in some "
        "cameras' files; width, height and depth are trusted instead."
    ]


def _blocks(cine: CineFile) -> list[str]:
    findings = []
    for kind, entry, name in ((TIME_BLOCK, 8, "time stamps"), (EXPOSURE_BLOCK, 4, "exposures")):
        block = cine.header.block(kind)
        if block is None:
            findings.append(f"The file holds no {name} (block {kind}).")
        elif block.data_bytes != entry * cine.header.file.image_count:
            findings.append(
                f"Block {kind} holds {block.data_bytes // entry} {name} for "
                f"{cine.header.file.image_count} images; the first are used."
            )
    return findings


def _stamps(cine: CineFile) -> list[str]:
    stamps = cine.time_ns
    statistics = None if stamps is None else stamp_statistics(stamps)
    if stamps is None or statistics is None:
        return []
    findings = []
    if statistics.backward:
        findings.append(f"Time stamps run back or stand still at {_some(statistics.backward)}.")
    if statistics.jumps:
        findings.append(f"Time stamps jump by an hour or more at {_some(statistics.jumps)}.")
    if statistics.gaps:
        missing = sum(count for _, count in statistics.gaps)
        where = _some([index for index, _ in statistics.gaps])
        findings.append(f"Time stamps have gaps: {missing} frames are missing before {where}.")
    rate = cine.frame_rate_hz
    if rate and statistics.period_ns:
        nominal = SECOND_NS / rate
        if abs(statistics.period_ns - nominal) > max(_RATE_TOLERANCE * nominal, _PERIOD_STEP_NS):
            findings.append(
                f"The stamps say {SECOND_NS / statistics.period_ns:.6g} frames/s, "
                f"the header {rate:.6g}: was the camera triggered too fast?"
            )
    first = int(np.median(stamps[: min(len(stamps), 5)]))
    if abs(first - cine.trigger_time_ns) > _DAY_NS:
        findings.append(
            "The images' clock and the trigger's clock differ by more than a day: "
            "was the camera's clock set?"
        )
    return findings


def _exposures(cine: CineFile) -> list[str]:
    exposures = cine.exposure_ns
    nominal = cine.exposure_us
    if exposures is None or not nominal:
        return []
    off = np.abs(exposures / (nominal * 1000) - 1) > _EXPOSURE_TOLERANCE
    if not off.any():
        return []
    where = np.flatnonzero(off).tolist()
    return [
        f"The recorded exposure differs from the nominal {nominal:g} us at {_some(where)} "
        f"(image {where[0]}: {exposures[where[0]] / 1000:g} us)."
    ]


def _some(indices: list[int]) -> str:
    """Return ``image 5`` or ``4 images (3, 9, 12, …)``."""
    if len(indices) == 1:
        return f"image {indices[0]}"
    return f"{len(indices)} images ({', '.join(map(str, indices[:3]))}{', …' * (len(indices) > 3)})"
