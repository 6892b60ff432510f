"""The ``lightstage`` command: its sub-commands, and what becomes of an error."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, ClassVar

import rich_click as click

from lightstage import __version__
from lightstage.cli.terminal import EXIT_INTERRUPTED
from lightstage.errors import LightstageError

#: What people do, and the commands for it: the order of ``lightstage --help``.
COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Start here": ("demo",),
    "Look at files": ("info", "frames"),
    "Bring recordings in": ("import-take", "import-olat", "simulate-take"),
    "Make reflectance fields": ("preprocess",),
    "Light them": ("relight",),
    "Set up": ("completion",),
}

click.rich_click.COMMAND_GROUPS = {
    "lightstage": [
        {"name": title, "commands": list(names)} for title, names in COMMAND_GROUPS.items()
    ]
}
click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.SHOW_ARGUMENTS = True
click.rich_click.STYLE_OPTIONS_TABLE_LEADING = 0


class LightstageGroup(click.RichGroup):
    """Finds each sub-command in the module of its name; turns errors into one paragraph."""

    package: ClassVar[str] = "lightstage.cli"
    command_groups: ClassVar[dict[str, tuple[str, ...]]] = COMMAND_GROUPS

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


@click.group(
    cls=LightstageGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lightstage")
@click.option("-v", "--verbose", is_flag=True, help="Show the whole trace of an error.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """From the LED's wire to the relit film frame.

    New here? Run [bold]lightstage demo[/bold]: it simulates a take, aligns it and relights it.
    """
    ctx.obj = {"verbose": verbose}
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
