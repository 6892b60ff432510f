"""Dask workers: processes of this machine, or of a cluster that runs already."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightstage.errors import InputError, LightstageError
from lightstage.preprocess.worker_process import KEPT_BYTES, starting_workers

#: How long to wait for workers.
WORKERS_WITHIN_S = 60.0
_SETTINGS = {
    # what Dask remembers of what it did: all that memory of a long job grows by otherwise
    "distributed.admin.log-length": 20,
    "distributed.admin.low-level-log-length": 20,
    "distributed.diagnostics.computations.max-history": 2,
    "distributed.worker.profile.enabled": False,
    # Work runs in a thread. glibc would give it an arena of its own, which hands large arrays back
    # to the kernel, to be mapped and cleared anew for each frame: with one arena, the program's
    # own, freed memory is kept (keep_freed_memory). Dask's default is to trim it at once.
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    },
}


class LocalWorkers:
    """Worker processes on this machine, started while the caller does something else; to be closed.

    Args:
        count: how many.
        dashboard: port of Dask's dashboard on 127.0.0.1, or ``None``.
        preload: a module that each worker imports while it starts.
    """

    def __init__(self, count: int, dashboard: int | None, preload: str) -> None:
        self.count = count
        self._dashboard = dashboard
        self._preload = preload
        self._cluster: Any = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._start, name="start workers")
        self._thread.start()

    def _start(self) -> None:
        try:
            import dask
            from distributed import LocalCluster

            # with Ctrl-C held back: it is this process's to heed, which then drains the workers
            with dask.config.set(_SETTINGS), starting_workers():
                self._cluster = LocalCluster(
                    n_workers=self.count,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=f"127.0.0.1:{self._dashboard or 0}",
                    silence_logs=logging.CRITICAL,
                    memory_limit=0,  # planned beforehand (costs.py)
                    preload=[self._preload],
                )
        except Exception as reason:  # told to whoever waits for the workers
            self._failure = reason

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield a client of the workers, as soon as they have started.

        Raises:
            LightstageError: they did not start.
        """
        from distributed import Client

        self._thread.join()
        if self._failure is not None:
            raise LightstageError(
                f"the worker processes did not start: {self._failure}; use --workers 1."
            ) from self._failure
        with Client(self._cluster) as client:
            yield client

    def close(self) -> None:
        """End the workers; more than once does no harm."""
        self._thread.join()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


@contextmanager
def running_cluster(address: str) -> Iterator[Any]:
    """Yield a client of a scheduler that runs already and has workers.

    Raises:
        InputError: no scheduler answers there, or it has no workers.
    """
    from distributed import Client

    failed = ""
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as reason:
        failed = str(reason)
    if failed:
        # a client that failed closes itself when it is collected: now, for it takes a lock that
        # another client may hold while it starts, and would wait for ever
        gc.collect()
        raise InputError(
            f"{address}: no Dask scheduler answers there ({failed}); start one with "
            f"'dask scheduler' or leave --scheduler out."
        )
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
        except TimeoutError:
            raise InputError(
                f"{address}: the scheduler has no workers after {WORKERS_WITHIN_S:g} s; start "
                f"some with 'dask worker {address}'."
            ) from None
        yield client


def worker_addresses(client: Any) -> list[str]:
    """Return the addresses of the workers there are now, in order."""
    return sorted(client.scheduler_info(n_workers=-1)["workers"])
