"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def quiet_option(command: Command) -> Command:
    """``-q``: say nothing but errors."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def json_option(command: Command) -> Command:
    """``--json``: one JSON object on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
    )(command)


def workers_option(command: Command) -> Command:
    """``--workers``: how many processes share the work."""
    return click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        default=None,
        metavar="N",
        help="Worker processes; as many as there are cores unless said otherwise.",
    )(command)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
