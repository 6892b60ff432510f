"""``lightstage normals``: the surface's normals, albedo and visibility of every set of a take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.cli.film_options import check_set
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
    from lightstage.relighting.photometric_stereo import StereoSettings
    from lightstage.relighting.surface_store import Placement


@click.command("normals")
@click.argument("take", type=PATH)
@click.option(
    "--pixel-size",
    type=click.FloatRange(0.001, 100.0),
    metavar="MM",
    help="Millimetres of the performer that a pixel shows: lights are then taken to stand at their "
    "own distance, not far away. Better normals on a dome of a metre or so.",
)
@click.option(
    "--centre",
    metavar="X,Y",
    help="Pixel where the dome's centre is seen, with --pixel-size; the picture's middle unless "
    "given.",
)
@click.option(
    "--least-cosine",
    type=click.FloatRange(0.0, 0.9),
    default=None,
    metavar="C",
    help="Leave lights out whose cosine with the normal is below this.  [default: 0.1]",
)
@click.option("--set", "chosen", type=int, metavar="N", help="Only look at this set; needs -o.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="With --set: a picture (.png) of its maps; nothing is stored.",
)
@workers_option
@quiet_option
@json_option
def command(
    take: Path,
    pixel_size: float | None,
    centre: str | None,
    least_cosine: float | None,
    chosen: int | None,
    output: Path | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find normals, albedo, visibility and gloss of a TAKE's sets, by robust photometric stereo.

    Writes the arrays normal, albedo, normal_confidence, visibility and specular into the take's
    aligned.zarr; run again, it makes only what is missing. TAKE is a take's folder, a session of
    one take, or a store (also one that import-olat made).

    Example: [bold]lightstage normals my_session/takes/talk[/bold]

    A look at one set: [bold]lightstage normals my_session --set 0 -o maps.png[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.preprocess.jobs import JobOptions
    from lightstage.relighting.photometric_stereo import StereoSettings
    from lightstage.relighting.surface_store import make_surface_maps

    if (chosen is None) != (output is None):
        raise InputError(
            "--set N and -o FILE go together: they make a picture of one set. Without them all "
            "sets are made and stored."
        )
    placement = _placement(pixel_size, centre)
    settings = StereoSettings()
    if least_cosine is not None:
        settings = settings.replace(least_cosine=least_cosine)
    if chosen is not None and output is not None:
        report = _look(take, chosen, output, settings, placement)
        if as_json:
            print_json(report)
        elif not quiet:
            print_table(f"Set {chosen} of {take}", report)
            say("panels: lit, normals, albedo; visibility, gloss (x4), confidence")
        return
    options = JobOptions(workers=workers or usable_cores())
    with progress_bar("normals", "sets", quiet=quiet or as_json) as progress:
        result = make_surface_maps(
            take, settings, placement=placement, options=options, progress=progress
        )
    report = {
        "sets": result.sets,
        "sets_made_now": result.made,
        **_named(result.figures),
        "seconds": round(result.seconds, 2),
        "fields": str(result.path),
    }
    if as_json:
        print_json(report)
    elif not quiet:
        print_table(f"Normals and albedo of {take}", report)


def _look(
    take: Path,
    index: int,
    output: Path,
    settings: StereoSettings,
    placement: Placement | None,
) -> dict[str, Any]:
    """Make one set's maps and their picture; return figures about them."""
    from lightstage.errors import InputError
    from lightstage.fields import ReflectanceFields
    from lightstage.images import write_stored
    from lightstage.relighting.surface_picture import maps_picture
    from lightstage.relighting.surface_store import set_figures, set_maps

    if output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff"):
        raise InputError(f"{output}: the maps' picture is a .png, .jpg or .tif file.")
    fields = ReflectanceFields.open(take)
    check_set(fields, take, index)
    maps = set_maps(fields, index, settings, placement)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_stored(output, maps_picture(maps, fields[index].full_lit))
    return {**_named(set_figures(maps)), "picture": str(output)}


def _named(figures: dict[str, float]) -> dict[str, float]:
    """Return figures under the names that are printed."""
    names = {
        "known": "share_of_picture_known",
        "confidence": "mean_normal_confidence",
        "visibility": "mean_visibility",
        "lights_used": "mean_lights_used",
    }
    return {names[name]: round(value, 4) for name, value in figures.items()}


def _placement(pixel_size_mm: float | None, centre: str | None) -> Placement | None:
    """Return where the picture lies, as the options say it."""
    from lightstage.errors import InputError
    from lightstage.relighting.surface_store import Placement

    if pixel_size_mm is None:
        if centre is not None:
            raise InputError("--centre is of use only with --pixel-size.")
        return None
    if centre is None:
        return Placement(pixel_size_m=1e-3 * pixel_size_mm)
    try:
        x, y = (float(part) for part in centre.split(","))
    except ValueError:
        raise InputError(
            f"--centre must be X,Y in pixels, such as 256,180, not {centre!r}."
        ) from None
    return Placement(pixel_size_m=1e-3 * pixel_size_mm, centre_px=(x, y))
