"""Which Phantom cameras are on the network."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass

from firmware_protocols.phantom import (
    CONTROL_PORT,
    DISCOVERY_PORT,
    QUESTION,
    ProtocolError,
    parse_discovery_reply,
)
from lightstage.errors import DeviceError


@dataclass(frozen=True)
class DiscoveredCamera:
    """A camera that answered, and the address by which a driver reaches it."""

    address: str
    host: str
    port: int
    hardware_version: int | None
    serial: int | None


def discover(
    timeout_s: float = 1.0, *, target: str = "255.255.255.255", port: int = DISCOVERY_PORT
) -> list[DiscoveredCamera]:
    """Ask who is there and return every camera that answers within the time.

    Args:
        timeout_s: how long to listen.
        target: whom to ask; the broadcast address reaches the local network.
        port: the UDP port that cameras listen on.

    Raises:
        DeviceError: the question cannot be sent.
    """
    found: dict[str, DiscoveredCamera] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            asking.bind(("", 0))
            asking.sendto(QUESTION, (target, port))
        except OSError as reason:
            raise DeviceError(
                f"phantom:{target}: cannot ask for cameras: {reason}. Check that the computer has "
                "an address in the cameras' network."
            ) from None
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            asking.settimeout(left)
            # a refusal by a host without a camera comes back as an error
            with contextlib.suppress(TimeoutError, ConnectionError, ProtocolError):
                datagram, (host, _) = asking.recvfrom(2048)
                reply = parse_discovery_reply(datagram)
                suffix = "" if reply.port == CONTROL_PORT else f":{reply.port}"
                address = f"phantom:{host}{suffix}"
                found[address] = DiscoveredCamera(
                    address, host, reply.port, reply.hardware_version, reply.serial
                )
    return list(found.values())
