"""Rendering conditioning maps: one performer's head, any pose and camera, any size.

The same code serves training and driving. A frame's mesh is posed once and drawn once; all maps
come from that drawing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lightstage.colour import encode_srgb
from lightstage.errors import InputError
from lightstage.head import HeadFile, procedural_head
from lightstage.pinhole import PinholeCamera
from relight_model.conditioning.landmark_lines import draw_landmarks, find_pupils
from relight_model.conditioning.maps import (
    MAP_CHANNELS,
    NETWORK_MAPS,
    Array,
    ConditioningMaps,
    channel_count,
    checked_maps,
)
from relight_model.conditioning.mesh_raster import (
    add_face_normals,
    draw_faces,
    place_vertices,
    shade_pixels,
)
from relight_model.conditioning.posing import HeadPoser

if TYPE_CHECKING:
    from relight_model.head.clip import HeadClip
    from relight_model.head.model import HeadModel

_MOST_SAMPLES = 16
#: Frames that are posed together.
_TOGETHER = 16
_CURVE = encode_srgb(np.linspace(0.0, 1.0, 4097))
_NOTHING = np.zeros((0, 0, 3), np.float32)


class ConditioningRenderer:
    """Renders one performer's conditioning maps; safe to use from several threads.

    Surfaces seen from behind are not drawn, as nobody sees a head from inside: where FLAME's mesh
    is open (neck, between the lips) the background shows.
    """

    def __init__(
        self,
        head: HeadFile | HeadModel | None,
        shape: ArrayLike = (),
        texture: NDArray[np.floating] | None = None,
        *,
        supersampling: int | None = None,
    ) -> None:
        """Take a performer's head.

        Args:
            head: the head model; ``None`` = the procedural head.
            shape: identity coefficients: the performer's mean over the capture.
            texture: the performer's diffuse albedo, ``(h, w, 3)`` linear RGB in [0, 1], in the
                head's texture coordinates; the head's mean texture by default.
            supersampling: samples along each side of a pixel; 4 for small pictures to 2 for large
                ones unless given. With 1, maps are what the pixels' middles show.

        Raises:
            InputError: more coefficients than the head has, or a texture of another kind.
        """
        model = procedural_head() if head is None else head
        self.fingerprint = ""
        if not isinstance(model, HeadFile):
            self.fingerprint = model.fingerprint
            model = model.head
        if supersampling is not None and not 1 <= supersampling <= _MOST_SAMPLES:
            raise InputError(f"supersampling must be 1 to {_MOST_SAMPLES}, not {supersampling}.")
        self.head = model
        self.supersampling = supersampling
        self.poser = HeadPoser(model, shape)
        self._faces = np.ascontiguousarray(model.f, np.int32)
        self._colours = pncc_colours(model)
        self._landmark_corners = model.f[model.landmark_faces].astype(np.int64)
        self._landmark_weights = np.asarray(model.landmark_barycentric, np.float64)
        self._pupil_corners, self._pupil_weights = find_pupils(model)
        self._texture_faces = np.zeros((0, 3), np.int32)
        self._texture_places = np.zeros((0, 2), np.float32)
        self._texel_area = np.zeros(0, np.float32)
        self._mipmap, self._mip_sizes = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
        laid_on = model.texture if texture is None else texture
        if texture is not None and len(model.vt) == 0:
            raise InputError("this head has no texture coordinates: it cannot wear a texture.")
        if len(laid_on) and len(model.vt):
            self._mipmap, self._mip_sizes = mip_levels(laid_on)
            self._texture_faces = np.ascontiguousarray(model.ft, np.int32)
            places = np.column_stack([model.vt[:, 0], 1.0 - model.vt[:, 1]])
            self._texture_places = np.ascontiguousarray(places, np.float32)
            a, b, c = (places[model.ft[:, k].astype(np.int64)] for k in range(3))
            u, w = b - a, c - a
            area = 0.5 * np.abs(u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0])
            texels = self._mip_sizes[0, 1] * self._mip_sizes[0, 2]
            self._texel_area = (area * texels).astype(np.float32)
        self._scratch = threading.local()

    def render(
        self,
        expression: ArrayLike,
        pose: ArrayLike,
        translation_m: ArrayLike,
        camera: PinholeCamera,
        maps: Sequence[str] = tuple(MAP_CHANNELS),
    ) -> ConditioningMaps:
        """Return the maps of one frame.

        Args:
            expression: up to E coefficients.
            pose: 15 axis-angle numbers in radians.
            translation_m: ``(3,)``.
            camera: whose picture; crops are cameras too (:meth:`PinholeCamera.viewed`).
            maps: which, of :data:`MAP_CHANNELS`.

        Raises:
            InputError: sizes that do not fit the head, or a map that it cannot give.
        """
        flat = [np.asarray(v, np.float64).reshape(1, -1) for v in (expression, pose, translation_m)]
        return self.render_vertices(self.poser(*flat)[0], camera, maps)

    def render_vertices(
        self, vertices: Array, camera: PinholeCamera, maps: Sequence[str] = tuple(MAP_CHANNELS)
    ) -> ConditioningMaps:
        """Return the maps of posed vertices ``(V, 3)`` in world metres."""
        chosen = self._checked(maps)
        posed = np.ascontiguousarray(vertices, np.float32)
        if posed.shape != (self.poser.vertex_count, 3):
            raise InputError(
                f"vertices must be ({self.poser.vertex_count}, 3), they are {posed.shape}."
            )
        arrays: dict[str, Array] = {}
        if set(chosen) - {"landmarks"}:
            arrays |= self._rasterised(posed, camera, chosen)
        if "landmarks" in chosen:
            arrays["landmarks"] = draw_landmarks(*self.landmarks(posed), camera)
        return ConditioningMaps({name: arrays[name] for name in chosen})

    def landmarks(self, vertices: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the 68 landmarks ``(68, 3)`` and the pupils ``(2, 3)`` of posed vertices.

        The first 17 are points of the skin like the others, those of a frontal face's outline: they
        move smoothly, whatever the yaw.
        """
        marks = (vertices[self._landmark_corners] * self._landmark_weights[:, :, None]).sum(axis=1)
        pupils = (vertices[self._pupil_corners] * self._pupil_weights[:, :, None]).sum(axis=1)
        return marks, pupils

    def render_clip(
        self,
        clip: HeadClip,
        indices: Iterable[int] | None = None,
        size: int | tuple[int, int] | None = None,
        maps: Sequence[str] = NETWORK_MAPS,
        *,
        workers: int = 1,
    ) -> Generator[ConditioningMaps, None, None]:
        """Yield the maps of a clip's frames, one after the other; memory holds a few frames.

        Args:
            clip: the parameters and each frame's camera. Its own shape is not used: the renderer
                has the performer's.
            indices: which frames, in this order; all by default.
            size: the pictures' width and height, or the width of pictures of the clip's own
                proportions; the clip's own size by default.
            maps: which maps.
            workers: threads; the maps do not depend on it.

        Raises:
            InputError: the clip is of another head, or the size has other proportions.
        """
        chosen = self._checked(maps)
        self.check_clip(clip)
        order = range(len(clip)) if indices is None else [int(i) for i in indices]
        if any(not -len(clip) <= i < len(clip) for i in order):
            raise InputError(f"the clip has frames 0 to {len(clip) - 1}.")
        blocks = [order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER)]

        def posed(block: Sequence[int]) -> Array:
            rows = list(block)
            return self.poser(clip.expression[rows], clip.pose[rows], clip.translation_m[rows])

        if workers <= 1:
            for block in blocks:
                for vertices, i in zip(posed(block), block, strict=True):
                    camera = resized(clip.frame_camera(i), size)
                    yield self.render_vertices(vertices, camera, chosen)
            return
        ahead: deque[Future[ConditioningMaps]] = deque()
        pool = ThreadPoolExecutor(workers, "conditioning")
        try:
            for block in blocks:
                for vertices, i in zip(posed(block), block, strict=True):
                    camera = resized(clip.frame_camera(i), size)
                    ahead.append(pool.submit(self.render_vertices, vertices, camera, chosen))
                    if len(ahead) > 2 * workers:
                        yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def render_channels(
        self,
        clip: HeadClip,
        indices: Iterable[int] | None = None,
        size: int | tuple[int, int] | None = None,
        maps: Sequence[str] = NETWORK_MAPS,
        *,
        dtype: DTypeLike = np.float16,
        workers: int = 1,
    ) -> NDArray[np.floating]:
        """Return frames as the network takes them, ``(n, channels, h, w)``, all in memory.

        Arguments as :meth:`render_clip`'s. float16 tells values up to 1 apart by 0.0005 at least.
        """
        order = list(range(len(clip)) if indices is None else indices)
        camera = resized(clip.frame_camera(order[0] if order else 0), size)
        out = np.empty((len(order), channel_count(maps), camera.height, camera.width), dtype)
        frames = self.render_clip(clip, order, size, maps, workers=workers)
        for k, rendered in enumerate(frames):
            out[k] = rendered.channels(maps, dtype)
        return out

    def check_clip(self, clip: HeadClip) -> None:
        """Refuse a clip whose coefficients belong to another head.

        Raises:
            InputError: it does.
        """
        if clip.head and self.fingerprint and clip.head != self.fingerprint:
            raise InputError(
                f"the clip's coefficients are of the head {clip.head}, this head is "
                f"{self.fingerprint}; give the head that the clip was made with (--head)."
            )
        if clip.expression.shape[1] > self.poser.expression_count:
            raise InputError(
                f"the clip has {clip.expression.shape[1]} expression coefficients, the head "
                f"{self.poser.expression_count}; give the head that the clip was made with."
            )

    def _checked(self, maps: Sequence[str]) -> tuple[str, ...]:
        chosen = checked_maps(maps)
        if "diffuse" in chosen and len(self._mipmap) == 0:
            raise InputError(
                "this head has no texture, so there is no diffuse map; convert it again with "
                "`relight_model convert-head` and a texture, or leave diffuse out of the maps."
            )
        if "landmarks" in chosen and len(self._landmark_corners) == 0:
            raise InputError(
                "this head has no landmarks; convert it again with `relight_model convert-head` "
                "and a landmark embedding, or leave landmarks out of the maps."
            )
        return chosen

    def _rasterised(
        self, vertices: Array, camera: PinholeCamera, chosen: Sequence[str]
    ) -> dict[str, Array]:
        per_side = self.supersampling or usual_supersampling(camera.width, camera.height)
        height, width = camera.height, camera.width
        pictures = {
            name: np.zeros((height, width, 3), np.float32) if name in chosen else _NOTHING
            for name in ("diffuse", "pncc", "normal")
        }
        pictures["mask"] = np.zeros((height, width), np.float32)
        count, faces = len(vertices), len(self._faces)
        places, box = self._buffer("places", (count, 3), np.float64), np.empty(4)
        middle_x, middle_y = ((c + 0.5) * per_side - 0.5 for c in camera.centre)
        whole = place_vertices(
            vertices, camera.distance_m, camera.focal_px * per_side, middle_x, middle_y, places, box
        )
        window = _window(box, whole, width, height, per_side)
        if window is None:
            return pictures
        left, top, columns, rows = window
        nearness = self._buffer("nearness", (rows, columns), np.float32)
        nearness.fill(0.0)
        shown = self._buffer("shown", (rows, columns), np.int32)
        edges = self._buffer("edges", (faces, 9), np.float64)
        level = self._buffer("level", (faces,), np.float32)
        draw_faces(places, self._faces, self._texel_area, left, top, nearness, shown, edges, level)
        normals = self._buffer("normals", (count, 3), np.float32)
        if "normal" in chosen:
            add_face_normals(vertices, self._faces, normals)
        shade_pixels(
            nearness, shown, edges, level, self._faces, left, top, per_side, self._colours,
            normals, self._texture_faces, self._texture_places, self._mipmap, self._mip_sizes,
            _CURVE, pictures["diffuse"], pictures["pncc"], pictures["normal"], pictures["mask"],
        )  # fmt: skip
        return pictures

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return memory that this thread uses again for the next frame, with what is left in it."""
        size = int(np.prod(shape))
        kept = getattr(self._scratch, name, None)
        if kept is None or kept.size < size:
            kept = np.empty(size, dtype)
            setattr(self._scratch, name, kept)
        return kept[:size].reshape(shape)


def pncc_colours(head: HeadFile) -> Array:
    """Return each vertex's PNCC ``(V, 3)``: the mean head's coordinates, each axis from 0 to 1.

    Source: Zhu et al. 2016 (3DDFA), the projected normalized coordinate code.
    """
    low, high = head.v_template.min(axis=0), head.v_template.max(axis=0)
    return np.ascontiguousarray((head.v_template - low) / (high - low), np.float32)


def mip_levels(texture: NDArray[np.floating]) -> tuple[Array, NDArray[np.int64]]:
    """Return a texture at all sizes, each half of the one before.

    Args:
        texture: ``(h, w, 3)`` linear, finite.

    Returns:
        All texels ``(n, 3)``, and ``(levels, 3)``: where each level begins, its height and width.

    Raises:
        InputError: it is not such an array.
    """
    now = np.asarray(texture, np.float32)
    if now.ndim != 3 or now.shape[2] != 3 or 0 in now.shape or not np.isfinite(now).all():
        raise InputError(
            f"a texture must be (height, width, 3) linear RGB, finite; this is {now.shape}."
        )
    import cv2

    levels, sizes, start = [], [], 0
    while True:
        height, width = now.shape[:2]
        sizes.append((start, height, width))
        levels.append(now.reshape(-1, 3))
        start += height * width
        if max(height, width) == 1:
            break
        half = (max(1, width // 2), max(1, height // 2))
        now = np.asarray(cv2.resize(now, half, interpolation=cv2.INTER_AREA)).reshape(
            half[1], half[0], 3
        )
    return np.ascontiguousarray(np.concatenate(levels)), np.array(sizes, np.int64)


def usual_supersampling(width: int, height: int) -> int:
    """Return how many samples along a pixel's side pictures of a size get."""
    side = min(width, height)
    return 4 if side <= 160 else 3 if side <= 320 else 2


def resized(camera: PinholeCamera, size: int | tuple[int, int] | None) -> PinholeCamera:
    """Return the camera of the same picture at another size.

    Args:
        camera: of the picture as it is.
        size: width and height, or the width alone; ``None`` = as it is.

    Raises:
        InputError: the size has other proportions, by more than half a pixel.
    """
    if size is None:
        return camera
    width = size if isinstance(size, int) else size[0]
    scale = width / camera.width
    height = round(camera.height * scale) if isinstance(size, int) else size[1]
    if (width, height) == (camera.width, camera.height):
        return camera
    if width < 1 or height < 1 or abs(camera.height * scale - height) > 0.5 + 1e-9:
        raise InputError(
            f"pictures of {camera.width} x {camera.height} cannot be made {width} x {height}: "
            "the proportions differ. Cut them to another shape first (relight_model.head_crop)."
        )
    return camera.viewed(-0.5, -0.5, scale, width, height)


def _window(
    box: NDArray[np.float64], whole: bool, width: int, height: int, per_side: int
) -> tuple[int, int, int, int] | None:
    """Return left, top, width, height in samples of the whole pixels that may show the head."""
    if not whole:
        return 0, 0, width * per_side, height * per_side
    pixels = np.clip((box + 0.5) / per_side, -1.0, [width + 1, height + 1] * 2)
    left, top = (max(0, int(np.floor(v))) for v in pixels[:2])
    right = min(width, int(np.floor(pixels[2])) + 1)
    bottom = min(height, int(np.floor(pixels[3])) + 1)
    if left >= right or top >= bottom:
        return None
    return left * per_side, top * per_side, (right - left) * per_side, (bottom - top) * per_side
