"""What the commands print: errors, tables, progress, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich_click as click

from lightstage.errors import InputError

#: Exit code of a command that was interrupted, as shells count (128 + SIGINT).
EXIT_INTERRUPTED = 130


def print_json(report: Mapping[str, Any]) -> None:
    """Print one JSON object and nothing else on standard output."""
    click.echo(json.dumps(report, indent=1, default=str))


def print_table(title: str, rows: Mapping[str, Any]) -> None:
    """Print names and values as a two-column table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    # a pipe or a file gets whole lines, however narrow the terminal is
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def say(text: str, *, quiet: bool = False) -> None:
    """Print a line for a person on standard error."""
    if not quiet:
        click.echo(text, err=True)


@contextmanager
def progress_bar(
    what: str, unit: str, *, quiet: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function ``(done, total)`` that draws a bar with rate and time left.

    Drawn on standard error, and only where that is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeLeft(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=False,
    )
    with bar:
        task = bar.add_task(what, total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} {unit}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield update


def parse_range(text: str, what: str) -> tuple[float, float]:
    """Return ``"A:B"`` as two numbers, or ``"A"`` as the same number twice."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(abs(value) < 1e9 for value in values):
        raise InputError(f"{what} must be a number or FROM:TO, such as 0:360, not {text!r}.")
    return values[0], values[-1]
