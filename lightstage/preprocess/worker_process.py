"""What every worker process is told before it works."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker

#: Parameters of glibc's ``mallopt``.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Freed memory up to this stays with the process, to be used again for the next frame.
KEPT_BYTES = 256 * 1024 * 1024
#: The most that older versions of glibc take as the size above which memory is mapped.
_MOST_UNMAPPED_BYTES = 32 * 1024 * 1024
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS")


def prepare_worker() -> None:
    """Make this process a good worker: one thread, memory kept, Ctrl-C and parent heeded.

    Ctrl-C is left to the parent, which drains its workers. When the parent is killed the worker
    ends too, instead of waiting for work for ever or writing beside the parent's successor.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    parent = parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, name="end with parent", daemon=True).start()


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory instead of giving it back; return whether it does so.

    Arrays of a frame's size are otherwise mapped anew for each frame, and the kernel clears every
    page of them again: reading a frame of 3 MB takes ten times as long. glibc only.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    unmapped = mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(
        _M_MMAP_THRESHOLD, _MOST_UNMAPPED_BYTES
    )
    return bool(kept and unmapped)


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start processes within this: one thread each, and Ctrl-C cannot hit them while they start.

    A Ctrl-C that comes meanwhile is raised in this process afterwards.
    """
    # otherwise it starts with the first process, and Python 3.11 then lets Ctrl-C through again
    resource_tracker.ensure_running()
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    blocking = hasattr(signal, "pthread_sigmask")
    # a new process inherits the mask, and keeps it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocking else set()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if blocking:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
