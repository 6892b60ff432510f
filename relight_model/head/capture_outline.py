"""Where the face's outline is seen: cheeks, jaw and chin against what lies behind them.

Nothing inside the face tells where the jaw ends. Points of the model on its occluding contour (the
surface turns away from the camera there, and what is next to it in the picture lies farther back)
are matched along the contour's normal with the strongest edge of the frame, to a fraction of a
pixel. Only what is across the contour is learnt, and nothing where two edges are about as strong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from lightstage.pinhole import PinholeCamera
from lightstage.raster import rasterise, vertex_normals
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import Crop, Image, sample
from relight_model.head.capture_solver import Observations, State, Views

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How far from the nearest landmark of the contour the outline is looked for, in metres.
_REACH_M = 0.022
#: Cosine between normal and the way to the camera below which a vertex is on the contour.
_GRAZING = 0.10
#: How much farther back what is next to the contour must lie, in metres.
_STEP_M = 0.004
#: How much nearer what is just inside the contour may be, in metres.
_BULGE_M = 0.025
#: Half the length of the profiles across the contour, of the crop's side.
_SEARCH = 0.042
#: Profiles are sampled so finely, and each side of an edge is so wide, in crop pixels.
_FINE_PX, _SIDE_PX = 0.5, 2.5
#: Noise of an edge's two sides that even an even wall has: gray, redness.
_NOISE = (0.02, 0.04)
#: An edge no stronger than this, in noises, is none; one that another comes near is doubtful.
_LEAST_STRENGTH, _RIVAL = 3.0, 0.7
#: How far off an edge is (pixels of the crop), and how many points of a frame count as one each.
_DEVIATION_PX, _INDEPENDENT = 0.8, 80.0


class OutlineFinder:
    """Finds the face's outline in frames."""

    def __init__(self, head: HeadFile) -> None:
        """Choose the vertices that may be on the outline."""
        from scipy.spatial import cKDTree

        self.head = head
        self._all = HeadPoints.at_vertices(head, np.arange(len(head.v_template)))
        self._faces = head.f.astype(np.int32)
        corners = head.v_template[head.f[head.landmark_faces].astype(np.int64)]
        landmarks = np.einsum("kc,kcd->kd", head.landmark_barycentric, corners)
        reach, _ = cKDTree(landmarks[:17]).query(head.v_template)
        self._candidates = np.flatnonzero(reach < _REACH_M)

    def find(self, state: State, views: Views, crops: list[Crop]) -> Observations | None:
        """Return where points of the outline are seen; ``None`` where no frame shows any.

        Args:
            state: of the frames.
            views: their cameras.
            crops: their faces.
        """
        n, count = len(crops), len(self._candidates)
        target, whitening = np.zeros((n, count, 2)), np.zeros((n, count, 2, 2))
        for k, crop in enumerate(crops):
            one = state[np.array([k])]
            canonical = self._all.evaluate(one.coefficients, one.jaw, one.eyes)[0]
            world = (canonical - state.pivot) @ state.rotation[k].T + state.place_m[k]
            whole = PinholeCamera(
                1, 1, float(views.focal_px[k]), views.distance_m,
                (float(views.centre_px[k, 0]), float(views.centre_px[k, 1])),
            )  # fmt: skip
            camera = whole.viewed(crop.left, crop.top, crop.scale, crop.size, crop.size)
            chosen, pixels, normals = self._contour(world.astype(np.float32), camera)
            if len(chosen) == 0:
                continue
            offset, sure = find_edges(crop, pixels, normals)
            target[k, chosen] = crop.to_frame(pixels + offset[:, None] * normals)
            weight = crop.scale / _DEVIATION_PX * np.sqrt(min(1.0, _INDEPENDENT / len(chosen)))
            whitening[k, chosen, 0] = normals * (sure * weight)[:, None]
        used = np.flatnonzero(whitening[:, :, 0].any(axis=(0, 2)))
        if len(used) == 0:
            return None
        points = HeadPoints.at_vertices(self.head, self._candidates[used])
        return Observations(points, target[:, used], whitening[:, used], 3.0)

    def _contour(self, world: Image, camera: PinholeCamera) -> tuple[Ints, Float, Float]:
        """Return which candidates are on the contour, their pixels, and the way out ``(L, 2)``."""
        every = vertex_normals(world, self._faces)[self._candidates]
        places = world[self._candidates]
        way = camera.position_m.astype(np.float32) - places
        facing = np.einsum("vd,vd->v", every, way) / np.linalg.norm(way, axis=1)
        pixels = np.asarray(camera.project(places), np.float64)
        out = np.column_stack([every[:, 0], -every[:, 1]]).astype(np.float64)
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
        size = camera.width
        margin = _SEARCH * size + 2.0 * _SIDE_PX
        grazing = np.abs(facing) < _GRAZING
        grazing &= ((pixels > margin) & (pixels < size - 1 - margin)).all(axis=1)
        chosen = np.flatnonzero(grazing)
        if len(chosen) == 0:
            return chosen, pixels[chosen], out[chosen]
        drawn = rasterise(world, self._faces, camera)
        depth = np.full((size, size), np.inf, np.float32)
        row, column = np.divmod(drawn.pixel, max(drawn.width, 1))
        ahead = np.float32(camera.distance_m) - world[:, 2]
        depth[row + drawn.top, column + drawn.left] = drawn.gather(np.ascontiguousarray(ahead))

        def behind(way_px: float) -> Float:
            x, y = np.rint(pixels[chosen] + way_px * out[chosen]).astype(np.int64).T
            return np.asarray(depth[y, x] - ahead[self._candidates[chosen]], np.float64)

        # the surface comes towards the camera quickly just inside its contour
        within = behind(-1.5)
        seen = (within > -_BULGE_M) & (within < _STEP_M) & (behind(2.5) > _STEP_M)
        chosen = chosen[seen]
        return chosen, pixels[chosen], out[chosen]


def find_edges(crop: Crop, pixels: Float, normals: Float) -> tuple[Float, Float]:
    """Return how far along its normal each point's edge lies ``(L,)``, and how sure that is.

    An edge is where the means of the profile's two sides differ most, over the deviation within
    the sides; the place between samples is the parabola's through the three strongest.

    Args:
        crop: a face.
        pixels: ``(L, 2)`` points of the crop.
        normals: ``(L, 2)`` unit vectors across the edges.
    """
    search = _SEARCH * crop.size
    steps = np.arange(-search - _SIDE_PX, search + _SIDE_PX + 1e-6, _FINE_PX)
    side = round(_SIDE_PX / _FINE_PX)
    at = pixels[:, None] + steps[:, None] * normals[:, None]
    planes = np.dstack([crop.gray, crop.redness])
    profile = sample(planes, at.reshape(-1, 2)).reshape(len(pixels), len(steps), 2)
    profile = profile.astype(np.float64) / np.array(_NOISE)
    sums = np.cumsum(np.pad(profile, ((0, 0), (1, 0), (0, 0))), axis=1)
    squares = np.cumsum(np.pad(profile**2, ((0, 0), (1, 0), (0, 0))), axis=1)
    # split i lies between samples i - 1 and i
    splits = np.arange(side, len(steps) - side + 1)

    def mean(total: Float, first: Ints, last: Ints) -> Float:
        return np.asarray((total[:, last] - total[:, first]) / side)

    inner, outer = mean(sums, splits - side, splits), mean(sums, splits, splits + side)
    within = mean(squares, splits - side, splits) - inner**2
    within += mean(squares, splits, splits + side) - outer**2
    strength = np.sqrt((((outer - inner) ** 2) / (1.0 + 0.5 * within)).sum(axis=2))
    place = steps[splits] - 0.5 * _FINE_PX
    near = strength * np.exp(-0.5 * (place / (0.7 * search)) ** 2)
    best = near.argmax(axis=1)
    row = np.arange(len(pixels))
    top = strength[row, best]
    inside = (best > 0) & (best < len(place) - 1)
    k = np.clip(best, 1, len(place) - 2)
    before, here, after = strength[row, k - 1], strength[row, k], strength[row, k + 1]
    bend = before - 2.0 * here + after
    part = np.where(bend < -1e-9, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0.0)
    offset = place[k] + np.clip(part, -1.0, 1.0) * _FINE_PX
    far = np.abs(place[None] - place[best][:, None]) > 2.0 * _SIDE_PX
    rival = np.where(far, near, 0.0).max(axis=1)
    sure = inside & (top > _LEAST_STRENGTH) & (rival < _RIVAL * near[row, best])
    return offset, sure.astype(np.float64)
