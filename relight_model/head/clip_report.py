"""A report on a head clip: ranges of its parameters, jitter, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relight_model.head.clip import JOINTS, HeadClip
from relight_model.head.clip_statistics import ClipStatistics, Spread
from relight_model.head.rotations import exp_at, log_at

Float = NDArray[np.float64]

#: A time between frames that is this many usual ones is a gap.
_GAP_PERIODS = 1.5
#: Below this confidence a frame is counted as not to be trusted.
_LITTLE_CONFIDENCE = 0.5
#: Second differences of white noise have this variance.
_NOISE_OF_BEND = 1.5
_AXES = {
    "global": ("pitch", "yaw", "roll"),
    "neck": ("pitch", "yaw", "roll"),
    "jaw": ("open", "aside", "twist"),
    "eye_left": ("down", "left", "twist"),
    "eye_right": ("down", "left", "twist"),
}


def clip_report(clip: HeadClip) -> dict[str, Any]:
    """Return what ``relight_model parameters`` tells, as JSON holds it.

    Angles are in degrees, about the joint's axes at its mean; translation in millimetres.
    """
    weight = clip.weight
    counted = clip if weight.any() else clip.replace(confidence=None)
    statistics = ClipStatistics.of(counted)
    steps = np.diff(clip.time_s)
    gaps = np.flatnonzero(steps > _GAP_PERIODS * clip.period_s)
    ranges: dict[str, Any] = {}
    for joint, where in JOINTS.items():
        spread = statistics.joints[joint]
        mean = spread.array("mean")
        jitter = _turning_jitter(clip.pose[:, where])
        for k, axis in enumerate(_AXES[joint]):
            ranges[f"{joint} {axis}".replace("_", " ")] = {
                "unit": "deg",
                **_row(spread, k, np.degrees(1.0), shift=float(mean[k])),
                "jitter": float(np.degrees(jitter[k])),
            }
    jitter = _jitter(clip.translation_m)
    for k, axis in enumerate("xyz"):
        row = _row(statistics.translation_m, k, 1e3)
        ranges[f"translation {axis}"] = {"unit": "mm", **row, "jitter": float(1e3 * jitter[k])}
    jitter = _jitter(clip.expression)
    for k in range(clip.expression.shape[1]):
        name = clip.expression_names[k] if clip.expression_names else f"expression {k}"
        ranges[name] = {
            "unit": "",
            **_row(statistics.expression, k, 1.0),
            "jitter": float(jitter[k]),
        }
    return {
        "frames": len(clip),
        "from_s": float(clip.time_s[0]),
        "to_s": float(clip.time_s[-1]),
        "rate_hz": round(1.0 / clip.period_s, 4) if clip.period_s else None,
        "gaps": [
            {"after_s": float(clip.time_s[k]), "length_s": float(steps[k])} for k in gaps.tolist()
        ],
        "confidence": float(weight.mean()),
        "frames_of_little_confidence": int((weight < _LITTLE_CONFIDENCE).sum()),
        "head": clip.head,
        "shape_coefficients": len(clip.shape),
        "shape_length": float(np.linalg.norm(clip.shape)),
        "camera": f"{clip.camera.width}x{clip.camera.height}, focal length "
        f"{clip.camera.focal_px:.1f} px, {clip.camera.distance_m:.3f} m away",
        "view": "x".join(map(str, clip.view_size)) if clip.view_size else None,
        "ranges": ranges,
    }


def report_rows(report: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the report as lines for a person: about the clip, and its parameters."""
    gaps = ", ".join(f"{g['length_s']:.3f} s after {g['after_s']:.3f} s" for g in report["gaps"])
    about = {
        "frames": str(report["frames"]),
        "time": f"{report['from_s']:.3f} to {report['to_s']:.3f} s",
        "rate": f"{report['rate_hz']:g} Hz" if report["rate_hz"] else "a single frame",
        "gaps": gaps or "none",
        "confidence": f"{report['confidence']:.2f} on average, below {_LITTLE_CONFIDENCE} in "
        f"{report['frames_of_little_confidence']} frames",
        "head model": report["head"] or "not told",
        "identity": f"{report['shape_coefficients']} coefficients of length "
        f"{report['shape_length']:.2f}",
        "camera": report["camera"],
        "view": report["view"] or "the whole picture",
    }
    ranges = {
        name: f"{row['mean']:9.3f} ± {row['deviation']:7.3f}   {row['low']:9.3f} to "
        f"{row['high']:8.3f}   {row['jitter']:8.4f} {row['unit']}"
        for name, row in report["ranges"].items()
    }
    return about, ranges


def _row(spread: Spread, k: int, unit: float, shift: float = 0.0) -> dict[str, float]:
    return {
        "mean": unit * spread.mean[k],
        "deviation": unit * spread.deviation[k],
        "low": unit * (spread.low[k] + shift),
        "high": unit * (spread.high[k] + shift),
    }


def _jitter(values: Float) -> Float:
    if len(values) < 3:
        return np.zeros(values.shape[1])
    bend = values[1:-1] - 0.5 * (values[:-2] + values[2:])
    return np.asarray(np.sqrt((bend**2).mean(axis=0) / _NOISE_OF_BEND))


def _turning_jitter(vectors: Float) -> Float:
    """Return how far each rotation lies from the middle of its neighbours, ``(3,)`` radians."""
    if len(vectors) < 3:
        return np.zeros(3)
    middle = exp_at(vectors[:-2], 0.5 * log_at(vectors[:-2], vectors[2:]))
    bend = log_at(middle, vectors[1:-1])
    return np.asarray(np.sqrt((bend**2).mean(axis=0) / _NOISE_OF_BEND))
