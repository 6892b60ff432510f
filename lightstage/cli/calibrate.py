"""``lightstage calibrate``: where the lights are, how bright each is, and what colour is true."""

from __future__ import annotations

import importlib

import rich_click as click

from lightstage.terminal import CommandGroup


class CalibrateGroup(CommandGroup):
    """The sub-commands of ``lightstage calibrate``, each in ``cli/calibrate_NAME.py``."""

    command_groups = {"Calibrate": ("lights", "gains", "colour")}  # noqa: RUF012

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the sub-command ``cmd_name``, importing its module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"lightstage.cli.calibrate_{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.group("calibrate", cls=CalibrateGroup)
def command() -> None:
    """Measure a stage: its lights' directions, their gains, and the camera's colour.

    What is found goes to SESSION/calibration and is used by every later step; a calibration that
    cannot be trusted is refused with the reason.

    Example: [bold]lightstage calibrate gains my_session --take ball[/bold]
    """
