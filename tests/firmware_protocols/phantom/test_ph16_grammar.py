"""PH16's grammar: what is written is read as the same, and real cameras are understood."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware_protocols.phantom import (
    Answer,
    Command,
    CommandAssembler,
    Failure,
    Flags,
    Hex,
    Notification,
    ProtocolError,
    ReplyAssembler,
    Resolution,
    Success,
    Word,
    format_command,
    format_notification,
    format_reply,
    format_value,
    parse_command,
    parse_discovery_reply,
    parse_notification,
    parse_reply,
    parse_value,
)
from tests.firmware_protocols.phantom.ph16_messages import commands, replies, same, values


@given(values, st.booleans())
@example(Resolution(0, 16), True)
@example(Resolution(1280, 800), True)
@example(Hex(0), False)
def test_a_value_is_read_as_it_was_written(value: object, compact: bool) -> None:
    assert same(parse_value(format_value(value, compact=compact)), value)  # type: ignore[arg-type]


@given(commands)
def test_a_command_is_read_as_it_was_written(command: Command) -> None:
    line = format_command(command)
    read = parse_command(line)
    assert read == command
    assert same(read.value, command.value)
    for end in (b"\r", b"\n", b"\r\n"):
        assert CommandAssembler().feed(line.encode() + end) == [line.strip()]


@given(replies, st.integers(10, 200))
def test_a_reply_is_read_as_it_was_written_however_it_is_split(
    reply: Success | Failure | Answer, width: int
) -> None:
    wire = format_reply(reply, width).encode() + b"\r\n"
    (message,) = ReplyAssembler().feed(wire)
    assert isinstance(message, str)
    read = parse_reply(message)
    assert type(read) is type(reply)
    assert read == reply


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1280 x 504", Resolution(1280, 504)),
        ("1280x504", Resolution(1280, 504)),
        ("0x475000", Hex(0x475000)),
        ("-0.1605", -0.1605),
        ("1e3", 1000.0),
        ("-3600", -3600),
        ('"Phantom Miro M310"', "Phantom Miro M310"),
        ('"C:\\temp"', "C:\\temp"),
        ("{ WTR DEF ABL ACT }", Flags(("WTR", "DEF", "ABL", "ACT"))),
        ("{ }", Flags()),
        ("{a : 1, b : { c : 8R } }", {"a": 1, "b": {"c": Word("8R")}}),
    ],
)
def test_values_of_the_documents(text: str, value: object) -> None:
    assert same(parse_value(text), value)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Ok!", Success()),
        ("OK!", Success()),
        ("ok! { cine: 1, res: 64x8, fmt: 8 }",
         Success({"cine": 1, "res": Resolution(64, 8), "fmt": 8})),
        ("OK! {count: 12}", Success({"count": 12})),
        ("ERR: name c17  is unknown ", Failure("name c17  is unknown")),
        ("snstemp : 29", Answer("snstemp", 29)),
        (" defc : {\t res : 8 x 8 }", Answer("defc", {"res": Resolution(8, 8)})),
    ],
)  # fmt: skip
def test_replies_of_the_documents(text: str, reply: object) -> None:
    assert parse_reply(text) == reply


@pytest.mark.parametrize(
    "text",
    ["", "Okay", "Ok! 5", "Ok! {a:1} x", "a", "a :", "a : {", "a : {b:1", "a : {b:1,}", "a : 1 2",
     'a : "x', "a : {b:1, b:2}", "a : {1:2}", "a : }", "a : 1e999", "a : {b 1, c}", "\x00 : 1",
     "a : " + "{b:" * 5000 + "1" + "}" * 5000, "a : " + "9" * 5000, "a : " + "{ " * 100_000],
)  # fmt: skip
def test_what_is_no_reply_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_reply(text)


@pytest.mark.parametrize(
    "value",
    [None, True, float("nan"), float("inf"), 10**30, Hex(-1), "a\nb", "\x00", Word("a b"),
     Word("12"), Flags(("a b",)), Flags(("",)), {}, {"a b": 1}, [1], Resolution(-1, 2)],
)  # fmt: skip
def test_what_cannot_be_said_is_a_protocol_error(value: object) -> None:
    with pytest.raises(ProtocolError):
        format_value(value)  # type: ignore[arg-type]


# Lines

_STREAM = (
    b"@startaq@\r\n"
    b"info : {\t\t\\\r\n\thwver : 80\\\r\n01,\t\\\r\n@trig@\r\n\tname : \"a@b@\",\\\r\n"
    b"\tpver : 1@stored@\r\n6 }\r\nOk!\r\nERR: no\r\n@trig@\r\n"
)  # fmt: skip
_MESSAGES = [
    Notification("startaq"),
    Notification("trig"),
    Notification("stored"),
    Answer("info", {"hwver": 8001, "name": "a@b@", "pver": 16}),
    Success(),
    Failure("no"),
    Notification("trig"),
]


def _parsed(messages: list[str | Notification]) -> list[object]:
    return [parse_reply(m) if isinstance(m, str) else m for m in messages]


def test_replies_come_whole_wherever_they_are_cut() -> None:
    for cut in range(len(_STREAM) + 1):
        assembler = ReplyAssembler()
        messages = assembler.feed(_STREAM[:cut]) + assembler.feed(_STREAM[cut:])
        assert _parsed(messages) == _MESSAGES, cut
        assert not assembler.pending
    assembler = ReplyAssembler()
    one_by_one = [m for i in range(len(_STREAM)) for m in assembler.feed(_STREAM[i : i + 1])]
    assert _parsed(one_by_one) == _MESSAGES


def test_commands_come_whole_wherever_they_are_cut() -> None:
    stream = b"get info\r\nrec 1\r\rtrig\n\nset defc {rate:1000,\\\r\n exp:5}\r\n"
    whole = ["get info", "rec 1", "trig", "set defc {rate:1000, exp:5}"]
    for cut in range(len(stream) + 1):
        assembler = CommandAssembler()
        assert assembler.feed(stream[:cut]) + assembler.feed(stream[cut:]) == whole, cut


def test_a_message_without_end_is_given_up() -> None:
    with pytest.raises(ProtocolError, match="did not end"):
        ReplyAssembler(1000).feed(b"x" * 1001)
    with pytest.raises(ProtocolError, match="did not end"):
        ReplyAssembler(1000).feed(b"abcdefg\\\r\n" * 1000)
    with pytest.raises(ProtocolError, match="did not end"):
        CommandAssembler(1000).feed(b"x" * 1001)


@given(st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True), st.sampled_from(["", "c1", "a b"]))
def test_a_notification_is_read_as_it_was_written(name: str, text: str) -> None:
    notification = Notification(name, text)
    assert parse_notification(format_notification(notification)) == notification


# Discovery


@pytest.mark.parametrize(
    ("datagram", "port", "hardware", "serial"),
    [
        (b"PH16 7115 8001 17277", 7115, 8001, 17277),
        (b"PH16 7115 8001 17277\r\n\0\0", 7115, 8001, 17277),
        (b"ph16, 7200, 8001", 7200, 8001, None),
        (b"PH16", 7115, None, None),
        (b"PH16 7115 8001 17277 and more", 7115, 8001, 17277),
    ],
)
def test_discovery_is_read_leniently(
    datagram: bytes, port: int, hardware: int | None, serial: int | None
) -> None:
    found = parse_discovery_reply(datagram)
    assert (found.port, found.hardware_version, found.serial) == (port, hardware, serial)


@pytest.mark.parametrize("datagram", [b"", b"\xff\xfe", b"HTTP/1.1", b"PH 1", b"PH16 0"])
def test_others_are_not_cameras(datagram: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_discovery_reply(datagram)


# Real cameras


def test_all_real_replies_are_understood(shared_data: Path) -> None:
    roots = {}
    for path in sorted((shared_data / "ph16").glob("*.log")):
        for message in ReplyAssembler().feed(path.read_bytes()):
            assert isinstance(message, str)
            if message.startswith(("get", "^]", "\x1d", "telnet>", "Connection", "exit")):
                continue
            reply = parse_reply(message)
            if isinstance(reply, Failure):
                assert reply.text == "name c17  is unknown"
                continue
            assert isinstance(reply, Answer)
            wire = format_reply(reply).encode() + b"\r\n"
            assert _parsed(ReplyAssembler().feed(wire)) == [reply]
            roots[path.name, reply.name] = reply.value
    info = roots["infoStruc.log", "info"]
    assert isinstance(info, dict)
    assert (info["model"], info["xmax"], info["mdepths"]) == ("Phantom Miro M310", 1280, 4096)
    cine = roots["c1Struc.log", "c1"]
    assert isinstance(cine, dict)
    assert cine["state"] == ("WTR", "DEF", "ABL", "ACT")
    assert cine["res"] == (1280, 504)
    assert len(roots) >= 10


# Fuzz

_SEEDS = [
    _STREAM,
    b"c1 : {\tstate : { WTR DEF },\tres : 1280 x 504,\tstart : 0x475000,\texp : 1e-5 }\r\n",
    b'Ok! { cine : 1, res : 64x8, fmt : P16R, name : "a \\" b" }\r\n',
    b"set defc {res:2048x1440, rate:1000.5, exp:700000}\r\n",
    b"@trig@ x\r\nERR: invalid cine number\r\nOK! {count: 0}\r\n",
]
_TOKENS = [b"{", b"}", b":", b",", b'"', b"\\", b"\r\n", b"@", b"@trig@", b" ", b"0x", b"1e9",
           b"x", b"Ok!", b"ERR:", b"\\\r\n", b"\xff", b"\0", b"9" * 30, b"{a:" * 20]  # fmt: skip


def _fuzz(messages: int, seed: int) -> None:
    rng = random.Random(seed)
    slowest = 0.0
    for _ in range(messages):
        data = bytearray(rng.choice(_SEEDS) if rng.random() < 0.8 else rng.randbytes(60))
        for _ in range(rng.randrange(6)):
            place = rng.randrange(len(data) + 1)
            kind = rng.randrange(3)
            if kind == 0:
                data[place:place] = rng.choice(_TOKENS)
            elif kind == 1:
                del data[place : place + rng.randrange(12)]
            elif place < len(data):
                data[place] = rng.randrange(256)
        begun = time.perf_counter()
        for assembler, parse in (
            (ReplyAssembler(), parse_reply),
            (CommandAssembler(), parse_command),
        ):
            for message in assembler.feed(bytes(data) + b"\r\n"):
                try:
                    if isinstance(message, str):
                        parse(message)
                except ProtocolError:
                    pass
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 1.0


def test_damaged_messages_give_only_protocol_errors() -> None:
    _fuzz(20_000, seed=1)


@pytest.mark.slow
def test_very_many_damaged_messages_give_only_protocol_errors() -> None:
    _fuzz(100_000, seed=2)


def test_hostile_messages_take_no_time() -> None:
    begun = time.perf_counter()
    for text in ('"' + "\\" * 200_000, "1" * 200_000, "1 " * 100_000, "1 x " * 100_000,
                 " " * 200_000 + "x", "{a:" * 60_000, "a" * 200_000 + "@", "@" * 200_000,
                 "1 x" + " " * 200_000):  # fmt: skip
        for prefix in ("", "a : ", "Ok! ", "a : { "):
            with contextlib.suppress(ProtocolError):
                parse_reply(prefix + text)
        ReplyAssembler().feed(text.encode() + b"\r\n")
    assert time.perf_counter() - begun < 5.0
