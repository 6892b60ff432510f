"""An evaluation as people read it: a table like the paper's, JSON, and a picture of frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb
from lightstage.relighting.sphere import azimuth_elevation_deg
from lightstage.report.contact_sheet import Panel, contact_sheet
from relight_model.evaluate import EvaluatedFields, Evaluation, Frame, scores_of, shown_pair

#: The paper's Table 1: mean and deviation of PSNR, SSIM, MAE.
PAPER_ROWS: dict[str, tuple[tuple[float, float], ...]] = {
    "DVP + MTP (paper)": ((19.299, 1.709), (0.702, 0.056), (0.064, 0.009)),
    "DVP + SIPR (paper)": ((17.655, 1.854), (0.675, 0.043), (0.088, 0.020)),
    "Neural Relighting (paper)": ((27.271, 1.659), (0.862, 0.016), (0.029, 0.004)),
}
#: How much a picture of errors is brightened.
_ERROR_GAIN = 4.0
_COLUMNS = ("psnr_db", "ssim", "mae")


def report_of(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON holds it; figures that are infinite are ``"Infinity"``.

    ``relit`` and ``olat`` hold ``whole`` and, with mattes, ``inside``: each figure's mean, std,
    least and most over frames. ``frames`` names the worst, median and best of the relit ones.
    """
    report: dict[str, Any] = {
        "definition": "docs/evaluation.md",
        "settings": evaluation.settings.model_dump(mode="json"),
        "sets": evaluation.sets,
        "lights": evaluation.lights,
        "size": f"{evaluation.size[0]}x{evaluation.size[1]}",
    }
    for name, frames in (("relit", evaluation.frames), ("olat", evaluation.olat_frames)):
        if frames:
            report[name] = {
                where: found for where in ("inside", "whole") if (found := scores_of(frames, where))
            }
    if evaluation.stability is not None:
        report["temporal"] = dataclasses.asdict(evaluation.stability)
    report["frames"] = {
        name: _told(evaluation, frame) for name, frame in telling_frames(evaluation).items()
    }
    report["notes"] = list(evaluation.notes)
    plain = _plain(report)
    assert isinstance(plain, dict)
    return plain


def telling_frames(evaluation: Evaluation) -> dict[str, Frame]:
    """Return the worst, the median and the best relit frame by PSNR, inside the matte if any."""
    rated = []
    for frame in evaluation.frames:
        scores = frame.whole if frame.inside is None else frame.inside
        if not math.isnan(scores.psnr_db):
            rated.append((scores.psnr_db, frame.set, frame.light, frame))
    rated.sort(key=lambda item: item[:3])
    if not rated:
        return {}
    chosen = {"worst": 0, "median": len(rated) // 2, "best": len(rated) - 1}
    return {name: rated[place][3] for name, place in chosen.items()}


def table_of(rows: Mapping[str, Evaluation], where: str = "inside", *, paper: bool = True) -> str:
    """Return a table as the paper's Table 1, in Markdown: relit sequences, mean ± deviation.

    Args:
        rows: evaluations by the name of what was evaluated.
        where: ``inside`` the matte, or the ``whole`` picture.
        paper: also the paper's own rows.
    """
    lines = ["| method | PSNR | SSIM | MAE |", "|---|---|---|---|"]
    for name, figures in PAPER_ROWS.items() if paper else ():
        cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, evaluation in rows.items():
        scores = scores_of(evaluation.frames, where)
        cells = [_cell(scores.get(column)) for column in _COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def frames_picture(
    evaluation: Evaluation,
    prediction: EvaluatedFields,
    truth: EvaluatedFields,
    dome: Any,
    *,
    panel_width: int = 288,
) -> NDArray[np.float32]:
    """Return a linear picture of the worst, the median and the best frame.

    Truth, prediction and four times their difference, as they were compared.
    """
    rows = []
    for name, frame in telling_frames(evaluation).items():
        guess, true = shown_pair(prediction, truth, dome, evaluation, frame)
        scores = frame.whole if frame.inside is None else frame.inside
        where = "whole" if frame.inside is None else "matte"
        azimuth, elevation = azimuth_elevation_deg(evaluation.directions[frame.light])
        told = f"{scores.psnr_db:.1f} dB, SSIM {scores.ssim:.3f}, MAE {scores.mae:.3f} ({where})"
        error = np.clip(np.abs(guess - true) * _ERROR_GAIN, 0.0, 1.0)
        rows.append(
            [
                Panel(
                    f"{name}: truth, {frame.time_s:.2f} s, light {float(azimuth):.0f} / "
                    f"{float(elevation):.0f} deg",
                    decode_srgb(true),
                ),
                Panel(f"prediction: {told}", decode_srgb(guess)),
                Panel(f"difference x {_ERROR_GAIN:.0f}", decode_srgb(error)),
            ]
        )
    return contact_sheet(rows, panel_width=panel_width)


def summary_rows(evaluation: Evaluation) -> dict[str, str]:
    """Return the figures as names and words for a terminal."""
    rows = {
        "sets": f"{evaluation.sets}, {evaluation.settings.directions} light directions each",
        "size": f"{evaluation.size[0]}x{evaluation.size[1]}, {evaluation.lights} lights",
    }
    for kind, frames in (("relit", evaluation.frames), ("single lights", evaluation.olat_frames)):
        for where, words in (("inside", "inside the matte"), ("whole", "whole picture")):
            scores = scores_of(frames, where)
            if scores:
                cells = [_cell(scores.get(column)) for column in _COLUMNS]
                rows[f"{kind}, {words}"] = (
                    f"PSNR {cells[0]} dB, SSIM {cells[1]}, MAE {cells[2]}; linear PSNR "
                    f"{_cell(scores.get('linear_psnr_db'))} dB, MAE "
                    f"{_cell(scores.get('linear_mae'))}"
                )
    if (steady := evaluation.stability) is not None:
        rows["from frame to frame"] = (
            f"{steady.warping_error:.4f} (truth {steady.truth_warping_error:.4f}), flicker "
            f"{steady.flicker:.4f}"
        )
    return rows


def _told(evaluation: Evaluation, frame: Frame) -> dict[str, Any]:
    azimuth, elevation = azimuth_elevation_deg(evaluation.directions[frame.light])
    return {
        "set": frame.set,
        "time_s": frame.time_s,
        "azimuth_deg": round(float(azimuth), 2),
        "elevation_deg": round(float(elevation), 2),
        "whole": dataclasses.asdict(frame.whole),
        "inside": None if frame.inside is None else dataclasses.asdict(frame.inside),
    }


def _cell(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "-"
    deviation = "-" if scores["std"] is None else f"{scores['std']:.3f}"
    return f"{scores['mean']:.3f} ± {deviation}"


def _plain(value: Any) -> Any:
    """Return what JSON can hold of ``value``."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
