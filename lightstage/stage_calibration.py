"""What calibrating a stage found, on disk, and how later steps use it.

::

    SESSION/calibration/
      lights.json  gains.json  colour.json      what was found, from what, when
      dark.HASH.exr  flat.HASH.exr              the camera's dark frame and flat field

A picture is named by a hash of what it holds and never written over: a virtual store of fields that
was made with an older one still finds it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import xxhash
from pydantic import Field, model_validator

from lightstage import __version__
from lightstage.dome import Dome, Led
from lightstage.errors import SessionError
from lightstage.manifest import Manifest

CALIBRATION_FOLDER = "calibration"
SCHEMA_VERSION = 1
Triple = tuple[float, float, float]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class CalibrationResult(Manifest):
    """What all results have: a version, a date, and what they were made from."""

    error: ClassVar = SessionError
    file_name: ClassVar[str]

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    made: datetime = Field(default_factory=_now)
    software: str = f"lightstage {__version__}"
    source: Annotated[str, Field(description="the take or files it was measured on")] = ""
    method: str = ""
    details: Annotated[
        dict[str, Any], Field(description="residuals and settings, for people and reports")
    ] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of all that it says but when it was made."""
        text = self.model_dump_json(exclude={"made", "software"})
        return str(xxhash.xxh3_64_hexdigest(text.encode()))

    @property
    def provenance(self) -> dict[str, str]:
        """What is told of it in stores that were made with it."""
        return {
            "digest": self.digest,
            "made": self.made.isoformat(),
            "source": self.source,
            "method": self.method,
        }


class CalibratedLight(Manifest):
    """Where one light was found, or why it was not.

    ``position_m`` is its place where that was found, else ``direction`` alone is known and the
    light keeps the distance that the dome gives it; with neither, it keeps its place.
    """

    error: ClassVar = SessionError

    direction: Triple | None = None
    position_m: Triple | None = None
    uncertainty_deg: Annotated[float | None, Field(ge=0)] = None
    verdict: Annotated[str, Field(description="'seen', or why the light could not be used")] = ""


class LightsResult(CalibrationResult):
    """``lights.json``: where each light is, in the order of their numbers."""

    file_name: ClassVar = "lights.json"

    lights: Annotated[tuple[CalibratedLight, ...], Field(min_length=1)]


class FieldPicture(Manifest):
    """A dark frame or flat field beside the manifests, named by a hash of what it holds."""

    error: ClassVar = SessionError

    file: Annotated[str, Field(pattern=r"^(dark|flat)\.[0-9a-f]{16}\.exr$")]
    made: datetime = Field(default_factory=_now)
    source: str = ""

    @property
    def provenance(self) -> dict[str, str]:
        """What is told of it in stores that were made with it."""
        return {"file": self.file, "made": self.made.isoformat(), "source": self.source}


class GainsResult(CalibrationResult):
    """``gains.json``: how bright each light is per colour, and the camera's dark and flat field.

    Each colour's mean over the lights that were judged is 1: what all lights have in common is
    exposure and white balance. A light with a verdict but no gain keeps that of the dome.
    """

    file_name: ClassVar = "gains.json"

    gains: tuple[Triple | None, ...] | None = None
    verdicts: tuple[str, ...] = ()
    mean: Annotated[
        Triple, Field(description="camera RGB of the white target under the mean light")
    ] = (1.0, 1.0, 1.0)
    dark: FieldPicture | None = None
    flat: FieldPicture | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gains is not None and len(self.verdicts) != len(self.gains):
            raise ValueError("each light has a gain, or null, and a verdict")
        if any(gain is not None and min(gain) < 0 for gain in self.gains or ()):
            raise ValueError("a gain cannot be negative")
        return self


class ColourResult(CalibrationResult):
    """``colour.json``: ``rgb = colour_matrix @ (white_balance * raw)`` is linear Rec.709.

    The matrix's rows add up to 1, so that white stays white; green's balance is 1.
    """

    file_name: ClassVar = "colour.json"

    white_balance: Triple
    colour_matrix: Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
    delta_e: Annotated[tuple[float, ...], Field(description="CIEDE2000 of each patch")] = ()

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if not 0 < min(self.white_balance) <= max(self.white_balance) <= 100:
            raise ValueError("a white balance lies above 0, up to 100")
        return self


Result = TypeVar("Result", bound=CalibrationResult)


class StageCalibration:
    """The results in a session's folder ``calibration``; any may be missing.

    Args:
        folder: where they are; it need not exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @cached_property
    def lights(self) -> LightsResult | None:
        """Where the lights are."""
        return self._load(LightsResult)

    @cached_property
    def gains(self) -> GainsResult | None:
        """How bright they are; dark frame and flat field."""
        return self._load(GainsResult)

    @cached_property
    def colour(self) -> ColourResult | None:
        """White balance and colour matrix."""
        return self._load(ColourResult)

    def _load(self, kind: type[Result]) -> Result | None:
        path = self.folder / kind.file_name
        return kind.load(path) if path.is_file() else None

    @property
    def provenance(self) -> dict[str, dict[str, str]]:
        """Which calibration there is: name to digest, date and source; empty where there is none.

        ``dark`` and ``flat`` are told apart from ``gains``, which may be without.
        """
        told: dict[str, dict[str, str]] = {}
        if self.lights is not None:
            told["lights"] = self.lights.provenance
        if self.gains is not None:
            if self.gains.gains is not None:
                told["gains"] = self.gains.provenance
            for name, picture in (("dark", self.gains.dark), ("flat", self.gains.flat)):
                if picture is not None:
                    told[name] = picture.provenance
        if self.colour is not None:
            told["colour"] = self.colour.provenance
        return told

    def apply_to(self, dome: Dome) -> Dome:
        """Return the dome with the places and gains that were found.

        Raises:
            SessionError: the calibration is of a dome with another number of lights.
        """
        leds = [led.model_dump() for led in dome.leds]
        if self.lights is not None:
            self._check_count(LightsResult.file_name, len(self.lights.lights), dome)
            for led, nominal, found in zip(leds, dome.leds, self.lights.lights, strict=True):
                led["position_m"] = _place(nominal, found)
        if self.gains is not None and self.gains.gains is not None:
            self._check_count(GainsResult.file_name, len(self.gains.gains), dome)
            for led, gain in zip(leds, self.gains.gains, strict=True):
                if gain is not None:
                    led["gain"] = self._developed_gain(gain, self.gains.mean)
        return Dome.parse({"name": dome.name, "leds": leds}, str(self.folder))

    def _developed_gain(self, gain: Triple, mean: Triple) -> Triple:
        """Return a light's gain in the colours that fields have after the colour matrix.

        Where the white target is ``mean * gain`` in the camera's colours, it is ``colour(mean *
        gain)`` in fields, and relighting must divide by that against the mean light's.
        """
        if self.colour is None:
            return gain
        rows = [self.colour.colour_matrix[i : i + 3] for i in (0, 3, 6)]
        raw = [w * m for w, m in zip(self.colour.white_balance, mean, strict=True)]
        red, green, blue = (
            max(0.0, sum(m * r * g for m, r, g in zip(row, raw, gain, strict=True)))
            / sum(m * r for m, r in zip(row, raw, strict=True))
            for row in rows
        )
        return (red, green, blue)

    def _check_count(self, name: str, lights: int, dome: Dome) -> None:
        if lights != len(dome):
            raise SessionError(
                f"{self.folder / name}: is of {lights} lights, the dome has {len(dome)}; "
                f"calibrate anew, or remove the file."
            )


def _place(nominal: Led, found: CalibratedLight) -> Triple:
    if found.position_m is not None:
        return found.position_m
    if found.direction is None:
        return nominal.position_m
    length = sum(v * v for v in found.direction) ** 0.5
    radius_m = sum(v * v for v in nominal.position_m) ** 0.5
    x, y, z = (v / length * radius_m for v in found.direction)
    return (x, y, z)
