"""``relight_model train``: learn a performer's reflectance field from takes."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, quiet_option, say


@click.command("train")
@click.argument("config")
@click.option(
    "--data", "takes", multiple=True, required=True, metavar="TAKE[=PARAMETERS.npz]",
    help="A take to learn from, with its head parameters; those beside it (head.npz) unless named. "
    "May be given several times.",
)  # fmt: skip
@click.option(
    "--out", "run", type=PATH, required=True, metavar="RUN", help="The folder that it goes to."
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in RUN.")
@click.option(
    "--set", "overrides", multiple=True, metavar="FIELD=VALUE",
    help="Change a field of the configuration, such as losses.gan=0; may be given several times.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 99_999_999), metavar="N", help="Optimiser steps.")
@click.option("--hours", type=float, metavar="H", help="Time instead of steps.")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N; a GPU where there is one.")
@quiet_option
@json_option
def command(
    config: str,
    takes: tuple[str, ...],
    run: Path,
    resume: bool,
    overrides: tuple[str, ...],
    steps: int | None,
    hours: float | None,
    device: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a performer's network by CONFIG into the folder RUN.

    CONFIG is a TOML or YAML file, or the name of one that is shipped: paper, small_128, low_rank,
    tiny. Ctrl-C writes a checkpoint and ends; --resume goes on. Several processes: torchrun.

    Example: [bold]relight_model train small_128 --data my_session/takes/talk --out runs/one[/bold]
    """
    import shlex
    import signal

    from lightstage.terminal import EXIT_INTERRUPTED
    from relight_model.train import TakeChoice, train
    from relight_model.training_config import TrainingConfig
    from relight_model.training_process import training_process

    changes = list(overrides)
    if steps is not None:
        changes.append(f"steps={steps}")
    if hours is not None:
        changes.append(f"hours={hours}")
    settings = TrainingConfig.read(config, changes)
    chosen = [TakeChoice.parse(take) for take in takes]
    with training_process(device) as process:
        ended = train(
            settings, chosen, run, process,
            resume=resume, quiet=quiet or as_json, command=shlex.join(sys.argv),
        )  # fmt: skip
    if not process.writes:
        return
    if as_json:
        print_json(
            {
                "run": str(run),
                "step": ended.step,
                "interrupted": ended.signal is not None,
                "losses": ended.losses,
            }
        )
    if ended.signal is not None:
        say(f"{run}: stopped after step {ended.step}; go on with --resume.", quiet=quiet or as_json)
        sys.exit(EXIT_INTERRUPTED if ended.signal == signal.SIGINT else 128 + ended.signal)
    say(f"{run}: {ended.step} steps done.", quiet=quiet or as_json)
