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
    EYE_CENTRE_M,
    EYE_HALF_WIDTH_M,
    EYE_TILT_M,
    MOUTH_HALF_WIDTH_M,
    brow_line,
    lid_edge,
    mouth_line,
    vermilion,
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
    "tongue": "mouth",
    "shirt": "mouth",
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
    direction = neutral.direction
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
        if corner == "teeth":
            local[:, 1] = 1.0 - local[:, 1]
        if corner == "eye":
            local[:, 1] = 0.5 + 0.49 * local[:, 1]
        if name == "lid_edge":
            local = 0.06 + 0.2 * local + np.array([0.7, 0.0], np.float32)
        if name == "tongue":
            local = np.column_stack([0.44 + 0.2 * local[:, 0], 0.05 + 0.9 * local[:, 1]])
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
    hair = np.clip(neutral.hair / 0.012, 0.0, 1.0)
    roughness = roughness + 0.06 * hair
    specular = specular * (1.0 - 0.35 * hair)
    for names, rough, strength in (
        (("eye_left", "eye_right"), 0.16, 0.040),
        (("upper_teeth", "lower_teeth"), 0.28, 0.045),
        (("mouth_bag",), 0.5, 0.004),
        (("lid_edge",), 0.25, 0.040),
        (("tongue",), 0.35, 0.030),
        (("shirt",), 0.75, 0.020),
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
    # on the shoulders the map is drawn out, and noise with it
    even = _step(y, -0.135, -0.105)
    rgb: Array = base * np.exp(even * (0.055 * fine + 0.05 * mottle) + 0.05 * even * broad)[:, None]

    def tint(mask: Array, factor: Triple) -> None:
        nonlocal rgb
        rgb = rgb * (1.0 + mask[:, None] * (np.array(factor, np.float32) - 1.0))

    red = _bell(x - 0.040, 0.015) * _bell(y + 0.018, 0.014) + 0.8 * _bell(x, 0.013) * _bell(
        y + 0.027, 0.011
    )
    ruddy = red + 0.5 * _bell(x, 0.016) * _bell(y + 0.094, 0.009)
    tint(front * ruddy * (0.62 + 0.12 * mottle), (1.05, 0.82, 0.79))
    tint(front * _bell(x - 0.030, 0.012) * _bell(y + 0.003, 0.005), (0.88, 0.80, 0.82))
    tint(front * _bell(x - 0.0318, 0.015) * _bell(y - 0.0205, 0.0045), (0.88, 0.80, 0.78))
    tint(front * _bell(x, 0.05) * _bell(y - 0.058, 0.018), (1.05, 1.04, 1.02))
    beard = _step(y, -0.030, -0.046) * _step(z, 0.0, 0.03) * _step(y, -0.122, -0.106)
    beard = beard * _step(y + 1.1 * np.maximum(x - 0.030, 0.0), -0.020, -0.044)
    beard = beard * (1.0 - 0.6 * _bell(x, 0.006) * _bell(y + 0.036, 0.014))
    speckle = np.clip(0.55 + 0.55 * _noise(rng, 1).ravel(), 0.0, 1.4)
    tint(np.float32(colouring.stubble) * beard * speckle, (0.50, 0.52, 0.58))
    spots = np.clip(_noise(rng, 3).ravel() - 1.9, 0.0, 0.8) / 0.8
    tint(front * colouring.freckles * spots * _step(y, 0.06, 0.0), (0.55, 0.42, 0.36))
    # creases that are too fine for the mesh
    fold = _bell(x - (0.0185 + 0.62 * np.maximum(-0.031 - y, 0)), 0.0016)
    fold = fold * _step(y, -0.029, -0.036) * _step(y, -0.056, -0.046)
    tint(0.28 * front * fold, (0.6, 0.5, 0.5))
    for height in (0.052, 0.061):
        line = _bell(y - height - 4.0 * x**2 + 0.0012 * np.sin(160.0 * p[:, 0]), 0.0007)
        tint(0.13 * front * line * _step(x, 0.038, 0.02), (0.6, 0.5, 0.5))
    nostril = np.exp(-(((x - 0.0068) / 0.0036) ** 2) - ((y + 0.0372) / 0.0026) ** 2) * front
    tint(np.clip(1.4 * nostril, 0, 1) * _step(z, 0.082, 0.087), (0.22, 0.14, 0.12))

    lips = _lip_mask(p)
    stripes = 1.0 + 0.05 * np.sin(1900.0 * p[:, 0] + 0.8 * mottle)
    redness = np.array([0.88, 0.50, 0.53], np.float32)
    lip_colour = base * redness * stripes[:, None]
    rgb = rgb + (0.85 * lips)[:, None] * (lip_colour * np.exp(0.04 * mottle)[:, None] - rgb)
    seam = _bell(y - mouth_line(p[:, 0]), 0.0008) * _step(x, MOUTH_HALF_WIDTH_M, 0.018) * front
    tint(0.55 * seam, (0.42, 0.26, 0.26))

    hair_rgb = np.array(colouring.hair, np.float32)
    rgb = _lashes(rgb, p)
    rgb = _brows(rgb, p, hair_rgb, _noise(rng, 1).ravel())
    strand = _strands(rng).ravel()
    cover = hair_cover(
        p + (0.0030 * strand + 0.0008 * fine)[:, None] * np.array([0, 1, 0.5], np.float32), 0.007
    )
    hair = hair_rgb * np.exp(0.42 * strand + 0.15 * broad)[:, None]
    return np.asarray(rgb + cover[:, None] * (hair - rgb), np.float32)


def _lashes(rgb: Array, p: Array) -> Array:
    """Return the skin with lashes along the lids' edges and the crease above the upper lid."""
    across, up = np.abs(p[:, 0]) - EYE_CENTRE_M[0], p[:, 1] - EYE_CENTRE_M[1]
    t = across / EYE_HALF_WIDTH_M
    front = _step(p[:, 2], 0.035, 0.05)
    upper = up > EYE_TILT_M * np.clip(t, -1.0, 1.0)
    gap = np.abs(up - lid_edge(across, upper))
    ends = _step(np.abs(t), 1.16, 1.0) * front
    outward = 0.75 + 0.25 * np.clip(t, -1.0, 1.0)
    lash = np.where(upper, 0.88 * _bell(gap, 0.00085) * outward, 0.42 * _bell(gap, 0.0006)) * ends
    rgb = rgb * (1.0 - lash[:, None])
    crease = _bell(up - lid_edge(0.93 * across, upper) - 0.0036 + 0.0012 * t * t, 0.0006)
    crease = crease * upper * _step(np.abs(t), 1.12, 0.9) * front
    return np.asarray(
        rgb * (1.0 - crease[:, None] * np.array([0.30, 0.42, 0.42], np.float32)), np.float32
    )


def _brows(rgb: Array, p: Array, hair: Array, noise: Array) -> Array:
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    along = (x - 0.0098) / 0.0425
    middle = brow_line(x)
    thick = 0.0038 * np.clip(1.10 - 0.70 * np.clip(along, 0.0, 1.2), 0.2, 1.0)
    edge = (y - middle) / thick
    mask = np.exp(-(np.abs(edge) ** 2.6))
    mask = mask * _step(along, -0.10, 0.10) * _step(along, 1.08, 0.80)
    # single hairs: they stand up near the nose and lie along the brow farther out
    lean = np.sin(
        2300.0 * x - 1700.0 * (y - middle) * np.clip(1.1 - along, 0.05, 1.2) + 1.4 * noise
    )
    mask = np.clip(mask * (0.86 + 0.34 * lean + 0.10 * noise), 0.0, 1.0) * (z > 0.03)
    return np.asarray(
        rgb + 0.92 * mask[:, None] * (np.minimum(0.62 * hair, 0.075) - rgb), np.float32
    )


def _lip_mask(p: Array) -> Array:
    """Return how much each ``(n, 3)`` place is the lips' red, 0 to 1."""
    upper, lower = vermilion(p[:, 0])
    across = p[:, 1] - mouth_line(p[:, 0])
    edge = np.where(across > 0, upper - across, lower + across)
    return np.asarray(_step(edge, -0.0005, 0.0007) * _step(p[:, 2], 0.045, 0.055), np.float32)


def _paint_eye(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    r = np.hypot(x - 0.5, y - 0.5) / 0.49 * 1.6  # the angle from the pupil, radians
    around = np.arctan2(y - 0.5, x - 0.5)
    turns = [np.sin(k * around + rng.uniform(0, 6.28)) for k in (13, 29, 43, 61)]
    spokes = np.mean(turns, axis=0)
    iris: Array = np.array(colouring.iris, np.float32) * (1.0 + 0.5 * spokes[..., None])
    iris = iris * (0.62 + 0.9 * _bell(r - 0.24, 0.09))[..., None]
    white: Array = np.array([0.56, 0.51, 0.48], np.float32) * np.ones((*r.shape, 1), np.float32)
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
    lip = np.array(colouring.skin, np.float32) * np.array([0.85, 0.46, 0.46], np.float32)
    bag = lip * (1.0 - deep) ** 5 + np.array([0.055, 0.016, 0.015], np.float32)
    tongue = np.array([0.42, 0.17, 0.16], np.float32) * (1.0 - 0.75 * deep)
    lid = np.array(colouring.skin, np.float32) * np.array([0.9, 0.62, 0.60], np.float32)
    cloth = (
        np.array([0.085, 0.105, 0.135], np.float32) * (1.0 - 0.3 * _bell(y - 0.32, 0.02))[..., None]
    )
    bag = np.where((x < 0.13)[..., None], cloth, bag)
    inside = np.where((x > 0.4)[..., None], tongue, bag)
    return np.asarray(np.where((x > 0.7)[..., None], lid, inside), np.float32)


def _paint_teeth(x: Array, y: Array, colouring: Colouring, rng: np.random.Generator) -> Array:
    # fourteen teeth, the middle gap at 0.5; gums rise between them
    turn = 7.0 * (x - 0.5) / 0.49
    gaps = np.abs(np.sin(np.pi * turn)) ** 0.3
    down = 1.0 - y
    ivory = np.array([0.62, 0.57, 0.46], np.float32) * (0.50 + 0.50 * gaps)[..., None]
    ivory = ivory * (0.86 + 0.14 * np.clip(down / 0.8, 0.0, 1.0))[..., None]
    gum = _step(down + 0.10 * gaps, 0.42, 0.34)
    return np.asarray(
        ivory + gum[..., None] * (np.array([0.44, 0.19, 0.17], np.float32) - ivory), np.float32
    )


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
