"""A mirror sphere's outline in a picture or mask: found, fitted to sub-pixel, or refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.optimize import least_squares
from scipy.special import ndtr

from lightstage.calibration.mirror_sphere import (
    Array,
    Camera,
    MirrorSphere,
    OrthographicCamera,
    PerspectiveCamera,
    unit,
)
from lightstage.errors import InputError

#: Samples a pixel along the profiles across the outline.
_PER_PIXEL = 4
#: The outline must be seen on so much of its circumference.
LEAST_COVERAGE = 0.4
#: Edge points further from the fitted outline are not its own: pixels, and share of the radius.
_INLIER_PX, _INLIER_SHARE = 1.0, 0.008
#: Root mean square distance of the outline's own edge points that is still a sphere's.
LARGEST_RMS_PX = 0.5
#: An ellipse of any shape may fit the outline so much better, as a share of the radius.
_LARGEST_MISFIT = 0.004
#: Longer side of the picture in which circles are looked for.
_SEARCH_PX = 640
_SMALLEST_RADIUS_PX = 8.0


class Circle(NamedTuple):
    """About where a sphere is seen, in pixels."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Silhouette:
    """A sphere's fitted outline.

    Attributes:
        camera: the camera it is seen by; an orthographic one has the scale that the outline and
            the sphere's radius give.
        sphere: the sphere in camera coordinates.
        circle: the circle of the same middle and mean radius, in pixels.
        edge_px: the edge points that it was fitted to, ``(n, 2)``; none where it was given.
        rms_px: their root mean square distance from the outline.
        coverage: the share of the circumference on which the edge was seen.
    """

    camera: Camera
    sphere: MirrorSphere
    circle: Circle
    edge_px: Array
    rms_px: float
    coverage: float

    def outline_px(self, points: int = 360) -> Array:
        """Return ``(points, 2)`` pixels along the outline, for drawing and for region tests."""
        return _outline_px(self.camera, self.sphere, self.circle, points)

    @property
    def centre_sigma_px(self) -> float:
        """How exactly the edge points tell the middle: one standard deviation, in pixels."""
        if not len(self.edge_px):
            return 0.5  # a person's reading
        return max(0.01, self.rms_px * math.sqrt(2.0 / len(self.edge_px)))


def find_circles(picture: NDArray[np.floating], count: int) -> list[Circle]:
    """Return the ``count`` likeliest circles in a gray picture ``(height, width)``, left to right.

    Raises:
        InputError: fewer are there; the text says what to give instead.
    """
    height, width = picture.shape
    shrink = min(1.0, _SEARCH_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, [1.0, 99.0])
    # a square root shows the edges of dark spheres, too
    shown = np.sqrt(np.clip((small - low) / max(float(high - low), 1e-9), 0.0, 1.0))
    eight_bits = cv2.GaussianBlur((shown * 255).astype(np.uint8), (0, 0), 1.0)
    found: list[Circle] = []
    for strictness in (0.9, 0.8, 0.6, 0.4):
        circles = cv2.HoughCircles(
            eight_bits,
            cv2.HOUGH_GRADIENT_ALT,
            dp=1.5,
            minDist=2 * _SMALLEST_RADIUS_PX,
            param1=100,
            param2=strictness,
            minRadius=round(_SMALLEST_RADIUS_PX),
            maxRadius=max(size) // 2,
        )
        for x, y, radius in (
            [] if circles is None else circles.reshape(-1, circles.shape[-1])[:, :3]
        ):
            candidate = Circle(float(x) / shrink, float(y) / shrink, float(radius) / shrink)
            if _edges_agree(picture, candidate) and all(_apart(candidate, o) for o in found):
                found.append(candidate)
        if len(found) >= count:
            # a mirror shows circles of its own within: the largest ones are the outlines
            largest = sorted(found, key=lambda circle: -circle.radius)[:count]
            return sorted(largest)
    raise InputError(
        f"{len(found)} of {count} mirror spheres were found in the pictures: no closed round edge "
        f"stands out from the background. Give a --mask (white where the sphere is), or the "
        f"circle by --sphere X,Y,RADIUS in pixels."
    )


def mask_circles(mask: NDArray[np.floating], count: int) -> list[Circle]:
    """Return the circles of the ``count`` largest white parts of a mask, left to right.

    Args:
        mask: gray ``(height, width)`` in [0, 1]; above 0.5 is sphere.
        count: how many spheres there are.

    Raises:
        InputError: the mask has fewer parts, or they are far from round.
    """
    shown = (mask > 0.5).astype(np.uint8)
    # outer contours only: holes, such as highlights that a threshold cut out, do not matter
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = sorted(((float(cv2.contourArea(c)), c) for c in contours), key=lambda part: -part[0])
    big = [part for part in parts if part[0] > np.pi * _SMALLEST_RADIUS_PX**2]
    if len(big) < count:
        raise InputError(
            f"the mask shows {len(big)} spheres of more than {2 * _SMALLEST_RADIUS_PX:g} pixels "
            f"across, {count} are expected; it must be white where a sphere is, black elsewhere."
        )
    circles = []
    for area, contour in big[:count]:
        box = cv2.boundingRect(contour)[2:]
        if max(box) > 1.5 * min(box) or area < 0.6 * float(box[0] * box[1]):
            raise InputError(
                f"the mask's part of {box[0]} x {box[1]} pixels is not round: a sphere's mask is "
                f"a full disc."
            )
        moments = cv2.moments(contour)
        x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        circles.append(Circle(float(x), float(y), math.sqrt(area / np.pi)))
    return sorted(circles)


def fit_silhouette(
    picture: NDArray[np.floating],
    start: Circle,
    camera: PerspectiveCamera | None,
    principal_px: tuple[float, float],
    radius_m: float = 1.0,
) -> Silhouette:
    """Return the outline near ``start``, fitted to the edges of a gray picture ``(height, width)``.

    On rays from the middle the steepest place is found to sub-pixel; a random-sample consensus
    leaves out what is not the outline, and robust least squares fits the rest: a circle for an
    orthographic camera (``camera`` is ``None``), a cone of rays for a perspective one.

    Raises:
        InputError: there is no edge there, or it is not what such a camera sees of a sphere.
    """
    outline = _on_circle(start, 360)
    # the first look is wide, the later ones trust the outline found so far
    for share in (0.12, 0.04, 0.02):
        circle = _least_squares_circle(outline)
        if not 0.5 * start.radius < circle.radius < 2.0 * start.radius:
            raise _no_edge(start, 0.0)
        tolerance = max(_INLIER_PX, _INLIER_SHARE * circle.radius)
        edges, rays = _edge_points(picture, outline, max(4.0, share * circle.radius))
        inliers = _consensus(edges, 1.5 * tolerance, camera)
        if inliers is None:
            raise _no_edge(start, 0.0)
        points = edges[inliers]
        fitted, residuals = _fitted(points, camera, principal_px, radius_m)
        outline = _outline_px(*fitted, 360)
    own = np.abs(residuals) < tolerance
    if own.sum() >= 12:
        points = points[own]
        fitted, residuals = _fitted(points, camera, principal_px, radius_m)
    coverage = len(points) / rays
    if coverage < LEAST_COVERAGE:
        raise _no_edge(start, coverage)
    rms = float(np.sqrt(np.mean(residuals**2)))
    _check_shape(points, rms, start, camera)
    return Silhouette(
        camera=fitted[0],
        sphere=fitted[1],
        circle=fitted[2],
        edge_px=points,
        rms_px=rms,
        coverage=coverage,
    )


def given_silhouette(
    circle: Circle,
    camera: PerspectiveCamera | None,
    principal_px: tuple[float, float],
    radius_m: float = 1.0,
) -> Silhouette:
    """Return the outline that a person read off: the ellipse nearest to ``circle``, or itself."""
    if not (circle.radius > 1.0 and all(map(math.isfinite, circle))):
        raise InputError(f"a sphere's circle needs a radius above 1 pixel, not {circle.radius:g}.")
    points = _on_circle(circle, 360)
    fitted, _ = _fitted(points, camera, principal_px, radius_m)
    return Silhouette(fitted[0], fitted[1], circle, np.empty((0, 2)), 0.0, 0.0)


def _no_edge(start: Circle, coverage: float) -> InputError:
    return InputError(
        f"no sphere's outline was found about ({start.x:.0f}, {start.y:.0f}) with a radius of "
        f"{start.radius:.0f} pixels: a round edge is seen on {coverage:.0%} of the circumference, "
        f"{LEAST_COVERAGE:.0%} are needed. Give a --mask, or the circle by --sphere X,Y,RADIUS; "
        f"if an edge is plain to see there, --focal or --fov is wrong."
    )


def _edge_points(picture: NDArray[np.floating], outline: Array, reach: float) -> tuple[Array, int]:
    """Return edge points ``(n, 2)`` within ``reach`` of an outline, and how many were looked for.

    On rays from the outline's middle, which for an ellipse of a camera's field of view are as good
    as its normals.
    """
    middle = outline.mean(axis=0)
    spokes = outline - middle
    turn = np.arctan2(spokes[:, 1], spokes[:, 0])
    length = np.linalg.norm(spokes, axis=1)
    rays = int(np.clip(2 * np.pi * length.mean(), 90, 720))
    angle = np.arange(rays) * 2 * np.pi / rays
    radius = np.interp(angle, turn, length, period=2 * np.pi)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    offset = np.arange(-reach - 4.0, reach + 4.0, 1.0 / _PER_PIXEL)
    places = middle + (radius[:, None] + offset)[..., None] * along[:, None]
    profile = map_coordinates(
        picture.astype(np.float64), [places[..., 1], places[..., 0]], order=1, cval=np.nan
    )
    whole = np.isfinite(profile).all(axis=1)
    # one pixel of softening: a mask's stairs and the noise of single pixels
    slope = gaussian_filter1d(np.nan_to_num(profile), _PER_PIXEL, axis=1, order=1) * _PER_PIXEL
    margin = 3 * _PER_PIXEL
    strength = np.abs(slope[:, margin:-margin])
    best = strength.argmax(axis=1) + margin
    # a flat profile has no edge; most of a profile is flat, but not half of a short one
    noise = float(np.percentile(strength, 20.0))
    peak = np.abs(slope[np.arange(rays), best])
    clear = whole & (peak > max(10.0 * noise, 1e-6)) & (peak > 0.1 * np.percentile(peak, 75))
    # where the slope's weight lies about its steepest place: exact for a step however softened
    window = np.arange(-2 * _PER_PIXEL, 2 * _PER_PIXEL + 1)
    at = np.clip(best[:, None] + window, 0, slope.shape[1] - 1)
    near = slope[np.arange(rays)[:, None], at] - _own_slopes(slope, best, window)
    near *= np.sign(slope[np.arange(rays), best])[:, None]
    near = np.maximum(near, 0.0)
    place = offset[0] + (near * at).sum(axis=1) / np.maximum(near.sum(axis=1), 1e-300) / _PER_PIXEL
    points = middle + (radius + place)[:, None] * along
    return points[clear], rays


def _own_slopes(slope: Array, best: NDArray[np.intp], window: NDArray[np.intp]) -> Array:
    """Return what of the slope in ``window`` about the edge is not the edge's, ``(rays, window)``.

    What the mirror shows grows brighter or darker towards its rim, and so may the ground; each
    side's slope, beyond the edge's reach, goes over into the other's across the edge.
    """
    beyond = np.arange(round(2.75 * _PER_PIXEL), round(4.25 * _PER_PIXEL) + 1)
    last = slope.shape[1] - 1
    row = np.arange(len(slope))[:, None]
    inner = np.median(slope[row, np.clip(best[:, None] - beyond, 0, last)], axis=1)
    outer = np.median(slope[row, np.clip(best[:, None] + beyond, 0, last)], axis=1)
    share = ndtr(window / (1.2 * _PER_PIXEL))
    return np.asarray(inner[:, None] * (1.0 - share) + outer[:, None] * share)


def _consensus(
    edges: Array, tolerance: float, camera: PerspectiveCamera | None = None
) -> NDArray[np.bool_] | None:
    """Return which points lie on the outline through three of them that most points agree with."""
    if len(edges) < 12:
        return None
    rng = np.random.default_rng(0)
    best: NDArray[np.bool_] | None = None
    cone = None if camera is None else _Cones(camera, edges)
    for _ in range(300):
        chosen = rng.choice(len(edges), 3, replace=False)
        if cone is not None:
            residuals = cone.residuals_px(cone.through(chosen))
        else:
            circle = _circle_through(edges[chosen])
            if circle is None:
                continue
            residuals = _circle_residuals(edges, circle)
        agree = np.abs(residuals) < tolerance
        if best is None or agree.sum() > best.sum():
            best = agree
    return best if best is not None and best.sum() >= 12 else None


class _Cones:
    """Cones of rays through points of a perspective picture.

    A cone about ``u`` of half angle ``h`` is ``ray . u / cos(h) = 1``: linear in ``a = u / cos h``.
    """

    def __init__(self, camera: PerspectiveCamera, points: Array) -> None:
        self.rays = camera.rays(points)[1]
        # change of ray . a for a pixel right or down: what turns residuals into distances
        self.right = camera.rays(points + [0.5, 0.0])[1] - camera.rays(points - [0.5, 0.0])[1]
        self.down = camera.rays(points + [0.0, 0.5])[1] - camera.rays(points - [0.0, 0.5])[1]

    def through(self, chosen: NDArray[np.intp] | slice) -> Array:
        """Return the cone ``a`` that fits the chosen rays best."""
        rays = self.rays[chosen]
        return np.asarray(np.linalg.lstsq(rays, np.ones(len(rays)), rcond=None)[0])

    def residuals_px(self, a: Array) -> Array:
        """Return the points' distances from the cone's outline, to first order, in pixels."""
        slope = np.hypot(self.right @ a, self.down @ a)
        return np.asarray((self.rays @ a - 1.0) / np.maximum(slope, 1e-12))


def _circle_through(points: Array) -> Circle | None:
    matrix = np.column_stack([2 * points, np.ones(len(points))])
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    a, b, c = np.linalg.solve(matrix, (points**2).sum(axis=1))
    square = c + a * a + b * b
    return Circle(float(a), float(b), math.sqrt(square)) if square > 0 else None


def _circle_residuals(points: Array, circle: Circle) -> Array:
    return np.asarray(np.hypot(points[:, 0] - circle.x, points[:, 1] - circle.y) - circle.radius)


def _least_squares_circle(points: Array) -> Circle:
    """Return the circle of least robust squared distances (soft L1 beyond half a pixel)."""
    middle = points.mean(axis=0)
    radius = float(np.linalg.norm(points - middle, axis=1).mean())
    found = least_squares(
        lambda v: np.hypot(points[:, 0] - v[0], points[:, 1] - v[1]) - v[2],
        [*middle, radius],
        loss="soft_l1",
        f_scale=0.5,
    )
    return Circle(*(float(value) for value in found.x))


def _fitted(
    points: Array,
    camera: PerspectiveCamera | None,
    principal_px: tuple[float, float],
    radius_m: float,
) -> tuple[tuple[Camera, MirrorSphere, Circle], Array]:
    """Return camera, sphere and mean circle, and the points' distances from the outline in px."""
    if camera is None:
        circle = _least_squares_circle(points)
        scale = circle.radius / radius_m
        x = (circle.x - principal_px[0]) / scale
        y = -(circle.y - principal_px[1]) / scale
        seen = OrthographicCamera(scale, principal_px)
        sphere = MirrorSphere((x, y, 0.0), radius_m)
        return (seen, sphere, circle), _circle_residuals(points, circle)

    cones = _Cones(camera, points)
    start = cones.through(slice(None))
    a = least_squares(cones.residuals_px, start, loss="soft_l1", f_scale=0.5, x_scale="jac").x
    length = float(np.linalg.norm(a))
    if not length > 1.0 + 1e-9:
        raise InputError("the outline is not that of a sphere before this camera (--focal, --fov).")
    distance = radius_m / math.sqrt(1.0 - 1.0 / length**2)
    centre = a / length * distance
    sphere = MirrorSphere((float(centre[0]), float(centre[1]), float(centre[2])), radius_m)
    outline = _cone_outline(camera, sphere, 360)
    circle = _least_squares_circle(outline)
    return (camera, sphere, circle), cones.residuals_px(a)


def _outline_px(camera: Camera, sphere: MirrorSphere, circle: Circle, points: int) -> Array:
    if isinstance(camera, OrthographicCamera):
        return _on_circle(circle, points)
    return _cone_outline(camera, sphere, points)


def _cone_outline(camera: Camera, sphere: MirrorSphere, points: int) -> Array:
    centre = np.array(sphere.centre_m)
    distance = float(np.linalg.norm(centre))
    axis = centre / distance
    # the circle on which rays touch the sphere
    sine = sphere.radius_m / distance
    first = unit(np.cross(axis, [0.0, 1.0, 0.0]))
    second = np.cross(axis, first)
    angle = np.arange(points) * 2 * np.pi / points
    spoke = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    cosine = math.sqrt(1.0 - sine * sine)
    return camera.project(centre - sphere.radius_m * sine * axis + sphere.radius_m * cosine * spoke)


def _check_shape(
    points: Array, rms: float, start: Circle, camera: PerspectiveCamera | None
) -> None:
    """Refuse an outline that an ellipse of any shape fits clearly better than the camera's."""
    freely, axes = _ellipse_rms(points)
    where = f"the outline about ({start.x:.0f}, {start.y:.0f})"
    limit = max(LARGEST_RMS_PX, _LARGEST_MISFIT * start.radius)
    if rms <= limit:
        return
    if freely < 0.6 * rms and camera is None:
        raise InputError(
            f"{where} is an ellipse of {axes[0]:.1f} x {axes[1]:.1f} pixels, no circle (it misses "
            f"one by {rms:.2f} px): the camera is near, or looks from the side. Give its focal "
            f"length by --focal or --fov; if the pictures are stretched, undo that first."
        )
    if freely < 0.6 * rms:
        raise InputError(
            f"{where} is not what a camera of this focal length sees of a sphere (it misses by "
            f"{rms:.2f} px, a free ellipse by {freely:.2f}): --focal or --fov is wrong, or the "
            f"pictures are cropped (give --principal) or stretched."
        )
    raise InputError(
        f"{where} is not round: its edge misses the fitted one by {rms:.2f} px, at most "
        f"{limit:.2f} px are taken for a sphere. Give a --mask, or the circle by --sphere."
    )


def _ellipse_rms(points: Array) -> tuple[float, tuple[float, float]]:
    """Return how far points lie from the ellipse that fits them, and its semi-axes in pixels."""
    (x, y), (first, second), turn = cv2.fitEllipse(points.astype(np.float32))
    if not (math.isfinite(first) and math.isfinite(second)) or min(first, second) <= 0:
        return math.inf, (0.0, 0.0)
    angle = math.radians(turn)
    p = (points - [x, y]) @ np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    a, b = first / 2, second / 2
    level = np.hypot(p[:, 0] / a, p[:, 1] / b)
    slope = np.hypot(p[:, 0] / a**2, p[:, 1] / b**2) / np.maximum(level, 1e-9)
    misses = (level - 1.0) / np.maximum(slope, 1e-12)
    return float(np.sqrt(np.mean(misses**2))), (max(a, b), min(a, b))


def _on_circle(circle: Circle, points: int) -> Array:
    angle = np.arange(points) * 2 * np.pi / points
    spokes = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.asarray(np.array([circle.x, circle.y]) + circle.radius * spokes)


def _apart(first: Circle, second: Circle) -> bool:
    away = math.hypot(first.x - second.x, first.y - second.y)
    return away > 0.8 * (first.radius + second.radius)


def _edges_agree(picture: NDArray[np.floating], circle: Circle) -> bool:
    """Whether a circle lies within the picture and most of its circumference is an edge."""
    height, width = picture.shape
    if not (0 <= circle.x < width and 0 <= circle.y < height):
        return False
    outline = _on_circle(circle, 360)
    edges, rays = _edge_points(picture, outline, max(3.0, 0.05 * circle.radius))
    inliers = _consensus(edges, max(1.5, 0.02 * circle.radius))
    return inliers is not None and float(inliers.sum()) > LEAST_COVERAGE * rays
