"""``relight_model render``: head parameters in, reflectance fields out."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    progress_bar,
    quiet_option,
    say,
)


@click.command("render")
@click.argument("parameters", type=PATH)
@click.option("--run", "run_path", type=PATH, required=True, metavar="RUN", help="The training.")
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="SESSION/takes/NAME",
    help="The take that the fields go to; session and take are made where they are not there.",
)  # fmt: skip
@click.option("--frames", "frame_range", metavar="A:B", help="Only frames A to B - 1.")
@click.option("--checkpoint", type=click.IntRange(0), metavar="STEP", help="The last unless named.")
@click.option("--head", type=PATH, metavar="FILE", help="The head model, where it was moved.")
@click.option("--performer", default="unnamed", show_default=True, help="For a new session.")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N; a GPU where there is one.")
@quiet_option
@json_option
def command(
    parameters: Path,
    run_path: Path,
    output: Path,
    frame_range: str | None,
    checkpoint: int | None,
    head: Path | None,
    performer: str,
    device: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Render the reflectance field of each frame of head PARAMETERS (.npz) by a trained RUN.

    The take that is made has an aligned.zarr with OLAT images, normals and albedo, which every
    lightstage command takes as if it were captured; lightstage matte adds mattes. Run again after
    an interruption, it goes on.

    Example: [bold]relight_model render head.npz --run runs/one -o out/takes/talk[/bold]
    """
    from lightstage.errors import InputError
    from relight_model.head.clip import HeadClip
    from relight_model.render_fields import render_fields, rendered_take
    from relight_model.run import TrainedRun, fields_plan

    clip = HeadClip.load(parameters)
    run = TrainedRun.open(run_path, checkpoint, device=device)
    predictor = run.predictor(clip, head)
    first, _, last = (frame_range or ":").partition(":")
    try:
        chosen = range(len(clip))[slice(int(first or 0), int(last) if last else None)]
    except ValueError:
        chosen = range(0)
    if len(chosen) == 0:
        raise InputError(
            f"--frames must be A:B with frames out of 0 to {len(clip) - 1}, not {frame_range!r}."
        )
    plan = fields_plan(predictor, list(chosen))
    take = rendered_take(output, run.dome, performer=performer, details=dict(plan.made_from))
    began = time.perf_counter()
    with progress_bar("rendering", "sets", quiet=quiet or as_json) as progress:
        render_fields(
            take.aligned_path,
            plan,
            lambda todo: predictor.rendered(chosen[k] for k in todo),
            progress=progress,
        )
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "take": str(take.path),
                "sets": len(chosen),
                "lights": len(run.dome),
                "size": run.size,
                "step": run.step,
                "seconds": round(seconds, 3),
            }
        )
    else:
        say(
            f"{take.path}: {len(chosen)} sets of {len(run.dome)} lights, {run.size}x{run.size}, "
            f"by step {run.step}",
            quiet=quiet,
        )
