"""``lightstage preprocess``: from raw frames to reflectance fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    print_table,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)

if TYPE_CHECKING:
    from lightstage.preprocess.jobs import PreprocessResult


@click.command("preprocess")
@click.argument("session", type=PATH)
@click.option("--take", "names", multiple=True, metavar="NAME", help="Only this take (repeatable).")
@click.option(
    "--rate",
    default="25",
    metavar="HZ|all",
    show_default=True,
    help="OLAT sets per second; 'all' makes one for each tracking frame.",
)
@click.option(
    "--align",
    type=click.Choice(["flow", "none"]),
    default="flow",
    show_default=True,
    help="'none' leaves the motion in, for comparison.",
)
@click.option(
    "--demosaic",
    type=click.Choice(["edge-aware", "bilinear"]),
    default="edge-aware",
    show_default=True,
    help="How colour is interpolated.",
)
@click.option("--scheduler", metavar="tcp://…", help="A running Dask scheduler to work on.")
@workers_option
@quiet_option
@json_option
def command(
    session: Path,
    names: tuple[str, ...],
    rate: str,
    align: str,
    demosaic: str,
    scheduler: str | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the reflectance fields of a SESSION's takes (or of one take's folder).

    Finds which light each frame shows, develops the frames, finds the motion between tracking
    frames and warps each light's picture to the middle of its set. Writes takes/NAME/aligned.zarr;
    run again, it makes only what is missing.

    Example: [bold]lightstage preprocess my_session --rate 25[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.preprocess.jobs import preprocess_take
    from lightstage.preprocess.settings import PreprocessSettings
    from lightstage.session import chosen_takes

    takes = chosen_takes(session, names)
    try:
        rate_hz = None if rate == "all" else float(rate)
    except ValueError:
        raise InputError(
            f"--rate must be a number of sets per second or 'all', not {rate!r}."
        ) from None
    settings = PreprocessSettings.parse(
        {"rate_hz": rate_hz, "align": {"method": align}, "develop": {"demosaic": demosaic}},
        "preprocess",
    )
    reports = {}
    for take in takes:
        with progress_bar(take.name, "sets", quiet=quiet or as_json) as progress:
            result = preprocess_take(
                take,
                settings,
                workers=workers or usable_cores(),
                scheduler=scheduler,
                progress=progress,
            )
        reports[take.name] = _report(result)
        if not as_json:
            for warning in result.identification.warnings:
                say(f"{take.name}: {warning}", quiet=quiet)
            if not quiet:
                print_table(f"Take {take.name}", reports[take.name])
    if as_json:
        print_json({"takes": reports})


def _report(result: PreprocessResult) -> dict[str, Any]:
    found = result.identification
    return {
        "frames": result.frames,
        "dropped_frames": len(found.dropped),
        "unknown_frames": int((~found.known).sum()),
        "identified_by": found.method,
        "sets": result.sets,
        "sets_made_now": result.made,
        "sets_with_missing_lights": len({index for index, _ in result.missing}),
        "seconds_identify": round(result.seconds["identify"], 2),
        "seconds_align": round(result.seconds["align"], 2),
        "fields": str(result.path),
    }
