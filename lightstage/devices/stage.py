"""The stage file: what hardware a stage has, and what must be known of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from lightstage.errors import InputError
from lightstage.manifest import Manifest


class Stage(Manifest):
    """What ``stage.toml`` holds.

    ``leds`` and ``camera`` are addresses: ``serial:/dev/ttyACM0``, ``phantom:172.16.0.5``, or
    ``simulated:`` for both. ``radiance_w_m2_sr`` is the blue-light weighted radiance of one LED at
    full power, as measured; capture with a performer is refused without it.
    """

    error: ClassVar = InputError

    name: str = "unnamed stage"
    leds: str
    camera: str
    dome: Annotated[str | None, Field(description="light positions, relative to this file")] = None
    width: Annotated[int, Field(ge=16, le=16384)] = 2048
    height: Annotated[int, Field(ge=16, le=16384)] = 1440
    master: Literal["controller", "camera"] = "controller"
    radiance_w_m2_sr: Annotated[float | None, Field(gt=0)] = None

    @field_validator("leds")
    @classmethod
    def _known_leds(cls, value: str) -> str:
        if not value.startswith(("serial:", "simulated:")):
            raise ValueError(f"{value!r} is no LED controller: use serial:PORT or simulated:")
        return value

    @field_validator("camera")
    @classmethod
    def _known_camera(cls, value: str) -> str:
        if not value.startswith(("phantom:", "simulated:")):
            raise ValueError(f"{value!r} is no camera: use phantom:HOST or simulated:")
        return value

    @property
    def is_simulated(self) -> bool:
        """Whether no performer can be in front of it."""
        return self.leds.startswith("simulated:") and self.camera.startswith("simulated:")
