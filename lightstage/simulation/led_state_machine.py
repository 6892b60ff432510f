"""The LED controller's state machine, as the specification has it: bytes and time in, bytes out.

It mirrors the C reference firmware function by function, the hardware behind
:class:`LedHardware` as there behind ``led_hal.h``. All times are nanoseconds of the device's own
clock, 0 = boot; nothing here reads a clock, so every run can be repeated exactly.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from firmware_protocols.led_controller.framing import FrameDecoder, encode_frame
from firmware_protocols.led_controller.messages import (
    MIN_PERIOD_NS,
    PROTOCOL_VERSION,
    STEP_BYTES,
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
    decode_pattern,
    decode_steps,
    pattern_bytes,
)

_NEVER = 2**63
#: Above or below these the lights go dark (specification, section 7).
OVER_TEMPERATURE_CENTI_C = 8500
UNDER_VOLTAGE_MV = 18000

Payload = tuple[ReplyStatus, bytes]


class LedHardware(Protocol):
    """What the state machine drives and reads; times in ns of the device's clock."""

    def pulse(self, channels: tuple[int, ...], start_ns: int, width_ns: int) -> None:
        """Light these channels from ``start_ns`` on, for ``width_ns``."""

    def sync_edge(self, step: int, time_ns: int) -> None:
        """Give one edge on F-Sync, for the step of this number since the start."""

    def lights_on(self, channels: tuple[int, ...], start_ns: int, end_ns: int) -> None:
        """Light exactly these channels by hand."""

    def dark(self, time_ns: int) -> None:
        """All lights off at once, also what is yet to come of a pulse."""

    def state_changed(self, state: State, time_ns: int) -> None:
        """Take note of a new state."""

    def temperature_centi_c(self) -> int:
        """Return the temperature in hundredths of a degree Celsius."""

    def supply_mv(self) -> int:
        """Return the supply's lowest voltage since the last call."""

    def interlock_open(self) -> bool:
        """Return whether the interlock is open: somebody opened the dome."""


@dataclass(frozen=True)
class _Program:
    """A committed program."""

    patterns: tuple[tuple[int, ...], ...]
    steps: tuple[StepEntry, ...]
    loop_from: int
    step_limit: int
    master: Master
    period_ns: int
    exposure_delay_ns: int


class LedStateMachine:
    """Answers requests, steps through the program, guards the lights."""

    def __init__(self, identity: Identity, hardware: LedHardware) -> None:
        self.identity = identity
        self.hardware = hardware
        self.state = State.IDLE
        self.faults = Fault(0)
        self.program: _Program | None = None
        self.edges_in = self.triggers_out = self.steps_executed = self.steps_missed = 0
        #: Number, since the start, of the step that comes next.
        self.next_step = 0
        self._decoder = FrameDecoder()
        self._bad_messages = 0
        self._events = 0
        self._out = bytearray()
        self._pattern_table = bytearray(identity.max_patterns * pattern_bytes(identity.channels))
        self._step_table = bytearray(identity.max_steps * STEP_BYTES)
        self._start_id: int | None = None
        self._last_request_ns = 0
        self._begin_ns = _NEVER
        self._edge_ns = _NEVER
        self._done_ns = _NEVER
        self._busy_until_ns = 0
        self._manual_until_ns = _NEVER
        self._supply_now_mv = self._supply_min_mv = 0xFFFFFFFF
        self._answers: dict[int, Callable[[Request, int], Payload]] = {
            MessageType.IDENTIFY: self._identify,
            MessageType.STATUS: self._status,
            MessageType.HEARTBEAT: self._heartbeat,
            MessageType.TABLE_CHUNK: self._chunk,
            MessageType.TABLE_COMMIT: self._commit,
            MessageType.ARM: self._arm,
            MessageType.START: self._start,
            MessageType.STOP: self._stop,
            MessageType.SET_LIGHTS: self._set_lights,
        }
        self._report(EventKind.BOOTED, 0, 0)

    # What comes in

    def receive(self, data: bytes, now_ns: int) -> bytes:
        """Take bytes from the wire at ``now_ns``; return what goes back."""
        self._advance(now_ns)
        for body in self._decoder.feed(data):
            try:
                request = Request.decode(body)
            except MessageError:
                self._bad_messages += 1
                continue
            self._last_request_ns = now_ns
            status, payload = self._answer(request, now_ns)
            reply = Reply(request.type, request.request_id, now_ns // 1000, status, payload)
            self._out += encode_frame(reply.encode())
        return self._sent()

    def advance(self, now_ns: int) -> bytes:
        """Do what was due by ``now_ns``; return what is reported unasked."""
        self._advance(now_ns)
        return self._sent()

    def strobe(self, now_ns: int) -> bytes:
        """Take an edge from the camera's strobe."""
        program = self.program
        if program is None:
            return self.advance(now_ns)
        if program.master is Master.CONTROLLER:
            # the camera's echo of our own edges: counted only, also when it comes late
            if self.state in (State.RUNNING, State.DONE):
                self.edges_in += 1
            return b""
        self._advance(now_ns)
        if self.state is State.RUNNING and not self._limit_reached(program):
            self.edges_in += 1
            if now_ns < self._busy_until_ns:
                self._miss(now_ns)
            else:
                self._execute(program, now_ns)
            if self._limit_reached(program):
                self._done_ns = now_ns + program.period_ns
        return self._sent()

    # Time

    def _advance(self, now_ns: int) -> None:
        """Do what is due, in the order of its times; of equal times, what ends comes first."""
        while True:
            due = (
                (self._edge_ns, self._give_edge),
                (self._done_ns, self._finish),
                (self._manual_until_ns, self._time_lights_out),
                (self._watchdog_ns, self._bite),
                (self._begin_ns, self._begin),
            )
            at_ns, act = min(due, key=lambda entry: entry[0])
            if at_ns > now_ns:
                break
            act(at_ns)
        self._check_inputs(now_ns)

    @property
    def _watchdog_ns(self) -> int:
        lit = self.state in (State.ARMED, State.RUNNING) or self._manual_until_ns != _NEVER
        return self._last_request_ns + self.identity.watchdog_ms * 1_000_000 if lit else _NEVER

    def _begin(self, at_ns: int) -> None:
        program = self.program
        assert program is not None  # running is reached with a program only
        self._execute(program, at_ns)
        self._edge_ns = at_ns + program.exposure_delay_ns
        self._begin_ns = at_ns + program.period_ns
        if self._limit_reached(program):
            self._done_ns, self._begin_ns = self._begin_ns, _NEVER

    def _execute(self, program: _Program, at_ns: int) -> None:
        count, loop = len(program.steps), program.loop_from
        number = self.next_step
        index = number if number < count else loop + (number - count) % (count - loop)
        step = program.steps[index]
        start = at_ns + step.start_ns
        if step.width_ns and program.patterns[step.pattern]:
            self.hardware.pulse(program.patterns[step.pattern], start, step.width_ns)
        self._busy_until_ns = start + step.width_ns
        self.next_step += 1
        self.steps_executed += 1

    def _miss(self, at_ns: int) -> None:
        self._report(EventKind.STEP_MISSED, self.next_step, at_ns)
        self.next_step += 1
        self.steps_missed += 1

    def _limit_reached(self, program: _Program) -> bool:
        return 0 < program.step_limit <= self.next_step

    def _give_edge(self, at_ns: int) -> None:
        self._edge_ns = _NEVER
        self.triggers_out += 1
        self.hardware.sync_edge(self.next_step - 1, at_ns)

    def _finish(self, at_ns: int) -> None:
        self._go_dark(State.DONE, at_ns)
        self._report(EventKind.DONE, self.steps_executed, at_ns)

    def _time_lights_out(self, at_ns: int) -> None:
        self._manual_until_ns = _NEVER
        self.hardware.dark(at_ns)
        self._report(EventKind.LIGHTS_TIMED_OUT, 0, at_ns)

    def _bite(self, at_ns: int) -> None:
        self._fail(Fault.WATCHDOG, at_ns)

    def _causes(self) -> Fault:
        causes = Fault(0)
        if self.hardware.temperature_centi_c() > OVER_TEMPERATURE_CENTI_C:
            causes |= Fault.OVER_TEMPERATURE
        if self._supply_now_mv < UNDER_VOLTAGE_MV:
            causes |= Fault.UNDER_VOLTAGE
        if self.hardware.interlock_open():
            causes |= Fault.INTERLOCK
        return causes

    def _check_inputs(self, now_ns: int) -> None:
        self._supply_now_mv = self.hardware.supply_mv()
        self._supply_min_mv = min(self._supply_min_mv, self._supply_now_mv)
        causes = self._causes()
        if causes & ~self.faults:
            self._fail(causes, now_ns)

    def _fail(self, causes: Fault, at_ns: int) -> None:
        self.faults |= causes
        self._go_dark(State.FAULT, at_ns)
        self._report(EventKind.FAULT, int(self.faults), at_ns)

    def _go_dark(self, state: State, at_ns: int) -> None:
        self._begin_ns = self._edge_ns = self._done_ns = self._manual_until_ns = _NEVER
        self.hardware.dark(at_ns)
        self._enter(state, at_ns)

    def _enter(self, state: State, at_ns: int) -> None:
        if state is not self.state:
            self.state = state
            self.hardware.state_changed(state, at_ns)

    def _acknowledge_faults(self, now_ns: int) -> bool:
        """Forget latched faults; return whether the lights may come on again."""
        self.faults = self._causes()
        if self.state is State.FAULT and not self.faults:
            self._enter(State.IDLE, now_ns)
        return not self.faults

    # Requests

    def _answer(self, request: Request, now_ns: int) -> Payload:
        if request.version != PROTOCOL_VERSION:
            return ReplyStatus.BAD_VERSION, b""
        answer = self._answers.get(request.type)
        return (ReplyStatus.UNKNOWN_TYPE, b"") if answer is None else answer(request, now_ns)

    def _identify(self, request: Request, now_ns: int) -> Payload:
        return _without_payload(request) or (ReplyStatus.OK, self.identity.encode())

    def _status(self, request: Request, now_ns: int) -> Payload:
        status = Status(
            state=self.state,
            lights_on=self._manual_until_ns != _NEVER,
            faults=int(self.faults),
            temperature_centi_c=self.hardware.temperature_centi_c(),
            supply_mv=self._supply_min_mv,
            edges_in=self.edges_in,
            triggers_out=self.triggers_out,
            steps_executed=self.steps_executed,
            steps_missed=self.steps_missed,
            next_step=self.next_step,
            bad_frames=self._decoder.bad_frames + self._bad_messages,
        )
        return _without_payload(request) or (ReplyStatus.OK, status.encode())

    def _heartbeat(self, request: Request, now_ns: int) -> Payload:
        reply = HeartbeatReply(self.state, self._manual_until_ns != _NEVER)
        return _without_payload(request) or (ReplyStatus.OK, reply.encode())

    def _chunk(self, request: Request, now_ns: int) -> Payload:
        try:
            chunk = TableChunk.decode(request.payload)
        except MessageError:
            return ReplyStatus.BAD_LENGTH, b""
        if not 0 < len(chunk.data) <= self.identity.max_chunk:
            return ReplyStatus.BAD_LENGTH, b""
        if self.state in (State.ARMED, State.RUNNING):
            return ReplyStatus.BUSY, b""
        tables = {Table.PATTERNS: self._pattern_table, Table.STEPS: self._step_table}
        table = tables.get(chunk.table)  # type: ignore[call-overload]
        if table is None or chunk.offset + len(chunk.data) > len(table):
            return ReplyStatus.BAD_ARGUMENT, b""
        self.program = None
        table[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        return ReplyStatus.OK, b""

    def _commit(self, request: Request, now_ns: int) -> Payload:
        try:
            commit = TableCommit.decode(request.payload)
        except MessageError:
            return ReplyStatus.BAD_LENGTH, b""
        if self.state in (State.ARMED, State.RUNNING):
            return ReplyStatus.BUSY, b""
        self.program = None
        limits = self.identity
        if (
            not 0 < commit.pattern_count <= limits.max_patterns
            or not 0 < commit.step_count <= limits.max_steps
            or commit.master not in (Master.CONTROLLER, Master.CAMERA)
            or commit.loop_from >= commit.step_count
            or commit.period_ns < MIN_PERIOD_NS
            or commit.exposure_delay_ns >= commit.period_ns
        ):
            return ReplyStatus.BAD_ARGUMENT, b""
        size = pattern_bytes(limits.channels)
        patterns = bytes(self._pattern_table[: commit.pattern_count * size])
        table = bytes(self._step_table[: commit.step_count * STEP_BYTES])
        if zlib.crc32(patterns) != commit.pattern_crc or zlib.crc32(table) != commit.step_crc:
            return ReplyStatus.TABLE_CRC, b""
        steps = decode_steps(table)
        try:
            lit = tuple(
                decode_pattern(patterns[at : at + size], limits.channels)
                for at in range(0, len(patterns), size)
            )
        except MessageError:
            return ReplyStatus.BAD_ARGUMENT, b""
        if any(
            step.pattern >= commit.pattern_count or step.start_ns + step.width_ns > commit.period_ns
            for step in steps
        ):
            return ReplyStatus.BAD_ARGUMENT, b""
        self.program = _Program(
            patterns=lit,
            steps=tuple(steps),
            loop_from=commit.loop_from,
            step_limit=commit.step_limit,
            master=Master(commit.master),
            period_ns=commit.period_ns,
            exposure_delay_ns=commit.exposure_delay_ns,
        )
        return ReplyStatus.OK, b""

    def _arm(self, request: Request, now_ns: int) -> Payload:
        if refused := _without_payload(request):
            return refused
        if self.state is State.RUNNING:
            return ReplyStatus.BUSY, b""
        if not self._acknowledge_faults(now_ns):
            return ReplyStatus.FAULT, b""
        if self.program is None:
            return ReplyStatus.NO_PROGRAM, b""
        self._go_dark(State.ARMED, now_ns)
        self.edges_in = self.triggers_out = self.steps_executed = self.steps_missed = 0
        self.next_step = 0
        self._busy_until_ns = 0
        self._supply_min_mv = self._supply_now_mv
        self._start_id = None
        return ReplyStatus.OK, b""

    def _start(self, request: Request, now_ns: int) -> Payload:
        if refused := _without_payload(request):
            return refused
        if self._start_id == request.request_id and self.state in (State.RUNNING, State.DONE):
            return ReplyStatus.OK, b""  # its reply was lost, so it is asked again
        if self.state is not State.ARMED or self.program is None:
            return ReplyStatus.WRONG_STATE, b""
        self._start_id = request.request_id
        self._enter(State.RUNNING, now_ns)
        if self.program.master is Master.CONTROLLER:
            self._begin_ns = now_ns
            self._advance(now_ns)
        return ReplyStatus.OK, b""

    def _stop(self, request: Request, now_ns: int) -> Payload:
        # whatever the payload: nothing is a reason not to go dark
        self._go_dark(State.FAULT if self.state is State.FAULT else State.IDLE, now_ns)
        return ReplyStatus.OK, b""

    def _set_lights(self, request: Request, now_ns: int) -> Payload:
        try:
            lights = SetLights.decode(request.payload)
        except MessageError:
            return ReplyStatus.BAD_LENGTH, b""
        if len(lights.bitmap) != pattern_bytes(self.identity.channels):
            return ReplyStatus.BAD_LENGTH, b""
        if self.state in (State.ARMED, State.RUNNING):
            return ReplyStatus.BUSY, b""
        try:
            channels = decode_pattern(lights.bitmap, self.identity.channels)
        except MessageError:
            return ReplyStatus.BAD_ARGUMENT, b""
        if lights.duration_ms > self.identity.manual_max_ms:
            return ReplyStatus.BAD_ARGUMENT, b""
        if not self._acknowledge_faults(now_ns):
            return ReplyStatus.FAULT, b""
        self.hardware.dark(now_ns)
        self._manual_until_ns = _NEVER
        if channels and lights.duration_ms:
            self._manual_until_ns = now_ns + lights.duration_ms * 1_000_000
            self.hardware.lights_on(channels, now_ns, self._manual_until_ns)
        return ReplyStatus.OK, b""

    # What goes out

    def _report(self, kind: EventKind, argument: int, at_ns: int) -> None:
        event = Event(self._events & 0xFFFF, at_ns // 1000, kind, argument)
        self._events += 1
        self._out += encode_frame(event.encode())

    def _sent(self) -> bytes:
        sent = bytes(self._out)
        self._out.clear()
        return sent


def _without_payload(request: Request) -> Payload | None:
    return (ReplyStatus.BAD_LENGTH, b"") if request.payload else None
