"""What an LED controller is told to do: patterns, and steps that show them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lightstage.errors import SequenceError
from lightstage.manifest import Manifest
from lightstage.sequence import CaptureSequence, Step, StepKind


class LedStep(Manifest):
    """One trigger's worth of light: a pattern, when its pulse begins, and how long it lasts.

    Times are nanoseconds after the step's exposure would begin; a pulse may begin before it, so
    ``start_ns`` counts from the step's own beginning, which lies ``lead_us`` before the exposure.
    """

    error: ClassVar = SequenceError

    pattern: Annotated[int, Field(ge=0)]
    start_ns: Annotated[int, Field(ge=0)]
    width_ns: Annotated[int, Field(ge=0)]


class LedProgram(Manifest):
    """Tables for the controller: which channels each pattern lights, and the steps in order.

    After the last step the controller goes on with step ``loop_from``, until ``step_limit`` steps
    are done (0 = until it is stopped). ``master`` says who beats time: the ``controller``, every
    ``period_ns``, telling the camera by its F-Sync line ``exposure_delay_ns`` after the step's
    beginning; or the ``camera``, whose strobe steps the controller.
    """

    error: ClassVar = SequenceError

    channels: Annotated[int, Field(ge=1, le=4096)]
    patterns: tuple[tuple[int, ...], ...]
    steps: Annotated[tuple[LedStep, ...], Field(min_length=1)]
    loop_from: Annotated[int, Field(ge=0)] = 0
    step_limit: Annotated[int, Field(ge=0)] = 0
    master: Literal["controller", "camera"] = "controller"
    period_ns: Annotated[int, Field(gt=0)]
    exposure_delay_ns: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for number, pattern in enumerate(self.patterns):
            if any(not 0 <= channel < self.channels for channel in pattern):
                raise ValueError(f"pattern {number} lights a channel beyond {self.channels - 1}")
        if any(step.pattern >= len(self.patterns) for step in self.steps):
            raise ValueError("a step shows a pattern that is not in the table")
        if any(step.start_ns + step.width_ns > self.period_ns for step in self.steps):
            raise ValueError("a step's pulse lasts beyond the period")
        if self.loop_from >= len(self.steps):
            raise ValueError("loop_from is beyond the last step")
        return self

    @classmethod
    def of_sequence(
        cls,
        sequence: CaptureSequence,
        *,
        frame_count: int = 0,
        master: Literal["controller", "camera"] = "controller",
    ) -> Self:
        """Return the program of a capture sequence: the preamble once, then its cycle for ever.

        Pattern 0 is dark, pattern ``1 + light`` that light alone, the last one all lights. OLAT
        pulses last from ``lead_us`` before the exposure to ``lag_us`` after it; the tracking pulse
        lies in the middle of the exposure.
        """
        lead, exposure = round(sequence.lead_us * 1000), round(sequence.exposure_us * 1000)
        olat_ns = round(sequence.olat_pulse_us * 1000)
        tracking_ns = round(sequence.tracking_pulse_us * 1000)
        tracking_start = lead + (exposure - tracking_ns) // 2
        everything = sequence.lights + 1

        def timed(step: Step) -> LedStep:
            if step.kind is StepKind.OLAT:
                return LedStep(pattern=1 + step.light, start_ns=0, width_ns=olat_ns)
            if step.kind is StepKind.TRACKING:
                return LedStep(pattern=everything, start_ns=tracking_start, width_ns=tracking_ns)
            return LedStep(pattern=0, start_ns=0, width_ns=0)

        count = len(sequence.preamble) + sequence.cycle_frames
        return cls(
            channels=sequence.lights,
            patterns=(
                (),
                *((light,) for light in range(sequence.lights)),
                tuple(range(sequence.lights)),
            ),
            steps=tuple(timed(step) for step in sequence.steps(count)),
            loop_from=len(sequence.preamble),
            step_limit=frame_count,
            master=master,
            period_ns=round(sequence.frame_period_us * 1000),
            exposure_delay_ns=lead,
        )
