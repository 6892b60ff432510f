"""The data connection of a Phantom camera: frames, stamps and files, resumed where it broke."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Literal

from firmware_protocols.phantom import Struct
from lightstage.devices.interfaces import Progress
from lightstage.devices.phantom_connection import PhantomConnection, RefusedError, UnreachableError
from lightstage.errors import DeviceError

DataMode = Literal["auto", "startdata", "attach"]

#: One request stays below this; the protocol's limit is 2 GB.
REQUEST_BYTES = 256 << 20
#: How often in a row a request may bring nothing new before the download is given up.
ATTEMPTS = 4
_RECEIVE_BUFFER = 4 << 20


class DataBrokenError(Exception):
    """The data connection could not be made, broke or stalled; the text says which."""


class PhantomData:
    """Receives what a camera sends over its one data connection.

    With ``startdata`` the camera connects to this computer; where a firewall forbids that,
    ``attach`` connects to the camera. "auto" tries the one, then the other.
    """

    def __init__(self, control: PhantomConnection, mode: DataMode = "auto") -> None:
        self._control = control
        self._mode = mode
        self._socket: socket.socket | None = None

    def items(
        self,
        ask: Callable[[int, int], tuple[Struct, int]],
        first: int,
        count: int,
        *,
        per_block: int,
        per_request: int,
        what: str,
        progress: Progress | None = None,
    ) -> Iterator[memoryview]:
        """Yield the items ``first … first + count - 1`` in blocks, each in memory of its own.

        Args:
            ask: sends the request for (first, count) and returns the camera's values and the bytes
                of one item; called again for what is missing after the connection broke.
            first: number of the first item.
            count: how many.
            per_block: items to a block; the last may have fewer.
            per_request: items to a request.
            what: the items' name, for errors.
            progress: called with (items done, items in all) before each block is yielded.

        Raises:
            DeviceError: four attempts in a row brought nothing new, of the data or of the control
                connection; the text names what is there and what is missing.
        """
        done = failures = 0
        while done < count:
            before = done
            try:
                asked = min(per_request, count - done)
                self.open()
                try:
                    _, item_bytes = ask(first + done, asked)
                except RefusedError as refused:
                    if "data" not in refused.reason:
                        raise
                    # the camera has lost the connection that this computer still has
                    raise DataBrokenError(refused.reason) from None
                end = done + asked
                while done < end:
                    block = min(per_block, end - done)
                    received = self.receive(block * item_bytes)
                    done += block
                    if progress is not None:
                        progress(done, count)
                    yield received
                failures = 0
            except (DataBrokenError, UnreachableError) as reason:
                self.close()
                failures = 1 if done > before else failures + 1
                if failures >= ATTEMPTS:
                    raise DeviceError(
                        _missing(self._control, what, first, done, count, reason)
                    ) from None
                time.sleep(failures * self._control.timeout_s / 10)
            except BaseException:
                # the receiver stopped, or the camera refused: bytes may be on their way
                self.close()
                raise

    def open(self) -> None:
        """Have a data connection.

        Raises:
            DataBrokenError: the camera cannot make it.
            DeviceError: the control connection failed.
        """
        if self._socket is not None:
            return
        failures: list[str] = []
        for mode, connect in (("startdata", self._be_called), ("attach", self._call)):
            if self._mode not in ("auto", mode):
                continue
            try:
                connection = connect()
            except (RefusedError, OSError) as reason:
                failures.append(f"{mode}: {reason}")
                continue
            connection.settimeout(self._control.timeout_s)
            self._socket = connection
            return
        raise DataBrokenError(f"no data connection could be made ({'; '.join(failures)})")

    def receive(self, size: int) -> memoryview:
        """Return ``size`` bytes.

        Raises:
            DataBrokenError: the connection broke, or nothing came for the timeout.
        """
        assert self._socket is not None
        data = memoryview(bytearray(size))
        got = 0
        while got < size:
            try:
                part = self._socket.recv_into(data[got:])
            except TimeoutError:
                timeout = self._control.timeout_s
                raise DataBrokenError(
                    f"nothing came for {timeout:g} s after {got} of {size} bytes"
                ) from None
            except OSError as reason:
                raise DataBrokenError(f"{reason} after {got} of {size} bytes") from None
            if not part:
                raise DataBrokenError(f"the camera closed it after {got} of {size} bytes")
            got += part
        return data

    def close(self) -> None:
        """Close the data connection; may be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _be_called(self) -> socket.socket:
        control = self._control
        host = control.local_host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            listener.bind((host, 0))
            listener.listen(1)
            listener.settimeout(control.timeout_s)
            control.ask("startdata", value={"port": listener.getsockname()[1]})
            deadline = time.monotonic() + control.timeout_s
            while True:
                caller, (caller_host, *_) = listener.accept()
                if caller_host == control.peer_host:
                    return caller
                caller.close()  # somebody else
                if time.monotonic() > deadline:
                    raise TimeoutError("the camera did not connect")

    def _call(self) -> socket.socket:
        control = self._control
        connection = socket.create_connection(
            (control.host, control.attach_port), control.timeout_s
        )
        try:
            control.ask("attach", value={"port": connection.getsockname()[1]})
        except BaseException:
            connection.close()
            raise
        return connection


def _missing(
    control: PhantomConnection, what: str, first: int, done: int, count: int, reason: object
) -> str:
    there = f"{what} {first} to {first + done - 1} are there" if done else f"no {what} are there"
    return (
        f"{control.address}: the download stopped after {ATTEMPTS} attempts: {reason}. {there}, "
        f"{first + done} to {first + count - 1} are missing ({count - done} of {count}). The "
        "recording is still in the camera: check the network and download the rest."
    )
