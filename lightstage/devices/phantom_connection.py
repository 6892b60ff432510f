"""The control connection to a Phantom camera: one reply to each command, each within a time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from firmware_protocols.phantom import (
    ATTACH_PORT,
    CONTROL_PORT,
    Answer,
    Command,
    Failure,
    Notification,
    ProtocolError,
    Reply,
    ReplyAssembler,
    Struct,
    Success,
    Value,
    format_command,
    parse_reply,
)
from lightstage.errors import DeviceError, InputError

_BUSY = "automatic operation is in progress"
_POLL_S = 0.05


class RefusedError(DeviceError):
    """A camera answered a command with an error; ``reason`` is its own text."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class UnreachableError(DeviceError):
    """A camera cannot be reached, or did not answer in time; a later attempt may succeed."""


def parse_address(address: str) -> tuple[str, int, int]:
    """Return host, control port and attach port of ``phantom:HOST[:PORT]``.

    The attach port is the one after the control port, as 7116 is after 7115.

    Raises:
        InputError: it is no such address.
    """
    kind, _, place = address.partition(":")
    if place.startswith("["):  # IPv6
        host, _, port_text = place[1:].partition("]")
        port_text = port_text.removeprefix(":")
    else:
        host, _, port_text = place.partition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdecimal() else 0
    if not port_text:
        port = CONTROL_PORT
    if kind != "phantom" or not host or not 0 < port < (1 << 16) - 1:
        raise InputError(
            f"{address!r} is no camera's address: phantom:HOST or phantom:HOST:PORT is expected, "
            "such as phantom:172.16.0.5."
        )
    return host, port, ATTACH_PORT if port == CONTROL_PORT else port + 1


class PhantomConnection:
    """Sends commands and waits for their replies; safe to share between threads.

    A reply that did not come in time would be taken for the next command's, so the connection is
    closed then, and made anew by the next command.

    Args:
        address: ``phantom:HOST[:PORT]``, which begins the text of every error.
        timeout_s: how long connecting and each reply may take; a camera that is busy with an
            automatic operation is asked again for as long.

    Raises:
        InputError: the address is none.
        DeviceError: nothing answers there.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.host, self.port, self.attach_port = parse_address(address)
        self.notifications: deque[Notification] = deque(maxlen=1000)
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._assembler = ReplyAssembler()
        self._closed = False
        with self._lock:
            self._connect()

    @property
    def local_host(self) -> str:
        """The address by which the camera knows this computer."""
        with self._lock:
            name: str = self._connect().getsockname()[0]
            return name

    @property
    def peer_host(self) -> str:
        """The camera's address, resolved."""
        with self._lock:
            name: str = self._connect().getpeername()[0]
            return name

    def ask(
        self,
        verb: str,
        name: str | None = None,
        value: Value | None = None,
        *,
        timeout_s: float = 0,
    ) -> Struct:
        """Send a command and return the values that follow its ``Ok!``, if any.

        Raises:
            RefusedError: the camera answers with an error, or is busy for too long.
            DeviceError: no reply in time, or one that cannot be.
        """
        command = Command(verb, name, value)
        reply = self._reply(command)
        if isinstance(reply, Answer):
            return {reply.name: reply.value}
        return (reply.values if isinstance(reply, Success) else None) or {}

    def get(self, name: str) -> Value:
        """Return the value of a parameter.

        Raises:
            DeviceError: as :meth:`ask`; or the reply is about something else.
        """
        reply = self._reply(Command("get", name))
        leaf = name.rpartition(".")[2]
        if not isinstance(reply, Answer) or reply.name.rpartition(".")[2] != leaf:
            # out of step with its replies: start anew
            self._disconnect()
            raise DeviceError(
                f"{self.address}: 'get {name}' was answered with {str(reply)[:80]!r}. Other "
                "software may be upsetting the camera; try again."
            )
        return reply.value

    def get_number(self, name: str) -> float:
        """Return a parameter that is a number.

        Raises:
            DeviceError: as :meth:`get`; or it is none.
        """
        return as_number(self.address, name, self.get(name))

    def get_struct(self, name: str) -> Struct:
        """Return a parameter that is a structure.

        Raises:
            DeviceError: as :meth:`get`; or it is none.
        """
        value = self.get(name)
        if not isinstance(value, dict):
            raise DeviceError(f"{self.address}: {name} should be a structure, not {value!r}.")
        return value

    def set(self, name: str, value: Value) -> None:
        """Set a parameter; a structure is set as a whole or not at all.

        Raises:
            DeviceError: as :meth:`ask`.
        """
        self.ask("set", name, value)

    def wait_until(
        self, happened: Callable[[], bool], timeout_s: float, failure: Callable[[], str]
    ) -> None:
        """Ask again and again until it has happened.

        Raises:
            DeviceError: it has not in time; ``failure()`` says what.
        """
        deadline = time.monotonic() + timeout_s
        while not happened():
            if time.monotonic() > deadline:
                raise DeviceError(f"{self.address}: {failure()}")
            time.sleep(min(_POLL_S, timeout_s / 10))

    def close(self) -> None:
        """Close the connection for good; may be called again."""
        with self._lock:
            self._closed = True
            self._disconnect()

    # One command, one reply

    def _reply(self, command: Command) -> Success | Answer:
        deadline = time.monotonic() + self.timeout_s
        try:
            line = format_command(command)
        except ProtocolError as reason:
            raise DeviceError(f"{self.address}: the command cannot be said: {reason}") from None
        while True:
            reply = self._exchange(line)
            if not isinstance(reply, Failure):
                return reply
            if _BUSY not in reply.text or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        waited = f", for {self.timeout_s:g} s" if _BUSY in reply.text else ""
        raise RefusedError(
            f"{self.address}: the camera refused '{line[:80]}'{waited}: {reply.text}.", reply.text
        )

    def _exchange(self, line: str) -> Reply:
        timeout_s = self.timeout_s
        with self._lock:
            connection = self._connect()
            deadline = time.monotonic() + timeout_s
            try:
                connection.settimeout(timeout_s)
                connection.sendall(line.encode() + b"\r\n")
                while True:
                    for message in self._receive(connection, deadline):
                        if isinstance(message, str):
                            return parse_reply(message)
                        self.notifications.append(message)
            except TimeoutError:
                self._disconnect()
                raise UnreachableError(
                    f"{self.address}: no reply to '{line[:80]}' within {timeout_s:g} s. Check the "
                    "network cable and whether other software holds the camera."
                ) from None
            except ProtocolError as reason:
                self._disconnect()
                raise DeviceError(
                    f"{self.address}: the reply to '{line[:80]}' is damaged: {reason}"
                ) from None
            except OSError as reason:
                self._disconnect()
                raise UnreachableError(
                    f"{self.address}: the connection broke at '{line[:80]}': {reason}. Check the "
                    "camera's power and the network cable."
                ) from None

    def _receive(self, connection: socket.socket, deadline: float) -> list[str | Notification]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the camera closed it")
        messages = self._assembler.feed(data)
        # a notification may come behind the reply: it is kept, whatever is returned first
        replies = [message for message in messages if isinstance(message, str)]
        if len(replies) > 1:
            raise ProtocolError(f"PH16: {len(replies)} replies came to one command.")
        if replies:
            self.notifications += [m for m in messages if isinstance(m, Notification)]
            return [replies[0]]
        return messages

    def _connect(self) -> socket.socket:
        if self._closed:
            raise DeviceError(f"{self.address}: the connection has been closed.")
        if self._socket is None:
            try:
                self._socket = socket.create_connection((self.host, self.port), self.timeout_s)
            except OSError as reason:
                raise UnreachableError(
                    f"{self.address}: no camera answers there: {reason}. Check its power, the "
                    "cable and the address ('discover' lists cameras)."
                ) from None
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._assembler = ReplyAssembler()
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def as_number(address: str, name: str, value: object) -> float:
    """Return a PH16 value as a number, or raise DeviceError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DeviceError(f"{address}: {name} should be a number, not {value!r}.")
    return value
