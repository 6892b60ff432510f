"""Whether a sequence may be shown to a performer: flicker, length of a burst, blue light.

The limits and their sources are listed in docs/safety.md. They are a first check by people who
build a toolkit: a qualified person must confirm them for each stage before anyone sits in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field, field_validator

from lightstage.dome import Dome
from lightstage.errors import SafetyError
from lightstage.light_order import EyeSpectrum, eye_spectrum
from lightstage.manifest import Manifest
from lightstage.sequence import CaptureSequence

#: Frequencies, in hertz, at which flicker is likeliest to provoke a seizure.
PHOTOSENSITIVE_BAND_HZ = (3.0, 30.0)
#: The most flashes a second that guidance on strobe lights allows.
MOST_FLASHES_HZ = 4.0
#: The longest burst of flicker, in seconds.
LONGEST_BURST_S = 30.0
#: IEEE 1789 limits neither above these frequencies, in hertz.
LOW_RISK_UP_TO_HZ = 1250.0
NO_EFFECT_UP_TO_HZ = 3000.0
#: Blue-light radiance dose that a retina may take in up to :data:`LONGEST_DOSE_S`, in J/m2/sr.
BLUE_LIGHT_DOSE_J_M2_SR = 1e6
#: The dose counts over so many seconds; a radiance that does not reach it then is not limited.
LONGEST_DOSE_S = 1e4
#: What a performer or operator types to say that the screening was done and the flicker is known.
ACKNOWLEDGEMENT_PHRASE = "no photosensitive epilepsy, flicker accepted"

_IEEE_1789 = "IEEE Std 1789-2015"
_STROBES = "UK strobe guidance (HSE, Epilepsy Society)"
_IEC_62471 = "IEC 62471; pulses by their dose, ICNIRP 2013"
_SPLIT_HZ = 90.0


class Severity(StrEnum):
    """What a finding asks for."""

    REFUSE = "refuse"
    CONSENT = "consent"
    NOTE = "note"


class RiskGroup(StrEnum):
    """Risk groups of IEC 62471 by blue-light radiance."""

    EXEMPT = "exempt"
    RG1 = "risk group 1"
    RG2 = "risk group 2"
    RG3 = "risk group 3"


class Finding(Manifest):
    """One thing that was checked: a value against a limit, in ``unit``, and where it is from."""

    error: ClassVar = SafetyError

    severity: Severity
    subject: str
    value: Annotated[float | None, Field(description="None = not known")]
    limit: Annotated[float | None, Field(description="None = no limit applies")]
    unit: str
    source: str
    text: Annotated[str, Field(description="the finding as one or two sentences")]


class SafetyReport(Manifest):
    """All findings about one burst of a sequence."""

    error: ClassVar = SafetyError

    duration_s: Annotated[float, Field(gt=0)]
    radiance_w_m2_sr: float | None
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that forbid the capture."""
        return tuple(f for f in self.findings if f.severity is Severity.REFUSE)

    @property
    def needs_consent(self) -> bool:
        """Whether the performer has to be asked and an acknowledgement typed."""
        return any(f.severity is Severity.CONSENT for f in self.findings)


class Acknowledgement(Manifest):
    """Who took note of the findings, the phrase as typed, and when."""

    error: ClassVar = SafetyError

    name: Annotated[str, Field(description="who typed it")]
    phrase: Annotated[str, Field(description="as typed; ACKNOWLEDGEMENT_PHRASE is asked for")]
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @field_validator("name")
    @classmethod
    def _somebody(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a name must be given")
        return value.strip()

    @property
    def holds(self) -> bool:
        """Whether the phrase is the one asked for; case and spacing do not matter."""
        return self.phrase.casefold().split() == ACKNOWLEDGEMENT_PHRASE.casefold().split()


def assess(
    sequence: CaptureSequence, dome: Dome, duration_s: float, radiance_w_m2_sr: float | None
) -> SafetyReport:
    """Return what speaks against showing ``duration_s`` of ``sequence`` to a performer.

    Args:
        sequence: the light's timing and order.
        dome: the sequence's lights.
        duration_s: length of the burst in seconds, above 0.
        radiance_w_m2_sr: blue-light weighted radiance L_B of the brightest single light while it
            is on, measured from the performer's head, above 0; ``None`` = not measured.

    Raises:
        SafetyError: the duration or radiance is not a number above 0.
        SequenceError: the dome has another number of lights.
    """
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise SafetyError(f"a burst's length must be above 0 s, not {duration_s:g}.")
    if radiance_w_m2_sr is not None and not (
        math.isfinite(radiance_w_m2_sr) and radiance_w_m2_sr > 0
    ):
        raise SafetyError(
            f"a measured radiance must be above 0 W/m2/sr, not {radiance_w_m2_sr:g}; leave it out "
            f"if it was not measured."
        )
    spectrum = eye_spectrum(sequence, dome, up_to_hz=NO_EFFECT_UP_TO_HZ)
    findings = [
        *photosensitivity_findings(spectrum),
        *flicker_findings(spectrum),
        burst_finding(duration_s),
        *blue_light_findings(radiance_w_m2_sr, duty_of_one_light(sequence), duration_s),
    ]
    order = list(Severity)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return SafetyReport(
        duration_s=duration_s, radiance_w_m2_sr=radiance_w_m2_sr, findings=tuple(findings)
    )


def require_acknowledged(report: SafetyReport, acknowledgement: Acknowledgement | None) -> None:
    """Return if the capture may go on; raise if it must not.

    Raises:
        SafetyError: a finding forbids the capture, or one needs consent and ``acknowledgement`` is
            missing or its phrase is not :data:`ACKNOWLEDGEMENT_PHRASE`.
    """
    if report.refusals:
        reasons = " ".join(finding.text for finding in report.refusals)
        raise SafetyError(f"this sequence may not be shown to a performer. {reasons}")
    if not report.needs_consent:
        return
    if acknowledgement is None:
        raise SafetyError(
            "the light at the performer's eyes flickers beyond the limits: ask the performer about "
            f"photosensitive epilepsy, then type a name and {ACKNOWLEDGEMENT_PHRASE!r}."
        )
    if not acknowledgement.holds:
        raise SafetyError(
            f"the acknowledgement must read {ACKNOWLEDGEMENT_PHRASE!r}, "
            f"{acknowledgement.name} typed {acknowledgement.phrase!r}."
        )


# Flicker


def low_risk_percent(frequency_hz: float) -> float:
    """Return IEEE 1789's low-risk limit of modulation in percent; infinite above 1250 Hz."""
    if frequency_hz > LOW_RISK_UP_TO_HZ:
        return math.inf
    return (0.025 if frequency_hz < _SPLIT_HZ else 0.08) * frequency_hz


def no_effect_percent(frequency_hz: float) -> float:
    """Return IEEE 1789's no-observable-effect limit in percent; infinite above 3 kHz."""
    if frequency_hz > NO_EFFECT_UP_TO_HZ:
        return math.inf
    return (0.01 if frequency_hz < _SPLIT_HZ else 0.0333) * frequency_hz


def photosensitivity_findings(spectrum: EyeSpectrum) -> list[Finding]:
    """Return what there is to say about flicker from 3 to 30 Hz."""
    frequency, percent = spectrum.within(*PHOTOSENSITIVE_BAND_HZ).peak()
    low, high = PHOTOSENSITIVE_BAND_HZ
    limit = low_risk_percent(frequency)
    beyond = percent > limit
    text = f"No flicker from {low:g} to {high:g} Hz."
    if percent > 0:
        text = (
            f"The light at the eyes flickers by {percent:.3g} % at {frequency:.3g} Hz, between "
            f"{low:g} and {high:g} Hz, where it may provoke a seizure; guidance on strobe lights "
            f"allows {MOST_FLASHES_HZ:g} flashes a second."
        )
    if beyond:
        text += " Screen the performer for photosensitivity."
    return [
        Finding(
            severity=Severity.CONSENT if beyond else Severity.NOTE,
            subject="photosensitive band",
            value=percent,
            limit=limit if percent > 0 else None,
            unit="%",
            source=f"{_STROBES}; limit: {_IEEE_1789}, low risk",
            text=text,
        )
    ]


def flicker_findings(spectrum: EyeSpectrum) -> list[Finding]:
    """Return the harmonics furthest beyond IEEE 1789's limits, below 90 Hz and from there on.

    Beyond low risk asks for consent. Each range has one finding, by its worst harmonic.
    """
    findings = []
    frequencies = [float(frequency) for frequency in spectrum.frequency_hz]
    percents = [float(percent) for percent in spectrum.worst_percent]
    low_risk = [low_risk_percent(frequency) for frequency in frequencies]
    no_effect = [no_effect_percent(frequency) for frequency in frequencies]
    for below in (True, False):
        chosen = [i for i, f in enumerate(frequencies) if (f < _SPLIT_HZ) is below]
        title = "flicker " + ("below 90 Hz" if below else "from 90 Hz")
        findings.append(_flicker_finding(title, chosen, frequencies, percents, low_risk, no_effect))
    return findings


def _flicker_finding(
    subject: str,
    chosen: Sequence[int],
    frequencies: Sequence[float],
    percents: Sequence[float],
    low_risk: Sequence[float],
    no_effect: Sequence[float],
) -> Finding:
    for limits, name, severity in (
        (low_risk, "low risk", Severity.CONSENT),
        (no_effect, "no observable effect", Severity.NOTE),
    ):
        worst = max(chosen, key=lambda i: percents[i] / limits[i], default=None)
        if worst is not None and percents[worst] > limits[worst]:
            return Finding(
                severity=severity,
                subject=subject,
                value=percents[worst],
                limit=limits[worst],
                unit="%",
                source=f"{_IEEE_1789}, {name}",
                text=f"{percents[worst]:.3g} % at {frequencies[worst]:.4g} Hz is beyond IEEE "
                f"1789's limit of {limits[worst]:.3g} % for {name}.",
            )
    return Finding(
        severity=Severity.NOTE,
        subject=subject,
        value=max((percents[i] for i in chosen), default=0.0),
        limit=None,
        unit="%",
        source=f"{_IEEE_1789}, no observable effect",
        text=f"All {subject} is within IEEE 1789's limits of no observable effect.",
    )


def burst_finding(duration_s: float) -> Finding:
    """Return whether a burst of ``duration_s`` seconds is short enough."""
    beyond = duration_s > LONGEST_BURST_S
    text = f"A burst of {duration_s:g} s is within the cap of {LONGEST_BURST_S:g} s."
    if beyond:
        text = (
            f"A burst of {duration_s:g} s is longer than the cap of {LONGEST_BURST_S:g} s; "
            f"record shorter takes with pauses between them."
        )
    return Finding(
        severity=Severity.REFUSE if beyond else Severity.NOTE,
        subject="burst length",
        value=duration_s,
        limit=LONGEST_BURST_S,
        unit="s",
        source=_STROBES,
        text=text,
    )


# Blue light


def risk_group(radiance_w_m2_sr: float) -> RiskGroup:
    """Return the risk group of a blue-light radiance in W/m2/sr (IEC 62471)."""
    for group, limit in ((RiskGroup.EXEMPT, 1e2), (RiskGroup.RG1, 1e4), (RiskGroup.RG2, 4e6)):
        if radiance_w_m2_sr <= limit:
            return group
    return RiskGroup.RG3


def longest_exposure_s(radiance_w_m2_sr: float) -> float:
    """Return how long an eye may look at a mean radiance in W/m2/sr, in seconds (IEC 62471).

    ``1e6 / radiance``; infinite where that is 10,000 s or more.
    """
    longest = BLUE_LIGHT_DOSE_J_M2_SR / radiance_w_m2_sr
    return longest if longest < LONGEST_DOSE_S else math.inf


def duty_of_one_light(sequence: CaptureSequence) -> float:
    """Return the share of time that each light is on: its OLAT pulse and all tracking pulses."""
    on_us = sequence.olat_pulse_us + sequence.groups * sequence.tracking_pulse_us
    return on_us / (sequence.cycle_frames * sequence.frame_period_us)


def blue_light_findings(
    radiance_w_m2_sr: float | None, duty: float, duration_s: float
) -> list[Finding]:
    """Return the blue-light hazard of looking at one light throughout a burst.

    The lights are so far apart that each has its own image on the retina, which takes the light's
    radiance times its duty. A light that sticks on by a fault has no duty to protect the eye: of
    that the risk group warns, and of group 3, which harms before one looks away, it forbids.
    """
    if radiance_w_m2_sr is None:
        return [
            Finding(
                severity=Severity.REFUSE,
                subject="blue light",
                value=None,
                limit=None,
                unit="W/m2/sr",
                source=_IEC_62471,
                text="The lights' blue-light radiance is not known; have it measured and enter it "
                "in the stage file.",
            )
        ]
    mean = radiance_w_m2_sr * duty
    longest = longest_exposure_s(mean)
    beyond = duration_s > longest
    takes = math.floor(longest / duration_s) if math.isfinite(longest) else None
    text = (
        f"One light gives a retina {mean:.4g} W/m2/sr on average ({radiance_w_m2_sr:g} for "
        f"{100 * duty:.3g} % of the time)"
    )
    if takes is None:
        text += ", which is not limited."
    elif beyond:
        text += f", which is too much for {duration_s:g} s: {longest:.3g} s is the limit."
    else:
        text += f": {longest:.4g} s are allowed within {LONGEST_DOSE_S:g} s, {takes} such takes."
    group = risk_group(radiance_w_m2_sr)
    if group is RiskGroup.EXEMPT:
        stuck = "A light that sticks on is exempt."
    else:
        stuck = (
            f"A light that sticks on is in {group} and may be looked at for "
            f"{longest_exposure_s(radiance_w_m2_sr):.3g} s."
        )
    return [
        Finding(
            severity=Severity.REFUSE if beyond else Severity.NOTE,
            subject="blue light",
            value=mean * duration_s,
            limit=None if takes is None else BLUE_LIGHT_DOSE_J_M2_SR,
            unit="J/m2/sr",
            source=_IEC_62471,
            text=text,
        ),
        Finding(
            severity=Severity.REFUSE if group is RiskGroup.RG3 else Severity.NOTE,
            subject="a light stuck on",
            value=radiance_w_m2_sr,
            limit=4e6,
            unit="W/m2/sr",
            source="IEC 62471, risk groups",
            text=stuck,
        ),
    ]
