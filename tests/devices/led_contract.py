"""What every LED controller must do, real or simulated, through the real driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import pytest

from lightstage.devices.interfaces import LedStatus
from lightstage.devices.led_program import LedProgram, LedStep
from lightstage.devices.serial_led import SerialLedController
from lightstage.errors import DeviceError
from lightstage.sequence import CaptureSequence
from lightstage.simulation.light_log import LightLog

CHANNELS = 96
WATCHDOG_NS = 250_000_000
#: What the watchdog may be late by.
TOLERANCE_NS = 20_000_000


class LedRig(Protocol):
    """A controller under test and what can be seen of its lights and done to its inputs."""

    address: str

    def log(self) -> LightLog:
        """Return what was lit, on the clock of ``time.monotonic_ns``."""

    def edges(self) -> list[int]:
        """Return the times of the F-Sync edges so far."""

    def strobe(self) -> None:
        """Give an edge on the strobe input."""

    def open_interlock(self, is_open: bool) -> None:
        """Open or close the interlock."""

    def unplug(self) -> None:
        """Take the controller away."""


def program(**changes: object) -> LedProgram:
    """Return a small program: dark once, then lights 0 to 3 in turn, 1 ms each."""
    values: dict[str, object] = {
        "channels": CHANNELS,
        "patterns": ((), (0,), (1,), (2,), (3,)),
        "steps": tuple(
            LedStep(pattern=p, start_ns=100_000 if p else 0, width_ns=500_000 if p else 0)
            for p in range(5)
        ),
        "loop_from": 1,
        "step_limit": 9,
        "period_ns": 1_000_000,
        "exposure_delay_ns": 50_000,
    }
    return LedProgram.model_validate(values | changes)


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


def wait_done(controller: SerialLedController) -> LedStatus:
    wait_until(lambda: controller.status().state == "done")
    return controller.status()


class LedControllerContract:
    """Subclass it, with a fixture ``rig``."""

    @pytest.fixture
    def controller(self, rig: LedRig) -> Iterator[SerialLedController]:
        with SerialLedController(rig.address) as controller:
            yield controller

    def test_it_says_who_it_is(self, controller: SerialLedController) -> None:
        identity = controller.identify()
        assert identity.protocol_version == 1
        assert identity.channels == CHANNELS
        assert identity.max_steps >= 122 and identity.max_patterns >= 98
        assert 0 < identity.watchdog_ms <= 250
        assert identity.product and identity.serial and identity.firmware_version

    def test_a_program_lights_what_it_says_when_it_says(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        controller.upload(program())
        controller.arm()
        armed = controller.status()
        assert (armed.state, armed.counters.steps_executed) == ("armed", 0)
        controller.start()
        counters = wait_done(controller).counters
        assert (counters.steps_executed, counters.triggers_out, counters.steps_missed) == (9, 9, 0)
        edges = rig.edges()
        np.testing.assert_array_equal(np.diff(edges), 1_000_000)
        begin = edges[0] - 50_000
        for step, channel in enumerate([None, 0, 1, 2, 3, 0, 1, 2, 3]):
            at = begin + step * 1_000_000
            expected = np.zeros(CHANNELS, dtype=np.int64)
            if channel is not None:
                expected[channel] = 500_000
            np.testing.assert_array_equal(rig.log().on_time_ns(at, at + 1_000_000), expected)
            np.testing.assert_array_equal(
                rig.log().on_time_ns(at + 100_000, at + 600_000), expected
            )
        assert [event.name for event in controller.events()] == ["done"]
        assert controller.events() == []

    def test_a_capture_sequence_runs_until_it_is_stopped(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        controller.upload(LedProgram.of_sequence(CaptureSequence(lights=CHANNELS)))
        controller.arm()
        controller.start()
        time.sleep(0.6)  # longer than the watchdog: heartbeats keep it going
        assert controller.status().state == "running"
        controller.stop()
        stopped_ns = time.monotonic_ns()
        status = controller.status()
        assert status.state == "idle"
        assert status.counters.steps_executed > 500
        assert status.counters.steps_executed - status.counters.triggers_out in (0, 1)
        assert rig.log().last_lit_ns <= stopped_ns
        # each light as often as each other, but for the cycle that was cut
        cycles = (status.counters.steps_executed - 10) // 112
        begin = rig.edges()[0] - 20_000 + 10_000_000
        on_time = rig.log().on_time_ns(begin, begin + cycles * 112_000_000)
        assert len(set(on_time.tolist())) == 1

    def test_the_camera_steps_it_where_it_is_master(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        controller.upload(program(master="camera", step_limit=4))
        controller.arm()
        rig.strobe()  # before the start: counts for nothing
        time.sleep(0.02)
        controller.start()
        for _ in range(4):
            rig.strobe()
            time.sleep(0.02)
        counters = wait_done(controller).counters
        assert (counters.edges_in, counters.steps_executed) == (4, 4)
        assert (counters.steps_missed, counters.triggers_out) == (0, 0)
        total = rig.log().on_time_ns(0, 2**62)
        assert total[:3].tolist() == [500_000] * 3 and total[3:].sum() == 0

    def test_what_it_cannot_do_is_told_with_its_address(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        def refused(act: Callable[[], object], why: str) -> None:
            with pytest.raises(DeviceError, match=why) as caught:
                act()
            assert rig.address in str(caught.value)

        refused(controller.arm, "no program")
        refused(controller.start, "not armed")
        refused(lambda: controller.upload(program(channels=600)), "600 channels")
        refused(lambda: controller.upload(program(exposure_delay_ns=1_000_000)), "beyond what")
        refused(controller.arm, "no program")
        refused(lambda: controller.upload(program(period_ns=2**33)), "cannot be sent")
        refused(lambda: controller.set_lights([CHANNELS], 100), "channel 96")
        refused(lambda: controller.set_lights([0], -1), "not -1")
        controller.upload(program())
        controller.arm()
        refused(lambda: controller.upload(program()), "stop it first")
        refused(lambda: controller.set_lights([0], 10), "stop it first")
        controller.stop()
        controller.upload(program())

    def test_stop_never_fails(self, controller: SerialLedController) -> None:
        controller.stop()
        controller.stop()
        assert controller.status().state == "idle"

    def test_manual_lights_go_out_by_themselves(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        begun_ns = time.monotonic_ns()
        controller.set_lights([1, 5], 400)
        names: list[str] = []
        wait_until(lambda: bool(names.extend(e.name for e in controller.events()) or names))
        assert names == ["lights_timed_out"]
        total = rig.log().on_time_ns(begun_ns, 2**62)
        assert total[1] == total[5] == 400_000_000
        assert total.sum() == 800_000_000
        assert controller.status().state == "idle"

    def test_new_manual_lights_replace_the_old_ones(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        controller.set_lights([1], 5000)
        controller.set_lights([2], 5000)
        controller.set_lights([], 5000)
        dark_ns = time.monotonic_ns()
        assert 0 < rig.log().last_lit_ns <= dark_ns

    def test_the_interlock_darkens_until_it_is_closed_and_armed_again(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        controller.upload(program(step_limit=0))
        controller.arm()
        controller.start()
        rig.open_interlock(True)
        wait_until(lambda: controller.status().state == "fault")
        fault_ns = time.monotonic_ns()
        assert controller.status().faults == ("interlock",)
        assert [(e.name, e.detail) for e in controller.events()] == [("fault", "interlock")]
        with pytest.raises(DeviceError, match="interlock"):
            controller.arm()
        with pytest.raises(DeviceError, match="interlock"):
            controller.set_lights([0], 10)
        controller.stop()
        rig.open_interlock(False)
        time.sleep(0.02)
        assert controller.status().faults == ("interlock",)
        assert rig.log().last_lit_ns <= fault_ns
        controller.arm()
        assert (controller.status().state, controller.status().faults) == ("armed", ())

    def test_noise_on_the_line_does_not_end_a_run(self, controller: SerialLedController) -> None:
        controller.upload(program(step_limit=0))
        controller.arm()
        controller.start()
        chance = np.random.default_rng(1)
        for _ in range(50):
            controller._write(chance.bytes(int(chance.integers(1, 400))))
            time.sleep(0.004)
        status = controller.status()
        assert (status.state, status.faults) == ("running", ())

    def test_the_next_client_finds_it_ready(self, rig: LedRig) -> None:
        with SerialLedController(rig.address) as first:
            first.upload(program(step_limit=0))
            first.arm()
            first.start()
        closed_ns = time.monotonic_ns()
        with SerialLedController(rig.address) as second:
            assert second.status().state == "idle"
            assert rig.log().last_lit_ns <= closed_ns
            second.arm()

    def test_closed_it_says_so(self, rig: LedRig) -> None:
        controller = SerialLedController(rig.address)
        controller.close()
        controller.close()
        with pytest.raises(DeviceError, match="closed"):
            controller.status()

    def test_unplugged_it_says_so_and_does_not_hang(
        self, rig: LedRig, controller: SerialLedController
    ) -> None:
        rig.unplug()
        begun = time.monotonic()
        with pytest.raises(DeviceError, match="connection is lost") as caught:
            controller.status()
        assert rig.address in str(caught.value)
        assert time.monotonic() - begun < controller.timeout_s + 1.0

    def test_when_the_host_dies_the_lights_go_dark(self, rig: LedRig) -> None:
        host = subprocess.Popen(
            [sys.executable, "-c", _HOST, rig.address], stdout=subprocess.PIPE, text=True
        )
        assert host.stdout is not None
        with host.stdout:
            assert host.stdout.readline() == "running\n"
            time.sleep(0.4)  # longer than the watchdog: the host's heartbeats keep it lit
            killed_ns = time.monotonic_ns()
            os.kill(host.pid, signal.SIGKILL)
            host.wait(timeout=10)
        time.sleep(0.35)
        assert killed_ns < rig.log().last_lit_ns <= killed_ns + WATCHDOG_NS + TOLERANCE_NS
        with SerialLedController(rig.address) as controller:
            assert controller.status().state == "fault"
            assert controller.status().faults == ("watchdog",)


_HOST = """
import sys, time
from lightstage.devices.serial_led import SerialLedController
from tests.devices.led_contract import program
controller = SerialLedController(sys.argv[1])
controller.upload(program(step_limit=0))
controller.arm()
controller.start()
print("running", flush=True)
time.sleep(60)
"""
