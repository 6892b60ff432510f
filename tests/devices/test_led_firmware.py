"""The simulated LED controller on an injected clock: light, time, faults, noise."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware_protocols.led_controller.framing import FrameDecoder, encode_frame
from firmware_protocols.led_controller.messages import (
    Event,
    EventKind,
    Master,
    MessageType,
    Reply,
    ReplyStatus,
    Request,
    SetLights,
    Status,
    StepEntry,
    TableChunk,
    TableCommit,
    decode_from_controller,
    encode_pattern,
    encode_steps,
)
from lightstage.simulation.led_faults import LedFaults
from lightstage.simulation.led_firmware import LedFirmware
from lightstage.simulation.light_log import LightLog

MS = 1_000_000
CHANNELS = 8
#: Stage time of power-on: not 0, so that the two clocks cannot be confused.
POWER_ON = 5_000 * MS


class Bench:
    """A host, the controller and the lights on one clock that only tests move; 1 ms a period.

    Light ``c`` is alone in step ``c``, from 0.1 to 0.6 ms; in step 8 all are on for 0.2 ms.
    """

    def __init__(self, faults: LedFaults | None = None, *, master: Master = Master.CONTROLLER):
        self.log = LightLog(CHANNELS)
        self.edges: list[int] = []
        self.firmware = LedFirmware(
            self.log, start_ns=POWER_ON, faults=faults, on_sync_edge=self.edges.append
        )
        self.now = POWER_ON + MS
        self.events: list[Event] = []
        self.replies: list[Reply] = []
        self._decoder = FrameDecoder()
        self._id = 0
        self.master = master

    def hear(self, data: bytes) -> None:
        for body in self._decoder.feed(data):
            message = decode_from_controller(body)
            (self.events if isinstance(message, Event) else self.replies).append(message)  # type: ignore[attr-defined]

    def ask(self, type_: MessageType, payload: bytes = b"") -> bytes:
        self._id += 1
        self.hear(self.firmware.receive(frame(type_, self._id, payload), self.now))
        reply = self.replies.pop()
        assert (reply.type, reply.request_id, reply.status) == (type_, self._id, ReplyStatus.OK)
        return reply.payload

    def status(self) -> Status:
        return Status.decode(self.ask(MessageType.STATUS))

    def pass_time(self, duration_ns: int, *, alive: bool = True) -> None:
        end = self.now + duration_ns
        while self.now < end:
            self.now = min(end, self.now + MS)
            self.hear(self.firmware.advance(self.now))
            if alive and (end - self.now) // MS % 50 == 0:
                self.ask(MessageType.HEARTBEAT)

    def upload(self, step_limit: int = 0) -> None:
        patterns = b"".join(
            encode_pattern(lit, CHANNELS) for lit in (*((c,) for c in range(8)), range(8))
        )
        steps = encode_steps(
            [*(StepEntry(c, 100_000, 500_000) for c in range(8)), StepEntry(8, 0, 200_000)]
        )
        self.ask(MessageType.TABLE_CHUNK, TableChunk(0, 0, patterns).encode())
        self.ask(MessageType.TABLE_CHUNK, TableChunk(1, 0, steps).encode())
        commit = TableCommit(
            pattern_count=9,
            master=self.master,
            step_count=9,
            pattern_crc=zlib.crc32(patterns),
            step_crc=zlib.crc32(steps),
            loop_from=0,
            step_limit=step_limit,
            period_ns=MS,
            exposure_delay_ns=50_000,
        )
        self.ask(MessageType.TABLE_COMMIT, commit.encode())

    def run(self, steps: int = 0) -> int:
        """Upload, arm, start; return the stage time of the start."""
        self.upload(steps)
        self.ask(MessageType.ARM)
        self.ask(MessageType.START)
        return self.now

    def lit(self, start: int, step: int, count: int = 1) -> NDArray[np.int64]:
        """Return what was lit in the periods of these steps."""
        return self.log.on_time_ns(start + step * MS, start + (step + count) * MS)


def frame(type_: int, request_id: int, payload: bytes = b"") -> bytes:
    return encode_frame(Request(type_, request_id, payload).encode())


def alone(channel: int, on_ns: int = 500_000) -> list[int]:
    return [on_ns if c == channel else 0 for c in range(CHANNELS)]


def test_a_sound_controller_lights_each_step_exactly() -> None:
    bench = Bench()
    start = bench.run(steps=9)
    bench.pass_time(9 * MS)
    for step in range(8):
        assert bench.lit(start, step).tolist() == alone(step)
    assert bench.lit(start, 8).tolist() == [200_000] * 8
    assert bench.edges == [start + 50_000 + step * MS for step in range(9)]
    assert [state for _, state in bench.firmware.history] == ["idle", "armed", "running", "done"]
    assert bench.firmware.history[-1][0] == start + 9 * MS


@pytest.mark.parametrize("lit_by", ["armed", "running", "manual lights"])
def test_without_a_host_all_is_dark_after_exactly_the_watchdog_time(lit_by: str) -> None:
    bench = Bench()
    if lit_by == "manual lights":
        bench.ask(MessageType.SET_LIGHTS, SetLights(60_000, b"\xff").encode())
    elif lit_by == "running":
        bench.run()
    else:
        bench.upload()
        bench.ask(MessageType.ARM)
    last_ns = bench.now
    bench.pass_time(600 * MS, alive=False)
    assert bench.log.last_lit_ns <= last_ns + 250 * MS
    if lit_by != "armed":
        assert bench.log.last_lit_ns > last_ns + 248 * MS
    assert bench.firmware.history[-1] == (last_ns + 250 * MS, "fault")
    assert [event.kind for event in bench.events] == [EventKind.BOOTED, EventKind.FAULT]


def test_the_watchdog_holds_however_rarely_the_simulation_is_advanced() -> None:
    bench = Bench()
    start = bench.run()
    bench.now += 10_000 * MS
    bench.hear(bench.firmware.advance(bench.now))
    assert start + 248 * MS < bench.log.last_lit_ns <= start + 250 * MS


def test_its_clock_drifts_by_the_stated_ppm() -> None:
    bench = Bench(LedFaults(clock_drift_ppm=100.0))
    bench.run(steps=1001)
    bench.pass_time(1002 * MS)
    # a clock 100 ppm too fast makes 1 s that lasts 100 us less; 2 ns of rounding
    assert bench.edges[1000] - bench.edges[0] == pytest.approx(1e9 / 1.0001, abs=2)


def test_jitter_moves_pulses_but_not_the_beat() -> None:
    bench = Bench(LedFaults(pulse_jitter_ns=1000.0, seed=4))
    start = bench.run(steps=900)
    bench.pass_time(900 * MS)
    late = [
        500_000 - bench.log.on_time_ns(at + 100_000, at + 600_000).sum()
        for at in range(start, start + 900 * MS, MS)
        if (at - start) // MS % 9 != 8
    ]
    # what leaves a window of the pulse's own length is |jitter|: 0.8 sigma on average
    assert np.mean(late) == pytest.approx(0.8 * 1000, rel=0.1)
    assert set(np.diff(bench.edges).tolist()) == {MS}


def test_faulty_leds_light_as_their_faults_say() -> None:
    faults = LedFaults(stuck_on=(0,), stuck_dark=(1,), dim={2: 0.25}, swapped=((3, 4),))
    bench = Bench(faults)
    start = bench.run(steps=9)
    bench.pass_time(20 * MS)
    on = MS  # the one that is stuck is on in every period
    assert bench.lit(start, 0).tolist() == [on, 0, 0, 0, 0, 0, 0, 0]
    assert bench.lit(start, 1).tolist() == [on, 0, 0, 0, 0, 0, 0, 0]
    assert bench.lit(start, 2).tolist() == [on, 0, 125_000, 0, 0, 0, 0, 0]
    assert bench.lit(start, 3).tolist() == [on, 0, 0, 0, 500_000, 0, 0, 0]
    assert bench.lit(start, 4).tolist() == [on, 0, 0, 500_000, 0, 0, 0, 0]
    assert bench.lit(start, 8).tolist() == [on, 0, 50_000, *[200_000] * 5]
    assert bench.lit(start, 15)[0] == on  # also when the run is over


def test_the_supply_droops_under_many_lights() -> None:
    bench = Bench(LedFaults(droop_per_channel=0.02))
    start = bench.run(steps=9)
    bench.pass_time(7 * MS)
    assert bench.status().supply_mv == pytest.approx(24_000 * 0.98)
    bench.pass_time(3 * MS)
    assert bench.status().supply_mv == pytest.approx(24_000 * 0.84)
    assert bench.lit(start, 8).tolist() == [168_000] * 8  # 16 % less


def test_a_supply_that_droops_too_far_is_a_fault() -> None:
    bench = Bench(LedFaults(droop_per_channel=0.05))
    start = bench.run()
    bench.pass_time(20 * MS)
    assert bench.status().faults == 2
    assert bench.log.last_lit_ns <= start + 9 * MS


def test_a_reset_loses_tables_and_run() -> None:
    bench = Bench(LedFaults(reset_at_ns=100 * MS))
    bench.run()
    bench.pass_time(200 * MS)
    status = bench.status()
    assert (status.state, status.steps_executed, status.faults) == (0, 0, 0)
    assert POWER_ON + 99 * MS < bench.log.last_lit_ns <= POWER_ON + 100 * MS
    assert [event.kind for event in bench.events] == [EventKind.BOOTED, EventKind.BOOTED]
    bench.hear(bench.firmware.receive(frame(MessageType.ARM, 500), bench.now))
    assert bench.replies.pop().status == ReplyStatus.NO_PROGRAM


@pytest.mark.parametrize(
    ("faults", "bit"),
    [
        (LedFaults(interlock_opens_at_ns=50 * MS), 4),
        (LedFaults(overheats_at_ns=50 * MS), 1),
    ],
)
def test_hardware_faults_darken(faults: LedFaults, bit: int) -> None:
    bench = Bench(faults)
    bench.run()
    bench.pass_time(100 * MS)
    assert bench.status().faults == bit
    assert bench.log.last_lit_ns <= POWER_ON + 51 * MS
    assert bench.firmware.state == "fault"


def test_missed_and_extra_sync_edges_reach_the_camera_so() -> None:
    bench = Bench(LedFaults(missed_sync_edges=(2,), extra_sync_edges=(5,)))
    start = bench.run(steps=9)
    bench.pass_time(10 * MS)
    steps = [0, 1, 3, 4, 5, 5.5, 6, 7, 8]
    assert bench.edges == [start + 50_000 + round(step * MS) for step in steps]
    assert bench.status().triggers_out == 9  # it does not know


def test_the_cameras_strobe_steps_it() -> None:
    bench = Bench(master=Master.CAMERA)
    bench.run(steps=4)
    strobes = [bench.now + MS + n * 1_200_000 for n in range(4)]
    for number, at in enumerate(strobes):
        bench.now = at
        bench.hear(bench.firmware.strobe(at))
        assert bench.log.on_time_ns(at, at + MS).tolist() == alone(number)
    bench.pass_time(2 * MS)
    status = bench.status()
    assert (status.state, status.edges_in, status.steps_executed) == (3, 4, 4)


def test_false_and_missing_strobes_shift_the_steps_and_show_in_the_counters() -> None:
    bench = Bench(LedFaults(missed_sync_edges=(1,), extra_sync_edges=(3,)), master=Master.CAMERA)
    bench.run()
    start = bench.now
    for number in range(6):
        bench.now = start + number * MS
        bench.hear(bench.firmware.strobe(bench.now))
    # strobe 1 is lost; half a period after strobe 3 a false one comes, during step 2's pulse
    assert [int(np.argmax(bench.lit(start, n))) for n in (0, 2, 3)] == [0, 1, 2]
    assert bench.lit(start, 1).sum() == 0
    status = bench.status()
    assert (status.edges_in, status.steps_executed, status.steps_missed) == (6, 5, 1)
    assert [e.argument for e in bench.events if e.kind == EventKind.STEP_MISSED] == [3]


def test_a_camera_that_strobes_back_at_once_is_counted() -> None:
    bench = Bench()

    def echo(time_ns: int) -> None:
        bench.hear(bench.firmware.strobe(time_ns))

    bench.firmware.on_sync_edge = echo
    bench.run(steps=9)
    bench.pass_time(10 * MS)
    status = bench.status()
    assert status.edges_in == status.triggers_out == status.steps_executed == 9


def _survives_noise(count: int, seed: int) -> None:
    """Damaged frames of every kind, a heartbeat now and then: the run goes on, none is answered."""
    bench = Bench()
    chance = random.Random(seed)
    start = bench.run()
    damages: tuple[Callable[[bytearray], None], ...] = (
        lambda data: data.__setitem__(at(data), data[at(data)] ^ 1 << chance.randrange(8)),
        lambda data: data.__delitem__(slice(0, 1 + at(data))),
        lambda data: data.insert(at(data), chance.randrange(256)),
        lambda data: data.__setitem__(slice(0, len(data)), chance.randbytes(len(data))),
    )

    def at(data: bytearray) -> int:
        return chance.randrange(len(data) - 1)

    types = [*MessageType, 0x7E, 0x80, 0xFF]
    for number in range(count):
        data = bytearray(
            frame(chance.choice(types), number & 0xFFFF, chance.randbytes(number % 40))
        )
        sound = bytes(data)
        chance.choice(damages)(data)
        if sound in bytes(data) + b"\0" or bytes(data).rstrip(b"\0") == sound.rstrip(b"\0"):
            continue  # damaged into itself
        bench.now += chance.randrange(20_000)
        bench.hear(bench.firmware.receive(bytes(data) + b"\0", bench.now))
        if number % 500 == 0:
            bench.ask(MessageType.HEARTBEAT)
        assert bench.firmware.state == "running"
    bench.ask(MessageType.HEARTBEAT)
    assert not bench.replies
    status = bench.status()
    assert status.steps_executed == (bench.now - start) // MS + 1
    assert status.faults == 0


def test_no_damaged_frame_ends_a_run() -> None:
    _survives_noise(20_000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_none_of_a_hundred_thousand_damaged_frames_ends_a_run(seed: int) -> None:
    _survives_noise(100_000, seed)
