r"""PH16 values: numbers, strings, resolutions, flag lists and tagged structures.

==============  ==========================  =====================================
PH16            example                     Python
==============  ==========================  =====================================
uint, int       ``820``, ``-3600``          ``int``
hexadecimal     ``0x1F90000``               :class:`Hex`, an ``int``
float           ``-0.1605``                 ``float``
string          ``"Phantom Miro M310"``     ``str``
resolution      ``1280 x 504``, ``64x8``    :class:`Resolution`
bare word       ``8R``, ``P16``             :class:`Word`, a ``str``
flag list       ``{ WTR DEF }``             :class:`Flags`, a ``tuple`` of ``str``
tagged list     ``{a : 1, b : { … } }``     ``dict`` of ``str`` to a value
==============  ==========================  =====================================

A camera leaves the point off where a float is whole (``rate : 1080``), so a reader that wants a
float must take an ``int`` too. An empty pair of braces is an empty flag list. Inside a string
``\"`` and ``\\`` stand for the quote and the backslash (inferred); any other backslash is itself.

Source: PH16 protocol 2.3, and replies of a Miro M310.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple, TypeAlias

from firmware_protocols.phantom.errors import ProtocolError

#: Structures lie in each other at most this deep; real replies go to 2.
DEEPEST = 16


class Hex(int):
    """An integer that is written in hexadecimal."""

    __slots__ = ()


class Word(str):
    """A value without quotes that is no number, such as an image format's name."""

    __slots__ = ()


class Flags(tuple[str, ...]):
    """A list of words, such as a cine's state."""

    __slots__ = ()


class Resolution(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


Struct: TypeAlias = dict[str, "Value"]
Value: TypeAlias = int | float | str | Resolution | Flags | Struct

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mark>[{}:,])
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<hex>0[xX][0-9A-Fa-f]{1,16}(?![\w.+-]))
    | (?P<resolution>[0-9]{1,9}\s*x\s*[0-9]{1,9}(?![\w.+-]))
    | (?P<integer>[+-]?[0-9]{1,20}(?![\w.+-]))
    | (?P<float>[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]{1,4})?(?![\w.+-]))
    | (?P<word>[\w.+-]+)
    | (?P<end>$)
    )""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)
_ESCAPED = re.compile(r'\\(["\\])')
_NUMERIC = ("hex", "integer", "float")


class Reader:
    """Reads values one after another from a text; what the grammar of messages is made of."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._kind, self._token, self._start, self._next = "", "", 0, 0
        self._advance()

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        return self._kind == "end"

    @property
    def rest(self) -> str:
        """What has not been read, from the next token on."""
        return self.text[self._start :]

    def name(self) -> str | None:
        """Read a name (letters, digits, points), or return None and read nothing."""
        if self._kind != "word" or not _NAME.fullmatch(self._token):
            return None
        token = self._token
        self._advance()
        return token

    def mark(self, mark: str) -> bool:
        """Read a brace, colon or comma if it comes next, and return whether it did."""
        if self._kind != "mark" or self._token != mark:
            return False
        self._advance()
        return True

    def value(self, depth: int = 0) -> Value:
        """Read one value.

        Raises:
            ProtocolError: what comes next is none.
        """
        kind, token = self._kind, self._token
        if kind == "mark" and token == "{":
            if depth == DEEPEST:
                raise self.wrong(f"structures at most {DEEPEST} deep")
            self._advance()
            return self._braces(depth + 1)
        if kind in ("mark", "end"):
            raise self.wrong("a value")
        self._advance()
        if kind == "string":
            return _ESCAPED.sub(r"\1", token[1:-1])
        if kind == "hex":
            return Hex(token, 16)
        if kind == "integer":
            return int(token)
        if kind == "resolution":
            width, height = token.split("x")
            return Resolution(int(width), int(height))
        if kind == "float":
            number = float(token) if len(token) < 400 else math.inf
            if not math.isfinite(number):
                raise ProtocolError(f"PH16: {token[:40]!r} is no finite number.")
            return number
        return Word(token)

    def wrong(self, expected: str) -> ProtocolError:
        """Return the error that says what was expected here and what came."""
        found = repr(self.rest[:40]) if self.rest.strip() else "the end"
        return ProtocolError(f"PH16: {expected} expected at character {self._start}, not {found}.")

    def _braces(self, depth: int) -> Flags | Struct:
        """Read the inside of braces: a flag list, or a tagged list if a colon follows a name."""
        flags: list[str] = []
        while not self.mark("}"):
            token = self._token
            if self._kind not in ("word", *_NUMERIC):
                raise self.wrong("a flag or a name")
            self._advance()
            if not flags and self.mark(":"):
                return self._members(token, depth)
            flags.append(token)
        return Flags(flags)

    def _members(self, name: str, depth: int) -> Struct:
        members: Struct = {}
        while True:
            if not _NAME.fullmatch(name) or name in members:
                raise self.wrong(f"another name than {name[:40]!r} before this")
            members[name] = self.value(depth)
            if self.mark("}"):
                return members
            if not self.mark(","):
                raise self.wrong("a comma or a closing brace")
            following = self.name()
            if following is None:
                raise self.wrong("a name")
            name = following
            if not self.mark(":"):
                raise self.wrong("a colon")

    def _advance(self) -> None:
        found = _TOKEN.match(self.text, self._next)
        if found is None or found.lastgroup is None:
            place = self._next
            raise ProtocolError(
                f"PH16: no word, number or string at character {place}: "
                f"{self.text[place : place + 40]!r}."
            )
        self._kind = found.lastgroup
        self._token = found[self._kind]
        self._start, self._next = found.start(self._kind), found.end()


def parse_value(text: str) -> Value:
    """Return the one value that ``text`` is.

    Raises:
        ProtocolError: it is none, or more than one.
    """
    reader = Reader(text)
    value = reader.value()
    if not reader.at_end():
        raise reader.wrong("the end")
    return value


def format_value(value: Value, *, compact: bool = False, separator: str = ", ") -> str:
    """Return a value as PH16 text that :func:`parse_value` reads as the same value.

    Args:
        value: see the table above.
        compact: ``{res:64x8}`` as commands have it; else ``{ res : 64 x 8 }`` as replies do.
        separator: what stands between the members of a tagged list.

    Raises:
        ProtocolError: PH16 cannot say this value.
    """
    if isinstance(value, Word):
        found = _TOKEN.fullmatch(value)
        if found is None or found.lastgroup != "word" or found["word"] != value:
            raise ProtocolError(f"PH16: {value!r} is no bare word.")
        return str(value)
    if isinstance(value, str):
        return _format_string(value)
    if isinstance(value, bool) or value is None:
        raise ProtocolError(f"PH16: {value!r} cannot be said.")
    if isinstance(value, Resolution):
        if not (0 <= value.width < 10**9 and 0 <= value.height < 10**9):
            raise ProtocolError(f"PH16: {value!r} is no resolution.")
        # "0x16" would be a hexadecimal number
        return f"{value.width}{'x' if compact and value.width else ' x '}{value.height}"
    if isinstance(value, Hex):
        if not 0 <= value < 1 << 64:
            raise ProtocolError(f"PH16: {int(value)} is not within 64 bits.")
        return f"0x{int(value):X}"
    if isinstance(value, int):
        if abs(value) >= 10**20:
            raise ProtocolError("PH16: an integer has at most 20 digits.")
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ProtocolError(f"PH16: {value!r} is no finite number.")
        return repr(float(value))
    if isinstance(value, Flags):
        return _format_flags(value)
    if isinstance(value, dict):
        return _format_struct(value, compact, separator)
    raise ProtocolError(f"PH16: a {type(value).__name__} cannot be said.")


def check_name(name: str) -> str:
    """Return ``name``, or raise ProtocolError if it is no name (letters, digits, points)."""
    if not _NAME.fullmatch(name):
        raise ProtocolError(f"PH16: {name!r} is no name.")
    return name


def _format_string(value: str) -> str:
    if any(character < " " and character != "\t" for character in value):
        raise ProtocolError(f"PH16: a string has no control characters: {value[:40]!r}.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _format_flags(value: Flags) -> str:
    for flag in value:
        found = _TOKEN.fullmatch(flag)
        if found is None or found.lastgroup not in ("word", *_NUMERIC) or flag != flag.strip():
            raise ProtocolError(f"PH16: {flag!r} is no flag.")
    return f"{{ {' '.join(value)} }}" if value else "{ }"


def _format_struct(value: Struct, compact: bool, separator: str) -> str:
    if not value:
        raise ProtocolError("PH16: a tagged list has at least one member.")
    colon = ":" if compact else " : "
    members = separator.join(
        f"{check_name(name)}{colon}{format_value(member, compact=compact, separator=separator)}"
        for name, member in value.items()
    )
    return f"{{{members}}}" if compact else f"{{ {members} }}"
