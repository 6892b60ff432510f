"""The stage on the page: where its lights are, how bright each is, how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from lightstage.dome import Dome
from lightstage.report.dome_plot import dome_plot
from lightstage.report.svg_plot import bar_plot
from lightstage.session import Session, Take


@dataclass(frozen=True)
class CalibrationSection:
    """The stage as the page shows it.

    Attributes:
        facts: names and values about the dome.
        dome: plot of all lights.
        gains: plot of their gains.
        calibrations: of lights, gains and colour: a name, and names and values; ``None`` = that
            was not calibrated.
        failed: lights that a take found dark, dim or always on.
    """

    facts: dict[str, Any]
    dome: Markup
    gains: Markup
    calibrations: list[tuple[str, dict[str, Any] | None]]
    failed: Sequence[int]


def calibration_section(home: Session | Take, failed: Sequence[int]) -> CalibrationSection:
    """Return the section about a session's stage, or a lone take's.

    Args:
        home: what has the dome.
        failed: lights to ring.

    Raises:
        DomeError: there is no dome, or it is damaged.
    """
    dome = home.dome
    gains = dome.gains
    mean = gains.mean(axis=1)
    facts = {
        "lights": len(dome),
        "radius": f"{dome.radius_m:.3f} m",
        "name": dome.name,
        "gains": f"all {mean[0]:g}"
        if np.ptp(gains) == 0
        else f"{mean.min():.3f} to {mean.max():.3f}, mean {mean.mean():.3f}",
    }
    return CalibrationSection(
        facts=facts,
        dome=dome_plot(
            dome.directions,
            gains,
            failed,
            f"Directions of the {len(dome)} lights: left in front of the performer, right behind",
        ),
        gains=_gains_plot(dome),
        calibrations=[(name, None) for name in ("lights", "gains", "colour")],
        failed=failed,
    )


def _gains_plot(dome: Dome) -> Markup:
    gains = dome.gains
    if np.ptp(gains) == 0:  # nothing that a plot would tell
        return Markup("")
    if np.allclose(gains[:, :1], gains):  # the same in all colours
        values = [("gain", gains[:, 0])]
    else:
        values = [(name, gains[:, k]) for k, name in enumerate(("red", "green", "blue"))]
    return bar_plot("Relative brightness of each light", values, x_label="light", y_label="gain")
