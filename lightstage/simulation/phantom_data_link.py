"""The data connection of a simulated Phantom: what is to be sent, sent in a thread, with faults."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterable

from lightstage.simulation.phantom_faults import CameraFaults

Pieces = Iterable[bytes | memoryview]
_SEND_BUFFER = 4 << 20


class DataLink:
    """Sends pieces in order over a connected socket until it is closed.

    Args:
        connection: the socket; it belongs to the link from now on.
        faults: how slow it is, and where it fails if it does.
        faulty: whether this connection is one of those that fail.
    """

    def __init__(self, connection: socket.socket, faults: CameraFaults, faulty: bool) -> None:
        self._connection, self._faults = connection, faults
        self._fails_at = faults.data_fault_at_byte if faulty and faults.data_fault else None
        self._queue: queue.SimpleQueue[Pieces | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._sent = 0
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._thread = threading.Thread(target=self._run, name="phantom-data")
        self._thread.start()

    def send(self, pieces: Pieces) -> None:
        """Have pieces sent after those before; returns at once."""
        self._queue.put(pieces)

    def close(self) -> None:
        """Stop sending and close the connection."""
        self._closing.set()
        self._queue.put(None)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while (pieces := self._queue.get()) is not None:
                for piece in pieces:
                    if self._closing.is_set() or not self._send(memoryview(piece)):
                        return

    def _send(self, piece: memoryview) -> bool:
        """Send a piece; return False where the fault comes within it."""
        fails_at = self._fails_at
        if fails_at is not None and self._sent + len(piece) > fails_at:
            self._connection.sendall(piece[: fails_at - self._sent])
            if self._faults.data_fault == "stall":
                self._closing.wait()
            elif self._faults.data_fault == "break":
                # closing with no time to linger resets the connection
                reset = struct.pack("ii", 1, 0)
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                self._connection.close()
            else:
                self._connection.shutdown(socket.SHUT_RDWR)
            return False
        self._connection.sendall(piece)
        self._sent += len(piece)
        if self._faults.data_mb_per_s:
            time.sleep(len(piece) / (self._faults.data_mb_per_s * 1e6))
        return True
