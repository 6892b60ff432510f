"""The simulated LED controller behind a pseudo-terminal, as a real one behind a serial port."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Self

from firmware_protocols.led_controller.messages import Identity
from lightstage.simulation.led_faults import LedFaults
from lightstage.simulation.led_firmware import SIMULATED_IDENTITY, LedFirmware
from lightstage.simulation.light_log import LightLog

_TICK_S = 0.001
#: A loop that was held up for longer reads what came meanwhile as if it had come after this.
_HELD_UP_NS = 100_000_000


class LedFirmwareOnPty:
    """Runs an :class:`LedFirmware` behind a pseudo-terminal in a thread; a context manager.

    It outlives its clients: one that vanishes is answered by the watchdog, the next one may come.

    Args:
        log, identity, faults, on_sync_edge: as :class:`LedFirmware`; ``on_sync_edge`` is called in
            this object's thread, or in one that calls :meth:`strobe`.
        clock: the stage's clock, ns; the real one by default.

    Attributes:
        address: where :class:`lightstage.devices.serial_led.SerialLedController` finds it.
    """

    def __init__(
        self,
        log: LightLog,
        *,
        identity: Identity = SIMULATED_IDENTITY,
        faults: LedFaults | None = None,
        on_sync_edge: Callable[[int], None] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        # re-entrant: a camera may answer an edge with its strobe at once
        self._lock = threading.RLock()
        self._last_ns = clock()
        self.firmware = LedFirmware(
            log,
            start_ns=self._last_ns,
            identity=identity,
            faults=faults,
            on_sync_edge=on_sync_edge,
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.address = f"serial:{os.ttyname(self._slave)}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=f"LED firmware {self.address}")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unplug it: the lights go dark, clients see a hang-up; may be called again."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._master >= 0:
            self.firmware.log.cut(self._clock())
            os.close(self._slave)
            os.close(self._master)
            self._master = self._slave = -1

    @property
    def state(self) -> str:
        """The controller's state."""
        with self._lock:
            return self.firmware.state

    @property
    def history(self) -> list[tuple[int, str]]:
        """``(stage time in ns, state)`` of each change of state since power-on."""
        with self._lock:
            return list(self.firmware.history)

    @property
    def faults(self) -> LedFaults:
        """What is wrong with it; may be replaced while it runs."""
        return self.firmware.faults

    @faults.setter
    def faults(self, faults: LedFaults) -> None:
        with self._lock:
            self.firmware.faults = faults

    def strobe(self, time_ns: int) -> None:
        """Take an edge of the camera's strobe at stage time ``time_ns``."""
        with self._lock:
            self._send(self.firmware.strobe(time_ns))

    def _run(self) -> None:
        while not self._stopping.is_set():
            readable, _, _ = select.select([self._master], [], [], _TICK_S)
            with self._lock:
                now_ns = self._clock()
                if readable:
                    # bytes that waited while this thread was held up came in time
                    arrived_ns = min(now_ns, self._last_ns + _HELD_UP_NS)
                    self._send(self.firmware.receive(self._read(), arrived_ns))
                self._send(self.firmware.advance(now_ns))
                self._last_ns = now_ns

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except (BlockingIOError, InterruptedError):
            return b""

    def _send(self, data: bytes) -> None:
        if data and self._master >= 0:
            # where nobody reads and the line is full, what is sent is lost, as on a wire
            with contextlib.suppress(BlockingIOError, InterruptedError):
                os.write(self._master, data)
