"""The ``lightstage`` command and its sub-commands."""

from __future__ import annotations

import rich_click as click

from lightstage import __version__
from lightstage.terminal import CommandGroup

#: What people do, and the commands for it: the order of ``lightstage --help``.
COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Start here": ("demo",),
    "Capture": ("plan", "doctor", "capture", "verify", "simulate-hardware"),
    "Look at files": ("info", "frames", "report"),
    "Bring recordings in": ("import-take", "import-olat", "ingest", "simulate-take"),
    "Calibrate": ("calibrate",),
    "Make reflectance fields": ("preprocess", "convert", "normals"),
    "Light them": ("environment", "studio", "relight", "matte", "composite"),
    "Hand over": ("export", "seal"),
    "Set up": ("completion",),
}

click.rich_click.COMMAND_GROUPS = {
    "lightstage": [
        {"name": title, "commands": list(names)} for title, names in COMMAND_GROUPS.items()
    ]
}


class LightstageGroup(CommandGroup):
    """The sub-commands of ``lightstage``."""

    package = "lightstage.cli"
    command_groups = COMMAND_GROUPS


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
