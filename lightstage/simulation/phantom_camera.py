"""A simulated Phantom camera: PH16 on TCP, as the real one speaks it.

It hears sync edges (or beats itself) in the stage's time, keeps when each exposure was, and makes
pixels only when they are downloaded. It listens on this computer alone (127.0.0.1).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from firmware_protocols.phantom import (
    QUESTION,
    CommandAssembler,
    DiscoveryReply,
    Failure,
    Notification,
    ProtocolError,
    Reply,
    format_discovery_reply,
    format_notification,
    format_reply,
    parse_command,
)
from lightstage.simulation.phantom_commands import PhantomCommands, PictureSource
from lightstage.simulation.phantom_faults import CameraFaults
from lightstage.simulation.phantom_parameters import CameraModel, CameraParameters
from lightstage.simulation.phantom_recorder import CameraClock, Exposure, Recorder

__all__ = ["CameraClock", "CameraFaults", "CameraModel", "Exposure", "PhantomServer"]

HOST = "127.0.0.1"
_TICK_S = 0.002
_ATTACH_WAIT_S = 0.2


class PhantomServer:
    """A camera that real drivers can use; entering it powers it on, leaving it off.

    Args:
        picture_source: called with an exposure's start and length (ns, stage time) and its place
            since arming; returns the stored frame, ``(height, width)``, top row first, uint8 (or
            uint16 of 12 bits), of the size that is set. Called in a thread of the camera's.
        model: what camera it is: size, colour filter, memory, limits.
        stage_now: returns the stage's time, ns; the computer's UTC clock by default.
        clock: the camera's clock against the stage's; ``faults.clock_drift_ppm`` is added.
        faults: what goes wrong.
        on_strobe: called with the stage time at which each exposure begins, while recording, in
            whichever thread caused it; called late where the camera beats itself (about 2 ms).
        port: TCP port of the control connection, 0 = any that is free; data attaches at the next.
        discovery_port: UDP port where it answers ``phantom?``; 0 = any, None = it does not.
    """

    def __init__(
        self,
        picture_source: PictureSource,
        *,
        model: CameraModel | None = None,
        stage_now: Callable[[], int] = time.time_ns,
        clock: CameraClock | None = None,
        faults: CameraFaults | None = None,
        on_strobe: Callable[[int], None] | None = None,
        port: int = 0,
        discovery_port: int | None = None,
    ) -> None:
        self.model = model or CameraModel()
        faults = self.faults = faults or CameraFaults()
        if clock is None:
            clock = CameraClock(reference_ns=stage_now())
        clock = CameraClock(
            clock.offset_ns, clock.drift_ppm + faults.clock_drift_ppm, clock.reference_ns
        )
        self.recorder = Recorder(
            CameraParameters(self.model), clock, stage_now, faults, on_strobe, self._notify
        )
        self.commands = PhantomCommands(self.recorder, picture_source, faults, self._attached)
        self._hangs_left = faults.hang_times
        self._clients: dict[socket.socket, _Client] = {}
        self._waiting: dict[tuple[str, int], socket.socket] = {}
        self._closing = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._control, self._attach = _listen(port)
        self.port: int = self._control.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        for listener in (self._control, self._attach, self._woken):
            self._selector.register(listener, selectors.EVENT_READ)
        self._discovery: socket.socket | None = None
        self.discovery_port: int | None = None
        if discovery_port is not None:
            self._discovery = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._discovery.bind((HOST, discovery_port))
            self.discovery_port = self._discovery.getsockname()[1]
            self._selector.register(self._discovery, selectors.EVENT_READ)
        self._threads = [
            threading.Thread(target=self._serve, name="phantom-control"),
            threading.Thread(target=self._tick, name="phantom-beat"),
        ]
        self._started = False

    def start(self) -> Self:
        """Power on: from now on it answers. Its address is known before."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        return self

    @property
    def address(self) -> str:
        """By which a driver reaches it."""
        return f"phantom:{HOST}:{self.port}"

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """The truth: exposures in the first cine, in order, by the stage's time."""
        return tuple(self.recorder.cines[1].frames)

    def sync_edge(self, time_ns: int) -> None:
        """Take a falling edge on F-Sync at a moment of the stage's time."""
        self.recorder.sync_edge(time_ns)

    def trigger(self, time_ns: int | None = None) -> None:
        """Take an edge on the trigger input; ignored unless the camera waits for one."""
        from lightstage.simulation.phantom_recorder import RefusedError

        with contextlib.suppress(RefusedError):
            self.recorder.trigger(time_ns)

    def drop_clients(self) -> None:
        """Break all control connections, as a cable that is pulled out."""
        for connection in list(self._clients):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections and stop all threads; may be called again."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.send(b"x")
        for thread in self._threads if self._started else ():
            thread.join()
        self.commands.close()
        self._selector.close()
        everything = [self._control, self._attach, self._wake, self._woken]
        everything += [*self._clients, *self._waiting.values()]
        for connection in everything + ([self._discovery] if self._discovery else []):
            connection.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Threads

    def _serve(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                with contextlib.suppress(OSError):
                    if source is self._control:
                        self._welcome()
                    elif source is self._attach:
                        self._accept_waiting()
                    elif source is self._discovery:
                        self._be_discovered(source)
                    elif source is not self._woken:
                        self._listen_to(source)

    def _tick(self) -> None:
        while not self._closing.wait(_TICK_S if self.recorder.is_free_running else 0.02):
            self.recorder.advance()

    def _welcome(self) -> None:
        connection, (host, _) = self._control.accept()
        connection.settimeout(2.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inside = self.faults.notify_inside_replies
        self._clients[connection] = _Client(connection, host, inside)
        self._selector.register(connection, selectors.EVENT_READ)

    def _listen_to(self, connection: socket.socket) -> None:
        client = self._clients[connection]
        try:
            data = connection.recv(1 << 16)
            commands = client.assembler.feed(data)
        except (OSError, ProtocolError):
            data, commands = b"", []
        if not data:
            self._selector.unregister(connection)
            del self._clients[connection]
            connection.close()
            return
        for text in commands:
            if client.hangs:
                return
            try:
                command = parse_command(text)
            except ProtocolError as reason:
                client.reply(Failure(f"syntax error: {reason}"))
                continue
            if command.verb == self.faults.hangs_at and self._hangs_left:
                self._hangs_left -= 1
                client.hangs = True
                return
            client.reply(self.commands.answer(client, command))

    def _be_discovered(self, discovery: socket.socket) -> None:
        question, asker = discovery.recvfrom(2048)
        if question.startswith(QUESTION):
            reply = DiscoveryReply("PH16", self.port, 8001, self.model.serial)
            discovery.sendto(format_discovery_reply(reply), asker)

    # Data connections that clients made

    def _accept_waiting(self) -> None:
        connection, (host, port) = self._attach.accept()
        self._waiting[host, port] = connection

    def _attached(self, host: str, port: int) -> socket.socket | None:
        deadline = time.monotonic() + _ATTACH_WAIT_S
        while (host, port) not in self._waiting and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._attach.settimeout(0.05)
                self._accept_waiting()
        return self._waiting.pop((host, port), None)

    def _notify(self, name: str) -> None:
        for client in list(self._clients.values()):
            if client.notify:
                client.report(name)


class _Client:
    """One control connection."""

    def __init__(self, connection: socket.socket, host: str, inside: bool) -> None:
        self.host = host
        self.notify = False
        self.hangs = False
        self.assembler = CommandAssembler()
        self._connection, self._inside = connection, inside
        self._lock = threading.Lock()
        self._held: list[str] = []

    def reply(self, reply: Reply) -> None:
        """Send a reply, notifications that were held within it if it has several lines."""
        first, mark, rest = format_reply(reply).partition("\\\r\n")
        with self._lock:
            if mark:
                held, self._held = self._held, []
                rest = "".join(held) + rest
            with contextlib.suppress(OSError):
                self._connection.sendall(f"{first}{mark}{rest}\r\n".encode())

    def report(self, name: str) -> None:
        """Send a notification, now or within the next long reply."""
        line = format_notification(Notification(name)) + "\r\n"
        with self._lock:
            if self._inside:
                self._held.append(line)
                return
            with contextlib.suppress(OSError):
                self._connection.sendall(line.encode())


def _listen(port: int) -> tuple[socket.socket, socket.socket]:
    """Return listeners on a port and the next one; any two that are free if it is 0."""
    for _ in range(50):
        control = socket.socket()
        control.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attach = socket.socket()
        attach.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            control.bind((HOST, port))
            attach.bind((HOST, control.getsockname()[1] + 1))
        except (OSError, OverflowError):
            control.close()
            attach.close()
            if port:
                raise
            continue
        control.listen(8)
        attach.listen(8)
        return control, attach
    raise OSError("no two free TCP ports in a row were found")
