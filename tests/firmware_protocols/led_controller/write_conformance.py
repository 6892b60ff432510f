"""Writes conformance.json: what is asked is here, what is answered is what Python answers.

    python -m tests.firmware_protocols.led_controller.write_conformance

The answers were checked by reading, and by the C firmware, which shares no code with Python.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from firmware_protocols.led_controller import CONFORMANCE_VECTORS
from firmware_protocols.led_controller.framing import encode_frame
from firmware_protocols.led_controller.messages import (
    Master,
    MessageType,
    Request,
    SetLights,
    StepEntry,
    Table,
    TableChunk,
    TableCommit,
    encode_pattern,
    encode_steps,
)
from tests.firmware_protocols.led_controller.simulated_machine import SimulatedMachine

MS = 1_000_000
PATTERNS = b"".join(encode_pattern(lit, 96) for lit in ((), (0,), (95,), tuple(range(96))))
STEPS = encode_steps(
    [StepEntry(0, 0, 0), StepEntry(1, 0, 740_000), StepEntry(2, 0, 740_000), StepEntry(3, 300, 25)]
)


def request(
    type_: int, request_id: int, payload: bytes = b"", *, version: int = 1
) -> dict[str, Any]:
    body = Request(type_, request_id, payload, version).encode()
    return {"receive": encode_frame(body).hex()}


def commit(**changes: int) -> bytes:
    values = {
        "pattern_count": 4,
        "master": Master.CONTROLLER,
        "step_count": 4,
        "pattern_crc": zlib.crc32(PATTERNS),
        "step_crc": zlib.crc32(STEPS),
        "loop_from": 1,
        "step_limit": 6,
        "period_ns": MS,
        "exposure_delay_ns": 20_000,
    }
    return TableCommit(**(values | changes)).encode()


def upload(**changes: int) -> list[dict[str, Any]]:
    return [
        request(MessageType.TABLE_CHUNK, 1, TableChunk(Table.PATTERNS, 0, PATTERNS).encode()),
        request(MessageType.TABLE_CHUNK, 2, TableChunk(Table.STEPS, 0, STEPS[:20]).encode()),
        request(MessageType.TABLE_CHUNK, 3, TableChunk(Table.STEPS, 20, STEPS[20:]).encode()),
        request(MessageType.TABLE_COMMIT, 4, commit(**changes)),
    ]


def at(time_ns: int, action: dict[str, Any]) -> dict[str, Any]:
    return {"time_ns": time_ns, **action}


STATUS = request(MessageType.STATUS, 99)
ARM, START, STOP = (
    request(type_, 10 + type_ % 16)
    for type_ in (MessageType.ARM, MessageType.START, MessageType.STOP)
)
HEARTBEAT = request(MessageType.HEARTBEAT, 0)
LIGHTS = request(MessageType.SET_LIGHTS, 30, SetLights(100, encode_pattern((3,), 96)).encode())
ADVANCE: dict[str, Any] = {"advance": True}
STROBE: dict[str, Any] = {"strobe": True}


def flipped(action: dict[str, Any], byte: int) -> dict[str, Any]:
    data = bytearray.fromhex(action["receive"])
    data[byte] ^= 0x10
    return {"receive": data.hex()}


CASES: dict[str, list[dict[str, Any]]] = {
    "who it is, and how it is after boot": [
        at(0, ADVANCE),
        at(1_500, request(MessageType.IDENTIFY, 0x1234)),
        at(2_000, STATUS),
        at(3_000, HEARTBEAT),
    ],
    "a program of six steps, looped from step 1": [
        *(at(MS, action) for action in upload()),
        at(2 * MS, ARM),
        at(3 * MS, START),
        at(3 * MS, START),
        at(5 * MS + 500_000, STATUS),
        at(9 * MS - 1, ADVANCE),
        at(9 * MS, ADVANCE),
        at(10 * MS, STATUS),
        at(11 * MS, STOP),
        at(12 * MS, STATUS),
    ],
    "the camera steps it; a strobe too soon is a step missed": [
        *(at(MS, action) for action in upload(master=Master.CAMERA, step_limit=4)),
        at(2 * MS, ARM),
        at(3 * MS, STROBE),
        at(4 * MS, START),
        at(5 * MS, STROBE),
        at(6 * MS, STROBE),
        at(6 * MS + 100_000, STROBE),
        at(7 * MS, STROBE),
        at(7 * MS + 1000, STROBE),
        at(8 * MS, ADVANCE),
        at(9 * MS, STATUS),
    ],
    "what does not fit is refused": [
        at(MS, ARM),
        at(MS, START),
        at(MS, request(MessageType.IDENTIFY, 5, b"x")),
        at(MS, request(0x7E, 6)),
        at(MS, request(MessageType.STATUS, 7, version=2)),
        at(MS, request(MessageType.TABLE_CHUNK, 8, b"\0\0\0\0\0")),
        at(MS, request(MessageType.TABLE_CHUNK, 9, TableChunk(2, 0, b"x").encode())),
        at(MS, request(MessageType.TABLE_CHUNK, 10, TableChunk(1, 2**32 - 1, b"xy").encode())),
        at(MS, request(MessageType.TABLE_CHUNK, 11, TableChunk(0, 0, bytes(241)).encode())),
        at(MS, request(MessageType.TABLE_COMMIT, 12, commit())),
        *(at(2 * MS, action) for action in upload(step_crc=1)),
        *(at(2 * MS, action) for action in upload(loop_from=4)),
        *(at(2 * MS, action) for action in upload(period_ns=740_000 - 1)),
        *(at(2 * MS, action) for action in upload(exposure_delay_ns=MS)),
        at(3 * MS, request(MessageType.SET_LIGHTS, 13, bytes(3))),
        at(3 * MS, request(MessageType.SET_LIGHTS, 14, bytes(15))),
        at(3 * MS, request(MessageType.SET_LIGHTS, 15, SetLights(60_001, bytes(12)).encode())),
        at(4 * MS, STATUS),
    ],
    "armed, it takes neither tables nor manual lights": [
        *(at(MS, action) for action in upload()),
        at(2 * MS, ARM),
        *(at(3 * MS, action) for action in upload()),
        at(3 * MS, LIGHTS),
        at(3 * MS, START),
        at(4 * MS, ARM),
        at(4 * MS, request(MessageType.START, 77)),
    ],
    "noise costs a frame, never the run": [
        *(at(MS, action) for action in upload(step_limit=0)),
        at(2 * MS, ARM),
        at(3 * MS, START),
        at(4 * MS, flipped(STOP, 2)),
        at(4 * MS, flipped(STOP, 5)),
        at(5 * MS, {"receive": "0000ff00010203040500" + "ab" * 2000 + "00"}),
        at(5 * MS, {"receive": STOP["receive"][:8] + "00"}),
        at(6 * MS, {"receive": STATUS["receive"][:6]}),
        at(7 * MS, {"receive": STATUS["receive"][6:] + HEARTBEAT["receive"]}),
        at(8 * MS, {"receive": encode_frame(bytes([1, 0x81, 0, 0])).hex()}),
        at(8 * MS, {"receive": encode_frame(bytes([1, 0x7F, 0, 0])).hex()}),
        at(8 * MS, {"receive": encode_frame(bytes([1, 0x22])).hex()}),
        at(9 * MS, STATUS),
    ],
    "without a host the lights go dark": [
        *(at(MS, action) for action in upload(step_limit=0)),
        at(2 * MS, ARM),
        at(3 * MS, START),
        at(200 * MS, HEARTBEAT),
        at(450 * MS - 1, ADVANCE),
        at(450 * MS, ADVANCE),
        at(460 * MS, STATUS),
        at(461 * MS, STOP),
        at(462 * MS, STATUS),
        at(463 * MS, ARM),
        at(464 * MS, STATUS),
        at(713 * MS, ADVANCE),
        at(714 * MS, ADVANCE),
    ],
    "manual lights end by their time, and without a host": [
        at(MS, LIGHTS),
        at(50 * MS, HEARTBEAT),
        at(101 * MS, ADVANCE),
        at(102 * MS, HEARTBEAT),
        at(
            200 * MS,
            request(MessageType.SET_LIGHTS, 31, SetLights(5000, b"\xff" * 12).encode()),
        ),
        at(450 * MS, ADVANCE),
        at(451 * MS, HEARTBEAT),
        at(452 * MS, LIGHTS),
        at(453 * MS, request(MessageType.SET_LIGHTS, 32, SetLights(5000, bytes(12)).encode())),
        at(454 * MS, HEARTBEAT),
    ],
    "faults of the hardware hold the lights off until acknowledged": [
        *(at(MS, action) for action in upload(step_limit=0)),
        at(2 * MS, ARM),
        at(3 * MS, START),
        at(4 * MS, {"input": "I", "value": 1}),
        at(4 * MS, ADVANCE),
        at(5 * MS, ARM),
        at(5 * MS, LIGHTS),
        at(6 * MS, {"input": "I", "value": 0}),
        at(6 * MS, STATUS),
        at(7 * MS, LIGHTS),
        at(8 * MS, {"input": "T", "value": 8501}),
        at(8 * MS, ADVANCE),
        at(9 * MS, {"input": "V", "value": 17_999}),
        at(9 * MS, ADVANCE),
        at(10 * MS, STATUS),
        at(11 * MS, ARM),
    ],
}


def write() -> None:
    cases = []
    for name, actions in CASES.items():
        machine = SimulatedMachine()
        cases.append(
            {
                "name": name,
                "actions": [action | {"sends": play(machine, action).hex()} for action in actions],
            }
        )
    about = (
        "Each case starts at boot. 'receive' bytes, let time 'advance', take a 'strobe' or set an "
        "'input' (I interlock open, T 0.01 C, V mV) at time_ns since boot; 'sends' is what must "
        "come back, byte for byte. See SPECIFICATION.md, section 9."
    )
    text = json.dumps({"protocol_version": 1, "about": about, "cases": cases}, indent=1)
    CONFORMANCE_VECTORS.write_text(text + "\n")


def play(device: Any, action: dict[str, Any]) -> bytes:
    """Do one action of a case; return what the device sends."""
    time_ns = action["time_ns"]
    sent: bytes = b""
    if "input" in action:
        device.set_input(action["input"], action["value"])
    elif "receive" in action:
        sent = device.receive(bytes.fromhex(action["receive"]), time_ns)
    elif "strobe" in action:
        sent = device.strobe(time_ns)
    else:
        sent = device.advance(time_ns)
    return sent


if __name__ == "__main__":
    write()
