"""The face as face capture renders it: quickly, gray, and with its local contrast made equal.

Light differs between the head model's texture, the clip and its frames. So pictures are compared by
what remains when each neighbourhood's mean is taken off and its contrast made 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import LUMINANCE_REC709, decode_srgb, encode_srgb
from lightstage.head import HeadFile
from lightstage.pinhole import PinholeCamera
from lightstage.raster import Fragments, rasterise, vertex_normals
from relight_model.head.capture_points import HeadPoints

Float = NDArray[np.float64]
Image = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

#: Pixels of the square pictures in which faces are compared, and how much of one the inter-ocular
#: distance takes. Small faces get smaller pictures.
CROP_PX, SMALLEST_CROP_PX = 208, 112
FACES_ACROSS = 2.5
#: Share of a crop by which neighbourhoods are softened to find their mean and contrast.
SKIN, FEATURES = 0.035, 0.13
#: Contrast below which a neighbourhood counts as empty, of 1 = white.
_LEAST_CONTRAST = 0.012
#: What is no stronger than this, of contrast 1, is no feature of a face.
_FAINT = 0.9
#: How far from the nearest landmark skin still belongs to the face, in metres.
_FACE_REACH_M = 0.040
_TEXTURE_PX = 512
#: A point is hidden where the surface in front of it is nearer by more, in metres.
_DEPTH_TOLERANCE_M = 0.003
_LEAST_FACING = 0.25


@dataclass(frozen=True, eq=False)
class Crop:
    """A frame's face: ``gray`` (size, size), sRGB luminance in [0, 1], and how it was cut.

    ``redness`` (size, size): the logarithm of red over green, the same under any white light.

    ``left``, ``top``, ``scale`` as :meth:`PinholeCamera.viewed` takes them.
    """

    gray: Image
    redness: Image
    left: float
    top: float
    scale: float

    @property
    def size(self) -> int:
        """Pixels on a side."""
        return int(self.gray.shape[0])

    def to_crop(self, pixels: Float) -> Float:
        """Return where the frame's pixels ``(…, 2)`` are in the crop."""
        return np.asarray((pixels - [self.left, self.top]) * self.scale - 0.5)

    def to_frame(self, pixels: Float) -> Float:
        """Return where the crop's pixels ``(…, 2)`` are in the frame."""
        return np.asarray((pixels + 0.5) / self.scale + [self.left, self.top])


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendered face: ``picture`` and ``mask`` (size, size), ``depth_m`` (inf off the face).

    ``redness`` as a crop's, of equal contrast; only of a face with the mean texture.
    """

    picture: Image
    mask: NDArray[np.bool_]
    depth_m: Image
    redness: Image | None = None


def crop_face(rgb: NDArray[np.uint8], centre: Float, face_px: float) -> Crop:
    """Return the part of a frame about a face.

    Args:
        rgb: the frame, ``(height, width, 3)``, sRGB.
        centre: the middle of the face, pixels (x, y).
        face_px: the inter-ocular distance of the face seen from the front.
    """
    across = FACES_ACROSS * face_px
    size = int(np.clip(np.ceil(across / 8.0) * 8, SMALLEST_CROP_PX, CROP_PX))
    left, top = centre[0] - 0.5 * across, centre[1] - 0.5 * across
    scale = size / across
    source, shrink = rgb, 1.0
    if scale < 0.7:  # averaged down first, the neighbourhood of the face alone
        x0, y0 = max(0, int(left) - 8), max(0, int(top) - 8)
        x1, y1 = int(left + across) + 9, int(top + across) + 9
        source = rgb[y0:y1, x0:x1]
        if source.size:
            shrink = scale
            wide = max(1, round(source.shape[1] * shrink))
            high = max(1, round(source.shape[0] * shrink))
            fx, fy = wide / source.shape[1], high / source.shape[0]
            source = np.asarray(cv2.resize(source, (wide, high), interpolation=cv2.INTER_AREA))
            step = np.array([[fx / scale, 0.0], [0.0, fy / scale]])
            # pixel c of the crop is (c + 1/2) / scale + left in the frame
            shift = [
                (left + 0.5 / scale - x0 + 0.5) * fx - 0.5,
                (top + 0.5 / scale - y0 + 0.5) * fy - 0.5,
            ]
            affine = np.column_stack([step, shift])
    if shrink == 1.0:
        affine = np.array(
            [[1 / scale, 0.0, left + 0.5 / scale], [0.0, 1 / scale, top + 0.5 / scale]]
        )
    if source.size == 0:
        gray: Image = np.zeros((size, size), np.float32)
        redness: Image = gray
    else:
        cut = cv2.warpAffine(
            source, affine, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        display = np.asarray(cut, np.float32) / np.float32(255.0)
        gray = display @ LUMINANCE_REC709
        redness = _redness(decode_srgb(display[..., :2]))
    return Crop(gray, redness, float(left), float(top), float(scale))


def equalised(gray: Image, mask: Image | None = None, neighbourhood: float = SKIN) -> Image:
    """Return a picture whose neighbourhoods all have mean 0 and contrast 1, inside ``mask``.

    ``neighbourhood`` is a share of the picture's side: :data:`SKIN` keeps the skin's fine texture,
    :data:`FEATURES` what brows, lids, nostrils and lips are.
    """
    sigma = neighbourhood * gray.shape[0]
    if neighbourhood > SKIN:
        fine = (0, 0), 0.006 * gray.shape[0]
        if mask is not None:
            share = np.maximum(np.asarray(cv2.GaussianBlur(mask, *fine)), 1e-3)
            gray = np.asarray(cv2.GaussianBlur(gray * mask, *fine)) / share
        else:
            gray = np.asarray(cv2.GaussianBlur(gray, *fine))

    step = max(1, int(sigma / 4.0))

    def soft(values: Image) -> Image:
        size = values.shape[1], values.shape[0]
        few = tuple(max(1, side // step) for side in size)
        small = cv2.resize(values, few, interpolation=cv2.INTER_AREA) if step > 1 else values
        small = cv2.GaussianBlur(small, (0, 0), sigma / step)
        if step > 1:
            small = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(small, np.float32)

    if mask is None:
        off = gray - soft(gray)
        even = off / (np.sqrt(soft(off * off)) + _LEAST_CONTRAST)
    else:
        weight = np.maximum(soft(mask), 1e-3)
        off = (gray - soft(gray * mask) / weight) * mask
        even = off / (np.sqrt(soft(off * off) / weight) + _LEAST_CONTRAST)
    if neighbourhood > SKIN:  # pores, freckles and stubble differ from head to head
        square = np.minimum(even * even, 16.0)
        even = even * square / (square + _FAINT**2)
    return np.asarray(even, np.float32)


class FaceRenderer:
    """Renders the part of the head that face capture compares with frames."""

    def __init__(self, head: HeadFile) -> None:
        """Choose the face's triangles and lay out its texture."""
        corners = head.v_template[head.f[head.landmark_faces].astype(np.int64)]
        landmarks = np.einsum("kc,kcd->kd", head.landmark_barycentric, corners)
        from scipy.spatial import cKDTree

        reach, _ = cKDTree(landmarks).query(head.v_template)
        near = reach < _FACE_REACH_M
        faces = head.f.astype(np.int64)
        kept = near[faces].all(axis=1)
        # whole eyeballs: what turns with an eye
        eyes = (head.weights[:, 3:5].sum(axis=1) > 0.5)[faces].all(axis=1)
        kept = np.flatnonzero(kept | eyes)
        self.vertices, inverse = np.unique(faces[kept].ravel(), return_inverse=True)
        self.faces = inverse.reshape(-1, 3).astype(np.int32)
        self.points = HeadPoints.at_vertices(head, self.vertices)
        self.uv_corners = head.vt[head.ft[kept].astype(np.int64)].astype(np.float32)
        gray = head.texture @ LUMINANCE_REC709
        side = min(_TEXTURE_PX, gray.shape[0])
        self.mean_texture = np.asarray(
            cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA), np.float32
        )
        red = _redness(np.asarray(head.texture[..., :2], np.float32))
        self.mean_redness = np.asarray(
            cv2.resize(red, (side, side), interpolation=cv2.INTER_AREA), np.float32
        )
        self._open = _openness(head)[self.vertices]
        self._lay_out(side)

    def camera(
        self, crop: Crop, focal_px: float, centre_px: Float, distance_m: float
    ) -> PinholeCamera:
        """Return the camera of a crop of a frame whose camera is told."""
        whole = PinholeCamera(
            1, 1, focal_px, distance_m, (float(centre_px[0]), float(centre_px[1]))
        )
        return whole.viewed(crop.left, crop.top, crop.scale, crop.size, crop.size)

    def render(
        self, world: Image, camera: PinholeCamera, texture: Image, lit_as: Image | None = None
    ) -> Rendering:
        """Return the face as a camera sees it.

        Args:
            world: ``(V', 3)`` the places of :attr:`vertices`.
            camera: of the crop.
            texture: ``(side, side)``: linear luminance where it is to be lit, of equal local
                contrast otherwise.
            lit_as: a crop ``(size, size)``, gray: the face is lit as it is there, and equalised.
        """
        size = camera.width
        drawn = rasterise(world, self.faces, camera)
        picture = np.zeros((size, size), np.float32)
        depth = np.full((size, size), np.inf, np.float32)
        mask = np.zeros((size, size), bool)
        if len(drawn.pixel) == 0:
            return Rendering(picture, mask, depth)
        row, column = np.divmod(drawn.pixel, drawn.width)
        row, column = row + drawn.top, column + drawn.left
        uv = self._texels(drawn, texture.shape[0])
        value, redness = sample(texture, uv), None
        if lit_as is not None:
            normals = drawn.gather(vertex_normals(world, self.faces))
            there = decode_srgb(lit_as[row, column])
            value = value * drawn.gather(self._open)
            value = encode_srgb(_lit_alike(value, normals, there))
        picture[row, column] = value
        mask[row, column] = True
        depth[row, column] = drawn.gather(
            np.ascontiguousarray(np.float32(camera.distance_m) - world[:, 2])
        )
        if lit_as is not None:
            inside = mask.astype(np.float32)
            picture = equalised(picture, inside, FEATURES)
            redness = np.zeros((size, size), np.float32)
            redness[row, column] = sample(self.mean_redness, uv)
            redness = equalised(redness, inside, FEATURES)
        return Rendering(picture, mask, depth, redness)

    def visible(
        self, pixels: Float, world: Float, facing: Float, seen: Rendering, distance_m: float
    ) -> NDArray[np.bool_]:
        """Return which points ``(L,)`` are in sight.

        Args:
            pixels: ``(L, 2)`` where they are in the crop.
            world: ``(L, 3)``.
            facing: ``(L,)`` cosine between normal and the way to the camera.
            seen: the rendered face.
            distance_m: of the camera.
        """
        size = seen.mask.shape[0]
        x, y = np.rint(pixels).astype(np.int64).T
        inside = (x >= 3) & (y >= 3) & (x < size - 3) & (y < size - 3) & (facing > _LEAST_FACING)
        x, y = np.clip(x, 0, size - 1), np.clip(y, 0, size - 1)
        ahead = distance_m - world[:, 2]
        return np.asarray(inside & (ahead < seen.depth_m[y, x] + _DEPTH_TOLERANCE_M)
                          & seen.mask[y, x])  # fmt: skip

    def unwrap(self, world: Image, camera: PinholeCamera, seen: Rendering, picture: Image) -> Image:
        """Return the texels' values ``(texels,)`` from a crop; NaN where they are not seen."""
        corners = world[self.faces[self._texel_face]]
        place = np.einsum("tk,tkd->td", self._texel_weights, corners)
        normals = vertex_normals(world, self.faces)
        way = camera.position_m.astype(np.float32) - place
        facing = np.einsum("td,td->t", normals[self.faces[self._texel_face, 0]], way)
        facing = facing / np.linalg.norm(way, axis=1)
        pixels = camera.project(place)
        shown = self.visible(pixels, place, facing - 0.1, seen, camera.distance_m)
        values = sample(picture, pixels)
        values[~shown] = np.nan
        return values

    def texture_of(self, texels: Image) -> Image:
        """Return a texture ``(side, side)`` of texels' values; NaN becomes 0."""
        texture = np.zeros((self._side, self._side), np.float32)
        known = np.zeros_like(texture)
        fine = np.isfinite(texels)
        texture.ravel()[self._texel_place[fine]] = texels[fine]
        known.ravel()[self._texel_place[fine]] = 1.0
        # grown a little over the seams, so that looking between texels finds what is near
        for _ in range(2):
            weight = cv2.boxFilter(known, -1, (3, 3), normalize=False)
            total = cv2.boxFilter(texture * known, -1, (3, 3), normalize=False)
            grow = (known == 0) & (weight > 0)
            texture[grow] = (total / np.maximum(weight, 1e-6))[grow]
            known[grow] = 1.0
        return texture

    def _texels(self, drawn: Fragments, side: int) -> Image:
        """Return where in a texture each fragment lies, ``(n, 2)`` texels."""
        uv = np.einsum("nk,nkd->nd", drawn.weights, self.uv_corners[drawn.face])
        return np.column_stack([uv[:, 0] * side - 0.5, (1.0 - uv[:, 1]) * side - 0.5])

    def _lay_out(self, side: int) -> None:
        """Find the triangle that each texel of the face's texture lies in."""
        self._side = side
        flat = self.uv_corners.reshape(-1, 2)
        place = np.column_stack([flat - 0.5, np.zeros(len(flat))]).astype(np.float32)
        index = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
        camera = PinholeCamera(side, side, float(side), 1.0)
        parts = []
        for turned in (index, np.ascontiguousarray(index[:, ::-1])):
            drawn = rasterise(place, turned, camera)
            row, column = np.divmod(drawn.pixel, max(drawn.width, 1))
            texel = (row + drawn.top) * side + column + drawn.left
            weights = drawn.weights if turned is index else drawn.weights[:, ::-1]
            parts.append((texel, drawn.face, weights))
        self._texel_place, first = np.unique(
            np.concatenate([p[0] for p in parts]), return_index=True
        )
        self._texel_face = np.concatenate([p[1] for p in parts])[first].astype(np.int64)
        self._texel_weights = np.concatenate([p[2] for p in parts])[first]


def _redness(linear: Image) -> Image:
    """Return the logarithm of red over green of linear light ``(…, 2)``, tame in the dark."""
    return np.asarray(np.log((linear[..., 0] + 0.03) / (linear[..., 1] + 0.03)), np.float32)


def _openness(head: HeadFile) -> Image:
    """Return the share of the light from all around that reaches each vertex, ``(V,)``.

    Of the head at rest: what makes nostrils, the corners of the eyes and the line of the lips dark
    under any light. Seen from each of many directions, what is in sight is what is lit from there.
    """
    size, count = 160, 60
    vertices = head.v_template.astype(np.float32)
    faces = head.f.astype(np.int32)
    normals = vertex_normals(vertices, faces)
    middle = 0.5 * (vertices.max(axis=0) + vertices.min(axis=0))
    reach = float(np.linalg.norm(vertices - middle, axis=1).max())
    camera = PinholeCamera(size, size, 0.45 * size * 4.0 / reach, 4.0)
    step = np.arange(count) + 0.5
    polar, around = np.arccos(1.0 - 2.0 * step / count), np.pi * (1.0 + 5.0**0.5) * step
    total, possible = np.zeros(len(vertices), np.float32), np.full(len(vertices), 1e-6, np.float32)
    for p, a in zip(polar, around, strict=True):
        ahead = np.array([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)])
        aside = np.cross([0.0, 1.0, 0.0], ahead)
        aside /= np.linalg.norm(aside)
        turn = np.stack([aside, np.cross(ahead, aside), ahead]).astype(np.float32)
        turned = (vertices - middle) @ turn.T
        drawn = rasterise(turned, faces, camera)
        depth = np.full((size, size), np.inf, np.float32)
        row, column = np.divmod(drawn.pixel, max(drawn.width, 1))
        depth[row + drawn.top, column + drawn.left] = drawn.gather(4.0 - turned[:, 2])
        x, y = np.rint(camera.project(turned)).astype(np.int64).T
        x, y = np.clip(x, 0, size - 1), np.clip(y, 0, size - 1)
        lit = np.maximum(normals @ ahead.astype(np.float32), 0.0)
        total += lit * (4.0 - turned[:, 2] < depth[y, x] + 0.004)
        possible += lit
    return np.asarray(0.15 + 0.85 * total / possible, np.float32)


def _lit_alike(albedo: Image, normals: Image, there: Image) -> Image:
    """Return albedo ``(n,)`` lit so that it is nearest to ``there`` (n,): nine harmonics.

    Source: Ramamoorthi and Hanrahan 2001: what convex matt things reflect of any distant light.
    """
    x, y, z = normals.T
    one = np.ones_like(x)
    harmonics = np.stack([one, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], axis=1)
    system = harmonics * albedo[:, None]
    few = slice(None, None, max(1, len(x) // 6000))
    rows, target = system[few], there[few]
    normal = rows.T @ rows
    normal[np.arange(1, 9), np.arange(1, 9)] += 0.003 * normal[0, 0]
    light = np.linalg.solve(normal, rows.T @ target)
    for _ in range(2):  # hair, beard and highlights are not skin
        error = target - rows @ light
        spread = 1.5 * np.median(np.abs(error)) + 1e-4
        weight = 1.0 / (1.0 + (error / spread) ** 2)
        weighted = rows * weight[:, None]
        normal = weighted.T @ rows
        normal[np.arange(1, 9), np.arange(1, 9)] += 0.003 * normal[0, 0]
        light = np.linalg.solve(normal, weighted.T @ target)
    return np.asarray(np.maximum(system @ light, 0.0), np.float32)


def sample(picture: Image, pixels: NDArray[np.floating]) -> Image:
    """Return a picture's values ``(n,)`` or ``(n, k)`` at ``(n, 2)`` places, bilinear."""
    count, width = len(pixels), 8192
    rows = max(1, -(-count // width))
    places = np.full((2, rows * width), -1.0, np.float32)
    places[:, :count] = pixels.T
    x, y = places.reshape(2, rows, width)
    found = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = found.reshape(rows * width, -1)[:count]
    return np.asarray(values[:, 0] if picture.ndim == 2 else values)
