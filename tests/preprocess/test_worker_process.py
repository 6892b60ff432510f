"""Workers do not outlive the process that started them, and their memory is not mapped anew."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lightstage.preprocess.worker_process import keep_freed_memory, starting_workers

_PARENT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from lightstage.preprocess.worker_process import prepare_worker
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare_worker) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 10 s")


def test_frames_do_not_map_memory_anew():
    """Counted by the kernel: pages that had to be provided for 50 frames of 3 MB."""
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    np.ones(3_000_000, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(3_000_000, np.uint8)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages < 50 * 3_000_000 / 4096 / 20


def test_the_environment_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with starting_workers():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
