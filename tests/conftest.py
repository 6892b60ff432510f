"""What all tests share: where real data lies, and that no test leaves threads behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

#: Real data that is not part of the project: beside a checkout, where there is any.
SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

# these machines are noisy: an example's time says nothing
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("project")


# a runner that was started in the background ignores Ctrl-C, and so would the commands under test
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data (shared/data beside the checkout) is absent")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Fail a test that leaves a thread of ours running."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t not in before and not t.daemon]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"threads left behind: {[thread.name for thread in left]}")
