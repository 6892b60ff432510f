"""What tests of the model share: a simulated session, made once."""

from __future__ import annotations

import pytest

from lightstage import Session
from tests.relight_model.training_session import small_session


@pytest.fixture(scope="session")
def simulated_session(tmp_path_factory) -> Session:
    """Takes ``talk`` (30 sets) and ``held_out`` (15), 48x48, 24 lights, with ``truth_head.npz``.

    Tests read it and write nothing into it.
    """
    return small_session(tmp_path_factory.mktemp("training") / "session")
