"""The stage on the page: where its lights are, how bright each is, how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lightstage.dome import Dome
from lightstage.errors import LightstageError
from lightstage.images import read_image
from lightstage.report.dome_plot import dome_plot
from lightstage.report.inline_picture import scaled_to_width
from lightstage.report.svg_plot import Series, bar_plot, curve_plot
from lightstage.report.words import runs
from lightstage.session import Session, Take
from lightstage.stage_calibration import (
    CalibrationResult,
    ColourResult,
    GainsResult,
    LightsResult,
    StageCalibration,
)

#: A light that is found so far from where dome.json has it is named.
_FAR_DEG = 2.0
_PICTURE_WIDTH = 320
#: How the three kinds are called, and their attributes of ``StageCalibration``.
_KINDS = ("lights", "gains", "colour")


@dataclass
class CalibrationPart:
    """What is told of one kind of calibration.

    Attributes:
        name: lights, gains or colour: as ``lightstage calibrate`` calls it.
        facts: names and values; ``None`` = that was not calibrated.
        details: what else the result holds, as JSON data.
        plots: of its residuals.
        pictures: names and linear pictures, exposed for display.
        problem: why it cannot be read.
    """

    name: str
    facts: dict[str, Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    plots: list[Markup] = field(default_factory=list)
    pictures: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class StageSection:
    """The stage as the page shows it.

    Attributes:
        facts: names and values about the dome.
        dome: plot of all lights, where they were found if they were calibrated.
        gains: plot of their gains; empty where all are the same.
        calibrations: of lights, gains and colour.
        failed: lights that a take found dark, dim or always on.
    """

    facts: dict[str, Any]
    dome: Markup
    gains: Markup
    calibrations: list[CalibrationPart]
    failed: Sequence[int]

    @property
    def problems(self) -> list[str]:
        """What cannot be read."""
        return [part.problem for part in self.calibrations if part.problem]


def stage_section(home: Session | Take, failed: Sequence[int]) -> StageSection:
    """Return the section about a session's stage, or a lone take's.

    Args:
        home: what has the dome, and the folder of calibrations.
        failed: lights to ring.

    Raises:
        LightstageError: there is no dome, or it is damaged.
    """
    nominal = home.nominal_dome if isinstance(home, Session) else home.dome
    stage = home.calibration
    parts = [_part(stage, name, nominal) for name in _KINDS]
    dome = nominal
    if not any(part.problem for part in parts):
        try:
            dome = stage.apply_to(nominal)
        except LightstageError as reason:
            parts[0].problem = str(reason)
    mean = dome.gains.mean(axis=1)
    alike = bool(np.ptp(dome.gains) == 0)
    facts = {
        "lights": len(dome),
        "radius": f"{dome.radius_m:.3f} m",
        "name": dome.name,
        "gains": f"all {mean[0]:g}" if alike else f"{mean.min():.3f} to {mean.max():.3f}",
    }
    title = f"Directions of the {len(dome)} lights: left in front of the performer, right behind"
    return StageSection(
        facts=facts,
        dome=dome_plot(dome.directions, dome.gains, failed, title),
        gains=Markup("") if alike else _gains_plot(dome.gains),
        calibrations=parts,
        failed=failed,
    )


def _part(stage: StageCalibration, name: str, nominal: Dome) -> CalibrationPart:
    part = CalibrationPart(name)
    try:
        result: CalibrationResult | None = getattr(stage, name)
        if result is None:
            return part
        part.facts = {
            "made": f"{result.made:%Y-%m-%d %H:%M}",
            "from": result.source,
            "method": result.method,
            "made by": result.software,
        }
        part.details = result.details
        if isinstance(result, LightsResult):
            _tell_lights(part, result, nominal)
        elif isinstance(result, GainsResult):
            _tell_gains(part, result, stage)
        elif isinstance(result, ColourResult):
            _tell_colour(part, result)
    except LightstageError as reason:
        part.problem = str(reason)
    return part


def _tell_lights(part: CalibrationPart, result: LightsResult, nominal: Dome) -> None:
    facts = part.facts = dict(part.facts or {})
    found = [
        light.direction if light.direction is not None else light.position_m
        for light in result.lights
    ]
    facts["found"] = f"{sum(place is not None for place in found)} of {len(found)} lights"
    unseen = _verdicts([(light.verdict, place) for light, place in zip(result.lights, found,
                                                                       strict=True)])  # fmt: skip
    if unseen:
        facts["not found"] = unseen
    uncertain = np.array(
        [
            np.nan if light.uncertainty_deg is None else light.uncertainty_deg
            for light in result.lights
        ]
    )
    if np.isfinite(uncertain).any():
        facts["uncertainty"] = (
            f"median {np.nanmedian(uncertain):.3g} degrees, worst {np.nanmax(uncertain):.3g}"
        )
        part.plots.append(
            bar_plot(
                "Uncertainty of each light's direction",
                [("", uncertain)],
                x_label="light",
                y_label="uncertainty in degrees",
            )
        )
    if len(found) != len(nominal):
        return
    apart = np.full(len(found), np.nan)
    for light, place in enumerate(found):
        if place is not None:
            cosine = np.dot(place, nominal.directions[light]) / np.linalg.norm(place)
            apart[light] = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if np.isfinite(apart).any():
        facts["from dome.json"] = (
            f"median {np.nanmedian(apart):.3g} degrees, worst {np.nanmax(apart):.3g}"
        )
        far = np.flatnonzero(np.nan_to_num(apart) > _FAR_DEG)
        if len(far):
            facts[f"more than {_FAR_DEG:g} degrees off it"] = far.tolist()
        part.plots.append(
            bar_plot(
                "Angle between where each light was found and where dome.json has it",
                [("", apart)],
                x_label="light",
                y_label="degrees from dome.json",
            )
        )


def _tell_gains(part: CalibrationPart, result: GainsResult, stage: StageCalibration) -> None:
    facts = part.facts = dict(part.facts or {})
    if result.gains is not None:
        judged = np.array([gain for gain in result.gains if gain is not None])
        facts["judged"] = f"{len(judged)} of {len(result.gains)} lights"
        unjudged = _verdicts(list(zip(result.verdicts, result.gains, strict=True)))
        if unjudged:
            facts["not judged"] = unjudged
        if len(judged):
            facts["spread"] = f"{judged.mean(axis=1).std():.1%} (standard deviation)"
            blank = (np.nan,) * 3
            everyone = np.array([blank if gain is None else gain for gain in result.gains])
            part.plots.append(_gains_plot(everyone))
    for name, picture in (("dark frame", result.dark), ("flat field", result.flat)):
        if picture is None:
            facts[name] = "none"
            continue
        facts[name] = picture.source or picture.file
        values = read_image(stage.folder / picture.file)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        facts[f"{name}'s values"] = f"{low:.4g} to {high:.4g}"
        spread = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        part.pictures.append(
            (f"{name}, from {low:.3g} (black) to {high:.3g} (white)",
             scaled_to_width(spread, _PICTURE_WIDTH))
        )  # fmt: skip


def _tell_colour(part: CalibrationPart, result: ColourResult) -> None:
    facts = part.facts = dict(part.facts or {})
    facts["white balance"] = [round(value, 4) for value in result.white_balance]
    rows = np.round(np.reshape(result.colour_matrix, (3, 3)), 4).tolist()
    facts["colour matrix"] = "; ".join(", ".join(f"{value:g}" for value in row) for row in rows)
    if result.delta_e:
        errors = np.array(result.delta_e)
        facts["CIEDE2000 of the patches"] = f"mean {errors.mean():.2f}, worst {errors.max():.2f}"
        part.plots.append(
            bar_plot(
                "Colour error of each patch of the chart (CIEDE2000)",
                [("", errors)],
                x_label="patch",
                y_label="CIEDE2000",
            )
        )


def _verdicts(judged: Sequence[tuple[str, object]]) -> str:
    """Return which lights have no result, by the reason why."""
    lights: dict[str, list[int]] = {}
    for light, (verdict, found) in enumerate(judged):
        if found is None:
            lights.setdefault(verdict or "no reason given", []).append(light)
    return "; ".join(f"{verdict}: {runs(numbers)}" for verdict, numbers in lights.items())


def _gains_plot(gains: NDArray[np.floating]) -> Markup:
    lights = np.arange(len(gains))
    series = [Series("", lights, gains[:, 0], marks=True)]
    if not np.allclose(gains[:, :1], gains, equal_nan=True):  # not the same in all colours
        series = [
            Series(name, lights, gains[:, k], name, marks=True)
            for k, name in enumerate(("red", "green", "blue"))
        ]
    return curve_plot("Relative brightness of each light", series, x_label="light", y_label="gain")
