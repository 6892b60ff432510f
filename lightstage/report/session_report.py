"""The report on a session: one HTML page with everything in it, for a browser or a printer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.errors import LightstageError
from lightstage.report.calibration_section import StageSection, stage_section
from lightstage.report.field_figures import FLAG_MEANINGS
from lightstage.report.inline_picture import (
    enlarged_to_width,
    inline_encoded,
    inline_picture,
)
from lightstage.report.plots import (
    confidence_plot,
    deviation_histogram,
    deviation_plot,
    exposure_plot,
    light_confidence_plot,
    motion_plot,
    residual_plot,
)
from lightstage.report.sequence_plot import sequence_picture
from lightstage.report.take_report import Progress, TakeReport, take_report
from lightstage.report.words import runs, words
from lightstage.session import Session, Take


@dataclass
class SessionReport:
    """What the page tells: a session, or a take without one, and its takes."""

    path: Path
    title: str
    facts: dict[str, Any]
    takes: list[TakeReport]
    stage: StageSection | None = None
    sequence_picture: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing in it has to be looked at."""
        return not self.problems and all(take.verdict.good for take in self.takes)

    def figures(self) -> dict[str, Any]:
        """Return the verdicts and the figures behind them as JSON data."""
        return {
            "good": self.good,
            "problems": self.problems,
            "takes": [_figures(take) for take in self.takes],
        }


def session_report(
    path: Path, names: tuple[str, ...] = (), progress: Progress | None = None
) -> SessionReport:
    """Look at a session's takes: the named ones, or all; or at the one take at ``path``.

    Args:
        path: a session's folder or a take's.
        names: takes of the session.
        progress: called with a take's name and percents.

    Raises:
        SessionError: it is neither, or a name is unknown.
    """
    if Take.is_at(path):
        takes, folder = [Take.open(path)], path.resolve().parent.parent
        session = Session.open(folder) if Session.is_at(folder) else None
    else:
        session = Session.open(path)
        takes = [session.take(name) for name in names] if names else session.takes
    report = SessionReport(path, path.resolve().name, {}, [])
    if session is not None:
        manifest = session.manifest
        report.title = session.path.resolve().name
        report.facts = {
            "performer": manifest.performer,
            "stage": manifest.stage,
            "note": manifest.note,
            "created": f"{manifest.created:%Y-%m-%d %H:%M} UTC",
            "made by": manifest.software,
        }
    report.takes = [take_report(take, progress) for take in takes]
    home: Session | Take = session if session is not None else takes[0]
    failed = sorted(
        {
            light
            for take in report.takes
            if take.frames is not None
            for light in (
                *take.frames.dark_lights, *take.frames.dim_lights, *take.frames.stuck_lights
            )
        }
    )  # fmt: skip
    try:
        report.stage = stage_section(home, failed)
        report.problems += report.stage.problems
        picture = sequence_picture(home.sequence)
        report.sequence_picture = inline_picture(picture, lossless=True)
    except LightstageError as reason:
        report.problems.append(str(reason))
    return report


def render_html(report: SessionReport) -> str:
    """Return the page; it needs no other file, and no network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lightstage.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "picture": inline_picture,
        "crop": _crop,
        "shown": _shown,
        "runs": runs,
        "words": words,
        "us": lambda microseconds: f"{round(microseconds, 3):.4g}",
        "percent": lambda share, digits=2: f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%",
        "pretty": lambda data: json.dumps(data, indent=1, ensure_ascii=False, default=str),
    }
    page = environment.get_template("session.html.jinja").render(
        report=report,
        plots=_Plots(),
        meanings={flag: meaning for flag, (meaning, _) in FLAG_MEANINGS.items()},
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
    )
    return page + "\n"


class _Plots:
    """The plots a page draws, under the names that the template uses."""

    deviation = staticmethod(deviation_plot)
    deviations = staticmethod(deviation_histogram)
    exposure = staticmethod(exposure_plot)
    motion = staticmethod(motion_plot)
    confidence = staticmethod(confidence_plot)
    residual = staticmethod(residual_plot)
    light_confidence = staticmethod(light_confidence_plot)


def _crop(linear: NDArray[np.float32]) -> str:
    return inline_picture(enlarged_to_width(linear, 320), lossless=True)


def _shown(values: NDArray[np.float32]) -> str:
    """Return display values, which no curve may bend, as a picture."""
    levels = (np.clip(np.nan_to_num(values), 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return inline_encoded(enlarged_to_width(levels, 320), lossless=True)


def _figures(take: TakeReport) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "name": take.name,
        "good": take.verdict.good,
        "reasons": [reason.text for reason in take.verdict.reasons if reason.grave],
        "notes": [reason.text for reason in take.verdict.reasons if not reason.grave],
    }
    if take.frames is not None:
        frames = take.frames
        figures |= {
            "frames": frames.frames,
            "dropped_steps": frames.dropped_steps,
            "repeated_frames": frames.repeated,
            "swapped_frames": frames.swapped,
            "extra_frames": frames.extra,
            "unknown_frames": frames.unknown,
            "dark_lights": frames.dark_lights,
            "dim_lights": frames.dim_lights,
            "stuck_lights": frames.stuck_lights,
        }
    if take.timing is not None:
        figures |= {
            "jitter_us": round(take.timing.jitter_us, 4),
            "worst_deviation_us": round(take.timing.worst_us, 4),
            "drift_ppm": round(take.timing.drift_ppm, 3),
        }
    for exposure in take.exposures:
        figures |= {
            f"{exposure.kind.value}_saturated_share": round(exposure.saturated, 6),
            f"{exposure.kind.value}_black_share": round(exposure.black, 6),
        }
    if take.fields is not None:
        fields = take.fields
        figures |= {
            "sets": fields.sets,
            "flagged_sets": fields.flagged_sets,
            "missing_lights": len(fields.missing),
            "mean_confidence": round(float(np.nanmean(fields.confidence)), 4),
        }
        for name in ("residual", "residual_unaligned", "motion_px"):
            values = getattr(fields, name)
            if values is not None and np.isfinite(values).any():
                figures[f"mean_{name}"] = round(float(np.nanmean(values)), 5)
    if take.alignment is not None:
        figures |= {
            "shown_set": take.pictures.index if take.pictures is not None else None,
            "mean_of_lights_error_before": round(take.alignment.before_error, 5),
            "mean_of_lights_error_after": round(take.alignment.after_error, 5),
        }
    return figures
