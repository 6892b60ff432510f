"""``relight_model parameters``: what a file of head parameters holds."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table


@click.command("parameters")
@click.argument("clip", type=PATH)
@json_option
def command(clip: Path, as_json: bool) -> None:
    """Tell what a CLIP of head parameters holds: ranges, jitter, gaps, confidence.

    Jitter is how far a frame lies from the middle of its two neighbours, as a root mean square,
    divided so that noise alone comes out as its own deviation.

    Example: [bold]relight_model parameters parameters.npz[/bold]
    """
    from relight_model.head.clip import HeadClip
    from relight_model.head.clip_report import clip_report, report_rows

    report = clip_report(HeadClip.load(clip))
    if as_json:
        print_json(report)
        return
    about, ranges = report_rows(report)
    print_table(f"Head parameters in {clip}", about)
    click.echo()
    print_table("mean ± deviation, from 0.5 % to 99.5 % of the frames, jitter", ranges)
