"""``relight_model statistics``: a performer's statistics, for normalisation."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, quiet_option, say


@click.command("statistics")
@click.argument("clips", type=PATH, nargs=-1, required=True, metavar="CLIP...")
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="FILE", help="The statistics, a .json."
)
@click.option(
    "--robust",
    is_flag=True,
    help="Median and median absolute deviation, for clips with frames that were fitted wrongly.",
)
@quiet_option
@json_option
def command(
    clips: tuple[Path, ...], output: Path, robust: bool, quiet: bool, as_json: bool
) -> None:
    """Make the statistics of a performer from CLIPs of head parameters.

    They are kept with the performer; [bold]retarget[/bold] normalises a source to them. Frames
    count as much as their confidence.

    Example: [bold]relight_model statistics talk.npz range.npz -o performer.json[/bold]
    """
    from relight_model.head.clip import HeadClip
    from relight_model.head.clip_statistics import ClipStatistics

    found = ClipStatistics.of(
        (HeadClip.load(path) for path in clips), "robust" if robust else "moments"
    )
    found.save(output)
    if as_json:
        print_json(found.model_dump())
    else:
        say(f"{output}: statistics of {found.frames} frames of {len(clips)} clips.", quiet=quiet)
