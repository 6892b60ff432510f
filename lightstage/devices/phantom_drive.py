"""The drive inside a Phantom camera: whole .cine files saved, listed and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firmware_protocols.phantom import Struct
from lightstage.devices.interfaces import Progress
from lightstage.devices.phantom_connection import PhantomConnection, as_number
from lightstage.devices.phantom_data import ATTEMPTS, DataBrokenError, PhantomData
from lightstage.errors import DeviceError

#: Files are read in pieces of this size.
PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class DriveFile:
    """A file on the camera's drive."""

    name: str
    size_bytes: int


class CameraDrive:
    """Saves, lists and reads .cine files on the camera's own drive."""

    def __init__(self, control: PhantomConnection, data: PhantomData) -> None:
        self._control = control
        self._data = data

    def files(self) -> list[DriveFile]:
        """Return what is on the drive (``cfls``).

        Each member of the reply that has a name and a size is taken for a file (inferred).

        Raises:
            DeviceError: the camera has no drive or does not answer.
        """
        listed: list[DriveFile] = []

        def collect(values: Struct) -> None:
            name = values.get("name")
            if isinstance(name, str) and "size" in values:
                size = as_number(self._control.address, f"size of {name}", values["size"])
                listed.append(DriveFile(name, int(size)))
            for member in values.values():
                if isinstance(member, dict):
                    collect(member)

        collect(self._control.ask("cfls"))
        return listed

    def save(self, cine: int, timeout_s: float, progress: Progress | None = None) -> None:
        """Save a stored recording to the drive (``cfsave``) and wait until it is there.

        Args:
            cine: the camera's number of the recording.
            timeout_s: how long that may take.
            progress: called with (percent, 100).

        Raises:
            DeviceError: refused, or not finished in time.
        """
        self._control.ask("cfsave", value={"cine": cine})
        percent = 0.0

        def saved() -> bool:
            nonlocal percent
            percent = self._control.get_number("auto.progress")
            if progress is not None:
                progress(int(percent), 100)
            return percent >= 100

        self._control.wait_until(
            saved,
            timeout_s,
            lambda: f"saving cine {cine} was at {percent:.0f} % after {timeout_s:g} s.",
        )

    def read(self, name: str, start_at: int = 0) -> Iterator[memoryview]:
        """Yield a file's bytes from ``start_at`` on, in pieces (``cfread``).

        A connection that breaks is made anew and gone on with.

        Raises:
            DeviceError: refused, or several attempts in a row brought nothing.
        """
        done, failures = start_at, 0
        while True:
            try:
                self._data.open()
                values = self._control.ask(
                    "cfread", value={"filename": name, "offset": done, "count": PIECE_BYTES}
                )
                count = int(as_number(self._control.address, "count", values.get("count")))
                if not 0 <= count <= PIECE_BYTES:
                    raise DeviceError(
                        f"{self._control.address}: {count} bytes came of {PIECE_BYTES} asked for."
                    )
                if not count:
                    return
                piece = self._data.receive(count)
            except DataBrokenError as reason:
                self._data.close()
                failures += 1
                if failures == ATTEMPTS:
                    raise DeviceError(
                        f"{self._control.address}: reading {name!r} stopped after {failures} "
                        f"attempts: {reason}. {done} bytes are there; go on with the rest."
                    ) from None
                continue
            failures = 0
            done += count
            yield piece
