"""A dome as a plot: its lights seen from the camera's side and from behind, by number."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from lightstage.colour import to_8bit

_RADIUS = 170.0
_GAP = 40.0
_TOP = 30.0


def dome_plot(
    directions: NDArray[np.floating],
    gains: NDArray[np.floating],
    marked: Collection[int] = (),
    title: str = "The dome's lights",
) -> Markup:
    """Return the lights of a dome as an ``<svg>`` element.

    Two discs, equal-area projections (Lambert's azimuthal) of both halves of the sphere as the
    camera sees them: the half in front of the performer, and the half behind, both with +X to the
    right. Each light is a dot of its gain's colour, the brightest gain white.

    Args:
        directions: ``(lights, 3)`` unit vectors towards the lights.
        gains: ``(lights, 3)`` relative brightness.
        marked: lights to ring, such as those that failed.
        title: what the plot shows.
    """
    unit = np.asarray(directions, dtype=np.float64)
    brightest = float(np.max(gains)) or 1.0
    colours = to_8bit(np.asarray(gains, np.float32) / brightest).astype(int)
    width, height = 4 * _RADIUS + 3 * _GAP, 2 * _RADIUS + _TOP + _GAP
    centres = {True: _GAP + _RADIUS, False: 2 * _GAP + 3 * _RADIUS}
    middle = _TOP + _RADIUS
    dot = min(12.0, 0.62 * _RADIUS / math.sqrt(max(len(unit), 1)))
    parts = []
    for front, words in ((True, "in front (camera's side)"), (False, "behind the performer")):
        x = centres[front]
        parts.append(
            f'<circle class="disc" cx="{x:.0f}" cy="{middle:.0f}" r="{_RADIUS + dot:.0f}"/>'
            f'<text class="faint" x="{x:.0f}" y="14" text-anchor="middle">{words}</text>'
        )
    for number, ((x, y, z), (red, green, blue)) in enumerate(zip(unit, colours, strict=True)):
        front = bool(z >= 0)
        # Lambert's distance from the pole, 1 at the rim, for a unit vector's x and y
        scale = _RADIUS / math.sqrt(1.0 + abs(z))
        px, py = centres[front] + x * scale, middle - y * scale
        ink = "#000" if red + 2 * green + blue > 460 else "#fff"
        fill = f"rgb({red},{green},{blue})"
        ring = f'<circle class="ring" cx="{px:.1f}" cy="{py:.1f}" r="{dot + 3:.1f}"/>'
        parts.append(
            f'<circle class="led" cx="{px:.1f}" cy="{py:.1f}" r="{dot:.1f}" style="fill:{fill}"/>'
            f'<text x="{px:.1f}" y="{py + 0.35 * dot:.1f}" text-anchor="middle" '
            f'style="fill:{ink};font-size:{dot:.1f}px">{number}</text>'
            f"{ring if number in marked else ''}"
        )
    name = escape(title)
    return Markup(
        f'<svg class="plot dome" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{name}"><title>{name}</title>{"".join(parts)}</svg>'
    )
