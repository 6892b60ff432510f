"""``relight_model export``: a trained network as one file that runs without this project."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, quiet_option, say


@click.command("export")
@click.argument("run_path", type=PATH, metavar="RUN")
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="FILE",
    help="network.onnx, network.pt (TorchScript) or network.pt2 (torch.export).",
)  # fmt: skip
@click.option("--checkpoint", type=click.IntRange(0), metavar="STEP", help="The last unless named.")
@click.option("--last-weights", is_flag=True, help="The last weights instead of their average.")
@quiet_option
@json_option
def command(
    run_path: Path,
    output: Path,
    checkpoint: int | None,
    last_weights: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the network of a RUN into one file; the file is run and must answer alike.

    Its input is the stack of conditioning maps, its outputs are all lights, albedo and normal. The
    stack's layout and the lights' directions stand in the file.

    Example: [bold]relight_model export runs/one -o network.onnx[/bold]
    """
    from relight_model.export_network import export_network
    from relight_model.run import TrainedRun

    run = TrainedRun.open(run_path, checkpoint, average=not last_weights, device="cpu")
    about = {
        "layout": run.layout.as_json(),
        "directions": run.dome.directions.round(6).tolist(),
        "step": run.step,
    }
    apart = export_network(run.network, output, about=about)
    if as_json:
        print_json(
            {
                "file": str(output),
                "bytes": output.stat().st_size,
                "step": run.step,
                "largest_difference": apart,
            }
        )
    else:
        say(
            f"{output}: step {run.step}, differs from the network by {apart:.1e} at most",
            quiet=quiet,
        )
