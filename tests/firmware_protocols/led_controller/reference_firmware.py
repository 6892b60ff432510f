"""Builds the C reference firmware, and speaks to it without a line: on an injected clock."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from firmware_protocols.led_controller import FIRMWARE_SOURCES


@functools.cache
def built(target: str) -> Path:
    """Return the path of a target of the firmware's Makefile, built once for each process."""
    if shutil.which("gcc") is None or shutil.which("make") is None:
        pytest.skip("gcc and make, which build the reference firmware, are absent")
    folder = Path(tempfile.gettempdir()) / f"led_firmware_{_sources_hash():08x}"
    if not (folder / target).is_file():
        with tempfile.TemporaryDirectory() as build:
            command = ["make", "-s", "-C", str(FIRMWARE_SOURCES), f"BUILD={build}"]
            done = subprocess.run(
                [*command, f"{build}/{target}"], capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
            folder.mkdir(exist_ok=True)
            # renamed into place: test workers build at the same time
            partial = Path(tempfile.mkdtemp(dir=folder)) / target
            shutil.copy2(Path(build) / target, partial)
            partial.replace(folder / target)
            partial.parent.rmdir()
    return folder / target


def _sources_hash() -> int:
    import zlib

    files = sorted(path for path in FIRMWARE_SOURCES.iterdir() if path.is_file())
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


class ScriptedFirmware:
    """The C firmware in its script mode: as ``LedStateMachine``, but another program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [built("led_host_sanitized"), "--script"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.close()
        code = process.wait(timeout=10)
        process.stdout.close()
        assert code == 0 or kind is not None, f"the firmware ended with {code}"

    def receive(self, data: bytes, now_ns: int) -> bytes:
        return self._do(f"R {now_ns} {data.hex()}")

    def advance(self, now_ns: int) -> bytes:
        return self._do(f"A {now_ns}")

    def strobe(self, now_ns: int) -> bytes:
        return self._do(f"S {now_ns}")

    def set_input(self, letter: str, value: int) -> None:
        """Set the interlock (I, 1 = open), temperature (T, 0.01 C) or supply (V, mV)."""
        assert self._do(f"{letter} {value}") == b""

    def _do(self, line: str) -> bytes:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
        assert answer, "the firmware died"
        return b"" if answer == "-" else bytes.fromhex(answer)
