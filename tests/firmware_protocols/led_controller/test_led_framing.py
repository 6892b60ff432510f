"""Frames survive whatever the line does to what is around them."""

from __future__ import annotations

import random
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocols.led_controller.framing import MAX_BODY, FrameDecoder, encode_frame
from firmware_protocols.led_controller.messages import (
    Event,
    HeartbeatReply,
    Identity,
    MessageError,
    Reply,
    Request,
    SetLights,
    Status,
    StepEntry,
    TableChunk,
    TableCommit,
    decode_from_controller,
    decode_pattern,
    decode_steps,
    encode_pattern,
    encode_steps,
)

bodies = st.binary(min_size=1, max_size=MAX_BODY)
u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
texts = st.text(max_size=60)


@given(st.lists(bodies, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_frames_arrive_whole_in_whatever_pieces_they_come(
    sent: list[bytes], sizes: list[int]
) -> None:
    stream = b"".join(encode_frame(body) for body in sent)
    decoder, arrived, at, turn = FrameDecoder(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        arrived += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert arrived == sent
    assert decoder.bad_frames == 0


@given(st.binary(max_size=3000), bodies)
def test_a_frame_after_noise_and_a_delimiter_arrives(noise: bytes, body: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(noise + b"\0")
    assert decoder.feed(encode_frame(body)) == [body]


@given(bodies, st.data())
def test_a_frame_with_a_damaged_byte_never_passes(body: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(body))
    at = data.draw(st.integers(0, len(frame) - 2))
    frame[at] ^= data.draw(st.integers(1, 255))
    assert body not in FrameDecoder().feed(bytes(frame))


def test_a_frame_too_long_is_thrown_away_and_the_next_one_arrives() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"\x01" * 10_000) == []
    assert decoder.feed(b"\0" + encode_frame(b"next")) == [b"next"]
    assert decoder.bad_frames == 1
    with pytest.raises(ValueError, match="1 to 1040"):
        encode_frame(bytes(MAX_BODY + 1))


@given(u8.filter(lambda type_: type_ < 0x7F), u16, st.binary(max_size=100))
def test_requests_are_read_as_they_were_written(type_: int, id_: int, payload: bytes) -> None:
    request = Request(type_, id_, payload)
    assert Request.decode(request.encode()) == request


@given(u8.filter(lambda type_: type_ < 0x7F), u16, st.integers(0, 2**64 - 1), u8, st.binary())
def test_replies_are_read_as_they_were_written(
    type_: int, id_: int, time_us: int, status: int, payload: bytes
) -> None:
    reply = Reply(type_, id_, time_us, status, payload)
    assert decode_from_controller(reply.encode()) == reply
    event = Event(id_, time_us, status, 7)
    assert decode_from_controller(event.encode()) == event


@given(st.tuples(u16, u16, u32, u32, u16, u16, u32), st.tuples(texts, texts, texts))
def test_an_identity_is_read_as_it_was_written(
    numbers: tuple[int, int, int, int, int, int, int], names: tuple[str, str, str]
) -> None:
    identity = Identity(*numbers, *names)
    assert astuple(Identity.decode(identity.encode())) == (*numbers, *names)


@given(st.lists(st.builds(StepEntry, u16, u32, u32)), st.sets(st.integers(0, 96)))
def test_tables_are_read_as_they_were_written(steps: list[StepEntry], lit: set[int]) -> None:
    assert decode_steps(encode_steps(steps)) == steps
    assert set(decode_pattern(encode_pattern(lit, 97), 97)) == lit


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_raise_a_message_error(payload: bytes) -> None:
    for decode in (
        Request.decode,
        decode_from_controller,
        Identity.decode,
        Status.decode,
        HeartbeatReply.decode,
        TableChunk.decode,
        TableCommit.decode,
        SetLights.decode,
        decode_steps,
    ):
        try:
            decode(payload)
        except MessageError as error:
            assert str(error)


def test_values_that_the_wire_cannot_hold_are_told() -> None:
    with pytest.raises(MessageError, match="cannot hold"):
        TableCommit(1, 0, 1, 0, 0, 0, 0, 2**32, 0).encode()
    with pytest.raises(MessageError, match="cannot hold"):
        encode_steps([StepEntry(0, 2**32, 0)])
    with pytest.raises(MessageError, match="channel 96"):
        encode_pattern([96], 96)


def _decode_damaged(count: int, seed: int) -> None:
    chance = random.Random(seed)
    decoder = FrameDecoder()
    for number in range(count):
        body = chance.randbytes(chance.randrange(1, 60))
        frame = bytearray(encode_frame(body))
        for _ in range(chance.randrange(1, 4)):
            what, at = chance.randrange(3), chance.randrange(len(frame))
            if what == 0:
                frame[at] ^= 1 << chance.randrange(8)
            elif what == 1 and len(frame) > 1:
                del frame[at]
            else:
                frame.insert(at, chance.randrange(256))
        decoder.feed(bytes(frame))
        assert decoder.feed(b"\0" + encode_frame(number.to_bytes(4, "big")))[-1:] == [
            number.to_bytes(4, "big")
        ]


def test_the_frame_after_a_damaged_one_always_arrives() -> None:
    _decode_damaged(20_000, 1)


@pytest.mark.slow
def test_the_frame_after_each_of_a_hundred_thousand_damaged_ones_arrives() -> None:
    _decode_damaged(100_000, 2)
