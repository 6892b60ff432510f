"""``lightstage simulate-hardware``: a stage of simulated devices for any driver to connect to."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, parse_size, say


@click.command("simulate-hardware")
@click.option("--faults", type=PATH, metavar="FILE", help="What goes wrong, a TOML file.")
@click.option("--size", default="512x384", show_default=True, metavar="WxH", help="Frame size.")
@click.option("--lights", type=click.IntRange(1, 1024), default=96, show_default=True)
@click.option("--performer", type=click.IntRange(0), default=0, help="Which performer, a number.")
@click.option(
    "--motion",
    type=click.Choice(["still", "slow", "talking", "violent"]),
    default="talking",
    show_default=True,
    help="How the performer moves.",
)
@click.option("--stage", "stage_path", type=PATH, metavar="FILE", help="Write a stage file here.")
@click.option("--seconds", type=float, help="Stop after so long; runs until Ctrl-C otherwise.")
def command(
    faults: Path | None,
    size: str,
    lights: int,
    performer: int,
    motion: str,
    stage_path: Path | None,
    seconds: float | None,
) -> None:
    """Run an LED controller on a pseudo-terminal and a camera on TCP, with a performer between.

    Prints their addresses; a stage file written by --stage holds them. Only this machine can
    connect.

    Example: [bold]lightstage simulate-hardware --stage stage.toml[/bold]
    """
    from lightstage.dome import Dome
    from lightstage.manifest import write_atomically
    from lightstage.simulation.stage_hardware import (
        PerformerSettings,
        SimulatedHardware,
        StageFaults,
    )

    width, height = parse_size(size)
    settings = PerformerSettings.parse({"performer": performer, "motion": motion}, "--motion")
    hardware = SimulatedHardware(
        dome=Dome.evenly_spread(lights),
        width=width,
        height=height,
        performer=settings,
        faults=StageFaults.load_toml(faults) if faults else StageFaults(),
    )
    with hardware:
        text = (
            f'name = "simulated hardware"\nleds = "{hardware.leds_address}"\n'
            f'camera = "{hardware.camera_address}"\nwidth = {width}\nheight = {height}\n'
        )
        if stage_path is not None:
            Dome.evenly_spread(lights).save(stage_path.with_name("dome.json"))
            write_atomically(stage_path, text + 'dome = "dome.json"\n')
            say(f"stage file {stage_path}")
        click.echo(text, nl=False)
        started = time.monotonic()
        while seconds is None or time.monotonic() - started < seconds:
            time.sleep(0.1)
