"""The simulated LED controller: the protocol's state machine on LEDs that can be faulty.

The state machine lives in the device's own time, which drifts; the light log, the camera and all
arguments here are in the stage's one true time, nanoseconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush

from firmware_protocols.led_controller.messages import Identity, Master, State
from lightstage.simulation.led_faults import LedFaults, LineNoise
from lightstage.simulation.led_state_machine import LedStateMachine
from lightstage.simulation.light_log import LightLog

SIMULATED_IDENTITY = Identity(
    channels=96,
    max_patterns=4200,
    max_steps=16384,
    timer_resolution_ns=100,
    watchdog_ms=250,
    max_chunk=240,
    manual_max_ms=60_000,
    product="simulated LED controller",
    firmware_version="1.0.0",
    serial="SIM-LED-1",
)


class LedFirmware:
    """An LED controller on an injected clock: bytes and stage time in, bytes and light out.

    Args:
        log: gets every pulse; says how many channels there are.
        start_ns: stage time of power-on.
        identity: who it says it is; its channels are replaced by the log's.
        faults: what is wrong with it.
        on_sync_edge: called with the stage time of each edge on F-Sync that reaches the camera.

    Attributes:
        history: ``(stage time in ns, state)`` of each change of state, power-on included.
    """

    def __init__(
        self,
        log: LightLog,
        *,
        start_ns: int = 0,
        identity: Identity = SIMULATED_IDENTITY,
        faults: LedFaults | None = None,
        on_sync_edge: Callable[[int], None] | None = None,
    ) -> None:
        self.log = log
        self.identity = replace(identity, channels=log.channels)
        self.on_sync_edge = on_sync_edge
        self.history: list[tuple[int, str]] = []
        self._power_on_ns = start_ns
        self._now_ns = start_ns
        self._stuck_logged_ns = start_ns
        self._reset_done = False
        self._strobes = 0
        self._false_edges: list[int] = []
        self.faults = faults or LedFaults()
        self._boot(start_ns)

    @property
    def faults(self) -> LedFaults:
        """What is wrong; may be replaced at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: LedFaults) -> None:
        self._faults = faults
        self._noise = LineNoise(faults)
        self._random = random.Random(faults.seed + 1)
        self._wired = {a: b for pair in faults.swapped for a, b in (pair, pair[::-1])}
        self._supply_low_mv = round(faults.supply_v * 1000)

    @property
    def state(self) -> str:
        """The controller's state, as :data:`lightstage.devices.interfaces.LedState` names it."""
        return self.machine.state.name.lower()

    # What comes in

    def receive(self, data: bytes, now_ns: int) -> bytes:
        """Take bytes off the line at stage time ``now_ns``; return what is sent back."""
        sent = self._advance(now_ns)
        sent += self.machine.receive(self._noise.spoil(data), self._device_ns(now_ns))
        return self._noise.spoil(sent)

    def advance(self, now_ns: int) -> bytes:
        """Do what was due by stage time ``now_ns``; return what is sent unasked."""
        return self._noise.spoil(self._advance(now_ns))

    def strobe(self, time_ns: int) -> bytes:
        """Take an edge of the camera's strobe at stage time ``time_ns``; return what is sent."""
        if self._is_master:
            # may come from within on_sync_edge: is counted, and moves nothing
            return self._noise.spoil(self.machine.strobe(self._device_ns(time_ns)))
        sent = self._advance(time_ns)
        number = self._strobes
        if self.machine.state is State.RUNNING:
            self._strobes += 1
        if number not in self.faults.missed_sync_edges:
            sent += self.machine.strobe(self._device_ns(time_ns))
        if number in self.faults.extra_sync_edges and self.machine.program is not None:
            heappush(self._false_edges, time_ns + self.machine.program.period_ns // 2)
        return self._noise.spoil(sent)

    def _advance(self, now_ns: int) -> bytes:
        sent = b""
        reset_ns = self.faults.reset_at_ns
        if reset_ns is not None and not self._reset_done:
            # where the fault was set when its time was past, it comes at once
            reset_ns = max(self._power_on_ns + reset_ns, self._now_ns)
            if now_ns >= reset_ns:
                self._reset_done = True
                self._until(reset_ns)  # what it was about to say is lost
                self.log.cut(reset_ns)
                self._boot(reset_ns)
        sent += self._until(now_ns)
        self._log_stuck(now_ns)
        return sent

    def _until(self, now_ns: int) -> bytes:
        sent = b""
        while self._false_edges and self._false_edges[0] <= now_ns and not self._is_master:
            sent += self.machine.strobe(self._device_ns(heappop(self._false_edges)))
        self._now_ns = max(self._now_ns, now_ns)
        sent += self.machine.advance(self._device_ns(now_ns))
        if self._is_master:
            self._give_false_edges(now_ns)
        return sent

    def _boot(self, at_ns: int) -> None:
        self._boot_ns = at_ns
        self._false_edges.clear()
        self.machine = LedStateMachine(self.identity, self)
        self.history.append((at_ns, self.state))

    @property
    def _is_master(self) -> bool:
        program = self.machine.program
        return program is not None and program.master is Master.CONTROLLER

    # Time

    def _device_ns(self, stage_ns: int) -> int:
        elapsed = stage_ns - self._boot_ns
        return elapsed + round(elapsed * self.faults.clock_drift_ppm * 1e-6)

    def _stage_ns(self, device_ns: int) -> int:
        return self._boot_ns + round(device_ns / (1.0 + self.faults.clock_drift_ppm * 1e-6))

    # The hardware that the state machine drives (LedHardware)

    def pulse(self, channels: tuple[int, ...], start_ns: int, width_ns: int) -> None:
        """Light channels as well as they do with these faults; device time."""
        held_up = max(0.0, 1.0 - self.faults.droop_per_channel * len(channels))
        self._supply_low_mv = min(self._supply_low_mv, round(self.faults.supply_v * 1000 * held_up))
        start, end = self._stage_ns(start_ns), self._stage_ns(start_ns + width_ns)
        if self.faults.pulse_jitter_ns:
            late = round(self._random.gauss(0.0, self.faults.pulse_jitter_ns))
            start, end = start + late, end + late
        self._light(channels, start, end, held_up)

    def lights_on(self, channels: tuple[int, ...], start_ns: int, end_ns: int) -> None:
        """Light channels by hand; device time."""
        start, end = self._stage_ns(start_ns), self._stage_ns(end_ns)
        self._light(channels, start, end, 1.0)

    def sync_edge(self, step: int, time_ns: int) -> None:
        """Give an edge on F-Sync, if the cable does its part; device time."""
        edge_ns = self._stage_ns(time_ns)
        self._give_false_edges(edge_ns)
        if step not in self.faults.missed_sync_edges:
            self._tell_camera(edge_ns)
        if step in self.faults.extra_sync_edges and self.machine.program is not None:
            heappush(self._false_edges, edge_ns + self.machine.program.period_ns // 2)

    def dark(self, time_ns: int) -> None:
        """Switch all lights off, but for those that are stuck; device time."""
        self.log.cut(self._stage_ns(time_ns))
        self._false_edges.clear()

    def state_changed(self, state: State, time_ns: int) -> None:
        """Keep the history; device time."""
        if state is State.ARMED:
            self._strobes = 0
        self.history.append((self._stage_ns(time_ns), state.name.lower()))

    def temperature_centi_c(self) -> int:
        """Return the temperature in hundredths of a degree Celsius."""
        hot = self._is_past(self.faults.overheats_at_ns)
        return 9500 if hot else round(self.faults.temperature_c * 100)

    def supply_mv(self) -> int:
        """Return the lowest supply since the last call, in millivolts."""
        lowest, self._supply_low_mv = self._supply_low_mv, round(self.faults.supply_v * 1000)
        return lowest

    def interlock_open(self) -> bool:
        """Return whether somebody opened the dome."""
        return self.faults.interlock_open or self._is_past(self.faults.interlock_opens_at_ns)

    def _is_past(self, at_ns: int | None) -> bool:
        return at_ns is not None and self._now_ns >= self._power_on_ns + at_ns

    # Light

    def _light(self, channels: Sequence[int], start: int, end: int, share: float) -> None:
        """Log light from ``start`` on; weak light is a shorter pulse, as a camera integrates."""
        shares: dict[float, list[int]] = {}
        for channel in channels:
            wired = self._wired.get(channel, channel)
            if wired not in self.faults.stuck_dark and wired not in self.faults.stuck_on:
                shares.setdefault(share * self.faults.dim.get(wired, 1.0), []).append(wired)
        for part, lit in shares.items():
            self.log.add(start, start + round((end - start) * part), lit)

    def _log_stuck(self, now_ns: int) -> None:
        if self.faults.stuck_on:
            self.log.add(self._stuck_logged_ns, now_ns, self.faults.stuck_on)
        self._stuck_logged_ns = max(now_ns, self._stuck_logged_ns)

    def _give_false_edges(self, now_ns: int) -> None:
        while self._false_edges and self._false_edges[0] <= now_ns:
            self._tell_camera(heappop(self._false_edges))

    def _tell_camera(self, time_ns: int) -> None:
        if self.on_sync_edge is not None:
            self.on_sync_edge(time_ns)
