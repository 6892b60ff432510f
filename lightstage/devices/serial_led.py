"""The LED controller behind a serial port: driver of the protocol in ``firmware_protocols``."""

from __future__ import annotations

import contextlib
import random
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self, TypeVar

import serial

from firmware_protocols.led_controller.framing import DELIMITER, FrameDecoder, encode_frame
from firmware_protocols.led_controller.messages import (
    PROTOCOL_VERSION,
    Event,
    EventKind,
    Fault,
    HeartbeatReply,
    Identity,
    Master,
    MessageError,
    MessageType,
    Reply,
    ReplyStatus,
    Request,
    SetLights,
    State,
    Status,
    StepEntry,
    Table,
    TableChunk,
    TableCommit,
    decode_from_controller,
    encode_pattern,
    encode_steps,
)
from lightstage.devices.interfaces import LedCounters, LedEvent, LedIdentity, LedStatus
from lightstage.devices.led_program import LedProgram
from lightstage.errors import DeviceError

_Payload = TypeVar("_Payload", Identity, Status)
_SCHEME = "serial:"
_BAUD_RATE = 921_600
#: Shares of the timeout that each try of a request waits; repeating is harmless by the protocol.
_TRIES = (1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
#: Heartbeats in one watchdog time: several may be lost before the lights go dark.
_HEARTBEATS_PER_WATCHDOG = 6
_EVENTS_KEPT = 10_000
_EVENT_NAMES = {
    EventKind.BOOTED: "rebooted",
    EventKind.DONE: "done",
    EventKind.FAULT: "fault",
    EventKind.STEP_MISSED: "step_missed",
    EventKind.LIGHTS_TIMED_OUT: "lights_timed_out",
}
_REFUSALS = {
    ReplyStatus.UNKNOWN_TYPE: "it does not know this request; update its firmware",
    ReplyStatus.BAD_VERSION: f"it does not speak protocol version {PROTOCOL_VERSION}; "
    "update its firmware",
    ReplyStatus.BAD_LENGTH: "it expects a message of another length; update its firmware",
    ReplyStatus.BAD_ARGUMENT: "a value is beyond what it can do",
    ReplyStatus.BUSY: "it is armed or running; stop it first",
    ReplyStatus.NO_PROGRAM: "it holds no program (it may have been reset); upload one first",
    ReplyStatus.WRONG_STATE: "it is not armed; arm it first",
    ReplyStatus.TABLE_CRC: "the tables that arrived are not those that were sent; upload again",
}


class SerialLedController:
    """An LED controller at ``serial:/dev/ttyACM0``, or at ``serial:`` and any pyserial URL.

    Implements :class:`lightstage.devices.interfaces.LedController`. A reader thread takes what
    the controller sends; a heartbeat thread keeps its watchdog quiet while lights may be on, and
    dies with this process: then the controller darkens by itself. May be used from any thread and
    as a context manager.

    Args:
        address: where it is.
        timeout_s: how long any call may wait for the controller, in seconds.

    Raises:
        DeviceError: the port cannot be opened, or nobody answers as an LED controller.
    """

    def __init__(self, address: str, timeout_s: float = 2.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._write_lock = threading.Lock()
        self._request_lock = threading.Lock()
        self._awaited: tuple[int, int, Queue[Reply | None]] | None = None
        self._events: deque[LedEvent] = deque(maxlen=_EVENTS_KEPT)
        self._lost: str | None = None
        self._closing = threading.Event()
        # set while lights may be on: the heartbeat thread sleeps else
        self._lit = threading.Event()
        # a stranger's late replies, still in the line, carry other ids
        self._next_id = random.randrange(0x10000)
        self._port = _open(address, timeout_s)
        self._reader = threading.Thread(target=self._read, name=f"reader of {address}", daemon=True)
        self._reader.start()
        self._heart: threading.Thread | None = None
        try:
            self._write(DELIMITER)  # ends whatever noise the opening made
            self._identity = self._ask_identity()
        except BaseException:
            self._shut()
            raise
        self._events.clear()
        self._heart = threading.Thread(
            target=self._beat, name=f"heartbeat of {address}", daemon=True
        )
        self._heart.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # The LedController interface

    def identify(self) -> LedIdentity:
        """Return who it is and what it can do."""
        found = self._ask_identity()
        return LedIdentity(
            product=found.product,
            firmware_version=found.firmware_version,
            protocol_version=PROTOCOL_VERSION,
            serial=found.serial,
            channels=found.channels,
            max_patterns=found.max_patterns,
            max_steps=found.max_steps,
            timer_resolution_ns=found.timer_resolution_ns,
            watchdog_ms=found.watchdog_ms,
        )

    def upload(self, program: LedProgram) -> None:
        """Send both tables in chunks, have the controller check them, and commit them.

        Raises:
            DeviceError: the program does not fit the controller, it is armed or running, or the
                tables did not arrive; then the controller holds no program.
        """
        identity = self._identity
        for what, needed, held in (
            ("channels", program.channels, identity.channels),
            ("patterns", len(program.patterns), identity.max_patterns),
            ("steps", len(program.steps), identity.max_steps),
        ):
            if needed > held:
                raise DeviceError(
                    f"{self.address}: the program has {needed} {what}, the controller {held} at "
                    f"most; use a shorter sequence or another controller."
                )
        try:
            patterns = b"".join(encode_pattern(lit, identity.channels) for lit in program.patterns)
            steps = encode_steps(
                StepEntry(step.pattern, step.start_ns, step.width_ns) for step in program.steps
            )
            commit = TableCommit(
                pattern_count=len(program.patterns),
                master=Master.CONTROLLER if program.master == "controller" else Master.CAMERA,
                step_count=len(program.steps),
                pattern_crc=zlib.crc32(patterns),
                step_crc=zlib.crc32(steps),
                loop_from=program.loop_from,
                step_limit=program.step_limit,
                period_ns=program.period_ns,
                exposure_delay_ns=program.exposure_delay_ns,
            ).encode()
        except MessageError as error:
            raise DeviceError(f"{self.address}: the program cannot be sent: {error}.") from error
        for table, content in ((Table.PATTERNS, patterns), (Table.STEPS, steps)):
            for offset in range(0, len(content), identity.max_chunk):
                piece = content[offset : offset + identity.max_chunk]
                self._ask(MessageType.TABLE_CHUNK, TableChunk(table, offset, piece).encode())
        self._ask(MessageType.TABLE_COMMIT, commit)

    def arm(self) -> None:
        """Set counters to zero, forget faults whose cause is gone, and be ready to start."""
        self._ask_for_light(MessageType.ARM)

    def start(self) -> None:
        """Begin with step 0: at once as master, at the camera's next strobe else."""
        self._ask_for_light(MessageType.START)

    def stop(self) -> None:
        """Lights dark, whatever the state."""
        self._ask(MessageType.STOP)
        self._lit.clear()

    def status(self) -> LedStatus:
        """Return its state, faults and counters; ``supply_v`` is the lowest since it was armed."""
        status = self._decoded(Status, self._ask(MessageType.STATUS))
        return LedStatus(
            state=_state_name(status.state),
            faults=_fault_names(status.faults),
            temperature_c=status.temperature_centi_c / 100,
            supply_v=status.supply_mv / 1000,
            counters=LedCounters(
                edges_in=status.edges_in,
                triggers_out=status.triggers_out,
                steps_executed=status.steps_executed,
                steps_missed=status.steps_missed,
            ),
        )

    def set_lights(self, channels: Sequence[int], duration_ms: int) -> None:
        """Turn exactly these lights on; the controller turns them off after ``duration_ms``.

        Raises:
            DeviceError: there is no such channel, the time is longer than the controller allows,
                it is armed or running, or a fault holds the lights off.
        """
        if not 0 <= duration_ms <= self._identity.manual_max_ms:
            raise DeviceError(
                f"{self.address}: lights may be on for 0 to {self._identity.manual_max_ms} ms, "
                f"not {duration_ms}."
            )
        try:
            bitmap = encode_pattern(channels, self._identity.channels)
        except MessageError as error:
            raise DeviceError(f"{self.address}: {error}.") from error
        self._ask_for_light(MessageType.SET_LIGHTS, SetLights(duration_ms, bitmap).encode())

    def events(self) -> list[LedEvent]:
        """Return and forget what it has reported unasked since the last call."""
        events = []
        with contextlib.suppress(IndexError):
            while True:
                events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Lights dark, connection closed; may be called again."""
        if not self._closing.is_set():
            with contextlib.suppress(DeviceError):
                if self._lost is None:
                    self.stop()
        self._shut()

    # Requests and replies

    def _ask_identity(self) -> Identity:
        return self._decoded(Identity, self._ask(MessageType.IDENTIFY))

    def _ask_for_light(self, type_: MessageType, payload: bytes = b"") -> None:
        self._lit.set()  # heartbeats before and after: the answer to one says when to cease
        self._ask(type_, payload)
        self._lit.set()

    def _ask(self, type_: MessageType, payload: bytes = b"") -> bytes:
        """Send a request, again where no reply comes, and return the reply's payload."""
        doing = f"{type_.name.lower().replace('_', ' ')} request"
        with self._request_lock:
            self._check_open(doing)
            self._next_id = (self._next_id + 1) & 0xFFFF
            request_id = self._next_id
            frame = encode_frame(Request(type_, request_id, payload).encode())
            replies: Queue[Reply | None] = Queue()
            self._awaited = (type_, request_id, replies)
            try:
                reply = self._exchange(frame, replies, doing)
            finally:
                self._awaited = None
        if reply.status == ReplyStatus.OK:
            return reply.payload
        raise DeviceError(f"{self.address}: refused the {doing}: {self._refusal(reply.status)}.")

    def _exchange(self, frame: bytes, replies: Queue[Reply | None], doing: str) -> Reply:
        for share in _TRIES:
            # a delimiter first: what noise is in the controller's buffer ends there
            self._write(DELIMITER + frame)
            try:
                reply = replies.get(timeout=share * self.timeout_s)
            except Empty:
                continue
            if reply is None:
                self._check_open(doing)
            else:
                return reply
        raise DeviceError(
            f"{self.address}: no reply to the {doing} within {self.timeout_s:g} s "
            f"({len(_TRIES)} tries); check that an LED controller is there and has power."
        )

    def _refusal(self, status: int) -> str:
        if status == ReplyStatus.FAULT:
            names = ", ".join(self._faults_now()) or "unknown"
            return f"a fault keeps its lights off ({names}); remove the cause, then arm again"
        known = {int(key): text for key, text in _REFUSALS.items()}
        return known.get(status, f"it gave status {status}")

    def _faults_now(self) -> tuple[str, ...]:
        try:
            return self.status().faults
        except DeviceError:
            return ()

    def _decoded(self, kind: type[_Payload], payload: bytes) -> _Payload:
        try:
            return kind.decode(payload)
        except MessageError as error:
            raise DeviceError(
                f"{self.address}: a reply that is none: {error}; update its firmware."
            ) from error

    def _write(self, data: bytes) -> None:
        try:
            with self._write_lock:
                self._port.write(data)
        except serial.SerialTimeoutException:
            raise DeviceError(
                f"{self.address}: nothing can be sent, the line is blocked; replug the controller."
            ) from None
        except (OSError, TypeError, ValueError) as error:  # closed under our feet, or unplugged
            self._lose(str(error))
            raise self._lost_error("send a request") from error

    def _check_open(self, doing: str) -> None:
        if self._closing.is_set():
            raise DeviceError(f"{self.address}: the {doing} came after the connection was closed.")
        if self._lost is not None:
            raise self._lost_error(doing)

    def _lost_error(self, doing: str) -> DeviceError:
        return DeviceError(
            f"{self.address}: the connection is lost ({self._lost}), so the {doing} was not "
            f"carried out; replug the controller and connect again."
        )

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
        self._lit.clear()
        awaited = self._awaited
        if awaited is not None:
            awaited[2].put(None)

    # Threads

    def _read(self) -> None:
        decoder = FrameDecoder()
        while not self._closing.is_set() and self._lost is None:
            try:
                data = self._port.read(1)
                data += self._port.read(self._port.in_waiting)
            except (OSError, TypeError, ValueError) as error:
                if not self._closing.is_set():
                    self._lose(str(error))
                return
            for body in decoder.feed(data):
                with contextlib.suppress(MessageError):
                    self._take(decode_from_controller(body))

    def _take(self, message: Reply | Event) -> None:
        if isinstance(message, Event):
            self._events.append(_event(message))
            return
        if message.type == MessageType.HEARTBEAT:
            beat = HeartbeatReply.decode(message.payload)
            if beat.state not in (State.ARMED, State.RUNNING) and not beat.lights_on:
                self._lit.clear()
            return
        awaited = self._awaited
        if awaited is not None and awaited[:2] == (message.type, message.request_id):
            awaited[2].put(message)

    def _beat(self) -> None:
        interval_s = self._identity.watchdog_ms / 1000 / _HEARTBEATS_PER_WATCHDOG
        frame = encode_frame(Request(MessageType.HEARTBEAT, 0).encode())
        while not self._closing.is_set():
            if self._lit.wait(timeout=0.2):
                with contextlib.suppress(DeviceError):
                    self._write(DELIMITER + frame)
                self._closing.wait(interval_s)

    def _shut(self) -> None:
        self._closing.set()
        self._lit.clear()
        for thread in (self._heart, self._reader):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout=self.timeout_s + 1.0)
        with contextlib.suppress(OSError):
            self._port.close()


def _open(address: str, timeout_s: float) -> Any:
    url = address.removeprefix(_SCHEME)
    if not address.startswith(_SCHEME) or not url:
        raise DeviceError(
            f"{address}: not the address of a serial LED controller; expected "
            f"'serial:/dev/ttyACM0' or 'serial:' and a pyserial URL."
        )
    try:
        port = serial.serial_for_url(url, do_not_open=True)
        port.baudrate = _BAUD_RATE
        port.timeout = 0.05
        port.write_timeout = timeout_s
        if url.startswith("/"):
            port.exclusive = True
        port.open()
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"{address}: the port cannot be opened: {error}; check that the controller is plugged "
            f"in, that no other program uses it, and that you may read and write the port."
        ) from error
    # a pseudo-terminal has no modem lines and says so by OSError 25; nothing depends on them
    with contextlib.suppress(OSError):
        port.dtr = True
    with contextlib.suppress(OSError):
        port.reset_input_buffer()
    return port


def _state_name(state: int) -> Any:
    try:
        return State(state).name.lower()
    except ValueError:
        return "fault"


def _fault_names(bits: int) -> tuple[str, ...]:
    return tuple((fault.name or "").lower() for fault in Fault if bits & fault)


def _event(event: Event) -> LedEvent:
    try:
        name = _EVENT_NAMES[EventKind(event.kind)]
    except ValueError:
        name = f"event_{event.kind}"
    detail = str(event.argument)
    if event.kind == EventKind.FAULT:
        detail = ",".join(_fault_names(event.argument))
    elif event.kind in (EventKind.BOOTED, EventKind.LIGHTS_TIMED_OUT):
        detail = ""
    return LedEvent(name, event.time_us, detail)
