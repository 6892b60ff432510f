"""The capture sequence: which lights are on in which frame, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, field_validator, model_validator

from lightstage.errors import SequenceError
from lightstage.manifest import Manifest

#: Value of a step's light index where no single light is on.
NO_LIGHT = -1
#: Value of a frame index where there is no such frame.
NO_FRAME = -1


#: All lights together may be on for the exposure's share ``this / lights``: a face under all of 96
#: lights is 40 times as bright as under one in front (simulated), and must stay below white.
_FULL_LIT_SHARE = 2400.0 / 700.0


class StepKind(StrEnum):
    """What a frame shows."""

    OLAT = "olat"
    TRACKING = "tracking"
    DARK = "dark"


class Step(NamedTuple):
    """What one frame shows: its kind and, for an OLAT frame, its light (else -1)."""

    kind: StepKind
    light: int = NO_LIGHT


class Window(NamedTuple):
    """The frames of one OLAT set: ``frames[light]`` is the index of that light's frame.

    ``time_s`` is the asked output time, ``centre`` the tracking frame nearest to it; ``tracking``
    are all tracking frames of the window in order, one more than there are groups. All are
    indices into the take, 0 = the first frame of the sequence.
    """

    time_s: float
    centre: int
    frames: NDArray[np.int64]
    tracking: NDArray[np.int64]


class CaptureSequence(Manifest):
    """A period of OLAT frames and one full-lit tracking frame, repeated until each light was on.

    With the defaults, as in the paper: six OLAT frames, then a tracking frame; 16 such groups make
    a cycle of 112 frames in which each of 96 lights is on once. A take is a preamble, then cycles
    without end. Where the lights do not fill the last group, dark frames do, so that the period
    is always the same and any ``groups`` consecutive groups hold each light exactly once.
    """

    error: ClassVar = SequenceError

    lights: Annotated[int, Field(ge=1, le=4096)] = 96
    olat_per_tracking: Annotated[int, Field(ge=1, le=4096)] = 6
    frame_rate_hz: Annotated[float, Field(gt=0, le=1e6)] = 1000.0
    exposure_us: Annotated[float, Field(gt=0)] = 700.0
    lead_us: Annotated[float, Field(ge=0, description="LED on before the exposure")] = 20.0
    lag_us: Annotated[float, Field(ge=0, description="LED on after the exposure")] = 20.0
    settle_us: Annotated[float, Field(ge=0, description="dark time between two pulses")] = 50.0
    tracking_pulse_us: Annotated[
        float, Field(gt=0, description="how long all lights are on within a tracking frame")
    ] = 25.0
    light_order: Annotated[
        tuple[int, ...], Field(validation_alias=AliasChoices("light_order", "order"))
    ] = ()
    preamble: Annotated[
        tuple[Literal["dark", "tracking"], ...],
        Field(description="frames before the first group: dark ones, then a marked pattern"),
    ] = ("dark",) * 4 + ("tracking", "dark", "tracking", "tracking", "dark", "tracking")

    @model_validator(mode="before")
    @classmethod
    def _fit_defaults_to_the_lights(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        lights = data.get("lights", cls.model_fields["lights"].default)
        if not isinstance(lights, int) or not 1 <= lights <= 4096:
            return data
        fitted = dict(data)
        if not data.get("light_order") and not data.get("order"):
            fitted.pop("order", None)
            fitted["light_order"] = golden_order(lights)
        exposure = data.get("exposure_us", cls.model_fields["exposure_us"].default)
        if "tracking_pulse_us" not in data and isinstance(exposure, int | float):
            fitted["tracking_pulse_us"] = min(exposure, _FULL_LIT_SHARE * exposure / lights)
        return fitted

    @field_validator("light_order")
    @classmethod
    def _no_negative_light(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and min(value) < 0:
            raise ValueError("lights are numbered from 0")
        return value

    @model_validator(mode="after")
    def _feasible(self) -> Self:
        if sorted(self.light_order) != list(range(self.lights)):
            raise ValueError(
                f"light_order must hold each of the lights 0 to {self.lights - 1} exactly once"
            )
        needed = self.lead_us + self.exposure_us + self.lag_us + self.settle_us
        if needed > self.frame_period_us + 1e-9:
            raise ValueError(
                f"lead {self.lead_us:g} + exposure {self.exposure_us:g} + lag {self.lag_us:g} + "
                f"settle {self.settle_us:g} = {needed:g} us do not fit the frame period of "
                f"{self.frame_period_us:g} us at {self.frame_rate_hz:g} fps; shorten one of them "
                f"or lower the frame rate"
            )
        if self.tracking_pulse_us > self.exposure_us:
            raise ValueError(
                f"tracking_pulse_us {self.tracking_pulse_us:g} is longer than exposure_us "
                f"{self.exposure_us:g}"
            )
        return self

    # Timing

    @property
    def frame_period_us(self) -> float:
        """Time from one exposure's start to the next, in microseconds."""
        return 1e6 / self.frame_rate_hz

    @property
    def olat_pulse_us(self) -> float:
        """How long a single LED is on: from the lead before the exposure to the lag after it."""
        return self.lead_us + self.exposure_us + self.lag_us

    @property
    def spare_us(self) -> float:
        """What is left of the frame period after lead, exposure, lag and settle."""
        return self.frame_period_us - self.olat_pulse_us - self.settle_us

    # Structure

    @property
    def period(self) -> int:
        """Frames in a group: the OLAT frames and the tracking frame that ends it."""
        return self.olat_per_tracking + 1

    @property
    def groups(self) -> int:
        """Groups in a cycle: so many that each light is on once."""
        return math.ceil(self.lights / self.olat_per_tracking)

    @property
    def cycle_frames(self) -> int:
        """Frames in a cycle."""
        return self.groups * self.period

    @property
    def tracking_rate_hz(self) -> float:
        """Tracking frames, and so possible OLAT sets, per second."""
        return self.frame_rate_hz / self.period

    @property
    def frames_per_window(self) -> int:
        """Frames from a window's first bounding tracking frame to its last, both included."""
        return self.cycle_frames + 1

    @cached_property
    def cycle(self) -> tuple[Step, ...]:
        """The steps of one cycle."""
        steps: list[Step] = []
        for group in range(self.groups):
            first = group * self.olat_per_tracking
            lights = self.light_order[first : first + self.olat_per_tracking]
            steps += [Step(StepKind.OLAT, light) for light in lights]
            steps += [Step(StepKind.DARK)] * (self.olat_per_tracking - len(lights))
            steps.append(Step(StepKind.TRACKING))
        return tuple(steps)

    def step(self, index: int) -> Step:
        """Return what frame ``index`` shows (0 = the preamble's first frame)."""
        if index < 0:
            raise SequenceError(f"a sequence has no frame {index}; it starts at 0.")
        if index < len(self.preamble):
            return Step(StepKind(self.preamble[index]))
        return self.cycle[(index - len(self.preamble)) % self.cycle_frames]

    def steps(self, frame_count: int) -> Iterator[Step]:
        """Yield what each of the first ``frame_count`` frames shows."""
        return (self.step(index) for index in range(frame_count))

    def light_indices(self, frame_count: int) -> NDArray[np.int32]:
        """Return each frame's light, ``(frame_count,)``; -1 where no single light is on."""
        return np.array([step.light for step in self.steps(frame_count)], dtype=np.int32)

    # Windows

    def frame_count_for(self, sets: int, rate_hz: float | None = None) -> int:
        """Return how many frames a take needs for ``sets`` OLAT sets at ``rate_hz``."""
        if sets < 1:
            raise SequenceError(f"at least one set must be asked for, not {sets}.")
        first = len(self.preamble) + (self._groups_before + 1) * self.period - 1
        intervals = math.ceil((sets - 1) * self._frames_per_set(rate_hz) / self.period - 1e-9)
        return first + (intervals + self._groups_after) * self.period + 1

    def possible_centres(self, frame_count: int, first_frame: int = 0) -> NDArray[np.int64]:
        """Return the indices of all tracking frames that have a whole window around them.

        Args:
            frame_count: index of the take's last frame, plus one.
            first_frame: index of the take's first frame, above 0 where it starts in mid-cycle.
        """
        before, after = self._groups_before * self.period, self._groups_after * self.period
        # the first group's window may be opened by a tracking frame that ends the preamble
        opened = len(self.preamble) > 0 and self.preamble[-1] == "tracking"
        opening = len(self.preamble) - 1 + (0 if opened else self.period)
        skipped = max(0, math.ceil((first_frame - opening) / self.period))
        first = opening + skipped * self.period + before
        return np.arange(first, frame_count - after, self.period, dtype=np.int64)

    def window(self, centre: int, time_s: float | None = None) -> Window:
        """Return the frames of the set centred on the tracking frame ``centre``.

        A window is ``groups`` consecutive groups, half of them on each side (of an odd number the
        greater half comes before), and the tracking frames that bound them.

        Raises:
            SequenceError: ``centre`` is no tracking frame of the cycles, or its window begins
                before the first group.
        """
        start = centre - self._groups_before * self.period
        offset = start + 1 - len(self.preamble)
        if offset < 0 or offset % self.period:
            raise SequenceError(f"frame {centre} is not the centre of a whole window.")
        frames = np.full(self.lights, NO_FRAME, dtype=np.int64)
        for index in range(start + 1, start + self.cycle_frames):
            step = self.step(index)
            if step.kind is StepKind.OLAT:
                frames[step.light] = index
        tracking = start + np.arange(self.groups + 1, dtype=np.int64) * self.period
        time = centre / self.frame_rate_hz if time_s is None else time_s
        return Window(time, centre, frames, tracking)

    def windows(
        self, rate_hz: float | None = None, frame_count: int | None = None, first_frame: int = 0
    ) -> list[Window]:
        """Return one window for each output time at ``rate_hz``.

        Output times start at the first possible centre and are ``1 / rate_hz`` apart; each is
        served by the nearest tracking frame, at most half a tracking interval away.

        Args:
            rate_hz: OLAT sets per second; ``None`` = one for each tracking frame.
            frame_count: frames in the take, preamble included; ``None`` = a one-second take.
            first_frame: index of the take's first frame, above 0 where it starts in mid-cycle.

        Raises:
            SequenceError: the rate is not above 0 or is above ``tracking_rate_hz``.
        """
        if frame_count is None:
            frame_count = len(self.preamble) + max(
                math.ceil(self.frame_rate_hz), self.frames_per_window + self.period
            )
        centres = self.possible_centres(frame_count, first_frame)
        spacing = self._frames_per_set(rate_hz)
        if len(centres) == 0:
            return []
        count = math.floor((centres[-1] - centres[0]) / spacing + 1e-9) + 1
        wanted = centres[0] + np.arange(count) * spacing
        nearest = np.rint((wanted - centres[0]) / self.period).astype(int)
        times = wanted / self.frame_rate_hz
        return [
            self.window(int(centres[index]), float(time))
            for index, time in zip(nearest, times, strict=True)
        ]

    @property
    def _groups_before(self) -> int:
        return (self.groups + 1) // 2

    @property
    def _groups_after(self) -> int:
        return self.groups // 2

    def _frames_per_set(self, rate_hz: float | None) -> float:
        if rate_hz is None:
            return float(self.period)
        if not 0 < rate_hz <= self.tracking_rate_hz * (1 + 1e-9):
            raise SequenceError(
                f"{rate_hz:g} sets/s cannot be made: the rate must be above 0 and at most "
                f"{self.tracking_rate_hz:.4g}, one set for each tracking frame."
            )
        return self.frame_rate_hz / rate_hz


def golden_order(lights: int) -> tuple[int, ...]:
    """Return a light order in which neighbours in time are far apart on an evenly spread dome.

    Light numbers run from the top to the bottom; a stride nearest to the golden section of their
    count, and coprime to it, visits each once.
    """
    golden = lights * (math.sqrt(5.0) - 1.0) / 2.0
    strides = (s for s in range(1, lights + 1) if math.gcd(s, lights) == 1)
    stride = min(strides, key=lambda s: abs(s - golden), default=1)
    return tuple(index * stride % lights for index in range(lights))
