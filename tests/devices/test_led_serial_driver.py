"""The serial LED driver against lines and controllers that misbehave."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Iterator

import pytest

from firmware_protocols.led_controller.framing import encode_frame
from firmware_protocols.led_controller.messages import MessageType, Request
from lightstage.devices.serial_led import SerialLedController
from lightstage.errors import DeviceError
from lightstage.simulation.led_faults import LedFaults
from lightstage.simulation.led_firmware import LedFirmware
from lightstage.simulation.led_pty import LedFirmwareOnPty
from lightstage.simulation.light_log import LightLog
from tests.devices.led_contract import CHANNELS, program, wait_done, wait_until


@pytest.fixture
def silent_line() -> Iterator[str]:
    """The address of a line on which nobody answers."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield f"serial:{os.ttyname(slave)}"
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("serial:", "expected 'serial:/dev/ttyACM0'"),
        ("/dev/ttyACM0", "expected 'serial:/dev/ttyACM0'"),
        ("serial:/dev/no_such_port", "cannot be opened"),
        ("serial:nonsense://port", "cannot be opened"),
    ],
)
def test_an_address_where_nothing_is_is_told(address: str, why: str) -> None:
    with pytest.raises(DeviceError, match=why) as caught:
        SerialLedController(address)
    assert str(caught.value).startswith(address)


def test_silence_is_told_within_the_timeout(silent_line: str) -> None:
    begun = time.monotonic()
    with pytest.raises(
        DeviceError, match=r"no reply to the identify request within 0\.5 s"
    ) as caught:
        SerialLedController(silent_line, timeout_s=0.5)
    assert 0.4 < time.monotonic() - begun < 3.0
    assert str(caught.value).startswith(silent_line)


def test_the_port_belongs_to_one_client_and_is_free_after_it() -> None:
    with LedFirmwareOnPty(LightLog(CHANNELS)) as firmware:
        for _ in range(3):
            SerialLedController(firmware.address).close()


def test_a_noisy_line_costs_retries_and_nothing_else() -> None:
    # a frame of 260 bytes arrives in 3 of 4 cases, five tries all fail in one of a thousand
    faults = LedFaults(byte_loss_rate=3e-4, byte_flip_rate=3e-4, byte_duplicate_rate=3e-4, seed=11)
    log = LightLog(CHANNELS)
    with (
        LedFirmwareOnPty(log, faults=faults) as firmware,
        SerialLedController(firmware.address) as controller,
    ):
        for _ in range(3):
            controller.upload(program(step_limit=300))
            controller.arm()
            controller.start()
            counters = wait_done(controller).counters
            assert (counters.steps_executed, counters.triggers_out) == (300, 300)


def test_a_reset_in_mid_run_is_reported_and_explained() -> None:
    with (
        LedFirmwareOnPty(LightLog(CHANNELS)) as firmware,
        SerialLedController(firmware.address) as controller,
    ):
        controller.upload(program(step_limit=0))
        controller.arm()
        controller.start()
        firmware.faults = LedFaults(reset_at_ns=0)
        names: list[str] = []
        wait_until(
            lambda: "rebooted" in (names.extend(e.name for e in controller.events()) or names)
        )
        assert controller.status().state == "idle"
        with pytest.raises(DeviceError, match="it may have been reset"):
            controller.arm()


def test_a_lost_reply_to_start_does_not_start_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = LedFirmware.receive
    swallowed = []

    def lose_first_start(firmware: LedFirmware, data: bytes, now_ns: int) -> bytes:
        was = firmware.state
        sent = receive(firmware, data, now_ns)
        if was == "armed" and firmware.state == "running":
            swallowed.append(sent)
            return b""
        return sent

    monkeypatch.setattr(LedFirmware, "receive", lose_first_start)
    with (
        LedFirmwareOnPty(LightLog(CHANNELS)) as firmware,
        SerialLedController(firmware.address) as controller,
    ):
        controller.upload(program(step_limit=0))
        controller.arm()
        controller.start()
        assert len(swallowed) == 1
        assert [state for _, state in firmware.history] == ["idle", "armed", "running"]


def test_armed_it_stays_armed_without_being_spoken_to() -> None:
    with (
        LedFirmwareOnPty(LightLog(CHANNELS)) as firmware,
        SerialLedController(firmware.address) as controller,
    ):
        controller.upload(program())
        controller.arm()
        time.sleep(0.7)
        assert firmware.state == "armed"


def test_the_simulator_forgives_a_host_that_never_reads() -> None:
    request = encode_frame(Request(MessageType.STATUS, 1).encode())
    with LedFirmwareOnPty(LightLog(CHANNELS)) as firmware:
        port = os.open(firmware.address.removeprefix("serial:"), os.O_RDWR | os.O_NOCTTY)
        try:
            for _ in range(2000):  # their replies are 15 times what the line holds
                os.write(port, request)
        finally:
            os.close(port)
        with SerialLedController(firmware.address) as controller:
            assert controller.status().state == "idle"
