"""What a technician wants to know of a .cine file, as one JSON-able dictionary."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lightstage.cine.clock import SECOND_NS
from lightstage.cine.inspection import stamp_statistics
from lightstage.cine.reader import CineFile

#: Gaps listed one by one; the total is given whatever their number.
_MOST_GAPS = 20


def describe(cine: CineFile) -> dict[str, Any]:
    """Return the facts of an open recording: strings, numbers, lists and None only.

    Units are in the names. ``measured`` values come from the frames' stamps and are None where the
    file holds none; texts that the file leaves empty are None.

    Raises:
        CineError: the time stamps cannot be read.
    """
    setup = cine.header.setup
    pixel_format = cine.header.pixel_format
    first = cine.first_frame_number
    return {
        "path": str(cine.path),
        "size_bytes": cine.size_bytes,
        "camera_model": _text(setup.camera_model),
        "camera_serial": setup.serial or None,
        "camera_version": setup.camera_version or None,
        "firmware_version": setup.firmware_version or None,
        "software_version": setup.software_version or None,
        "created_by": _text(setup.created_by),
        "width": cine.width,
        "height": cine.height,
        "bit_depth": cine.bit_depth,
        "stored_bits_per_pixel": 8 * pixel_format.frame_bytes / (cine.width * cine.height),
        "packing": pixel_format.packing or "none",
        "cfa": cine.cfa,
        "display_flip_vertical": bool(setup.flip_vertical),
        "display_flip_horizontal": bool(setup.flip_horizontal),
        "display_rotate_deg": setup.rotate_deg or 0,
        "black_level": cine.black_level,
        "white_level": cine.white_level,
        "frames": len(cine),
        "frames_claimed": cine.header.file.image_count,
        "first_frame_number": first,
        "last_frame_number": first + len(cine) - 1,
        "trigger_time_utc": iso_utc(cine.trigger_time_ns),
        "recording_time_zone_s": setup.recording_time_zone_s,
        "frame_rate_hz": cine.frame_rate_hz,
        "exposure_us": cine.exposure_us,
        **_measured(cine),
        "lens": _text(setup.lens_description),
        "lens_aperture": _number(setup.lens_aperture),
        "lens_focal_length_mm": _number(setup.lens_focal_length_mm),
        "comment": _text(setup.description) or _text(setup.description_old),
        "take_name": _text(setup.cine_name),
        "uuid": _text(setup.uuid),
        "warnings": cine.warnings,
    }


def iso_utc(time_ns: int) -> str:
    """Return UTC nanoseconds since 1970 as ISO 8601 with nine decimals and Z."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _measured(cine: CineFile) -> dict[str, Any]:
    stamps = cine.time_ns
    exposures = cine.exposure_ns
    statistics = None if stamps is None else stamp_statistics(stamps)
    measured: dict[str, Any] = {
        "frame_rate_measured_hz": None,
        "duration_s": len(cine) / cine.frame_rate_hz if cine.frame_rate_hz else None,
        "time_jitter_us": None,
        "dropped_frames": None,
        "gaps": [],
        "first_time_utc": None,
        "last_time_utc": None,
        "exposure_measured_us": None,
        "exposure_range_us": None,
    }
    if stamps is not None and len(stamps):
        measured["first_time_utc"] = iso_utc(int(stamps[0]))
        measured["last_time_utc"] = iso_utc(int(stamps[-1]))
    if statistics is not None and statistics.period_ns:
        missing = sum(count for _, count in statistics.gaps)
        measured["frame_rate_measured_hz"] = SECOND_NS / statistics.period_ns
        # By the median period: a garbage first or last stamp does not count for years.
        measured["duration_s"] = (len(cine) + missing) * statistics.period_ns / SECOND_NS
        measured["time_jitter_us"] = statistics.jitter_ns / 1000
        measured["dropped_frames"] = missing
        measured["gaps"] = [
            {"before_frame_number": cine.first_frame_number + index, "missing": count}
            for index, count in statistics.gaps[:_MOST_GAPS]
        ]
    if exposures is not None and len(exposures):
        measured["exposure_measured_us"] = float(np.median(exposures)) / 1000
        measured["exposure_range_us"] = [int(exposures.min()) / 1000, int(exposures.max()) / 1000]
    return measured


def _text(stored: str | None) -> str | None:
    """Return text fit for a terminal, or None where there is none."""
    if not stored:
        return None
    clean = "".join(c if c.isprintable() or c == "\n" else " " for c in stored).strip()
    return clean or None


def _number(stored: float | None) -> float | None:
    return stored if stored is not None and math.isfinite(stored) and stored > 0 else None
