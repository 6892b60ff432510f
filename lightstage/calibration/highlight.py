"""A light's highlight on a mirror sphere: found, told from ghosts, and where it points.

What is averaged is the direction that each pixel mirrors, weighted by its light. Seen from afar a
mirror sphere is an equal-area map of all directions, so that for a light of any size this mean
points at the light's middle, where the direction at the middle of the pixels does not. The spread
that the lens and the pixels make is not the light's, though: it is taken out before, by drawing
the pixels together about their middle, along the blot's two axes each by its share.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.calibration.mirror_sphere import Array, unit
from lightstage.calibration.silhouette import Silhouette

#: A highlight stands so many standard deviations of the noise above the sphere about it.
_NOISE_FACTOR = 8.0
#: A second highlight of this share of the light of the first makes a picture ambiguous.
_SECOND_SHARE = 0.25
#: A highlight covers at most this share of the sphere's disc.
_LARGEST_SHARE = 0.04
#: Each pixel is split into so many by so many for the mean: mirrored directions curve within it.
_SPLIT = 4
#: Variance that a good lens and square pixels give to a point of light, in square pixels.
_POINT_VARIANCE_PX2 = 0.5
#: No highlight's place is trusted better than this, in pixels.
_BEST_SIGMA_PX = 0.03
#: A burnt-out highlight's place is trusted to this share of its width.
_SATURATED_SIGMA = 0.02
#: Values from here up are taken for saturated.
SATURATED = 0.98


class Verdict(StrEnum):
    """What became of one light on one sphere."""

    SEEN = "seen"
    NOT_SEEN = "not seen"
    SEVERAL = "several highlights"
    BROAD = "no compact highlight"
    NEAR_RIM = "too near the sphere's rim"


@dataclass(frozen=True)
class Highlight:
    """One light's highlight on one sphere.

    Attributes:
        verdict: whether it can be used, or why not.
        pixel: its middle (x, y).
        point_m: where on the sphere it is, in camera coordinates.
        direction: the mirrored ray there, which points at the light.
        uncertainty_deg: one standard deviation of the direction.
        pixels: how many pixels it covers above half its height.
        peak: its brightest value above the background.
        saturated: whether it is burnt out.
        second_share: light of the brightest other highlight beside this one's.
    """

    verdict: Verdict
    pixel: tuple[float, float] = (np.nan, np.nan)
    point_m: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    direction: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    uncertainty_deg: float = np.inf
    pixels: int = 0
    peak: float = 0.0
    saturated: bool = False
    second_share: float = 0.0

    @property
    def seen(self) -> bool:
        """Whether the highlight can be used."""
        return self.verdict is Verdict.SEEN


class SphereRegion:
    """The pixels of a picture that show one sphere."""

    def __init__(self, silhouette: Silhouette, shape: tuple[int, int]) -> None:
        self.silhouette = silhouette
        height, width = shape
        outline = silhouette.outline_px()
        low = np.floor(outline.min(axis=0)).astype(int) - 4
        high = np.ceil(outline.max(axis=0)).astype(int) + 5
        x0, y0 = np.clip(low, 0, [width, height])
        x1, y1 = np.clip(high, 0, [width, height])
        self.rows, self.columns = slice(int(y0), int(y1)), slice(int(x0), int(x1))
        inside = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), np.uint8)
        fixed = np.rint((outline - [x0, y0]) * 256).astype(np.int32)
        cv2.fillPoly(inside, [fixed], 1, shift=8)
        self.inside = inside.astype(bool)

    @property
    def area_px(self) -> int:
        """How many pixels the sphere covers in the picture."""
        return int(self.inside.sum())


def locate_highlight(
    picture: NDArray[np.floating],
    region: SphereRegion,
    *,
    background: NDArray[np.floating] | None = None,
    least_peak: float = 0.0,
    largest_uncertainty_deg: float = 0.4,
) -> Highlight:
    """Return the highlight in one picture of a sphere under one light.

    Args:
        picture: gray, linear, ``(height, width)``; 1.0 = white.
        region: the pixels of the sphere.
        background: the same without the light, ``(height, width)``.
        least_peak: what stands less above the background is not a light.
        largest_uncertainty_deg: a direction less certain than this is of no use; this is what
            leaves out highlights at the rim, where a pixel covers many degrees.
    """
    crop = np.asarray(picture[region.rows, region.columns], dtype=np.float64)
    saturated = crop >= SATURATED
    if background is not None:
        crop = crop - background[region.rows, region.columns]
    if not region.inside.any():
        return Highlight(Verdict.NOT_SEEN)
    level = float(np.median(crop[region.inside]))
    whole = crop - level
    light = np.where(region.inside, whole, 0.0)
    noise = _noise(crop, region.inside)
    peak = float(light.max())
    if peak < max(_NOISE_FACTOR * noise, least_peak, 1e-9):
        return Highlight(Verdict.NOT_SEEN, peak=peak)
    # blobs above a quarter of the peak: a second light of less is a ghost or a dim reflection
    labels, blobs = _blobs(light, max(0.25 * peak, 0.5 * _NOISE_FACTOR * noise))
    flux = np.bincount(labels.ravel(), weights=np.maximum(light, 0.0).ravel())
    flux[0] = 0.0
    first = int(flux.argmax())
    if not np.isclose(light[labels == first].max(), peak) and flux[first] < 2 * peak:
        first = int(labels[np.unravel_index(light.argmax(), light.shape)])
    others = np.delete(flux, [0, first])
    second = float(others.max() / flux[first]) if len(others) else 0.0
    core = labels == first
    half = int((core & (light >= 0.5 * peak)).sum())
    if core.sum() > max(_LARGEST_SHARE * region.area_px, 9):
        return Highlight(Verdict.BROAD, pixels=half, peak=peak, second_share=second)
    if blobs > 1 and second > _SECOND_SHARE:
        return Highlight(Verdict.SEVERAL, pixels=half, peak=peak, second_share=second)
    return _measured(
        whole,
        core,
        region,
        noise=noise,
        peak=peak,
        half=half,
        second=second,
        saturated=bool((saturated & core).any()),
        largest_uncertainty_deg=largest_uncertainty_deg,
    )


def _measured(
    light: Array,
    core: NDArray[np.bool_],
    region: SphereRegion,
    *,
    noise: float,
    peak: float,
    half: int,
    second: float,
    saturated: bool,
    largest_uncertainty_deg: float,
) -> Highlight:
    """Return the highlight whose brightest part is ``core``."""
    # the light of pixels that it covers partly lies in the ring around what is above a quarter
    grown = cv2.dilate(core.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    ring = cv2.dilate(grown.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    ring &= ~grown
    weight = np.zeros_like(light)
    for side in (region.inside, ~region.inside):
        # sphere and ground differ in noise, and so in what the darkest of many pictures leaves
        about = light[ring & side] if (ring & side).sum() >= 8 else np.zeros(1)
        ground = float(np.median(about))
        spread = max(noise, 1.4826 * float(np.median(np.abs(about - ground))))
        its = grown & side & (core | (light - ground > 2.0 * spread))
        weight[its] = np.maximum(light[its] - ground, 0.0)
    rows, columns = np.nonzero(weight > 0)
    values = weight[rows, columns]
    silhouette = region.silhouette
    places = np.stack([columns + region.columns.start, rows + region.rows.start], axis=-1)
    step = (np.arange(_SPLIT) + 0.5) / _SPLIT - 0.5
    fine = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
    pixels = (places[:, None] + fine).reshape(-1, 2)
    parts = np.repeat(values, len(fine))
    middle = np.average(pixels, axis=0, weights=parts)
    drawn = middle + _without_blur(pixels - middle, parts)
    points, mirrored = silhouette.sphere.reflect(silhouette.camera, drawn)
    on_sphere = np.isfinite(mirrored[:, 0])
    if not on_sphere.any():
        return Highlight(Verdict.NEAR_RIM, pixels=half, peak=peak)
    share = parts[on_sphere] / parts[on_sphere].sum()
    direction = unit(share @ mirrored[on_sphere])
    centre = np.array(silhouette.sphere.centre_m)
    point = centre + silhouette.sphere.radius_m * unit(share @ points[on_sphere] - centre)

    offset = places - middle
    shot = noise**2 + values / 4000.0  # shot noise of a usual sensor, for want of its own
    own = np.sqrt((shot[:, None] * offset**2).sum(axis=0).max()) / values.sum()
    best = _BEST_SIGMA_PX
    if saturated:  # what the lens makes of it, not the light, gives a burnt-out blot its shape
        best = max(best, _SATURATED_SIGMA * float(np.sqrt(half)))
    place = max(float(own), best)
    turn = _degrees_per_pixel(silhouette, middle)
    uncertainty = float(np.hypot(place, silhouette.centre_sigma_px)) * turn
    # an outline that a person read off shifts all lights alike: it says nothing against this one
    own_uncertainty = uncertainty if len(silhouette.edge_px) else place * turn
    usable = own_uncertainty <= largest_uncertainty_deg
    verdict = Verdict.SEEN if usable else Verdict.NEAR_RIM
    return Highlight(
        verdict=verdict,
        pixel=(float(middle[0]), float(middle[1])),
        point_m=(float(point[0]), float(point[1]), float(point[2])),
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        uncertainty_deg=uncertainty,
        pixels=half,
        peak=peak,
        saturated=saturated,
        second_share=second,
    )


def _without_blur(offsets: Array, weights: Array) -> Array:
    """Return offsets ``(n, 2)`` from their middle with a point's blur taken out of their spread."""
    spread = np.einsum("n,ni,nj->ij", weights / weights.sum(), offsets, offsets)
    variances, axes = np.linalg.eigh(spread)
    own = np.maximum(variances - _POINT_VARIANCE_PX2, 0.0) / np.maximum(variances, 1e-12)
    return np.asarray(offsets @ axes * np.sqrt(own) @ axes.T)


def _degrees_per_pixel(silhouette: Silhouette, pixel: Array) -> float:
    """Return how far the mirrored direction turns for a pixel, the worst way; infinite beyond."""
    around = pixel + 0.25 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float64)
    _, mirrored = silhouette.sphere.reflect(silhouette.camera, around)
    across = (mirrored[0] - mirrored[1], mirrored[2] - mirrored[3])
    if not np.isfinite(mirrored).all():
        return float("inf")
    turn = np.linalg.norm(np.stack(across, axis=1) / 0.5, ord=2)
    return float(np.degrees(turn))


def _noise(crop: Array, inside: NDArray[np.bool_]) -> float:
    """Return the standard deviation of single pixels, from differences of neighbours."""
    both = inside[:, 1:] & inside[:, :-1]
    steps = np.abs(np.diff(crop, axis=1))[both]
    return float(np.median(steps) / 0.6745 / np.sqrt(2.0)) if len(steps) else 0.0


def _blobs(light: Array, threshold: float) -> tuple[NDArray[np.int32], int]:
    """Return labels of what is above the threshold; blots with a pixel or two between are one."""
    above = (light > threshold).astype(np.uint8)
    joined = cv2.dilate(above, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    return labels * above, count - 1
