"""Binary records as frozen dataclasses: each field says where it lies and how it is stored."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, cast

from lightstage.errors import InputError

Record = TypeVar("Record")


@dataclass(frozen=True)
class Place:
    """Where a field lies in its record: byte ``offset``, ``struct`` code, the vendor's name."""

    offset: int
    code: str
    vendor_name: str

    @property
    def size(self) -> int:
        """Bytes that the field takes."""
        return struct.calcsize("<" + self.code)


def at(offset: int, code: str, vendor_name: str) -> Any:
    """Declare a dataclass field stored little-endian at ``offset``; it is None where it is absent.

    One value is a scalar, several are a tuple, ``s`` is text.
    """
    return field(default=None, metadata={"place": Place(offset, code, vendor_name)})


@cache
def places(record: Hashable) -> dict[str, Place]:
    """Return ``{attribute: Place}`` of a record class, in the order of the file."""
    return {item.name: item.metadata["place"] for item in fields(cast(Any, record))}


def parse(record: type[Record], data: bytes) -> Record:
    """Return ``record`` from ``data``; a field that does not lie wholly within it is None."""
    values: dict[str, Any] = {}
    for name, place in places(cast(Hashable, record)).items():
        if place.offset + place.size > len(data):
            continue
        found = struct.unpack_from("<" + place.code, data, place.offset)
        if place.code.endswith("s"):
            found = tuple(_text(item) for item in found)
        values[name] = found if len(found) > 1 else found[0]
    return record(**values)


def store(values: object, data: bytearray) -> None:
    """Write every field of the record ``values`` that is not None into ``data``.

    Raises:
        InputError: a value does not fit its field; the text names the field.
    """
    for name, place in places(cast(Hashable, type(values))).items():
        value = getattr(values, name)
        if value is None:
            continue
        items = value if isinstance(value, tuple) else (value,)
        if place.code.endswith("s"):
            # One byte is left for the zero that C programs look for; marks of two bytes have none.
            room = place.size // len(items)
            limit = room - 1 if room > 2 else room
            items = tuple(_clip(item, limit) for item in items)
        try:
            struct.pack_into("<" + place.code, data, place.offset, *items)
        except (struct.error, OverflowError) as reason:
            raise InputError(
                f"{place.vendor_name} ({name}) = {value!r} does not fit a .cine file: {reason}."
            ) from None


def _text(stored: bytes) -> str:
    """Decode text up to its first zero byte: UTF-8 where it is valid, else Windows' ANSI."""
    stored = stored.split(b"\0", 1)[0]
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return stored.decode("cp1252", errors="replace")


def _clip(text: str, limit: int) -> bytes:
    """Encode text in at most ``limit`` bytes without cutting a character in two."""
    return text.encode("utf-8")[:limit].decode("utf-8", errors="ignore").encode("utf-8")
