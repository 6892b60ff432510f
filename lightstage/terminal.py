"""What both command lines share: the group of commands, common options, what is printed.

A :class:`LightstageError` ends a command as one paragraph on standard error and its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import rich_click as click

from lightstage.errors import InputError, LightstageError

#: Exit code of a command that was interrupted, as shells count (128 + SIGINT).
EXIT_INTERRUPTED = 130


Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.SHOW_ARGUMENTS = True


class CommandGroup(click.RichGroup):
    """Finds each sub-command in the module of its name; turns errors into one paragraph."""

    #: The package whose modules are the sub-commands, each with a ``command``.
    package: ClassVar[str]
    #: What people do, and the commands for it, in the order of ``--help``.
    command_groups: ClassVar[dict[str, tuple[str, ...]]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands."""
        return [name for names in self.command_groups.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the sub-command ``cmd_name``, importing its module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command; an error that a user can mend ends as one paragraph."""
        try:
            return super().invoke(ctx)
        except LightstageError as reason:
            fail(str(reason), reason.exit_code)
        except KeyboardInterrupt:
            fail("interrupted; run the same command again to go on.", EXIT_INTERRUPTED)
        except BrokenPipeError:
            # the reader of our output went away, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except MemoryError:
            fail("there is not enough memory for this; use fewer --workers or less data.", 2)
        except OSError as reason:
            if ctx.obj and ctx.obj.get("verbose"):
                raise
            where = f"{reason.filename}: " if reason.filename else ""
            fail(f"{where}{reason.strerror or reason}.", 2)


def fail(text: str, exit_code: int) -> None:
    """Print an error as one paragraph on standard error and end the program."""
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {text}", err=True)
    sys.exit(exit_code)


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
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def parse_size(text: str) -> tuple[int, int]:
    """Return ``"WIDTHxHEIGHT"`` as two numbers of pixels."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--size must be WIDTHxHEIGHT, such as 512x384, not {text!r}.")
    return int(width), int(height)
