r"""From bytes as they come to whole PH16 messages, however they were cut on their way.

A reply ends at a line end that no backslash precedes. A camera's notifications are lines of their
own, which may stand between the lines of a reply, or cut one of them in two.
"""

from __future__ import annotations

from firmware_protocols.phantom.errors import ProtocolError
from firmware_protocols.phantom.messages import Notification, parse_notification

#: More bytes than this without an end are no message; the longest real reply has 3 KB.
LONGEST_BYTES = 1 << 20


class ReplyAssembler:
    """Collects bytes from a camera and returns whole replies and notifications.

    A line feed alone is taken for a line end too (a telnet log has them). After a ProtocolError
    everything collected is forgotten.
    """

    def __init__(self, longest_bytes: int = LONGEST_BYTES) -> None:
        self._longest = longest_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._begun = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer or self._begun)

    def feed(self, data: bytes) -> list[str | Notification]:
        """Take bytes; return the replies (joined, not parsed) and notifications they complete.

        Raises:
            ProtocolError: a message is longer than the limit.
        """
        self._buffer += data
        complete: list[str | Notification] = []
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            self._line(line.removesuffix(b"\r"), complete)
        self._searched = len(self._buffer)
        if len(self._buffer) + len(self._begun) > self._longest:
            self._buffer.clear()
            self._begun.clear()
            self._searched = 0
            raise ProtocolError(f"PH16: a reply did not end within {self._longest} bytes.")
        return complete

    def _line(self, line: bytes, complete: list[str | Notification]) -> None:
        before, notification = _split_notification(line)
        if notification is not None:
            complete.append(notification)
            self._begun += before
            return
        if line.endswith(b"\\"):
            self._begun += line[:-1]
            return
        message = _decode(bytes(self._begun) + line)
        self._begun.clear()
        if message.strip():
            complete.append(message)


class CommandAssembler:
    r"""Collects bytes from a client and returns its commands; what a camera does.

    A command ends at CR, LF or CRLF; a backslash before it goes on in the next line.
    """

    def __init__(self, longest_bytes: int = LONGEST_BYTES) -> None:
        self._longest = longest_bytes
        self._buffer = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[str]:
        """Take bytes; return the commands they complete, empty lines left out.

        Raises:
            ProtocolError: a command is longer than the limit; what was collected is forgotten.
        """
        complete: list[str] = []
        for line in data.splitlines(keepends=True):
            body = line.rstrip(b"\r\n")
            ended = len(body) < len(line)
            if not (self._after_cr and line == b"\n"):
                self._buffer += body
                if ended and self._buffer.endswith(b"\\"):
                    del self._buffer[-1]
                elif ended:
                    command = _decode(bytes(self._buffer)).strip()
                    self._buffer.clear()
                    if command:
                        complete.append(command)
            self._after_cr = line.endswith(b"\r")
        if len(self._buffer) > self._longest:
            self._buffer.clear()
            raise ProtocolError(f"PH16: a command did not end within {self._longest} bytes.")
        return complete


def _decode(data: bytes) -> str:
    return data.decode("utf-8", errors="backslashreplace")


def _split_notification(line: bytes) -> tuple[bytes, Notification | None]:
    """Return what a line says before a notification, and the notification, if there is one."""
    stripped = line.rstrip()
    if stripped.lstrip().startswith(b"@"):
        whole = parse_notification(_decode(stripped))
        if whole is not None:
            return b"", whole
    if stripped.endswith(b"@"):
        begin = stripped.rfind(b"@", 0, -1)
        before = stripped[: max(begin, 0)]
        # within a string the quotes before it do not pair up
        if begin >= 0 and before.count(b'"') % 2 == 0:
            found = parse_notification(_decode(stripped[begin:]))
            if found is not None:
                return before, found
    return line, None
