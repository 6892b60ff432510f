"""The contract of LED controllers, held by the Python simulator and the C firmware on a pty."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightstage.simulation.led_faults import LedFaults
from lightstage.simulation.led_pty import LedFirmwareOnPty
from lightstage.simulation.light_log import LightLog
from tests.devices.led_contract import CHANNELS, LedControllerContract, LedRig
from tests.firmware_protocols.led_controller.reference_firmware import built


class SimulatorRig:
    """The Python simulator."""

    def __init__(self) -> None:
        self._log = LightLog(CHANNELS)
        self._edges: list[int] = []
        self.firmware = LedFirmwareOnPty(self._log, on_sync_edge=self._edges.append)
        self.address = self.firmware.address

    def log(self) -> LightLog:
        return self._log

    def edges(self) -> list[int]:
        return list(self._edges)

    def strobe(self) -> None:
        self.firmware.strobe(time.monotonic_ns())

    def open_interlock(self, is_open: bool) -> None:
        self.firmware.faults = LedFaults(interlock_open=is_open)

    def unplug(self) -> None:
        self.firmware.close()


class ReferenceFirmwareRig:
    """The C firmware, under ASan and UBSan."""

    def __init__(self, folder: Path) -> None:
        self._journal = folder / "journal"
        self._process = subprocess.Popen(
            [built("led_host_sanitized"), "--log", self._journal],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address.startswith("serial:")

    def log(self) -> LightLog:
        log = LightLog(CHANNELS)
        for kind, *words in self._lines():
            lit = tuple(int(c) for c in words[-1].split(",")) if kind in "PM" else ()
            if kind == "P":
                log.add(int(words[0]), int(words[1]), lit)
            elif kind == "M":
                log.add(int(words[0]), 2**62, lit)
            elif kind == "D":
                log.cut(int(words[0]))
        return log

    def edges(self) -> list[int]:
        return [int(words[0]) for kind, *words in self._lines() if kind == "E"]

    def _lines(self) -> list[list[str]]:
        time.sleep(0.005)  # it writes its journal each millisecond
        whole = self._journal.read_text().rpartition("\n")[0]
        # a dark pattern's pulse lights no channel
        return [words for words in (line.split() for line in whole.split("\n")) if _lights(words)]

    def strobe(self) -> None:
        self._tell("strobe")

    def open_interlock(self, is_open: bool) -> None:
        self._tell(f"interlock {is_open:d}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def unplug(self) -> None:
        if self._process.returncode is None:
            _, errors = self._process.communicate(timeout=10)
            assert self._process.returncode == 0 and not errors, errors


def _lights(words: list[str]) -> bool:
    return len(words) == {"P": 4, "M": 3, "D": 2, "E": 2}.get(words[0] if words else "", -1)


class TestSimulator(LedControllerContract):
    @pytest.fixture
    def rig(self) -> Iterator[LedRig]:
        rig = SimulatorRig()
        with rig.firmware:
            yield rig


class TestReferenceFirmware(LedControllerContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[LedRig]:
        rig = ReferenceFirmwareRig(tmp_path)
        yield rig
        rig.unplug()
