"""What the LED controller and its host say to each other (SPECIFICATION.md, sections 3 to 6).

Pure: bytes in, values out, and back. All integers are little-endian. Every decoder raises
:class:`MessageError` for bytes that are not such a message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

PROTOCOL_VERSION = 1
#: A reply's type is its request's with this bit set.
REPLY_BIT = 0x80
#: So 0x7F is no request: its reply would look like an event.
EVENT_TYPE = 0xFF

_HEADER = struct.Struct("<BBH")
_REPLY = struct.Struct("<BBHQB")
_EVENT = struct.Struct("<BBHQBI")
_IDENTITY = struct.Struct("<HHIIHHI")
_STATUS = struct.Struct("<BBHhHIIIIIII")
_CHUNK = struct.Struct("<BI")
_COMMIT = struct.Struct("<HBBIIIIIII")
_STEP = struct.Struct("<HHII")
STEP_BYTES = _STEP.size
#: Shortest period of a program, ns: bounds what a controller must do at once.
MIN_PERIOD_NS = 10_000


class MessageError(ValueError):
    """Bytes that are not a message of this protocol, or a value that no message can hold."""


class MessageType(IntEnum):
    """What a request asks for."""

    IDENTIFY = 0x01
    STATUS = 0x02
    HEARTBEAT = 0x03
    TABLE_CHUNK = 0x10
    TABLE_COMMIT = 0x11
    ARM = 0x20
    START = 0x21
    STOP = 0x22
    SET_LIGHTS = 0x23


class ReplyStatus(IntEnum):
    """Whether a request was carried out, and if not, why not."""

    OK = 0
    UNKNOWN_TYPE = 1
    BAD_VERSION = 2
    BAD_LENGTH = 3
    BAD_ARGUMENT = 4
    BUSY = 5
    NO_PROGRAM = 6
    WRONG_STATE = 7
    TABLE_CRC = 8
    FAULT = 9


class State(IntEnum):
    """The controller's state."""

    IDLE = 0
    ARMED = 1
    RUNNING = 2
    DONE = 3
    FAULT = 4


class Fault(IntFlag):
    """Why the lights went dark and stay so."""

    OVER_TEMPERATURE = 1
    UNDER_VOLTAGE = 2
    INTERLOCK = 4
    WATCHDOG = 8


class EventKind(IntEnum):
    """What the controller reports unasked; the argument is given beside each."""

    BOOTED = 1  # 0
    DONE = 2  # steps executed
    FAULT = 3  # all latched fault bits
    STEP_MISSED = 4  # number of the step since start
    LIGHTS_TIMED_OUT = 5  # 0


class Table(IntEnum):
    """Which table a chunk belongs to."""

    PATTERNS = 0
    STEPS = 1


class Master(IntEnum):
    """Who beats time."""

    CONTROLLER = 0
    CAMERA = 1


@dataclass(frozen=True)
class Request:
    """From the host: ``type`` may be a number that no MessageType has; ``request_id`` 0 … 65535."""

    type: int
    request_id: int
    payload: bytes = b""
    version: int = PROTOCOL_VERSION

    def encode(self) -> bytes:
        """Return the frame's body."""
        return _HEADER.pack(self.version, self.type, self.request_id) + self.payload

    @classmethod
    def decode(cls, body: bytes) -> Request:
        """Return the request in a frame's body."""
        if len(body) < _HEADER.size:
            raise MessageError(f"a request has at least {_HEADER.size} bytes, not {len(body)}")
        version, type_, request_id = _HEADER.unpack_from(body)
        if type_ & REPLY_BIT or type_ | REPLY_BIT == EVENT_TYPE:
            raise MessageError(f"type {type_:#x} is a reply or an event, not a request")
        return cls(type_, request_id, body[_HEADER.size :], version)


@dataclass(frozen=True)
class Reply:
    """To the host: ``type`` is the request's, ``time_us`` the controller's clock."""

    type: int
    request_id: int
    time_us: int
    status: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the frame's body."""
        type_ = self.type | REPLY_BIT
        head = _REPLY.pack(PROTOCOL_VERSION, type_, self.request_id, self.time_us, self.status)
        return head + self.payload


@dataclass(frozen=True)
class Event:
    """To the host, unasked; ``sequence`` counts events since boot, modulo 65536."""

    sequence: int
    time_us: int
    kind: int
    argument: int

    def encode(self) -> bytes:
        """Return the frame's body."""
        return _EVENT.pack(
            PROTOCOL_VERSION, EVENT_TYPE, self.sequence, self.time_us, self.kind, self.argument
        )


def decode_from_controller(body: bytes) -> Reply | Event:
    """Return the reply or the event in a frame's body."""
    if len(body) < _HEADER.size or body[0] != PROTOCOL_VERSION:
        raise MessageError(f"not a message of protocol version {PROTOCOL_VERSION}: {body[:4]!r}")
    if body[1] == EVENT_TYPE:
        if len(body) != _EVENT.size:
            raise MessageError(f"an event has {_EVENT.size} bytes, not {len(body)}")
        _, _, sequence, time_us, kind, argument = _EVENT.unpack(body)
        return Event(sequence, time_us, kind, argument)
    if not body[1] & REPLY_BIT or len(body) < _REPLY.size:
        raise MessageError(f"neither a reply nor an event: type {body[1]:#x}, {len(body)} bytes")
    _, type_, request_id, time_us, status = _REPLY.unpack_from(body)
    return Reply(type_ & ~REPLY_BIT, request_id, time_us, status, body[_REPLY.size :])


@dataclass(frozen=True)
class Identity:
    """Payload of the reply to IDENTIFY."""

    channels: int
    max_patterns: int
    max_steps: int
    timer_resolution_ns: int
    watchdog_ms: int
    max_chunk: int
    manual_max_ms: int
    product: str
    firmware_version: str
    serial: str

    def encode(self) -> bytes:
        """Return the payload; texts are at most 255 bytes of UTF-8."""
        numbers = _IDENTITY.pack(
            self.channels,
            self.max_patterns,
            self.max_steps,
            self.timer_resolution_ns,
            self.watchdog_ms,
            self.max_chunk,
            self.manual_max_ms,
        )
        texts = [text.encode() for text in (self.product, self.firmware_version, self.serial)]
        return numbers + b"".join(bytes([len(text)]) + text for text in texts)

    @classmethod
    def decode(cls, payload: bytes) -> Identity:
        """Return the identity in a payload."""
        numbers, rest = _unpack_head(_IDENTITY, payload), payload[_IDENTITY.size :]
        texts = []
        for _ in range(3):
            if not rest or len(rest) < 1 + rest[0]:
                raise MessageError("the identity ends within a text")
            texts.append(rest[1 : 1 + rest[0]].decode(errors="replace"))
            rest = rest[1 + rest[0] :]
        if rest:
            raise MessageError(f"{len(rest)} bytes after the identity")
        channels, patterns, steps, resolution, watchdog, chunk, manual = numbers
        return cls(channels, patterns, steps, resolution, watchdog, chunk, manual, *texts)


@dataclass(frozen=True)
class Status:
    """Payload of the reply to STATUS; counters count since ARM."""

    state: int
    lights_on: bool
    faults: int
    temperature_centi_c: int
    supply_mv: int
    edges_in: int
    triggers_out: int
    steps_executed: int
    steps_missed: int
    next_step: int
    bad_frames: int

    def encode(self) -> bytes:
        """Return the payload."""
        return _STATUS.pack(
            self.state,
            self.lights_on,
            self.faults,
            self.temperature_centi_c,
            0,
            self.supply_mv,
            self.edges_in,
            self.triggers_out,
            self.steps_executed,
            self.steps_missed,
            self.next_step,
            self.bad_frames,
        )

    @classmethod
    def decode(cls, payload: bytes) -> Status:
        """Return the status in a payload."""
        state, lights, faults, temperature, _, *rest = _unpack(_STATUS, payload)
        return cls(state, bool(lights), faults, temperature, *rest)


@dataclass(frozen=True)
class HeartbeatReply:
    """Payload of the reply to HEARTBEAT."""

    state: int
    lights_on: bool

    def encode(self) -> bytes:
        """Return the payload."""
        return bytes([self.state, self.lights_on])

    @classmethod
    def decode(cls, payload: bytes) -> HeartbeatReply:
        """Return the heartbeat's answer in a payload."""
        if len(payload) != 2:
            raise MessageError(f"a heartbeat's answer has 2 bytes, not {len(payload)}")
        return cls(payload[0], bool(payload[1]))


@dataclass(frozen=True)
class TableChunk:
    """Payload of TABLE_CHUNK: bytes of a table from ``offset`` on."""

    table: int
    offset: int
    data: bytes

    def encode(self) -> bytes:
        """Return the payload."""
        return _CHUNK.pack(self.table, self.offset) + self.data

    @classmethod
    def decode(cls, payload: bytes) -> TableChunk:
        """Return the chunk in a payload."""
        table, offset = _unpack_head(_CHUNK, payload)
        return cls(table, offset, payload[_CHUNK.size :])


@dataclass(frozen=True)
class TableCommit:
    """Payload of TABLE_COMMIT: the tables' sizes and CRC-32, and how to play them."""

    pattern_count: int
    master: int
    step_count: int
    pattern_crc: int
    step_crc: int
    loop_from: int
    step_limit: int
    period_ns: int
    exposure_delay_ns: int

    def encode(self) -> bytes:
        """Return the payload."""
        try:
            return _COMMIT.pack(
                self.pattern_count,
                self.master,
                0,
                self.step_count,
                self.pattern_crc,
                self.step_crc,
                self.loop_from,
                self.step_limit,
                self.period_ns,
                self.exposure_delay_ns,
            )
        except struct.error as error:
            raise MessageError(
                f"a program with values that the wire cannot hold: {self}"
            ) from error

    @classmethod
    def decode(cls, payload: bytes) -> TableCommit:
        """Return the commit in a payload."""
        patterns, master, _, *rest = _unpack(_COMMIT, payload)
        return cls(patterns, master, *rest)


@dataclass(frozen=True)
class StepEntry:
    """One entry of the step table: a pattern's number, its pulse's start and width in ns."""

    pattern: int
    start_ns: int
    width_ns: int


def encode_steps(steps: Iterable[StepEntry]) -> bytes:
    """Return the step table."""
    try:
        return b"".join(_STEP.pack(step.pattern, 0, step.start_ns, step.width_ns) for step in steps)
    except struct.error as error:
        raise MessageError("a step with values that the wire cannot hold") from error


def decode_steps(table: bytes) -> list[StepEntry]:
    """Return the steps in a step table."""
    if len(table) % STEP_BYTES:
        raise MessageError(f"a step table of {len(table)} bytes is no multiple of {STEP_BYTES}")
    return [StepEntry(p, start, width) for p, _, start, width in _STEP.iter_unpack(table)]


def pattern_bytes(channels: int) -> int:
    """Return how many bytes one pattern of so many channels takes."""
    return (channels + 7) // 8


def encode_pattern(lit: Iterable[int], channels: int) -> bytes:
    """Return the bitmap of the lit channels: channel ``c`` is bit ``c % 8`` of byte ``c // 8``."""
    bitmap = bytearray(pattern_bytes(channels))
    for channel in lit:
        if not 0 <= channel < channels:
            raise MessageError(f"channel {channel} is not one of 0 to {channels - 1}")
        bitmap[channel // 8] |= 1 << channel % 8
    return bytes(bitmap)


def decode_pattern(bitmap: bytes, channels: int) -> tuple[int, ...]:
    """Return the lit channels of a bitmap.

    Raises:
        MessageError: a bit beyond the last channel is set, or the length is wrong.
    """
    if len(bitmap) != pattern_bytes(channels):
        raise MessageError(f"a pattern has {pattern_bytes(channels)} bytes, not {len(bitmap)}")
    number = int.from_bytes(bitmap, "little")
    if number >> channels:
        raise MessageError(f"a pattern lights a channel beyond {channels - 1}")
    return tuple(channel for channel in range(channels) if number >> channel & 1)


@dataclass(frozen=True)
class SetLights:
    """Payload of SET_LIGHTS: for how long, and the bitmap of the lights that shall be on."""

    duration_ms: int
    bitmap: bytes

    def encode(self) -> bytes:
        """Return the payload."""
        return self.duration_ms.to_bytes(4, "little") + self.bitmap

    @classmethod
    def decode(cls, payload: bytes) -> SetLights:
        """Return the lights in a payload."""
        if len(payload) < 4:
            raise MessageError(f"SET_LIGHTS has at least 4 bytes, not {len(payload)}")
        return cls(int.from_bytes(payload[:4], "little"), payload[4:])


def _unpack(shape: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != shape.size:
        raise MessageError(f"the payload has {len(payload)} bytes, not {shape.size}")
    return shape.unpack(payload)


def _unpack_head(shape: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < shape.size:
        raise MessageError(f"the payload has {len(payload)} bytes, at least {shape.size} expected")
    return shape.unpack_from(payload)
