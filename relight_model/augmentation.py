"""Changes to a sample that leave the physics of light right.

What is done to one light's picture is done to all, and to the maps: a picture that is moved is
moved with its maps, light that is made brighter is brighter under every light, and so is the
surface. Only a mirror needs more: light from the left then comes from the right, so the dome must
have each light's mirror light. Evenly spread domes seldom do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lightstage.colour import decode_srgb, encode_srgb
from lightstage.errors import InputError
from lightstage.manifest import Manifest
from relight_model.conditioning import StackLayout

Array = NDArray[np.float32]


class AugmentationSettings(Manifest):
    """How far samples are changed, each at random and evenly within these bounds.

    Attributes:
        exposure_stops: all light brighter or darker, in stops.
        balance_stops: red and blue against green, in stops.
        shift_px: moved to the sides and up or down.
        zoom: made larger or smaller by this share.
        mirror: mirrored half of the time, where the dome allows it.
    """

    error = InputError

    exposure_stops: Annotated[float, Field(ge=0, le=3)] = 0.0
    balance_stops: Annotated[float, Field(ge=0, le=2)] = 0.0
    shift_px: Annotated[float, Field(ge=0, le=256)] = 0.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    mirror: bool = False


@dataclass(frozen=True)
class Augmentation:
    """One sample's change.

    Attributes:
        gain: red, green, blue: what light is multiplied by.
        shift_px: right and down.
        zoom: how much larger about the middle.
        mirrored: left and right exchanged, before the rest.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    mirrored: bool = False

    @property
    def moves(self) -> bool:
        """Whether pixels move, mirroring apart."""
        return self.shift_px != (0.0, 0.0) or self.zoom != 1.0

    @property
    def brightens(self) -> bool:
        """Whether light is changed."""
        return self.gain != (1.0, 1.0, 1.0)


def draw(settings: AugmentationSettings, rng: np.random.Generator, mirror: bool) -> Augmentation:
    """Return a random change; always as many numbers are drawn, whatever is switched on.

    Args:
        settings: the bounds.
        rng: whose numbers decide.
        mirror: whether the dome allows a mirror.
    """
    u = rng.uniform(-1.0, 1.0, 6)
    exposure = settings.exposure_stops * u[0]
    red, blue = settings.balance_stops * u[1], settings.balance_stops * u[2]
    gain = 2.0 ** (exposure + np.array([red, 0.0, blue]))
    shift = settings.shift_px * u[3:5]
    if settings.zoom == 0:
        shift = np.round(shift)  # whole pixels: nothing is softened
    turned = bool(rng.uniform() < 0.5) and settings.mirror and mirror
    return Augmentation(
        (float(gain[0]), float(gain[1]), float(gain[2])),
        (float(shift[0]), float(shift[1])),
        float((1.0 + settings.zoom) ** u[5]),
        turned,
    )


def mirror_lights(
    directions: NDArray[np.floating], tolerance_deg: float = 2.0
) -> NDArray[np.int64] | None:
    """Return which light stands where each light's mirror image is, ``(lights,)``.

    The mirror exchanges +X and -X. ``None`` where a light has no mirror light within the tolerance:
    such a dome's pictures cannot be mirrored.

    Args:
        directions: unit vectors ``(lights, 3)``.
        tolerance_deg: how far a mirror light may stand from the mirror image.
    """
    towards = np.asarray(directions, np.float64)
    cosines = (towards * [-1.0, 1.0, 1.0]) @ towards.T
    found = cosines.argmax(axis=1)
    apart = np.rad2deg(np.arccos(np.clip(cosines.max(axis=1), -1.0, 1.0)))
    # each light is the mirror of its mirror
    if apart.max() > tolerance_deg or not np.array_equal(found[found], np.arange(len(found))):
        return None
    return np.asarray(found, np.int64)


def change_pictures(pictures: Array, change: Augmentation, *, light: bool = True) -> Array:
    """Return linear pictures ``(..., h, w, channels)`` changed.

    Args:
        pictures: any number of them.
        change: what is done.
        light: whether they are light or albedo; mattes and normals are not.
    """
    out = pictures[..., ::-1, :] if change.mirrored else pictures
    if change.moves:
        out = moved(out, change)
    if light and change.brightens:
        out = out * np.asarray(change.gain, np.float32)
    return np.ascontiguousarray(out, np.float32)


def change_normals(normals: Array, change: Augmentation) -> Array:
    """Return unit normals ``(h, w, 3)`` changed; those that were mixed are of length 1 again."""
    out = change_pictures(normals, change, light=False)
    if change.mirrored:
        out = out * np.array([-1.0, 1.0, 1.0], np.float32)
    if change.moves:
        length = np.linalg.norm(out, axis=-1, keepdims=True)
        # where most of a mixture is unknown it stays so
        out = np.where(length > 0.5, out / np.maximum(length, 1e-6), 0.0)
    return np.ascontiguousarray(out, np.float32)


def change_matte(matte: Array, change: Augmentation) -> Array:
    """Return a matte ``(h, w)`` changed; what came from outside the picture is outside it."""
    out = change_pictures(matte[..., None], change, light=False)[..., 0]
    if change.moves:
        out = out * _inside(matte.shape[-2:], change)
    return out


def change_maps(
    maps: Array, change: Augmentation, layout: StackLayout, mirror_x: float = 1.0
) -> Array:
    """Return a stack of conditioning maps ``(channels, h, w)`` changed as the pictures are.

    Args:
        maps: the stack.
        change: what is done.
        layout: what the channels are.
        mirror_x: sum of a point's PNCC x and its mirror image's; 1 for a head that is even on
            both sides.
    """
    out = maps[..., ::-1] if change.mirrored else maps
    if change.moves:
        out = moved(np.ascontiguousarray(out)[..., None], change)[..., 0]
    out = np.array(out, np.float32)
    names = layout.channel_names()
    for at, name in enumerate(names):
        if change.mirrored and name.startswith("normal.x"):
            out[at] = -out[at]
        if change.mirrored and name.startswith("pncc.x"):
            shown = out[at : at + 3].any(axis=0)
            out[at][shown] = mirror_x - out[at][shown]
        if change.brightens and name.startswith("diffuse.red"):
            for k, gain in enumerate(change.gain):
                out[at + k] = encode_srgb(decode_srgb(out[at + k]) * np.float32(gain))
    return out


def moved(pictures: Array, change: Augmentation) -> Array:
    """Return pictures ``(..., h, w, channels)`` shifted and zoomed; edges are repeated outside."""
    height, width, channels = pictures.shape[-3:]
    flat = np.ascontiguousarray(pictures, np.float32).reshape(-1, height, width, channels)
    out = np.empty_like(flat)
    matrix = _matrix(width, height, change)
    size, border = (width, height), cv2.BORDER_REPLICATE
    for picture, into in zip(flat, out, strict=True):
        drawn = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
        into[...] = np.asarray(drawn).reshape(height, width, channels)
    return out.reshape(pictures.shape)


def _matrix(width: int, height: int, change: Augmentation) -> NDArray[np.float64]:
    """Return the affine map ``(2, 3)`` from old places to new ones."""
    middle = 0.5 * (width - 1), 0.5 * (height - 1)
    shift = [(1.0 - change.zoom) * m + s for m, s in zip(middle, change.shift_px, strict=True)]
    return np.array([[change.zoom, 0.0, shift[0]], [0.0, change.zoom, shift[1]]])


def _inside(size: tuple[int, ...], change: Augmentation) -> Array:
    height, width = size
    ones = np.ones((height, width), np.float32)
    drawn = cv2.warpAffine(
        ones, _matrix(width, height, change), (width, height), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=0,
    )  # fmt: skip
    return np.asarray(drawn, np.float32)
