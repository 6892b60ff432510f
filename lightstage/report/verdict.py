"""The verdict on a take: good, or what a person should look at, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lightstage.report.field_figures import FLAG_MEANINGS, FieldFigures
from lightstage.report.recording_figures import ExposureFigures, FrameFigures, TimingFigures
from lightstage.sequence import CaptureSequence, StepKind

#: More lost or unknown frames than this share are worth a look even where every set is whole.
_MOST_LOST = 0.01
#: More saturated pixels than this share cost the performer's skin, not only its highlights.
_MOST_SATURATED = 0.005
#: Fewer are not worth a word: highlights of wet eyes.
_FEW_SATURATED = 0.0001
#: OLAT frames are dark where their brightest pixels do not reach this share of white.
_LEAST_BRIGHT = 0.1
#: A frame later than the light's lead and lag is worth a look; where they are none, than this share
#: of a period.
_MOST_OFF_BEAT = 0.02
#: Alignment should lessen differences by this share where points move more than this.
_LEAST_GAIN, _MOVING_PX = 0.02, 1.0


class Reason(NamedTuple):
    """One finding: ``grave`` ones make a take worth a look, others are only told."""

    grave: bool
    text: str


class Verdict(NamedTuple):
    """Whether a take is good, and the reasons, grave ones first."""

    good: bool
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, reasons: Sequence[Reason]) -> Verdict:
        """Return the verdict that reasons add up to."""
        ordered = tuple(sorted(reasons, key=lambda reason: not reason.grave))
        return cls(not any(reason.grave for reason in reasons), ordered)


def capture_reasons(record: Mapping[str, Any]) -> Iterator[Reason]:
    """Yield what ``capture.json`` says went wrong."""
    faults = [item for item in _listed(record, "faults") if isinstance(item, Mapping)]
    for fault in faults:
        yield Reason(True, f"while it was recorded: {fault.get('text', fault.get('code', '?'))}")
    if record.get("good") is False and not faults:
        yield Reason(True, "capture.json says that it was not recorded well")
    for warning in _listed(record, "warnings"):
        yield Reason(False, f"while it was recorded: {warning}")


def _listed(record: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list of a record that anyone may have edited."""
    held = record.get(name)
    return held if isinstance(held, list) else []


def frame_reasons(frames: FrameFigures) -> Iterator[Reason]:
    """Yield what is wrong with a recording's frames and lights."""
    dropped = len(frames.dropped_steps)
    steps = frames.frames + dropped
    for count, what, share in (
        (dropped, "steps of the sequence that no frame shows", _MOST_LOST),
        (len(frames.unknown), "frames that cannot be told", _MOST_LOST),
        (len(frames.repeated), "frames that repeat another", _MOST_LOST),
        (len(frames.swapped), "frames out of order, put right", 1.0),
        (len(frames.extra), "frames that are not in the sequence, left out", _MOST_LOST),
    ):
        if count:
            yield Reason(count / steps > share, f"{count} {what} ({count / steps:.2%})")
    for lights, what in (
        (frames.dark_lights, "do not shine"),
        (frames.dim_lights, "are dim"),
        (frames.stuck_lights, "are always on"),
    ):
        if lights:
            yield Reason(True, f"lights that {what}: {', '.join(map(str, lights))}")


def timing_reasons(timing: TimingFigures, sequence: CaptureSequence) -> Iterator[Reason]:
    """Yield what is wrong with a recording's beat."""
    guard_us = min(sequence.lead_us, sequence.lag_us) or _MOST_OFF_BEAT * sequence.frame_period_us
    late = int((np.abs(np.nan_to_num(timing.deviation_us)) > guard_us).sum())
    if late:
        yield Reason(
            True,
            f"{late} frames came more than {guard_us:g} us off the beat: their lights may not "
            f"have been on for the whole exposure",
        )
    if timing.off_beat:
        yield Reason(False, f"{len(timing.off_beat)} frames have a senseless time stamp")


def exposure_reasons(exposure: ExposureFigures) -> Iterator[Reason]:
    """Yield what is wrong with the exposure of one kind of frame."""
    name = _spoken(exposure.kind)
    if exposure.saturated > _FEW_SATURATED:
        where = ""
        if exposure.most_saturated is not None:
            number, share = exposure.most_saturated
            where = f"; the most in frame {number}, {share:.2%}"
        yield Reason(
            exposure.saturated > _MOST_SATURATED,
            f"{exposure.saturated:.3%} of the {name} frames' pixels are saturated{where}",
        )
    if exposure.bright < _LEAST_BRIGHT:
        yield Reason(
            True,
            f"{name} frames are dark: their brightest pixels reach {exposure.bright:.0%} of white",
        )


def field_reasons(fields: FieldFigures) -> Iterator[Reason]:
    """Yield what is wrong with reflectance fields."""
    for flag, sets in fields.flagged.items():
        meaning, grave = FLAG_MEANINGS[flag]
        yield Reason(grave, f"{len(sets)} of {fields.sets} sets: {meaning}")
    if fields.skipped_s:
        yield Reason(True, f"no set could be made for {len(fields.skipped_s)} output times")
    if fields.residual is None or fields.residual_unaligned is None or fields.motion_px is None:
        return
    moving = np.nan_to_num(fields.motion_px) > _MOVING_PX
    if moving.any():
        before = float(np.nanmean(fields.residual_unaligned[moving]))
        after = float(np.nanmean(fields.residual[moving]))
        if after > (1.0 - _LEAST_GAIN) * before:
            yield Reason(
                True,
                f"alignment does not bring frames closer: {after:.4f} with it, {before:.4f} "
                f"without",
            )


def _spoken(kind: StepKind) -> str:
    return "OLAT" if kind is StepKind.OLAT else kind.value
