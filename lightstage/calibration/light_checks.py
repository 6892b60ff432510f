"""What makes a calibration of light directions acceptable, doubtful, or to be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightstage.calibration.highlight import Verdict
from lightstage.calibration.mirror_sphere import Array, angle_deg
from lightstage.calibration.silhouette import Silhouette, find_circles
from lightstage.errors import InputError

if TYPE_CHECKING:
    from lightstage.calibration.light_directions import LightDirections

#: Two lights this near each other are likely one light in two pictures, in degrees.
_SAME_PLACE_DEG = 0.2


@dataclass(frozen=True)
class Limits:
    """What a calibration must keep to be accepted.

    Attributes:
        least_seen: share of the lights that must be seen.
        largest_uncertainty_deg: a light less certain than this is left out.
        largest_residual_deg: the spheres' rays to a light must agree this well, in the median.
        largest_deviation_deg: the lights may stand so far from where they should, in the median.
    """

    least_seen: float = 0.5
    largest_uncertainty_deg: float = 0.4
    largest_residual_deg: float = 1.0
    largest_deviation_deg: float = 15.0


def accept(found: LightDirections, limits: Limits) -> None:
    """Raise InputError where the calibration cannot be trusted."""
    seen, count = int(found.seen.sum()), len(found.names)
    if seen < max(1, np.ceil(limits.least_seen * count)):
        reasons: dict[str, list[str]] = {}
        for name, verdict in zip(found.names, found.verdicts, strict=True):
            if verdict != Verdict.SEEN.value:
                reasons.setdefault(verdict, []).append(name)
        listed = "; ".join(f"{why}: {_some(names)}" for why, names in reasons.items())
        raise InputError(
            f"only {seen} of {count} lights have a usable highlight, "
            f"{np.ceil(limits.least_seen * count):.0f} are needed ({listed}). Is the sphere where "
            f"the outline says, one light on in each picture, and the exposure long enough?"
        )
    residual = found.residual_deg[~np.isnan(found.residual_deg)]
    if len(residual) and np.median(residual) > limits.largest_residual_deg:
        raise InputError(
            f"the spheres do not agree where the lights are: their rays miss each other by "
            f"{np.median(residual):.2f} degrees in the median, at most "
            f"{limits.largest_residual_deg:g} are accepted. The focal length, the spheres' radius "
            f"or the outlines are wrong."
        )


def accept_deviation(found: LightDirections, nominal: Array, limits: Limits) -> None:
    """Raise InputError where the lights are far from where they should be."""
    index = np.flatnonzero(found.seen)
    seen, meant = found.directions[index], nominal[index]
    off = float(np.median(angle_deg(seen, meant)))
    if off <= limits.largest_deviation_deg:
        return
    hint = "Are the pictures in the order of the lights, and is the sphere where the outline says?"
    tried = {
        "the pictures are mirrored left to right": seen * [-1.0, 1.0, 1.0],
        "the pictures are upside down": seen * [1.0, -1.0, 1.0],
        "the pictures are turned by 180 degrees": seen * [-1.0, -1.0, 1.0],
    }
    for words, turned in tried.items():
        if np.median(angle_deg(turned, meant)) < 0.25 * off:
            hint = f"It looks as if {words}."
    apart = angle_deg(seen[:, None], nominal[None])
    rows, columns = linear_sum_assignment(apart)
    spacing = angle_deg(nominal[:, None], nominal[None]) + 360.0 * np.eye(len(nominal))
    if np.median(apart[rows, columns]) < 0.15 * np.median(spacing.min(axis=1)):
        hint = "They stand on the dome's places, but in another order: name the pictures by light."
    raise InputError(
        f"the lights are {off:.0f} degrees in the median from where the session's dome has them, "
        f"at most {limits.largest_deviation_deg:g} are accepted (--largest-deviation). {hint}"
    )


def other_outlines(plain: NDArray[np.float32], given: Sequence[Silhouette]) -> list[str]:
    """Return a warning where a plain outline disagrees with the circles that were given."""
    try:
        found = find_circles(plain, len(given))
    except InputError:
        return []
    warnings = []
    for ours, theirs in zip(sorted(s.circle for s in given), found, strict=True):
        off = np.abs(np.subtract(ours, theirs)).max()
        if off > max(3.0, 0.03 * theirs.radius):
            warnings.append(
                f"a round outline is seen at {theirs.x:.1f},{theirs.y:.1f},{theirs.radius:.1f}, "
                f"not at the given {ours.x:g},{ours.y:g},{ours.radius:g}."
            )
    return warnings


def doubles(found: LightDirections) -> list[str]:
    """Return a warning where one direction was found for two lights."""
    index = np.flatnonzero(found.seen)
    apart = angle_deg(found.directions[index][:, None], found.directions[index][None])
    pairs = [
        f"{found.names[index[a]]} and {found.names[index[b]]}"
        for a, b in zip(*np.nonzero(np.triu(apart < _SAME_PLACE_DEG, 1)), strict=True)
    ]
    if not pairs:
        return []
    return [f"the same direction was found for {_some(pairs)}: one light in two pictures?"]


def _some(names: Sequence[str]) -> str:
    head = ", ".join(names[:4])
    return head if len(names) <= 4 else f"{head} and {len(names) - 4} more"
