"""Safety: each limit at its boundary, and what may be captured at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome
from lightstage.errors import SafetyError, SequenceError
from lightstage.light_order import EyeSpectrum
from lightstage.safety import (
    ACKNOWLEDGEMENT_PHRASE,
    Acknowledgement,
    RiskGroup,
    SafetyReport,
    Severity,
    assess,
    blue_light_findings,
    burst_finding,
    duty_of_one_light,
    flicker_findings,
    longest_exposure_s,
    low_risk_percent,
    no_effect_percent,
    photosensitivity_findings,
    require_acknowledged,
    risk_group,
)

SEQUENCE, DOME = CaptureSequence(), Dome.evenly_spread(96)


def spectrum(**percent_at_hz):
    frequencies = [float(name.removeprefix("f").replace("_", ".")) for name in percent_at_hz]
    return EyeSpectrum(np.array(frequencies), np.array([list(percent_at_hz.values())]))


def acknowledged(phrase=ACKNOWLEDGEMENT_PHRASE):
    return Acknowledgement(name="A. Operator", phrase=phrase)


# Flicker


@pytest.mark.parametrize(
    ("frequency_hz", "low_risk", "no_effect"),
    [
        (8.0, 0.2, 0.08),
        (80.0, 2.0, 0.8),
        (90.0, 7.2, 2.997),  # from 90 Hz on the upper line holds
        (1000.0, 80.0, 33.3),
        (1250.0, 100.0, 41.625),
        (1250.1, math.inf, 41.62833),
        (3000.0, math.inf, 99.9),
        (3000.1, math.inf, math.inf),
    ],
)
def test_ieee_1789_limits(frequency_hz, low_risk, no_effect):
    assert low_risk_percent(frequency_hz) == pytest.approx(low_risk)
    assert no_effect_percent(frequency_hz) == pytest.approx(no_effect)


def test_flicker_at_the_low_risk_limit_is_noted_and_beyond_it_needs_consent():
    # 0.025 * 8 and 0.08 * 100, as the code has them in binary
    at, beyond = low_risk_percent(8.0), math.nextafter(low_risk_percent(8.0), 1.0)
    assert flicker_findings(spectrum(f8=at))[0].severity is Severity.NOTE
    assert flicker_findings(spectrum(f8=beyond))[0].severity is Severity.CONSENT
    at, beyond = low_risk_percent(100.0), math.nextafter(low_risk_percent(100.0), 10.0)
    assert flicker_findings(spectrum(f100=at))[1].severity is Severity.NOTE
    assert flicker_findings(spectrum(f100=beyond))[1].severity is Severity.CONSENT


def test_the_harmonic_furthest_beyond_its_limit_is_named():
    low, high = flicker_findings(spectrum(f10=1.0, f50=4.0, f200=20.0, f1000=90.0))
    assert low.text.startswith("1 % at 10 Hz")  # four times its limit, 50 Hz 3.2 times
    assert high.text.startswith("20 % at 200 Hz")  # 1.25 times, 1000 Hz 1.125 times
    assert low.limit == pytest.approx(0.25)


def test_flicker_within_all_limits_is_said_to_be():
    for finding in flicker_findings(spectrum(f10=0.05, f2000=60.0)):
        assert finding.severity is Severity.NOTE
        assert "within" in finding.text


def test_the_photosensitive_band_includes_its_ends_only():
    for inside in (spectrum(f3=5.0), spectrum(f30=5.0)):
        assert photosensitivity_findings(inside)[0].severity is Severity.CONSENT
    for outside in (spectrum(f2_9=5.0), spectrum(f30_1=5.0)):
        assert photosensitivity_findings(outside)[0].severity is Severity.NOTE


# Length of a burst


def test_a_burst_of_30_s_is_the_longest():
    assert burst_finding(30.0).severity is Severity.NOTE
    assert burst_finding(math.nextafter(30.0, 31.0)).severity is Severity.REFUSE


# Blue light


@pytest.mark.parametrize(
    ("radiance", "group"),
    [
        (100.0, RiskGroup.EXEMPT),
        (100.1, RiskGroup.RG1),
        (1e4, RiskGroup.RG1),
        (1.001e4, RiskGroup.RG2),
        (4e6, RiskGroup.RG2),
        (4.001e6, RiskGroup.RG3),
    ],
)
def test_risk_groups(radiance, group):
    assert risk_group(radiance) is group


def test_the_permitted_time_is_a_million_over_the_radiance():
    assert longest_exposure_s(1e4) == 100.0
    assert longest_exposure_s(4e6) == 0.25
    assert longest_exposure_s(101.0) == pytest.approx(9900.99, abs=0.01)
    assert longest_exposure_s(100.0) == math.inf


def test_a_lights_duty_is_its_share_of_the_cycle():
    # 740 us alone and 16 tracking pulses of 25 us in 112 ms
    assert duty_of_one_light(SEQUENCE) == pytest.approx((740 + 16 * 25) / 112_000)


def test_the_dose_of_the_pulses_is_what_is_limited():
    # 1e6 J/m2/sr are reached in exactly 25 s at a mean of 4e4
    within, _ = blue_light_findings(4e6, 0.01, 25.0)
    assert within.severity is Severity.NOTE
    assert within.value == within.limit == pytest.approx(1e6)
    beyond, _ = blue_light_findings(4e6, 0.01, 25.001)
    assert beyond.severity is Severity.REFUSE


def test_a_light_of_risk_group_3_is_refused_for_the_day_it_sticks():
    dose, stuck = blue_light_findings(4.1e6, 0.001, 10.0)
    assert dose.severity is Severity.NOTE
    assert stuck.severity is Severity.REFUSE
    assert blue_light_findings(4e6, 0.001, 10.0)[1].severity is Severity.NOTE


def test_radiance_not_measured_refuses():
    report = assess(SEQUENCE, DOME, 25.0, None)
    assert [finding.subject for finding in report.refusals] == ["blue light"]
    with pytest.raises(SafetyError, match="have it measured"):
        require_acknowledged(report, acknowledged())


# The whole


def test_the_default_sequence_needs_consent_and_is_not_refused():
    report = assess(SEQUENCE, DOME, 25.0, 1e4)
    assert report.needs_consent
    assert not report.refusals
    require_acknowledged(report, acknowledged())


def test_31_s_are_refused_whoever_acknowledges():
    report = assess(SEQUENCE, DOME, 31.0, 1e4)
    with pytest.raises(SafetyError, match="31 s is longer than the cap of 30 s"):
        require_acknowledged(report, acknowledged())


def test_consent_must_be_typed():
    report = assess(SEQUENCE, DOME, 25.0, 1e4)
    with pytest.raises(SafetyError, match="photosensitive epilepsy"):
        require_acknowledged(report, None)
    with pytest.raises(SafetyError, match="typed 'yes'"):
        require_acknowledged(report, acknowledged("yes"))
    require_acknowledged(report, acknowledged(f"  {ACKNOWLEDGEMENT_PHRASE.upper()} "))


def test_what_needs_no_consent_needs_no_acknowledgement():
    calm = SafetyReport(
        duration_s=1.0, radiance_w_m2_sr=1.0, findings=tuple(flicker_findings(spectrum(f10=0.01)))
    )
    require_acknowledged(calm, None)


def test_an_acknowledgement_has_a_name_and_a_time():
    assert acknowledged().time.tzinfo is not None
    with pytest.raises(SafetyError, match="name"):
        Acknowledgement(name="  ", phrase=ACKNOWLEDGEMENT_PHRASE)


def test_each_finding_names_its_source_and_survives_json():
    report = assess(SEQUENCE, DOME, 31.0, 1e7)
    assert all(finding.source and finding.text for finding in report.findings)
    assert SafetyReport.parse(report.model_dump(mode="json"), "test") == report
    assert report.findings[0].severity is Severity.REFUSE


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_number_above_0_is_refused(wrong):
    with pytest.raises(SafetyError, match="above 0"):
        assess(SEQUENCE, DOME, wrong, 1e4)
    with pytest.raises(SafetyError, match="above 0"):
        assess(SEQUENCE, DOME, 25.0, wrong)


def test_a_dome_of_another_size_is_refused():
    with pytest.raises(SequenceError, match="95"):
        assess(SEQUENCE, Dome.evenly_spread(95), 25.0, 1e4)
