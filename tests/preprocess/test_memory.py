"""Memory does not grow with the length of a take, and stays within what the plan tells."""

from __future__ import annotations

import pytest

from benchmarks.preprocess_memory import peaks_of, write_take
from lightstage.preprocess.jobs import plan_job
from lightstage.session import Session


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_the_same_for_a_take_five_times_as_long(tmp_path):
    found = {}
    for frames in (200, 1000):
        folder = tmp_path / str(frames)
        folder.mkdir()
        session = write_take(folder, frames, 256, 192, 96)
        found[frames] = peaks_of(session, 2, 400)
        costs = plan_job(Session.open(session).only_take()).costs
        assert found[frames].worker <= costs.worker_bytes
        assert found[frames].client <= costs.client_bytes
    assert found[1000].worker < 1.1 * found[200].worker
    assert found[1000].client < 1.1 * found[200].client
    assert found[1000].total < 1.1 * found[200].total
