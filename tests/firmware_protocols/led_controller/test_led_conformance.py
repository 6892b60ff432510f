"""Both implementations answer the conformance vectors, and each other's noise, byte for byte."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from typing import Any

import pytest

from firmware_protocols.led_controller import CONFORMANCE_VECTORS, FIRMWARE_SOURCES
from firmware_protocols.led_controller.framing import encode_frame
from firmware_protocols.led_controller.messages import MessageType, Request
from tests.firmware_protocols.led_controller.reference_firmware import ScriptedFirmware, built
from tests.firmware_protocols.led_controller.simulated_machine import SimulatedMachine
from tests.firmware_protocols.led_controller.write_conformance import CASES, MS, play, upload

VECTORS: list[dict[str, Any]] = json.loads(CONFORMANCE_VECTORS.read_text())["cases"]


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_the_simulator_conforms(case: dict[str, Any]) -> None:
    machine = SimulatedMachine()
    for number, action in enumerate(case["actions"]):
        assert play(machine, action).hex() == action["sends"], (number, action)


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_the_c_firmware_conforms(case: dict[str, Any]) -> None:
    with ScriptedFirmware() as firmware:
        for number, action in enumerate(case["actions"]):
            assert play(firmware, action).hex() == action["sends"], (number, action)


def test_the_vectors_are_those_that_are_described() -> None:
    assert [case["name"] for case in VECTORS] == list(CASES)


@pytest.mark.parametrize("seed", range(3))
def test_both_implementations_agree_on_random_talk(seed: int) -> None:
    _compare(seed, 1500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_both_implementations_agree_on_much_random_talk(seed: int) -> None:
    _compare(seed, 5000)


def _compare(seed: int, count: int) -> None:
    chance = random.Random(seed)
    machine = SimulatedMachine()
    now_ns = 0
    with ScriptedFirmware() as firmware:
        assert machine.advance(0) == firmware.advance(0)  # the boot's own event
        for _ in range(count):
            for action in _random_actions(chance):
                now_ns += chance.choice((0, 1, 1000, 123_456, 900_000, 7 * MS, 90 * MS))
                timed = {"time_ns": now_ns, **action}
                assert play(machine, timed).hex() == play(firmware, timed).hex(), timed


def _random_actions(chance: random.Random) -> list[dict[str, Any]]:
    kind = chance.randrange(20)
    if kind == 0:
        return upload(master=chance.randrange(2), step_limit=chance.choice((0, 5, 100)))
    if kind < 4:
        return [{"strobe": True}]
    if kind == 4 and chance.random() < 0.3:
        letter, value = chance.choice(
            (("I", 1), ("I", 0), ("T", 9000), ("T", 20), ("V", 9000), ("V", 24000))
        )
        return [{"input": letter, "value": value}, {"advance": True}]
    if kind == 5:
        return [{"receive": chance.randbytes(chance.randrange(1, 60)).hex()}]
    type_ = chance.choice(list(MessageType)) if chance.random() < 0.95 else chance.randrange(256)
    length = {MessageType.SET_LIGHTS: 16, MessageType.TABLE_CHUNK: 17, MessageType.TABLE_COMMIT: 32}
    payload = bytes(chance.choice((0, 0, 0, 1, 255)) for _ in range(length.get(type_, 0)))  # type: ignore[call-overload]
    if chance.random() < 0.1:
        payload += b"\1"
    frame = bytearray(encode_frame(Request(type_, chance.randrange(3), payload).encode()))
    if chance.random() < 0.2:
        frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
    return [{"receive": frame.hex()}]


def test_the_c_firmware_survives_random_bytes() -> None:
    done = subprocess.run(
        [built("fuzz_led"), "60000", "3"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_c_firmware_survives_a_million_random_frames(seed: int) -> None:
    done = subprocess.run(
        [built("fuzz_led"), "1000000", str(seed)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_the_teensy_template_compiles_without_warnings() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is absent")
    for source in ("hal_teensy_template.c", "led_requests.c", "led_sequencer.c", "led_framing.c"):
        subprocess.run(
            ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source],
            cwd=FIRMWARE_SOURCES,
            check=True,
            timeout=60,
        )


def test_the_firmware_compiles_for_cortex_m(tmp_path: Any) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc, the compiler for Cortex-M, is absent")
    subprocess.run(
        ["make", "-s", "-C", str(FIRMWARE_SOURCES), f"BUILD={tmp_path}", "cortex-m"],
        check=True,
        timeout=120,
    )
