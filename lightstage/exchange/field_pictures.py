"""Which pictures a store of reflectance fields has, by the names that exports give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import ColourSpace, convert
from lightstage.fields import ReflectanceFields

#: What may be exported of a set, in the order of parts and layers.
CONTENTS = ("full_lit", "albedo", "normal", "matte", "lights")
Meaning = Literal["colour", "direction", "coverage"]
_MEANINGS: dict[str, Meaning] = {
    "full_lit": "colour",
    "albedo": "colour",
    "normal": "direction",
    "matte": "coverage",
}


@dataclass(frozen=True)
class FieldPicture:
    """One picture of each set.

    Attributes:
        name: ``full_lit``, ``albedo``, ``normal``, ``matte`` or ``light_007``.
        meaning: what its numbers are: linear light, unit vectors in world axes, or 0 to 1.
        light: the light's number, counted from 0, or ``None``.
    """

    name: str
    meaning: Meaning
    light: int | None = None

    @property
    def channels(self) -> str:
        """The letters of its channels, as Nuke and Blender take them."""
        return {"colour": "RGB", "direction": "XYZ", "coverage": "A"}[self.meaning]


def pictures_of(
    fields: ReflectanceFields,
    contents: Sequence[str] | None = None,
    lights: Sequence[int] | None = None,
) -> list[FieldPicture]:
    """Return the pictures to export.

    Args:
        fields: the store.
        contents: some of :data:`CONTENTS`; all that the store has unless given.
        lights: which lights, all unless given.

    Raises:
        InputError: something is not known, or the store does not have it.
    """
    for name in contents or ():
        if name not in CONTENTS:
            raise InputError(f"--contents {name!r}: there are {', '.join(CONTENTS)}.")
        if name in ("albedo", "normal", "matte") and not fields.has(name):
            raise InputError(f"{fields.path}: has no {name} yet; make it, or leave it out.")
    for light in lights or ():
        if not 0 <= light < fields.lights:
            raise InputError(f"light {light}: the dome has lights 0 to {fields.lights - 1}.")
    pictures = [
        FieldPicture(name, _MEANINGS[name])
        for name in CONTENTS[:-1]
        if (name in contents if contents else name == "full_lit" or fields.has(name))
    ]
    if not contents or "lights" in contents:
        digits = max(3, len(str(fields.lights - 1)))
        pictures += [
            FieldPicture(f"light_{light:0{digits}d}", "colour", light)
            for light in (range(fields.lights) if lights is None else lights)
        ]
    if not pictures:
        raise InputError("there is nothing to export: --contents and --lights leave no picture.")
    return pictures


def named_picture(fields: ReflectanceFields, name: str) -> FieldPicture:
    """Return the picture called ``full_lit``, ``albedo``, …, or ``light_7``.

    Raises:
        InputError: there is none of that name.
    """
    kind, _, number = name.partition("_")
    if kind == "light" and number.isdecimal():
        return pictures_of(fields, ["lights"], [int(number)])[0]
    if name not in CONTENTS[:-1]:
        raise InputError(f"{name!r}: pictures are {', '.join(CONTENTS[:-1])} and light_0, light_1…")
    return pictures_of(fields, [name])[0]


def read_picture(
    fields: ReflectanceFields,
    index: int,
    picture: FieldPicture,
    *,
    space: ColourSpace,
    exposure_factor: float = 1.0,
    even_lights: bool = False,
) -> NDArray[np.float32]:
    """Return a picture of set ``index``, ``(height, width, 3)``, or ``(height, width)`` of a matte.

    NaN, where a light has no frame or a normal is not known, becomes 0: other programs spread it.

    Args:
        fields: the store.
        index: which set.
        picture: which picture of it.
        space: what colours are converted to.
        exposure_factor: what light, not reflectance, is multiplied by.
        even_lights: divide a light's picture by its calibrated gain, so that all lights count the
            same; a light that gives nothing becomes black.
    """
    if picture.light is None:
        image = fields.read(picture.name, index)
    else:
        image = fields.read_light(index, picture.light)
        if even_lights:
            gain = fields.dome.gains[picture.light]
            image = image * np.divide(1.0, gain, out=np.zeros(3), where=gain > 0).astype(np.float32)
    image = np.nan_to_num(image, nan=0.0, posinf=65504.0, neginf=-65504.0)
    if picture.meaning != "colour":
        return image
    if picture.name != "albedo" and exposure_factor != 1.0:
        image = image * np.float32(exposure_factor)
    return convert(image, space)
