"""What can go wrong while a simulated take is recorded: with frames, time stamps and lights."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lightstage.errors import SequenceError
from lightstage.manifest import Manifest

Rate = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0, le=1)]
Numbers = tuple[Annotated[int, Field(ge=0)], ...]
#: Random numbers of frames are drawn so many at a time.
_BLOCK = 4096


class TakeFaults(Manifest):
    """Faults of a simulated take; the defaults are none.

    Steps count as :meth:`CaptureSequence.step` does, 0 = the preamble's first; rates are shares of
    all steps. The same faults with the same ``seed`` spoil the same frames in the same way.

    Raises:
        SequenceError: a value is impossible, or a step is named for two faults of frames.
    """

    error: ClassVar = SequenceError

    seed: Annotated[int, Field(ge=0)] = 0

    drop_rate: Annotated[Rate, Field(description="steps that are not recorded")] = 0.0
    dropped: Annotated[Numbers, Field(description="steps that are not recorded")] = ()
    drop_bursts: Annotated[int, Field(ge=0, description="runs of frames that are lost")] = 0
    burst_frames: Annotated[int, Field(ge=1, description="steps that a burst loses")] = 20
    repeat_rate: Annotated[
        Rate, Field(description="frames that show again the picture of the frame before")
    ] = 0.0
    repeated: Annotated[
        Numbers, Field(description="steps whose frame shows the picture before it again")
    ] = ()
    swap_rate: Annotated[Rate, Field(description="pairs whose pictures are exchanged")] = 0.0
    swapped: Annotated[
        Numbers, Field(description="steps whose picture is exchanged with the next one's")
    ] = ()
    extra_rate: Annotated[
        Rate, Field(description="false frames, half a period after a step's own")
    ] = 0.0
    extra: Annotated[Numbers, Field(description="steps after which a false frame comes")] = ()

    garbage_stamp_rate: Annotated[Rate, Field(description="frames whose time means nothing")] = 0.0
    garbage_stamps: Annotated[
        Numbers, Field(description="frames of the recording, from 0, whose time means nothing")
    ] = ()
    no_stamps: Annotated[bool, Field(description="the file holds no time stamps")] = False

    tracking_gain_jitter: Annotated[
        Spread, Field(description="standard deviation of a tracking frame's brightness")
    ] = 0.0
    olat_gain_jitter: Annotated[
        Spread, Field(description="standard deviation of an OLAT frame's brightness")
    ] = 0.0
    supply_droop: Annotated[
        Rate, Field(description="share of their light that all lights at once lose")
    ] = 0.0
    supply_fade_per_s: Annotated[
        float, Field(ge=0, le=100, description="share that all lights at once lose each second")
    ] = 0.0
    light_gain_error: Annotated[
        Spread, Field(description="standard deviation of the lights' brightness, fixed in a take")
    ] = 0.0
    stuck_on: Annotated[Numbers, Field(description="lights that are always on")] = ()
    stuck_dark: Annotated[Numbers, Field(description="lights that never are")] = ()
    dim: dict[Annotated[int, Field(ge=0)], Rate] = Field(
        default_factory=dict, description="light -> share of its light that is left"
    )

    @model_validator(mode="after")
    def _one_fault_a_step(self) -> Self:
        claims: dict[int, str] = {}
        named = {"dropped": self.dropped, "repeated": self.repeated, "swapped": self.swapped}
        pairs = tuple(step + 1 for step in self.swapped)
        for what, steps in (*named.items(), ("swapped", pairs)):
            for step in steps:
                if step in claims:
                    raise ValueError(f"step {step} is named twice, as {claims[step]} and as {what}")
                claims[step] = what
        for step in (*self.extra, *(step - 1 for step in self.repeated)):
            if claims.get(step) == "dropped":
                raise ValueError(f"step {step} is dropped: nothing can come after it or repeat it")
        both = set(self.stuck_on) & set(self.stuck_dark)
        if both:
            raise ValueError(f"light {min(both)} cannot be stuck on and dark")
        return self

    def check_lights(self, lights: int) -> None:
        """Raise SequenceError where a fault names a light that a sequence of ``lights`` lacks."""
        for light in (*self.stuck_on, *self.stuck_dark, *self.dim):
            if light >= lights:
                raise SequenceError(
                    f"the faults name light {light}, the sequence has {lights}, 0 to {lights - 1}."
                )

    def light_gains(self, lights: int) -> NDArray[np.float32]:
        """Return each light's brightness over the whole take, ``(lights,)``, 1 = sound."""
        gains = np.ones(lights)
        if self.light_gain_error:
            rng = np.random.default_rng([self.seed, 1])
            gains += self.light_gain_error * rng.standard_normal(lights)
        for light, share in self.dim.items():
            gains[light] *= share
        gains[list(self.stuck_dark)] = 0.0
        return np.maximum(gains, 0.0).astype(np.float32)

    def tracking_gain(self, step: int, since_start_s: float) -> float:
        """Return a tracking frame's brightness, 1 = sound, ``since_start_s`` into the take."""
        fade = max(0.0, 1.0 - self.supply_fade_per_s * max(since_start_s, 0.0))
        return (1.0 - self.supply_droop) * fade * self._jitter(step, self.tracking_gain_jitter, 2)

    def olat_gain(self, step: int) -> float:
        """Return an OLAT frame's brightness, 1 = sound."""
        return self._jitter(step, self.olat_gain_jitter, 3)

    def _jitter(self, step: int, spread: float, purpose: int) -> float:
        if not spread:
            return 1.0
        block, place = divmod(step, _BLOCK)
        return max(0.0, 1.0 + spread * float(_normals(self.seed, purpose, block)[place]))


@lru_cache(maxsize=64)
def _normals(seed: int, purpose: int, block: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, purpose, block]).standard_normal(_BLOCK)
