"""PH16, the control protocol of Phantom cameras: grammar, lines, time stamps, discovery.

Pure functions and classes: no sockets, no threads. Source: PH16 protocol 2.3 and replies of a real
camera; what is marked *inferred* is confirmed by neither.
"""

from firmware_protocols.phantom.discovery import (
    ATTACH_PORT,
    CONTROL_PORT,
    DISCOVERY_PORT,
    QUESTION,
    DiscoveryReply,
    format_discovery_reply,
    parse_discovery_reply,
)
from firmware_protocols.phantom.errors import ProtocolError
from firmware_protocols.phantom.lines import CommandAssembler, ReplyAssembler
from firmware_protocols.phantom.messages import (
    Answer,
    Command,
    Failure,
    Notification,
    Reply,
    Success,
    format_command,
    format_notification,
    format_reply,
    parse_command,
    parse_notification,
    parse_reply,
)
from firmware_protocols.phantom.time_stamps import (
    TimeStamp,
    format_time_stamp,
    parse_time_stamp,
    since_year_ns,
    trigger_fields,
    trigger_ns,
    utc_ns,
    year_begins_ns,
)
from firmware_protocols.phantom.values import (
    Flags,
    Hex,
    Resolution,
    Struct,
    Value,
    Word,
    format_value,
    parse_value,
)

__all__ = [
    "ATTACH_PORT",
    "CONTROL_PORT",
    "DISCOVERY_PORT",
    "QUESTION",
    "Answer",
    "Command",
    "CommandAssembler",
    "DiscoveryReply",
    "Failure",
    "Flags",
    "Hex",
    "Notification",
    "ProtocolError",
    "Reply",
    "ReplyAssembler",
    "Resolution",
    "Struct",
    "Success",
    "TimeStamp",
    "Value",
    "Word",
    "format_command",
    "format_discovery_reply",
    "format_notification",
    "format_reply",
    "format_time_stamp",
    "format_value",
    "parse_command",
    "parse_discovery_reply",
    "parse_notification",
    "parse_reply",
    "parse_time_stamp",
    "parse_value",
    "since_year_ns",
    "trigger_fields",
    "trigger_ns",
    "utc_ns",
    "year_begins_ns",
]
