"""``lightstage completion``: completion for the shell."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes lightstage commands in a shell.

    Example: [bold]eval "$(lightstage completion bash)"[/bold] in ~/.bashrc
    """
    from lightstage.cli.application import main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "lightstage", "_LIGHTSTAGE_COMPLETE").source())
