"""Light directions, and with two mirror spheres light positions, from one picture of each light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightstage.calibration.highlight import Highlight, SphereRegion, Verdict, locate_highlight
from lightstage.calibration.light_checks import (
    Limits,
    accept,
    accept_deviation,
    doubles,
    other_outlines,
)
from lightstage.calibration.mirror_sphere import (
    Array,
    MirrorSphere,
    OrthographicCamera,
    PerspectiveCamera,
    angle_deg,
    nearest_point,
    point_at_distance,
    unit,
)
from lightstage.calibration.results import CalibratedLight, LightsResult
from lightstage.calibration.silhouette import (
    Circle,
    Silhouette,
    find_circles,
    fit_silhouette,
    given_silhouette,
    mask_circles,
)
from lightstage.errors import InputError

#: What stands less above the background than this share of the usual highlight is a reflection.
_LEAST_PEAK_SHARE = 0.03
#: Rays must cross at so many times their uncertainty for the distance to mean anything.
_LEAST_CROSSING = 8.0
#: Spheres of one size look equally large to an orthographic camera, but for this share.
_SAME_SIZE = 0.02
#: Beyond this distance in sphere radii a light may as well be infinitely far: 0.1 degrees.
_FAR_RADII = 570.0


class LightPictures(Protocol):
    """One picture for each light, read when asked for."""

    @property
    def names(self) -> Sequence[str]:
        """What each picture is called, in the order of the lights."""
        ...

    def read(self, index: int) -> NDArray[np.float32]:
        """Return picture ``index``, gray and linear, ``(height, width)``; 1.0 = white."""
        ...


@dataclass(frozen=True)
class SphereSetup:
    """What is known of camera and spheres before.

    Attributes:
        focal_px: focal length in pixels; ``None``: so far away that rays are parallel.
        principal_px: where the camera's axis is seen; the picture's middle unless given.
        radius_m: the spheres' radius in metres, if known.
        distance_m: the lights' distance from the dome's centre, if known: takes out the parallax.
        spheres: how many there are.
        circles: where they are seen, as a person read it off; found if empty.
        mask: gray ``(height, width)``, white where a sphere is.
    """

    focal_px: float | None = None
    principal_px: tuple[float, float] | None = None
    radius_m: float | None = None
    distance_m: float | None = None
    spheres: int = 1
    circles: tuple[Circle, ...] = ()
    mask: NDArray[np.floating] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class LightDirections:
    """What was found.

    Attributes:
        names: the pictures' names.
        directions: unit vectors from the dome's centre, ``(lights, 3)``; NaN where not found.
        positions_m: metres from the dome's centre, ``(lights, 3)``; NaN where only a direction is.
        uncertainty_deg: one standard deviation, ``(lights,)``.
        residual_deg: how far the spheres' rays miss the light, ``(lights,)``; NaN with one sphere.
        verdicts: ``seen``, or why a light could not be used.
        silhouettes: the spheres' outlines.
        highlights: for each light one of each sphere.
        brightest: the brightest value of each pixel, ``(height, width)``, for drawing.
        warnings: what a user should know, one sentence each.
    """

    names: tuple[str, ...]
    directions: Array
    positions_m: Array
    uncertainty_deg: Array
    residual_deg: Array
    verdicts: tuple[str, ...]
    silhouettes: tuple[Silhouette, ...]
    highlights: tuple[tuple[Highlight, ...], ...]
    brightest: NDArray[np.float32]
    warnings: tuple[str, ...] = ()

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which lights were found, ``(lights,)``."""
        return np.isfinite(self.directions[:, 0])

    def summary(self) -> dict[str, Any]:
        """Return the residuals as JSON-able values."""
        seen = self.seen
        residual = self.residual_deg[np.isfinite(self.residual_deg)]
        placed = np.isfinite(self.positions_m[:, 0])
        report: dict[str, Any] = {
            "lights": len(self.names),
            "seen": int(seen.sum()),
            "positions": int(placed.sum()),
            "uncertainty_median_deg": _rounded(np.median(self.uncertainty_deg[seen])),
            "uncertainty_worst_deg": _rounded(self.uncertainty_deg[seen].max()),
            "spheres": [
                {
                    "x_px": _rounded(s.circle.x),
                    "y_px": _rounded(s.circle.y),
                    "radius_px": _rounded(s.circle.radius),
                    "outline_rms_px": _rounded(s.rms_px),
                    "outline_seen": _rounded(s.coverage),
                }
                for s in self.silhouettes
            ],
        }
        if len(residual):
            report["residual_median_deg"] = _rounded(np.median(residual))
            report["residual_worst_deg"] = _rounded(residual.max())
        if placed.any():
            distance = np.linalg.norm(self.positions_m[placed], axis=1)
            report["distance_median_m"] = _rounded(np.median(distance))
        return report

    def result(self, source: str) -> LightsResult:
        """Return the manifest to be saved in a session."""
        lights = []
        for index, verdict in enumerate(self.verdicts):
            seen = bool(self.seen[index])
            lights.append(
                CalibratedLight(
                    direction=_triple(self.directions[index]) if seen else None,
                    position_m=_triple(self.positions_m[index]),
                    uncertainty_deg=float(self.uncertainty_deg[index]) if seen else None,
                    verdict=verdict,
                )
            )
        camera = self.silhouettes[0].camera
        kind = "perspective" if isinstance(camera, PerspectiveCamera) else "orthographic"
        details = {**self.summary(), "warnings": list(self.warnings)}
        if isinstance(camera, PerspectiveCamera):
            details["focal_px"] = camera.focal_px
        return LightsResult(
            source=source,
            method=f"{len(self.silhouettes)} mirror spheres, {kind} camera",
            details=details,
            lights=tuple(lights),
        )


def calibrate_lights(
    pictures: LightPictures,
    setup: SphereSetup | None = None,
    limits: Limits | None = None,
    nominal: NDArray[np.floating] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LightDirections:
    """Return where the lights are, from the highlights on mirror spheres.

    The dome's centre is the sphere's, or the middle of all spheres. With one sphere a light's
    direction is that of the mirrored ray, from the centre to where the ray is ``distance_m`` away
    if that and the sphere's radius are known. With several spheres of known radius the light is
    where the rays come nearest to each other.

    Args:
        pictures: one for each light.
        setup: what is known of camera and spheres.
        limits: what must be kept.
        nominal: where lights should be, ``(lights, 3)``: tells hidden lights from dark ones.
        progress: called with how many readings are done, and of how many.

    Raises:
        InputError: a sphere is not found, too few highlights are seen, the rays do not agree, or
            the camera does not fit the outlines, or lights are far from where they should be; the
            text says which, and what to do.
    """
    setup, limits = setup or SphereSetup(), limits or Limits()
    count = len(pictures.names)
    if count == 0:
        raise InputError("there are no pictures to find lights in.")
    tell = progress or (lambda done, total: None)
    brightest, darkest, plain = _stack(pictures, tell)
    silhouettes = _silhouettes(plain, setup)
    background = darkest if count >= 3 else None
    regions = [SphereRegion(s, (plain.shape[0], plain.shape[1])) for s in silhouettes]
    highlights: list[tuple[Highlight, ...]] = []
    for index in range(count):
        picture = pictures.read(index)
        highlights.append(
            tuple(
                locate_highlight(
                    picture,
                    region,
                    background=background,
                    largest_uncertainty_deg=limits.largest_uncertainty_deg,
                )
                for region in regions
            )
        )
        tell(count + index + 1, 2 * count)
    highlights = _without_reflections(highlights)
    warnings: list[str] = []
    found = [_placed(row, silhouettes, setup) for row in highlights]
    directions = np.array([light.direction for light in found])
    verdicts = [_verdict(row) for row in highlights]
    if nominal is not None:
        verdicts = _told_hidden(verdicts, silhouettes, np.asarray(nominal, dtype=np.float64))
    result = LightDirections(
        names=tuple(pictures.names),
        directions=directions,
        positions_m=np.array([light.position_m for light in found]),
        uncertainty_deg=np.array([light.uncertainty_deg for light in found]),
        residual_deg=np.array([light.residual_deg for light in found]),
        verdicts=tuple(verdicts),
        silhouettes=tuple(silhouettes),
        highlights=tuple(highlights),
        brightest=brightest,
    )
    accept(result, limits)
    if nominal is not None:
        accept_deviation(result, np.asarray(nominal, dtype=np.float64), limits)
    warnings += doubles(result)
    if setup.circles:
        warnings += other_outlines(plain, silhouettes)
    if len(silhouettes) == 1 and (setup.radius_m is None or setup.distance_m is None):
        warnings.append(
            "lights are taken for infinitely far; give the sphere's --radius and the lights' "
            "--distance in metres to take out the parallax, up to radius / distance in radians "
            f"(below 0.1 degrees only beyond {_FAR_RADII:.0f} radii)."
        )
    return LightDirections(**{**result.__dict__, "warnings": tuple(warnings)})


@dataclass(frozen=True)
class _Placed:
    direction: Array
    position_m: Array
    uncertainty_deg: float = float("nan")
    residual_deg: float = float("nan")


_NOWHERE = np.full(3, np.nan)


def _stack(
    pictures: LightPictures, tell: Callable[[int, int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return each pixel's brightest and darkest value, and its mean without the brightest."""
    count = len(pictures.names)
    first = np.asarray(pictures.read(0), dtype=np.float32)
    total = np.zeros(first.shape, np.float64)
    brightest, darkest = first.copy(), first.copy()
    for index in range(count):
        picture = first if index == 0 else np.asarray(pictures.read(index), dtype=np.float32)
        if picture.shape != first.shape:
            raise InputError(
                f"{pictures.names[index]}: is {picture.shape[1]} x {picture.shape[0]}, "
                f"{pictures.names[0]} is {first.shape[1]} x {first.shape[0]}; all pictures must be "
                f"of one size."
            )
        if not np.isfinite(picture).all():
            raise InputError(f"{pictures.names[index]}: holds NaN or infinite values.")
        total += picture
        np.maximum(brightest, picture, out=brightest)
        np.minimum(darkest, picture, out=darkest)
        tell(index + 1, 2 * count)
    plain = (total - brightest) / (count - 1) if count > 1 else total
    return brightest, darkest, plain.astype(np.float32)


def _silhouettes(plain: NDArray[np.float32], setup: SphereSetup) -> list[Silhouette]:
    height, width = plain.shape
    principal = setup.principal_px or (0.5 * (width - 1), 0.5 * (height - 1))
    camera = None if setup.focal_px is None else PerspectiveCamera(setup.focal_px, principal)
    radius_m = 1.0 if setup.radius_m is None else setup.radius_m
    if not (np.isfinite(radius_m) and radius_m > 0):
        raise InputError(f"a sphere's radius must be above 0 m, it is {radius_m}.")
    if setup.distance_m is not None and not setup.distance_m > radius_m:
        raise InputError(
            f"lights at {setup.distance_m:g} m from the centre would be within the sphere of "
            f"{radius_m:g} m radius; both are in metres."
        )
    if setup.circles:
        silhouettes = [given_silhouette(c, camera, principal, radius_m) for c in setup.circles]
    elif setup.mask is not None:
        mask = np.asarray(setup.mask, dtype=np.float32)
        if mask.shape != plain.shape:
            raise InputError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]}, the pictures are "
                f"{width} x {height}; they must be of one size."
            )
        starts = mask_circles(mask, setup.spheres)
        silhouettes = [fit_silhouette(mask, c, camera, principal, radius_m) for c in starts]
    else:
        starts = find_circles(plain, setup.spheres)
        silhouettes = [fit_silhouette(plain, c, camera, principal, radius_m) for c in starts]
    return _at_one_scale(silhouettes) if camera is None else silhouettes


def _at_one_scale(silhouettes: list[Silhouette]) -> list[Silhouette]:
    """Return orthographic spheres in one scale; refuse ones that do not look equally large."""
    if len(silhouettes) < 2:
        return silhouettes
    radii = np.array([s.circle.radius for s in silhouettes])
    if np.ptp(radii) > _SAME_SIZE * radii.mean():
        listed = ", ".join(f"{r:.1f}" for r in radii)
        raise InputError(
            f"the spheres' outlines have radii of {listed} pixels: to a camera far away, spheres "
            f"of one size look equally large. Give the focal length by --focal or --fov."
        )
    made = []
    for s in silhouettes:
        assert isinstance(s.camera, OrthographicCamera)
        scale = float(radii.mean()) / s.sphere.radius_m
        camera = OrthographicCamera(scale, s.camera.principal_px)
        x = (s.circle.x - camera.principal_px[0]) / scale
        y = -(s.circle.y - camera.principal_px[1]) / scale
        sphere = MirrorSphere((x, y, 0.0), s.sphere.radius_m)
        made.append(Silhouette(camera, sphere, s.circle, s.edge_px, s.rms_px, s.coverage))
    return made


def _without_reflections(
    highlights: list[tuple[Highlight, ...]],
) -> list[tuple[Highlight, ...]]:
    """Return the highlights with those that are far dimmer than the others marked as not seen."""
    peaks = [h.peak for row in highlights for h in row if h.seen]
    if not peaks:
        return highlights
    least = _LEAST_PEAK_SHARE * float(np.median(peaks))
    return [
        tuple(h if h.peak >= least else Highlight(Verdict.NOT_SEEN, peak=h.peak) for h in row)
        for row in highlights
    ]


def _placed(
    row: Sequence[Highlight], silhouettes: Sequence[Silhouette], setup: SphereSetup
) -> _Placed:
    """Return where one light is, from its highlights on all spheres."""
    good = [h for h in row if h.seen]
    if not good:
        return _Placed(_NOWHERE, _NOWHERE)
    centre = np.mean([s.sphere.centre_m for s in silhouettes], axis=0)
    points = np.array([h.point_m for h in good])
    rays = np.array([h.direction for h in good])
    sigma = np.array([h.uncertainty_deg for h in good])
    together = float(1.0 / np.sqrt((1.0 / sigma**2).sum()))
    if len(good) > 1 and setup.radius_m is not None:
        crossing = float(angle_deg(rays[:, None], rays[None]).max())
        if crossing > _LEAST_CROSSING * sigma.max():
            return _crossed(points, rays, sigma, centre, together)
    if setup.radius_m is not None and setup.distance_m is not None:
        places = point_at_distance(points, rays, centre, setup.distance_m)
        towards = unit(places - centre)
    else:
        towards = rays
    direction = unit((towards / sigma[:, None] ** 2).sum(axis=0))
    residual = float(angle_deg(towards, direction).max()) if len(good) > 1 else float("nan")
    return _Placed(direction, _NOWHERE, together, residual)


def _crossed(points: Array, rays: Array, sigma: Array, centre: Array, together: float) -> _Placed:
    """Return the light that the rays meet at; its residual is infinite if that is behind one."""
    weights = 1.0 / sigma**2
    for _ in range(3):  # an angle's error grows with the distance, which is known only afterwards
        place, missed = nearest_point(points, rays, weights)
        ahead = ((place - points) * rays).sum(axis=1)
        weights = 1.0 / (sigma * np.maximum(np.abs(ahead), 1e-9)) ** 2
    residual = float(np.degrees(np.arctan2(missed, ahead)).max()) if ahead.min() > 0 else np.inf
    offset = place - centre
    return _Placed(unit(offset), offset, together, residual)


def _verdict(row: Sequence[Highlight]) -> str:
    if any(h.seen for h in row):
        return Verdict.SEEN.value
    return ", ".join(dict.fromkeys(h.verdict.value for h in row))


def _told_hidden(
    verdicts: list[str], silhouettes: Sequence[Silhouette], nominal: Array
) -> list[str]:
    """Return the verdicts, with what no sphere can show told from what did not shine."""
    if len(nominal) != len(verdicts):
        raise InputError(
            f"there are {len(verdicts)} pictures of single lights, the dome has {len(nominal)} "
            f"lights; one picture for each light is needed, in the order of their numbers."
        )
    hidden = np.ones(len(verdicts), bool)
    for s in silhouettes:
        pixels = s.sphere.highlight(s.camera, nominal, distant=True)
        rim = np.linalg.norm(pixels - [s.circle.x, s.circle.y], axis=1) > s.circle.radius - 1.5
        hidden &= ~np.isfinite(pixels[:, 0]) | rim
    return [
        "hidden behind the sphere" if verdict == Verdict.NOT_SEEN.value and h else verdict
        for verdict, h in zip(verdicts, hidden, strict=True)
    ]


def _triple(vector: Array) -> tuple[float, float, float] | None:
    if not np.isfinite(vector).all():
        return None
    return (float(vector[0]), float(vector[1]), float(vector[2]))


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
