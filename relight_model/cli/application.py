"""The ``relight_model`` command and its sub-commands."""

from __future__ import annotations

import rich_click as click

from lightstage import __version__
from lightstage.terminal import CommandGroup

COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Data": ("inspect", "evaluate"),
    "Training": ("train", "render", "export"),
    "Heads": (
        "fit",
        "convert-head",
        "parameters",
        "statistics",
        "retarget",
        "resample",
        "condition",
    ),
}


class RelightModelGroup(CommandGroup):
    """The sub-commands of ``relight_model``."""

    package = "relight_model.cli"
    command_groups = COMMAND_GROUPS


@click.group(
    cls=RelightModelGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="relight_model")
@click.option("-v", "--verbose", is_flag=True, help="Show the whole trace of an error.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Drive a performer's reflectance field by pose and expression.

    [bold]fit[/bold] finds the head's parameters in a take, [bold]train[/bold] learns the performer
    from both, [bold]render[/bold] makes reflectance fields of any parameters.
    """
    ctx.obj = {"verbose": verbose}
