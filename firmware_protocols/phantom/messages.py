r"""PH16 messages: commands to a camera, its replies, and what it reports unasked.

A command is one line: a verb, then a name, a value or both (``get info.snstemp``, ``rec 1``,
``set defc {rate:1000, exp:700000}``). Each has exactly one reply: ``Ok!`` in whatever case, perhaps
with values, ``ERR: text``, or ``name : value``, where the name is the last part of what was asked
for. A notification is a line ``@trig@``. Source: PH16 protocol 2.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from firmware_protocols.phantom.errors import ProtocolError
from firmware_protocols.phantom.values import (
    Flags,
    Reader,
    Struct,
    Value,
    Word,
    check_name,
    format_value,
)

#: A reply longer than this is split into lines that end in a backslash.
LINE_CHARACTERS = 80
_SPLIT = "\t\\\r\n\t"

_SUCCESS = re.compile(r"\s*ok!(?=\s|\{|$)", re.IGNORECASE)
_FAILURE = re.compile(r"\s*err\s*:", re.IGNORECASE)
_NOTIFICATION = re.compile(r"\s*@([A-Za-z_][A-Za-z0-9_]*)@[ \t]*(.*?)\s*", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """What a client tells a camera: a verb, then perhaps a name, perhaps a value."""

    verb: str
    name: str | None = None
    value: Value | None = None


@dataclass(frozen=True)
class Success:
    """``Ok!``, with the values that follow it, if any do."""

    values: Struct | None = None


@dataclass(frozen=True)
class Failure:
    """``ERR: text``."""

    text: str


@dataclass(frozen=True)
class Answer:
    """The value of what was asked for; ``name`` is only its last part."""

    name: str
    value: Value


@dataclass(frozen=True)
class Notification:
    """Something that a camera reported unasked: ``startaq``, ``trig``, ``stored``."""

    name: str
    text: str = ""


Reply: TypeAlias = Success | Failure | Answer


def parse_command(text: str) -> Command:
    """Return the command that ``text`` (without its line end) is.

    Raises:
        ProtocolError: it is none.
    """
    reader = Reader(text)
    verb = reader.name()
    if verb is None:
        raise reader.wrong("a command")
    name = reader.name()
    value = None if reader.at_end() else reader.value()
    if not reader.at_end():
        raise reader.wrong("the end of the command")
    return Command(verb, name, value)


def format_command(command: Command) -> str:
    """Return a command as text without its line end.

    Raises:
        ProtocolError: PH16 cannot say it.
    """
    parts = [check_name(command.verb)]
    if command.name is not None:
        parts.append(check_name(command.name))
    if command.value is not None:
        if command.name is None and isinstance(command.value, Word):
            raise ProtocolError(f"PH16: the word {command.value!r} would be read as a name.")
        parts.append(format_value(command.value, compact=True))
    return " ".join(parts)


def parse_reply(text: str) -> Reply:
    """Return the reply that ``text`` (joined lines, without the line end) is.

    Raises:
        ProtocolError: it is none.
    """
    if failed := _FAILURE.match(text):
        return Failure(text[failed.end() :].strip())
    if succeeded := _SUCCESS.match(text):
        reader = Reader(text[succeeded.end() :])
        if reader.at_end():
            return Success()
        values = reader.value()
        if not reader.at_end():
            raise reader.wrong("the end of the reply")
        if isinstance(values, dict):
            return Success(values)
        if isinstance(values, Flags) and not values:
            return Success()
        raise ProtocolError(f"PH16: a tagged list is expected after Ok!, not {text[:40]!r}.")
    reader = Reader(text)
    name = reader.name()
    if name is None or not reader.mark(":"):
        raise ProtocolError(f"PH16: 'Ok!', 'ERR:' or 'name :' is expected, not {text[:40]!r}.")
    value = reader.value()
    if not reader.at_end():
        raise reader.wrong("the end of the reply")
    return Answer(name, value)


def format_reply(reply: Reply, line_characters: int = LINE_CHARACTERS) -> str:
    r"""Return a reply as text without its last line end, as a camera writes it.

    What is longer than ``line_characters`` is split after the members of its tagged lists, each
    line but the last ending in a backslash, carriage return and line feed.

    Raises:
        ProtocolError: PH16 cannot say it.
    """
    if isinstance(reply, Failure):
        if any(character < " " for character in reply.text):
            raise ProtocolError(f"PH16: an error has no control characters: {reply.text[:40]!r}.")
        if reply.text.endswith("\\"):  # it would say that the line goes on
            raise ProtocolError(f"PH16: an error ends in no backslash: {reply.text[-40:]!r}.")
        return f"ERR: {reply.text}"
    if isinstance(reply, Success):
        if reply.values is None:
            return "Ok!"
        head, value = "Ok! ", reply.values
    else:
        head, value = f"{check_name(reply.name)} : ", reply.value  # type: ignore[assignment]
    text = head + format_value(value)
    if len(text) > line_characters:
        text = head + format_value(value, separator="," + _SPLIT)
    return text


def parse_notification(text: str) -> Notification | None:
    """Return the notification that a line is, or None if it is none."""
    found = _NOTIFICATION.fullmatch(text)
    return Notification(found[1], found[2]) if found else None


def format_notification(notification: Notification) -> str:
    """Return a notification as a line without its end.

    Raises:
        ProtocolError: PH16 cannot say it.
    """
    text = f"@{notification.name}@ {notification.text}".rstrip()
    if parse_notification(text) != notification or not text.isprintable():
        raise ProtocolError(f"PH16: {notification!r} cannot be said.")
    return text
