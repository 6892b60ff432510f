"""Pictures of the performer: what is where, and how it looks under each light.

A picture is rasterised once at twice the resolution for what each sub-pixel shows (a triangle and
barycentric coordinates), so that edges mix as they do on a sensor. Vertices are lit
(:mod:`shading`), sub-pixels gather their corners' light and times the texture's albedo, and four
sub-pixels make a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.dome import Dome
from lightstage.raster import Fragments, rasterise, vertex_normals
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.model import PerformerModel
from lightstage.simulation.shading import Surface, shade, surface_of

Array = NDArray[np.float32]

SUPERSAMPLING = 2
#: Sensor value of a white wall's diffuse 1: the brightest skin stays just below white.
EXPOSURE = 1.0
#: What the black curtain behind the performer sends back, by the share of light that reaches it.
CURTAIN = 0.0008


@dataclass(frozen=True, eq=False)
class Scene:
    """The performer at one moment as the camera sees it, before any light is on."""

    model: PerformerModel
    camera: SimulatedCamera
    vertices: Array

    @cached_property
    def normals(self) -> Array:
        """The vertices' unit normals, ``(V, 3)``."""
        return vertex_normals(self.vertices, self.model.faces)

    @cached_property
    def fragments(self) -> Fragments:
        """The sub-pixels that the performer covers."""
        return rasterise(self.vertices, self.model.faces, self.camera.pinhole, SUPERSAMPLING)

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """The vertices that some sub-pixel needs, in order."""
        shown = np.zeros(len(self.model.faces), bool)
        shown[self.fragments.face] = True
        used = np.zeros(len(self.vertices), bool)
        used[self.model.faces[shown].ravel()] = True
        return np.flatnonzero(used)

    @cached_property
    def _seen(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The vertices that some sub-pixel needs, and each fragment's corners among them."""
        place = np.zeros(len(self.vertices), np.int32)
        place[self.members] = np.arange(len(self.members))
        return self.members, place.take(self.fragments.corners)

    @cached_property
    def sample_albedo(self) -> Array:
        """Each sub-pixel's albedo from the texture, ``(n, 3)``."""
        # within a triangle all corners lie in one patch of the texture
        uv = self.fragments.gather(self.model.texel)
        return _sample(self.model.texture, uv)

    def resolve(self, samples: Array) -> Array:
        """Return the picture ``(height, width, k)`` whose pixels are means of their sub-pixels."""
        channels = samples.shape[1]
        picture = np.zeros((self.camera.height, self.camera.width, channels), np.float32)
        f, n = self.fragments, SUPERSAMPLING
        if len(f.pixel) == 0:
            return picture
        fine = np.zeros((f.height * f.width, channels), np.float32)
        fine[f.pixel] = samples
        size = (f.width // n, f.height // n)
        small = cv2.resize(
            fine.reshape(f.height, f.width, channels), size, interpolation=cv2.INTER_AREA
        )
        top, left = f.top // n, f.left // n
        picture[top : top + size[1], left : left + size[0]] = np.asarray(small).reshape(
            size[1], size[0], channels
        )
        return picture

    @cached_property
    def matte(self) -> Array:
        """The share of each pixel that the performer covers, ``(height, width)`` in [0, 1]."""
        return self.resolve(np.ones((len(self.fragments.pixel), 1), np.float32))[:, :, 0]

    @cached_property
    def albedo(self) -> Array:
        """The performer's diffuse albedo times the matte, ``(height, width, 3)`` linear."""
        return self.resolve(self.sample_albedo)

    @cached_property
    def normal(self) -> Array:
        """The unit surface normal in world axes, ``(height, width, 3)``; 0 off the performer."""
        mean = self.resolve(self.fragments.gather(self.normals))
        length = np.sqrt((mean**2).sum(axis=2, keepdims=True))
        return np.where(length > 1e-6, mean / np.maximum(length, 1e-6), 0.0).astype(np.float32)

    @cached_property
    def depth_m(self) -> Array:
        """Distance from the camera along -Z, ``(height, width)``; infinite off the performer."""
        ahead = np.float32(self.camera.distance_m) - self.vertices[:, 2]
        total = self.resolve(self.fragments.gather(ahead)[:, None])[:, :, 0]
        covered = self.matte > 0
        return np.where(covered, total / np.where(covered, self.matte, 1.0), np.inf).astype("f4")

    def vertex_light(self, lights_m: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return diffuse ``(3, n, lights)`` and specular ``(n, lights)`` at the seen vertices."""
        return shade(self._surface, lights_m, self.camera.position_m)

    def vertex_sum(self, lights_m: NDArray[np.floating], gain: Array) -> Array:
        """Return what lights of ``gain`` (lights, 3) together give to each vertex, ``(V, 6)``.

        Diffuse red, green, blue, to be multiplied by the albedo, then specular red, green, blue; 0
        at vertices that are not seen. Some lights at a time, so that all of it stays in the cache.
        """
        total = np.zeros((len(self.members), 6), np.float32)
        for start in range(0, len(lights_m), 8):
            chosen = slice(start, start + 8)
            diffuse, specular = self.vertex_light(lights_m[chosen])
            for k in range(3):
                total[:, k] += diffuse[k] @ gain[chosen, k]
            total[:, 3:] += specular @ gain[chosen]
        light = np.zeros((len(self.vertices), 6), np.float32)
        light[self.members] = np.float32(EXPOSURE) * total
        return light

    @cached_property
    def _surface(self) -> Surface:
        return surface_of(
            self.vertices, self.normals, self.model.horizons, self.model.roughness,
            self.model.specular, self.members,
        )  # fmt: skip

    @cached_property
    def transport(self) -> tuple[Any, Any]:
        """Sparse matrices from the seen vertices' light to pixels: three diffuse, one specular.

        Each is ``(height * width, n)``; the diffuse ones hold the albedo of one colour.
        """
        from scipy.sparse import csr_array

        members, corners = self._seen
        fragments, share = self.fragments, 1.0 / SUPERSAMPLING**2
        row, column = np.divmod(fragments.pixel, fragments.width)
        row, column = row + fragments.top, column + fragments.left
        pixel = (row // SUPERSAMPLING) * self.camera.width + column // SUPERSAMPLING
        shape = (self.camera.height * self.camera.width, len(members))
        index = (np.repeat(pixel, 3), corners.ravel())

        def matrix(scale: Array | float) -> Any:
            weights = fragments.weights * share
            weights = weights if isinstance(scale, float) else weights * scale[:, None]
            return csr_array((weights.ravel(), index), shape=shape)

        diffuse = [matrix(self.sample_albedo[:, k]) for k in range(3)]
        return diffuse, matrix(1.0)

    def curtain(self, lights_m: NDArray[np.floating]) -> Array:
        """Return the background's sensor value under each light, ``(lights,)``."""
        direction = lights_m / np.linalg.norm(lights_m, axis=1, keepdims=True)
        return np.asarray(CURTAIN * (0.5 + 0.5 * np.maximum(direction[:, 2], 0.0)), np.float32)


def _sample(texture: Array, uv: Array) -> Array:
    """Return the texture at ``(n, 2)`` places, ``(n, 3)``; in rows, as OpenCV's sides are short."""
    width = 4096
    rows = -(-len(uv) // width)
    places = np.zeros((2, rows * width), np.float32)
    places[:, : len(uv)] = uv.T
    x, y = places.reshape(2, rows, width)
    drawn = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn.reshape(-1, 3)[: len(uv)], np.float32)


def render_lights(
    scene: Scene, dome: Dome, lights: Sequence[int], gains: ArrayLike | None = None
) -> Array:
    """Return the noise-free picture under each of ``lights`` alone, ``(lights, height, width, 3)``.

    Args:
        scene: the performer and the camera.
        dome: where the lights are.
        lights: indices into the dome.
        gains: ``(lights, 3)`` or a scalar brightness of each; ``None`` = the dome's own gains.

    Returns:
        Linear float32 in units of the sensor's white level, not clipped.
    """
    chosen = list(lights)
    gain = light_gains(dome, chosen, gains)
    places = dome.positions_m[chosen]
    diffuse, specular = scene.vertex_light(places)
    to_diffuse, to_specular = scene.transport
    glint = to_specular @ specular
    behind = (1.0 - scene.matte).ravel()[:, None] * scene.curtain(places)
    height, width = scene.camera.height, scene.camera.width
    pictures = np.empty((len(chosen), height, width, 3), np.float32)
    for k in range(3):
        channel = EXPOSURE * (to_diffuse[k] @ diffuse[k] + glint) + behind
        pictures[:, :, :, k] = (channel * gain[:, k]).T.reshape(-1, height, width)
    return pictures


def render_sum(
    scene: Scene, dome: Dome, lights: Sequence[int], gains: ArrayLike | None = None
) -> Array:
    """Return the sum of :func:`render_lights` over the lights, ``(height, width, 3)``, quickly."""
    chosen = list(lights)
    height, width = scene.camera.height, scene.camera.width
    if not chosen:
        return np.zeros((height, width, 3), np.float32)
    gain = light_gains(dome, chosen, gains)
    places = dome.positions_m[chosen]
    samples = scene.fragments.gather(scene.vertex_sum(places, gain))
    colour = np.ones((len(samples), 4), np.float32)
    np.multiply(scene.sample_albedo, samples[:, :3], out=colour[:, :3])
    colour[:, :3] += samples[:, 3:]
    # the fourth channel counts coverage: the matte
    picture = scene.resolve(colour)
    behind = (scene.curtain(places) @ gain).astype(np.float32)
    return np.asarray(picture[:, :, :3] + (1.0 - picture[:, :, 3:]) * behind)


def render_full_lit(scene: Scene, dome: Dome, gains: ArrayLike | None = None) -> Array:
    """Return the noise-free picture with all lights on, ``(height, width, 3)``."""
    return render_sum(scene, dome, range(len(dome)), gains)


def light_gains(dome: Dome, chosen: Sequence[int], gains: ArrayLike | None) -> Array:
    """Return the brightness ``(chosen, 3)`` of lights, given as :func:`render_lights` takes it."""
    if gains is None:
        return dome.gains[list(chosen)].astype(np.float32)
    given = np.asarray(gains, np.float32)
    if given.ndim < 2:
        given = np.broadcast_to(given.reshape(-1, 1), (max(given.size, len(chosen)), 3))
    return np.ascontiguousarray(np.broadcast_to(given, (len(chosen), 3)), np.float32)
