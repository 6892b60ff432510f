"""Frames on the LED controller's wire: COBS, a CRC-32, a zero byte (SPECIFICATION.md, section 2).

A frame is ``COBS(body + CRC-32(body)) + 0x00``. The zero byte occurs nowhere else, so a reader
that lost its place finds it again at the next one, whatever noise came before.
"""

from __future__ import annotations

import zlib

from cobs import cobs

#: Longest body (header and payload) in bytes that any frame carries.
MAX_BODY = 1040
#: Longest frame between two delimiters: body, CRC, and one COBS byte for each 254.
MAX_ENCODED = MAX_BODY + 4 + (MAX_BODY + 4) // 254 + 1
DELIMITER = b"\0"


def encode_frame(body: bytes) -> bytes:
    """Return the bytes that carry ``body`` over the wire, the closing delimiter included.

    Raises:
        ValueError: the body is empty or longer than ``MAX_BODY``.
    """
    if not 0 < len(body) <= MAX_BODY:
        raise ValueError(f"a frame carries 1 to {MAX_BODY} bytes, not {len(body)}")
    encoded: bytes = cobs.encode(body + zlib.crc32(body).to_bytes(4, "little"))
    return encoded + DELIMITER


class FrameDecoder:
    """Cuts a stream of bytes, in whatever pieces it comes, into the bodies of its sound frames.

    Attributes:
        bad_frames: how many pieces between delimiters were not sound frames.
    """

    def __init__(self) -> None:
        self.bad_frames = 0
        self._buffer = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the wire; return the bodies of the frames that they complete."""
        bodies = []
        *pieces, rest = data.split(DELIMITER)
        for piece in pieces:
            self._append(piece)
            body = self._take()
            if body is not None:
                bodies.append(body)
        self._append(rest)
        return bodies

    def _append(self, piece: bytes) -> None:
        if self._overlong or len(self._buffer) + len(piece) > MAX_ENCODED:
            # no frame is so long: what is left of it up to the delimiter is thrown away
            self._overlong = True
            self._buffer.clear()
        else:
            self._buffer += piece

    def _take(self) -> bytes | None:
        encoded, overlong = bytes(self._buffer), self._overlong
        self._buffer.clear()
        self._overlong = False
        if not encoded and not overlong:
            return None  # two delimiters in a row: a host clears the line so
        body = None if overlong else _decode(encoded)
        if body is None:
            self.bad_frames += 1
        return body


def _decode(encoded: bytes) -> bytes | None:
    try:
        decoded: bytes = cobs.decode(encoded)
    except cobs.DecodeError:
        return None
    body = decoded[:-4]
    if not 0 < len(body) <= MAX_BODY:
        return None
    return body if zlib.crc32(body) == int.from_bytes(decoded[-4:], "little") else None
