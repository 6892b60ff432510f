"""Where a few hundred points of the face are seen: rendered face against frame, by dense flow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from lightstage.raster import vertex_normals
from relight_model.head.capture_fit import INNER
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import (
    FEATURES,
    SKIN,
    Crop,
    FaceRenderer,
    Image,
    equalised,
    sample,
)
from relight_model.head.capture_solver import State, Views

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How many points of the skin are compared.
POINTS = 400
#: Width of the neighbourhood that tells a point's place (standard deviation), in pixels.
_WINDOW_PX = 4.0
#: Neighbouring points and pixels say much the same: how many of them count as one.
_REDUNDANCY = 30.0
#: How much more is to be trusted than the noise of the pictures says.
_TRUST = 4.0
#: Width of the neighbourhood in which the pictures' brightness and contrast are made alike.
_GAIN_PX = 7.0
#: Steps of Lucas and Kanade hold no farther than this, times the pictures' softness.
_LONGEST_STEP_PX = 2.5
#: How far from the nearest landmark inside the face points lie at most, in metres.
_POINT_REACH_M = 0.034
#: Noise that even a perfect match has, of contrast 1.
_NOISE_FLOOR = 0.15


@dataclass(frozen=True, eq=False)
class Matches:
    """Where points were seen in one frame: ``target_px`` (L, 2) and ``whitening`` (L, 2, 2).

    ``agreement``: how alike rendering and frame are, correlation in [-1, 1].
    """

    target_px: Float
    whitening: Float
    agreement: float


class DenseMatcher:
    """Matches rendered faces with frames."""

    def __init__(self, head: HeadFile, renderer: FaceRenderer) -> None:
        """Choose the points: spread over the skin that moves with the landmarks."""
        self.renderer = renderer
        self._chosen = _spread_points(head, renderer, POINTS)
        self.points = HeadPoints.at_vertices(head, renderer.vertices[self._chosen])

    def world(self, state: State) -> Image:
        """Return the face's vertices ``(n, V', 3)`` in the world."""
        canonical = self.renderer.points.evaluate(state.coefficients, state.jaw, state.eyes)
        turned = np.einsum("nab,nvb->nva", state.rotation, canonical - state.pivot)
        return np.asarray(turned + state.place_m[:, None], np.float32)

    def match(
        self,
        world: Image,
        views: Views,
        index: int,
        crop: Crop,
        texture: Image | None = None,
        softness_px: float = 1.0,
    ) -> Matches:
        """Return where the points of a face at ``world`` (V', 3) are seen in frame ``index``.

        ``texture`` is the clip's own; without one, the head's mean texture is lit as the frame is.
        """
        camera = self.renderer.camera(
            crop, float(views.focal_px[index]), views.centre_px[index], views.distance_m
        )
        if texture is None:
            seen = self.renderer.render(world, camera, self.renderer.mean_texture, crop.gray)
        else:
            seen = self.renderer.render(world, camera, texture)
        inside = np.asarray(seen.mask, np.float32)
        frame = equalised(crop.gray, inside, FEATURES if texture is None else SKIN)
        pixels = camera.project(world[self._chosen])
        facing = _facing(world, self.renderer.faces, camera.position_m)[self._chosen]
        shown = self.renderer.visible(
            pixels, world[self._chosen].astype(np.float64), facing, seen, views.distance_m
        )
        pairs = [(seen.picture, frame)]
        if seen.redness is not None:
            pairs.append((seen.redness, equalised(crop.redness, inside, FEATURES)))
        step, whitening, agreement = _step(pairs, inside, pixels, shown, softness_px)
        # certainty in the crop's pixels, errors in the frame's
        return Matches(crop.to_frame(pixels + step), whitening * crop.scale, agreement)


def _step(
    pairs: list[tuple[Image, Image]],
    inside: Image,
    pixels: Float,
    shown: NDArray[np.bool_],
    softness_px: float,
) -> tuple[Float, Float, float]:
    """Return how far each point is to move, the certainty of that, and how alike the pictures are.

    Each point's neighbourhood gives a step of Lucas and Kanade; the root of its information is the
    step's whitening, so that the sum over all points is the Gauss-Newton step of the whole face.

    Args:
        pairs: rendering and frame, of one or more kinds, ``(size, size)`` each.
        inside: ``(size, size)`` 1 where the face was rendered.
        pixels: ``(L, 2)`` the points.
        shown: ``(L,)`` which of them are in sight.
        softness_px: how much both are softened first.
    """
    window = max(_WINDOW_PX, 1.6 * softness_px)
    at = np.zeros((len(pixels), 5))
    alike: list[Image] = []
    for rendered, frame in pairs:
        planes, likeness = _evidence(rendered, frame, inside, softness_px)
        at += sample(_soft(planes, window), pixels)
        alike.append(likeness)
    # pixels of the window, as many of them as are worth one
    worth = _TRUST * 4.0 * np.pi * window**2 / (_REDUNDANCY + 4.0 * np.pi * softness_px**2)
    information = np.empty((len(pixels), 2, 2))
    information[:, 0, 0], information[:, 1, 1] = at[:, 0], at[:, 2]
    information[:, 0, 1] = information[:, 1, 0] = at[:, 1]
    values, vectors = np.linalg.eigh(information)
    root = np.sqrt(np.clip(values, 0.0, None) * np.where(shown, worth, 0.0)[:, None])
    whitening = root[..., None] * vectors.transpose(0, 2, 1)
    along = np.einsum("lab,la->lb", vectors, at[:, 3:5])
    step = np.einsum("lab,lb->la", vectors, along / np.maximum(values, 1e-4))
    length = np.linalg.norm(step, axis=1, keepdims=True)
    step *= np.minimum(1.0, _LONGEST_STEP_PX * max(1.0, softness_px) / np.maximum(length, 1e-9))
    agreement = float(np.median(sample(alike[0], pixels[shown]))) if shown.any() else 0.0
    return step, whitening, agreement


def _evidence(
    rendered: Image, frame: Image, inside: Image, softness_px: float
) -> tuple[Image, Image]:
    """Return each pixel's share in the normal equations, ``(h, w, 5)``, and how alike they are.

    xx, xy, yy of the slopes, and x, y of slope times difference, over the noise's variance. The
    slope is the mean of both pictures'.
    """
    around = max(_GAIN_PX, 2.6 * softness_px)
    both = _soft(np.dstack([rendered * inside, frame * inside, inside]), softness_px)
    rendered, frame = np.moveaxis(both[..., :2] / np.maximum(both[..., 2:], 1e-3), 2, 0)
    # what is left of the rendering where neighbourhoods are as bright and as strong as the frame's;
    # where the two have nothing in common, nothing is left, and nothing is learnt
    sums = _soft(
        np.dstack([rendered, frame, rendered**2, frame**2, rendered * frame, np.ones_like(frame)])
        * inside[..., None],
        around,
    )
    mean_r, mean_f, square_r, square_f, product = np.moveaxis(
        sums[..., :5] / np.maximum(sums[..., 5:], 1e-3), 2, 0
    )
    var_r, var_f = square_r - mean_r**2, square_f - mean_f**2
    cov = product - mean_r * mean_f
    gain = np.clip(cov / (var_r + _NOISE_FLOOR**2), 0.0, 3.0)
    noise = np.maximum(var_f - 2.0 * gain * cov + gain * gain * var_r, 0.0) + _NOISE_FLOOR**2
    alike = cov / np.sqrt(np.maximum(var_r * var_f, 0.0) + 1e-6)
    trust = np.clip(alike, 0.0, 1.0)
    x, y = (0.5 * (gain * _slope(rendered, axis) + trust * _slope(frame, axis)) for axis in (0, 1))
    off = gain * (rendered - mean_r) - (frame - mean_f)
    sure = cv2.erode(inside, np.ones((3, 3), np.uint8)) / noise
    return np.dstack([x * x, x * y, y * y, x * off, y * off]) * sure[..., None], alike


def _soft(picture: Image, sigma: float) -> Image:
    """Return planes ``(h, w, k)`` softened; wide kernels are two boxes one after the other."""
    if sigma < 2.5:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    side = 2 * round(0.5 * (np.sqrt(6.0 * sigma**2 + 1.0) - 1.0)) + 1
    once = cv2.blur(picture, (side, side))
    return np.asarray(cv2.blur(once, (side, side)), np.float32)


def _slope(picture: Image, axis: int) -> Image:
    """Return a picture's slope along x (0) or y (1)."""
    return np.asarray(cv2.Sobel(picture, cv2.CV_32F, 1 - axis, axis, scale=0.125), np.float32)


def _facing(world: Image, faces: NDArray[np.int32], camera_m: Float) -> Float:
    way = camera_m - world
    normals = vertex_normals(world, faces)
    return np.asarray(np.einsum("vd,vd->v", normals, way) / np.linalg.norm(way, axis=1), np.float64)


def _spread_points(head: HeadFile, renderer: FaceRenderer, count: int) -> Ints:
    """Return indices into the renderer's vertices: skin connected with the landmarks, spread."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    faces = head.f.astype(np.int64)
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    total = len(head.v_template)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(total, total))
    _, part = connected_components(graph, directed=False)
    skin = np.bincount(part[faces[head.landmark_faces, 0]]).argmax()
    inner = head.landmark_faces[INNER]
    from scipy.spatial import cKDTree

    places = np.einsum(
        "kc,kcd->kd", head.landmark_barycentric[INNER],
        head.v_template[head.f[inner].astype(np.int64)],
    )  # fmt: skip
    reach, _ = cKDTree(places).query(head.v_template[renderer.vertices])
    usable = np.flatnonzero((part[renderer.vertices] == skin) & (reach < _POINT_REACH_M))
    places = head.v_template[renderer.vertices[usable]]
    chosen = [0]
    near = ((places - places[0]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(usable)):
        k = int(near.argmax())
        chosen.append(k)
        near = np.minimum(near, ((places - places[k]) ** 2).sum(axis=1))
    return np.asarray(usable[chosen], np.int64)


def clip_texture(matcher: DenseMatcher, state: State, views: Views, crops: list[Crop]) -> Image:
    """Return the clip's own texture: each texel's median over the frames, of equal contrast."""
    renderer = matcher.renderer
    world = matcher.world(state)
    texels = []
    for i, crop in enumerate(crops):
        camera = renderer.camera(
            crop, float(views.focal_px[i]), views.centre_px[i], views.distance_m
        )
        seen = renderer.render(world[i], camera, renderer.mean_texture)
        inside = equalised(crop.gray, seen.mask.astype(np.float32))
        texels.append(renderer.unwrap(world[i], camera, seen, inside).astype(np.float16))
    stack = np.array(texels)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # texels that no frame shows
        median = np.nanmedian(stack, axis=0).astype(np.float32)
    return renderer.texture_of(median)
