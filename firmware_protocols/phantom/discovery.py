"""PH16 discovery: who answers a broadcast of ``phantom?`` to UDP port 7380."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_protocols.phantom.errors import ProtocolError

QUESTION = b"phantom?"
DISCOVERY_PORT = 7380
CONTROL_PORT = 7115
#: Where a client connects to attach a data connection: the port after the control port.
ATTACH_PORT = CONTROL_PORT + 1


@dataclass(frozen=True)
class DiscoveryReply:
    """A camera's answer; what it did not say is the default port, or None."""

    protocol: str = "PH16"
    port: int = CONTROL_PORT
    hardware_version: int | None = None
    serial: int | None = None


def parse_discovery_reply(datagram: bytes) -> DiscoveryReply:
    """Return what ``PH16 <port> <hwver> <serial>`` says; all but the first word may be missing.

    White space, NUL bytes, punctuation between the words and further words are passed over.

    Raises:
        ProtocolError: it does not begin with ``PH`` and a number, or the port is none.
    """
    text = datagram.decode("ascii", errors="replace").replace("\0", " ").replace(",", " ")
    protocol, *words = text.split() or [""]
    version = protocol[2:]
    if protocol[:2].upper() != "PH" or not (version.isascii() and version.isdecimal()):
        raise ProtocolError(f"PH16: {datagram[:40]!r} is no camera's answer.")
    numbers = [
        int(word) if word.isascii() and word.isdecimal() and len(word) <= 12 else None
        for word in (*words, "", "", "")[:3]
    ]
    port = CONTROL_PORT if numbers[0] is None else numbers[0]
    if not 0 < port < 1 << 16:
        raise ProtocolError(f"PH16: {datagram[:40]!r} names no TCP port.")
    return DiscoveryReply(protocol.upper(), port, numbers[1], numbers[2])


def format_discovery_reply(reply: DiscoveryReply) -> bytes:
    """Return a camera's answer as a datagram."""
    return (
        f"{reply.protocol} {reply.port} {reply.hardware_version or 0} {reply.serial or 0}"
    ).encode("ascii")
