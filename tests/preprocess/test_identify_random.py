"""Identify: random takes in which the camera did everything wrong that cameras do."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.errors import SequenceError
from lightstage.preprocess.identify import identify
from tests.preprocess.identify_takes import DOME, SEQUENCE, Performance, random_take, score

#: Takes of one performer, whose pictures are drawn once.
OF_ONE_PERFORMER = 25


def wrong_in_random_takes(seed: int, takes: int) -> tuple[list[str], list[str]]:
    errors: list[str] = []
    false_alarms: list[str] = []
    for performer in range(takes // OF_ONE_PERFORMER):
        rng = np.random.default_rng([seed, performer])
        performance = Performance(rng)
        for index in range(OF_ONE_PERFORMER):
            take = random_take(rng, performance)
            named = f"take {index} of performer {performer} ({take.motion}): "
            try:
                found = identify(take.pictures, take.time_ns, SEQUENCE, DOME.directions)
            except SequenceError as reason:
                errors.append(f"{named}refused: {reason}")
                continue
            scored = score(take, found, performance)
            errors += [named + text for text in scored.errors]
            false_alarms += [named + text for text in scored.false_alarms]
    return errors, false_alarms


@pytest.mark.parametrize("seed", range(4))
def test_with_time_stamps_no_frame_is_taken_for_another_and_no_good_one_suspected(seed):
    errors, false_alarms = wrong_in_random_takes(seed, 250)
    assert errors == []
    assert false_alarms == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 120))
def test_in_a_hundred_thousand_takes_no_frame_is_taken_for_another(seed):
    errors, false_alarms = wrong_in_random_takes(seed, 5000)
    assert errors == []
    assert false_alarms == []
