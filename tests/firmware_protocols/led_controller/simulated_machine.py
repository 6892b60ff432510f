"""The Python state machine on hardware that only remembers; inputs are set by tests."""

from __future__ import annotations

from dataclasses import replace

from firmware_protocols.led_controller.messages import Identity, State
from lightstage.simulation.led_state_machine import LedStateMachine

#: What the C firmware says of itself on a workstation (hal_host.c).
REFERENCE_IDENTITY = Identity(
    channels=96,
    max_patterns=1024,
    max_steps=4096,
    timer_resolution_ns=100,
    watchdog_ms=250,
    max_chunk=240,
    manual_max_ms=60_000,
    product="reference LED controller",
    firmware_version="1.0.0",
    serial="HOST-1",
)


class RememberingHardware:
    """Hardware that remembers what it was told to do."""

    def __init__(self) -> None:
        self.inputs = {"I": 0, "T": 3500, "V": 24000}
        self.pulses: list[tuple[tuple[int, ...], int, int]] = []
        self.edges: list[tuple[int, int]] = []
        self.darkened: list[int] = []
        self.manual: list[tuple[tuple[int, ...], int, int]] = []
        self.states: list[tuple[int, State]] = []

    def pulse(self, channels: tuple[int, ...], start_ns: int, width_ns: int) -> None:
        self.pulses.append((channels, start_ns, width_ns))

    def sync_edge(self, step: int, time_ns: int) -> None:
        self.edges.append((step, time_ns))

    def lights_on(self, channels: tuple[int, ...], start_ns: int, end_ns: int) -> None:
        self.manual.append((channels, start_ns, end_ns))

    def dark(self, time_ns: int) -> None:
        self.darkened.append(time_ns)

    def state_changed(self, state: State, time_ns: int) -> None:
        self.states.append((time_ns, state))

    def temperature_centi_c(self) -> int:
        return self.inputs["T"]

    def supply_mv(self) -> int:
        return self.inputs["V"]

    def interlock_open(self) -> bool:
        return bool(self.inputs["I"])


class SimulatedMachine(LedStateMachine):
    """The Python implementation, with the inputs of :class:`ScriptedFirmware`."""

    def __init__(self, channels: int = 96) -> None:
        self.remembered = RememberingHardware()
        super().__init__(replace(REFERENCE_IDENTITY, channels=channels), self.remembered)

    def set_input(self, letter: str, value: int) -> None:
        self.remembered.inputs[letter] = value
