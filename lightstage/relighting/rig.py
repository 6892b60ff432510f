"""Studio rigs as files: key, fill, rim and background lights on the sphere."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lightstage.colour import luminance
from lightstage.errors import InputError
from lightstage.manifest import Manifest
from lightstage.relighting.blackbody import KELVIN_RANGE, kelvin_rgb
from lightstage.relighting.sphere import direction_at

Part = Annotated[float, Field(ge=0)]


class StudioLight(Manifest):
    """One light of a rig.

    Azimuth is measured from the camera (+Z), positive to image right (+X), so 180 is behind the
    performer. A ``soft`` light falls to 1/e of its middle at ``radius_deg``; a ``hard`` one is an
    even disc of that radius. 3 is a bare lamp (one LED or two of a dome), 15 a softbox, 30 a large
    silk, 180 even light from all sides. ``power`` is the light's share of the rig's luminance,
    relative to the others. The colour is ``kelvin`` (a black body's, for a camera balanced to
    the rig's ``white_kelvin``) or linear ``rgb`` of which only the ratios count; white if neither.
    """

    role: Literal["key", "fill", "rim", "background"]
    azimuth_deg: Annotated[float, Field(ge=-360, le=360)]
    elevation_deg: Annotated[float, Field(ge=-90, le=90)]
    shape: Literal["soft", "hard"] = "soft"
    radius_deg: Annotated[float, Field(ge=1, le=180)]
    power: Annotated[float, Field(gt=0)] = 1.0
    kelvin: Annotated[float, Field(ge=KELVIN_RANGE[0], le=KELVIN_RANGE[1])] | None = None
    rgb: tuple[Part, Part, Part] | None = None

    @model_validator(mode="after")
    def _one_colour(self) -> Self:
        if self.kelvin is not None and self.rgb is not None:
            raise ValueError("give kelvin or rgb, not both")
        if self.rgb is not None and max(self.rgb) == 0:
            raise ValueError("rgb is black; leave the light out instead")
        return self

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector from the performer to the light."""
        return direction_at(self.azimuth_deg, self.elevation_deg)


class Rig(Manifest):
    """A named set of studio lights.

    ``white_kelvin`` is the colour temperature that the camera takes as white: a light of as many
    kelvin is neutral. Without it kelvin are seen by a D65 camera, to which 6500 K is nearly white.
    """

    name: str = ""
    description: str = ""
    white_kelvin: Annotated[float, Field(ge=KELVIN_RANGE[0], le=KELVIN_RANGE[1])] | None = None
    lights: tuple[StudioLight, ...]

    @model_validator(mode="after")
    def _some_light(self) -> Self:
        if not self.lights:  # not by min_length, which also complains where a light is wrong
            raise ValueError("a rig needs at least one [[lights]]")
        return self

    def colour(self, light: StudioLight) -> NDArray[np.float64]:
        """Return a light's linear RGB of luminance 1, ``(3,)``."""
        colour = np.ones(3)
        if light.rgb is not None:
            colour = np.array(light.rgb)
        elif light.kelvin is not None:
            colour = kelvin_rgb(light.kelvin)
            if self.white_kelvin is not None:
                colour = colour / np.maximum(kelvin_rgb(self.white_kelvin), 1e-2)
        return np.asarray(colour / float(luminance(colour)))


def load_rig(name_or_path: str | os.PathLike[str]) -> Rig:
    """Return a rig that comes with the package, or the one in a ``.toml`` file.

    Raises:
        InputError: it is neither, or the file is no rig; the text names each field that is wrong.
    """
    name = os.fspath(name_or_path)
    if name in _shipped():
        return _shipped()[name]
    if not Path(name).exists() and Path(name).suffix != ".toml":
        raise InputError(
            f"there is no studio light {name!r} (there are: {', '.join(_shipped())}), and no such "
            f"file. Write your own as a .toml file: 'lightstage studio rembrandt --toml' shows one."
        )
    rig = Rig.load_toml(name)
    return rig if rig.name else rig.replace(name=Path(name).stem)


def shipped_rigs() -> dict[str, Rig]:
    """Return the rigs that come with the package by name, in alphabetical order."""
    return dict(_shipped())


def rig_text(name: str) -> str:
    """Return the TOML of a rig that comes with the package."""
    load_rig(name)
    return (files("lightstage.relighting") / "rigs" / f"{name}.toml").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Rig]:
    folder = files("lightstage.relighting") / "rigs"
    found: dict[str, Rig] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            found[name] = Rig.load_toml(Path(str(file))).replace(name=name)
    return found
