"""The head's mean albedo texture, painted in texture space from where each texel lies on the head.

The skin is laid out as a disc about the middle of the face (an azimuthal map, so without a seam in
front); the square's four corners hold the eye, the ear, the mouth's inside and the teeth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.head.parts import PART_NAMES
from lightstage.head.sculpture import (
    CORE_M,
    EYE_CENTRE_M,
    MOUTH_HALF_WIDTH_M,
    mouth_line,
)
from lightstage.head.skin import Sculpt, hair_cover

#: Single precision throughout.
Array = NDArray[Any]
Triple = tuple[float, float, float]

TEXTURE_SIZE = 1024
_CORNER = 0.132
_CORNERS = {
    "eye": (0.004, 0.864),
    "ear": (0.864, 0.864),
    "mouth": (0.004, 0.004),
    "teeth": (0.864, 0.004),
}
_CORNER_OF_PART = {
    "lid_edge": "mouth",
    "mouth_bag": "mouth",
    "upper_teeth": "teeth",
    "lower_teeth": "teeth",
    "eye_left": "eye",
    "eye_right": "eye",
    "ear": "ear",
}


@dataclass(frozen=True)
class Colouring:
    """A performer's colours, linear Rec.709 albedo, and the seed of skin and hair detail."""

    skin: Triple = (0.56, 0.345, 0.245)
    hair: Triple = (0.085, 0.048, 0.026)
    iris: Triple = (0.07, 0.13, 0.19)
    stubble: float = 0.25
    freckles: float = 0.3
    seed: int = 0


def texture_coordinates(neutral: Sculpt) -> tuple[Array, NDArray[np.uint32]]:
    """Return ``vt`` (V, 2) in [0, 1], v upwards, and ``ft`` (F, 3)."""
    direction = neutral.vertices - CORE_M
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    ahead = np.array([0.0, 0.33, 0.944], np.float32)
    up = np.array([0.0, 0.944, -0.33], np.float32)
    across, above = direction[:, 0], direction @ up
    angle = np.arccos(np.clip(direction @ ahead, -1.0, 1.0)) / np.pi
    radius = 0.498 * (1.0 - (1.0 - angle) ** 1.5) / np.maximum(np.hypot(across, above), 1e-6)
    vt = 0.5 + radius[:, None] * np.column_stack([across, above])
    for name, corner in _CORNER_OF_PART.items():
        members = neutral.part == PART_NAMES.index(name)
        local = neutral.local[members].copy()
        if corner == "eye" or corner == "teeth":
            local[:, 0] = 0.5 + 0.49 * local[:, 0]
        if corner == "eye":
            local[:, 1] = 0.5 + 0.49 * local[:, 1]
        if name == "lid_edge":
            local = 0.06 + 0.2 * local + np.array([0.7, 0.0], np.float32)
        if name == "mouth_bag":
            local = np.column_stack([np.full(len(local), 0.2), 0.05 + 0.9 * local[:, 1]])
        vt[members] = np.array(_CORNERS[corner], np.float32) + _CORNER * np.clip(local, 0.01, 0.99)
    return vt.astype(np.float32), neutral.faces.astype(np.uint32)


def paint(
    neutral: Sculpt, vt: Array, ft: NDArray[np.uint32], colouring: Colouring
) -> NDArray[np.float32]:
    """Return the albedo ``(size, size, 3)``, linear RGB in [0, 1], top row first."""
    rng = np.random.default_rng(colouring.seed)
    size = TEXTURE_SIZE
    places = _texel_places(neutral, vt, ft)
    flat = _paint_skin(places.reshape(-1, 3), colouring, rng).reshape(size, size, 3)
    for name, painter in (
        ("eye", _paint_eye),
        ("ear", _paint_ear),
        ("mouth", _paint_mouth),
        ("teeth", _paint_teeth),
    ):
        n = round((_CORNER + 0.008) * size)
        left = round((_CORNERS[name][0] - 0.004) * size)
        top = size - round((_CORNERS[name][1] - 0.004) * size) - n
        t = ((np.arange(n) + 0.5) / size - 0.004) / _CORNER
        x, y = np.meshgrid(t, 1.0 - t)
        flat[top : top + n, left : left + n] = painter(x, y, colouring, rng)
    return np.clip(flat, 0.0, 1.0).astype(np.float32)


def highlights(neutral: Sculpt) -> tuple[Array, Array]:
    """Return each vertex's roughness and its specular reflectance at normal incidence, ``(V,)``."""
    part, p = neutral.part, neutral.vertices
    roughness: Array = np.full(len(part), 0.46, np.float32)
    specular: Array = np.full(len(part), 0.040, np.float32)
    oily = np.exp(-((p[:, 0] / 0.016) ** 2) - ((p[:, 1] + 0.005) / 0.05) ** 2) * (p[:, 2] > 0.05)
    lips = _lip_mask(p)
    roughness += (-0.09 * oily - 0.12 * lips).astype(np.float32)
    specular += (0.010 * lips).astype(np.float32)
    hair = np.clip(neutral.hair / 0.013, 0.0, 1.0)
    roughness = roughness + 0.06 * hair
    specular = specular * (1.0 - 0.35 * hair)
    for names, rough, strength in (
        (("eye_left", "eye_right"), 0.16, 0.040),
        (("upper_teeth", "lower_teeth"), 0.28, 0.045),
        (("mouth_bag",), 0.5, 0.004),
        (("lid_edge",), 0.25, 0.040),
    ):
        members = np.isin(part, [PART_NAMES.index(name) for name in names])
        roughness[members], specular[members] = rough, strength
    return roughness.astype(np.float32), specular.astype(np.float32)


def _texel_places(neutral: Sculpt, vt: Array, ft: NDArray[np.uint32]) -> Array:
    """Return where on the bare head each texel of the skin's disc lies, ``(size, size, 3)``."""
    size = TEXTURE_SIZE
    skin = (neutral.part[neutral.faces] == PART_NAMES.index("skin")).all(axis=1)
    # the triangles about the disc's rim, at the back of the head, would span the whole disc
    extent = np.ptp(vt[ft.astype(np.int64)], axis=1).max(axis=1)
    faces = ft[skin & (extent < 0.2)].astype(np.int32)
    flat = np.column_stack([vt - 0.5, np.full(len(vt), -1.0)]).astype(np.float32)
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    drawn = cv2.triangleRasterizeColor(
        flat,
        faces,
        (neutral.vertices * 2.5 + 0.5).astype(np.float32),
        np.full((size, size, 3), -1.0, np.float32),
        np.eye(4),
        2.0 * np.arctan(0.5),
        0.1,
        10.0,
        settings,
    )
    places = (np.asarray(drawn, np.float32) - 0.5) / 2.5
    bare = drawn[..., 0] < 0
    for _ in range(5):
        # a margin beyond the mesh's edge, so that filtering finds skin there
        known = (~bare).astype(np.float32)
        total = cv2.blur(places * known[..., None], (3, 3))
        weight = cv2.blur(known, (3, 3))
        grown = bare & (weight > 0)
        places[grown] = total[grown] / weight[grown][:, None]
        bare &= ~grown
    places[bare] = (0.0, 0.12, -0.05)
    return places


def _paint_skin(p: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    front = _step(z, 0.035, 0.06)
    base = np.array(colouring.skin, np.float32)
    fine, mottle, broad = (_noise(rng, s).ravel() for s in (1, 5, 22))
    rgb: Array = base * np.exp(0.055 * fine + 0.05 * mottle + 0.05 * broad)[:, None]

    def tint(mask: Array, factor: Triple) -> None:
        nonlocal rgb
        rgb = rgb * (1.0 + mask[:, None] * (np.array(factor, np.float32) - 1.0))

    red = _bell(x - 0.040, 0.016) * _bell(y + 0.022, 0.016) + _bell(x, 0.013) * _bell(
        y + 0.03, 0.012
    )
    tint(front * red * (0.6 + 0.12 * mottle), (1.06, 0.82, 0.79))
    tint(front * _bell(x - 0.030, 0.014) * _bell(y + 0.001, 0.006), (0.86, 0.78, 0.80))
    tint(front * _bell(x - 0.0315, 0.017) * _bell(y - 0.021, 0.006), (0.90, 0.82, 0.80))
    tint(front * _bell(x, 0.05) * _bell(y - 0.062, 0.02), (1.05, 1.04, 1.02))
    beard = _step(y, -0.030, -0.050) * _step(z, 0.0, 0.03) * _step(y, -0.135, -0.118)
    beard = beard * (1.0 - _bell(x, 0.006) * _bell(y + 0.035, 0.02))
    speckle = np.clip(0.55 + 0.55 * _noise(rng, 1).ravel(), 0.0, 1.4)
    tint(np.float32(colouring.stubble) * beard * speckle, (0.50, 0.52, 0.58))
    spots = np.clip(_noise(rng, 3).ravel() - 1.9, 0.0, 0.8) / 0.8
    tint(front * colouring.freckles * spots * _step(y, 0.06, 0.0), (0.55, 0.42, 0.36))
    # creases that are too fine for the mesh
    fold = _bell(x - (0.020 + 0.55 * np.maximum(-0.036 - y, 0)), 0.0013) * _step(y, -0.033, -0.040)
    fold = fold * _step(y, -0.066, -0.056)
    tint(0.30 * front * fold, (0.6, 0.5, 0.5))
    for height in (0.054, 0.063):
        line = _bell(y - height - 4.0 * x**2 + 0.0012 * np.sin(160.0 * p[:, 0]), 0.0007)
        tint(0.16 * front * line * _step(x, 0.038, 0.02), (0.6, 0.5, 0.5))
    nostril = np.exp(-(((x - 0.0068) / 0.0036) ** 2) - ((y + 0.0440) / 0.0026) ** 2) * front
    tint(np.clip(1.5 * nostril, 0, 1) * _step(z, 0.085, 0.09), (0.22, 0.14, 0.12))

    lips = _lip_mask(p)
    stripes = 1.0 + 0.06 * np.sin(1900.0 * p[:, 0] + 0.8 * mottle)
    lip_colour = base * np.array([0.88, 0.54, 0.58], np.float32) * stripes[:, None]
    rgb = rgb + lips[:, None] * (lip_colour * np.exp(0.04 * mottle)[:, None] - rgb)
    seam = _bell(y - mouth_line(p[:, 0]), 0.0011) * _step(x, MOUTH_HALF_WIDTH_M, 0.022) * front
    tint(seam, (0.42, 0.30, 0.30))

    hair_rgb = np.array(colouring.hair, np.float32)
    dx, dy = (x - EYE_CENTRE_M[0]) / 0.0136, y - EYE_CENTRE_M[1]
    lid = np.where(dy > 0, 0.0058, 0.0047) * np.sqrt(np.clip(1.0 - dx**2, 0.0, 1.0))
    lash = _bell(np.abs(dy) - lid - 0.0002, 0.0009) * _step(np.abs(dx), 1.10, 0.98) * front
    rgb = rgb * (1.0 - lash * np.where(dy > 0, 0.82, 0.38))[:, None]
    rgb = _brows(rgb, p, hair_rgb, _noise(rng, 1).ravel())
    cover = hair_cover(
        p + 0.0025 * _noise(rng, 2).ravel()[:, None] * np.array([0, 1, 0], np.float32)
    )
    strand = _strands(rng).ravel()
    hair = hair_rgb * np.exp(0.42 * strand + 0.15 * broad)[:, None]
    return np.asarray(rgb + cover[:, None] * (hair - rgb), np.float32)


def _brows(rgb: Array, p: Array, hair: Array, noise: Array) -> Array:
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    along = (x - 0.0105) / 0.037
    middle = 0.0335 + 0.0062 * np.sin(np.clip(along, 0.0, 1.15) * 2.35) - 0.0035 * along**2
    thick = 0.0036 * np.clip(1.1 - 0.75 * along, 0.15, 1.0)
    mask = (
        np.exp(-(((y - middle) / thick) ** 2)) * _step(along, -0.08, 0.06) * _step(along, 1.1, 0.85)
    )
    lean = np.sin(2600.0 * x - 1500.0 * (y - middle) * (1.2 - along) + 1.3 * noise)
    mask = np.clip(mask * (0.80 + 0.30 * lean), 0.0, 1.0) * (z > 0.03)
    return np.asarray(rgb + 0.85 * mask[:, None] * (0.8 * hair - rgb), np.float32)


def _lip_mask(p: Array) -> Array:
    """Return how much each ``(n, 3)`` place is the lips' red, 0 to 1."""
    x, z = np.abs(p[:, 0]), p[:, 2]
    across = p[:, 1] - mouth_line(p[:, 0])
    t = np.clip(x / MOUTH_HALF_WIDTH_M, 0.0, 1.0)
    upper = 0.0071 * (1.0 - t**1.8) - 0.0016 * np.exp(-((x / 0.0034) ** 2))
    lower = 0.0103 * (1.0 - t**2.2)
    edge = np.where(across > 0, upper - across, lower + across)
    return np.asarray(_step(edge, -0.0006, 0.0008) * _step(z, 0.045, 0.055), np.float32)


def _paint_eye(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    r = np.hypot(x - 0.5, y - 0.5) / 0.49 * 1.6  # the angle from the pupil, radians
    around = np.arctan2(y - 0.5, x - 0.5)
    turns = [np.sin(k * around + rng.uniform(0, 6.28)) for k in (13, 29, 43, 61)]
    spokes = np.mean(turns, axis=0)
    iris: Array = np.array(colouring.iris, np.float32) * (1.0 + 0.5 * spokes[..., None])
    iris = iris * (0.7 + 1.3 * _bell(r - 0.24, 0.09))[..., None]
    white: Array = np.array([0.66, 0.60, 0.56], np.float32) * np.ones((*r.shape, 1), np.float32)
    veins = np.clip(np.sin(around * 17 + 5.0 * r + 2.0 * np.sin(9.0 * r)), 0.9, 1.0) - 0.9
    white = white * (
        1.0 - np.array([0.2, 1.2, 1.2], np.float32) * (veins * _step(r, 0.6, 1.0))[..., None]
    )
    ring = 1.0 - 0.6 * _bell(r - 0.435, 0.035)
    rgb = white + _step(r, 0.46, 0.425)[..., None] * (iris - white)
    rgb = rgb * ring[..., None]
    return np.asarray(rgb * (1.0 - 0.97 * _step(r, 0.185, 0.165))[..., None], np.float32)


def _paint_ear(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    noise = cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), 3) * 8.0
    rgb = (
        np.array(colouring.skin, np.float32)
        * np.array([1.02, 0.86, 0.84], np.float32)
        * np.exp(0.05 * noise)[..., None]
    )
    bowl = np.exp(-(((x - 0.47) / 0.13) ** 2) - ((y - 0.50) / 0.16) ** 2)
    return np.asarray(
        rgb * (1.0 - bowl[..., None] * np.array([0.45, 0.6, 0.6], np.float32)), np.float32
    )


def _paint_mouth(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    deep = np.clip((y - 0.05) / 0.9, 0.0, 1.0)[..., None]
    bag = np.array([0.30, 0.10, 0.09], np.float32) * (1.0 - deep) ** 6 + np.array(
        [0.012, 0.005, 0.005], np.float32
    )
    lid = np.array(colouring.skin, np.float32) * np.array([0.9, 0.62, 0.60], np.float32)
    return np.asarray(np.where((x > 0.5)[..., None], lid, bag), np.float32)


def _paint_teeth(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    gaps = np.abs(np.sin(np.pi * 7.0 * (x - 0.5) / 0.98)) ** 0.25
    gum = _step(y, 0.25, 0.12)[..., None]
    tooth = np.array([0.58, 0.54, 0.44], np.float32) * (0.45 + 0.55 * gaps)[..., None]
    return np.asarray(tooth + gum * (np.array([0.42, 0.18, 0.16], np.float32) - tooth), np.float32)


def _noise(rng: np.random.Generator, texels: float) -> Array:
    """Return smooth noise over the texture with features of ``texels``, variance 1."""
    small = max(8, round(TEXTURE_SIZE / max(texels * 0.7, 1.0)))
    field = rng.standard_normal((small, small), dtype=np.float32)
    field = cv2.GaussianBlur(field, (0, 0), 0.8)
    field = cv2.resize(field, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field / field.std(), np.float32)


def _strands(rng: np.random.Generator) -> Array:
    """Return noise drawn out along the disc's radii: hair combed back from the face."""
    size = TEXTURE_SIZE
    polar = cv2.GaussianBlur(
        rng.standard_normal((1024, 64), dtype=np.float32), (0, 0), 0.9, sigmaY=0.8
    )
    coarse = cv2.resize(rng.standard_normal((160, 12), dtype=np.float32), (64, 1024))
    polar = polar / polar.std() + 0.8 * coarse
    t = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(t, -t)
    turn = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * 1024 + 25.0 * np.hypot(x, y)
    return _sample_wrapped(polar, turn, np.hypot(x, y) * 85.0)


def _sample_wrapped(field: Array, row: Array, column: Array) -> Array:
    return np.asarray(
        cv2.remap(
            field,
            column.astype(np.float32),
            (row % len(field)).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        ),
        np.float32,
    )


def _bell(x: Array, sigma: float) -> Array:
    return np.asarray(np.exp(-0.5 * (x / sigma) ** 2), np.float32)


def _step(x: Array, zero_at: float, one_at: float) -> Array:
    t = np.clip((x - zero_at) / (one_at - zero_at), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
