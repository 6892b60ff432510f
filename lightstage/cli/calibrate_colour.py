"""``lightstage calibrate colour``: white balance and colour matrix from a chart of 24 patches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say

if TYPE_CHECKING:
    from lightstage.calibration.colour_chart import ChartPatches, ColourFit


@click.command("colour")
@click.argument("session", type=PATH)
@click.option(
    "--chart",
    required=True,
    metavar="TAKE|FILE",
    help="A take, a .cine file, a camera raw or DNG, or a picture that shows the chart.",
)
@click.option("--frame", type=int, metavar="N", help="Only this frame, from 0; else their mean.")
@click.option(
    "--corners",
    nargs=4,
    metavar="X,Y",
    help="Middles of dark skin, bluish green, black and white, in pixels; found unless given.",
)
@click.option(
    "--srgb", is_flag=True, help="An 8- or 16-bit picture is encoded as sRGB; else it is linear."
)
@click.option(
    "--limit",
    type=click.FloatRange(0.1, 100),
    default=5.0,
    show_default=True,
    help="Refuse a chart that is met worse than this CIEDE2000 in the mean.",
)
@quiet_option
@json_option
def command(
    session: Path,
    chart: str,
    frame: int | None,
    corners: tuple[str, str, str, str] | None,
    srgb: bool,
    limit: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find a SESSION's white balance and colour matrix from a ColorChecker of 24 patches.

    Camera RGB becomes linear Rec.709 (D65), white stays white. Writes calibration/colour.json and
    colour.png: each patch as measured (left) and as published (right). Run preprocess again after.

    Example: [bold]lightstage calibrate colour my_session --chart chart.dng[/bold]
    """
    from lightstage.calibration.colour_chart import (
        find_chart,
        fit_colour,
        patches_picture,
        read_patches,
    )
    from lightstage.calibration.results import ColourResult, save_result
    from lightstage.calibration.target_pictures import chart_picture
    from lightstage.images import write_stored
    from lightstage.session import Session

    opened = Session.open(session)
    given = None if not corners else tuple(_corner(text) for text in corners)
    with progress_bar("looking", "frames", quiet=quiet or as_json) as progress:
        picture = chart_picture(
            opened, chart, frame=frame, transfer="srgb" if srgb else "linear", progress=progress
        )
    patches = read_patches(picture, given or find_chart(picture))
    fit = fit_colour(patches, limit)
    red, green, blue = (float(v) for v in fit.white_balance)
    result = ColourResult(
        white_balance=(red, green, blue),
        colour_matrix=tuple(float(v) for v in fit.matrix.ravel()),
        delta_e=tuple(round(float(v), 4) for v in fit.delta_e),
        source=chart,
        method="24 patches, corners " + ("given" if given else "found by OpenCV mcc"),
        details={
            "exposure_factor": fit.exposure,
            "corners": [list(corner) for corner in patches.corners],
        },
    )
    path = save_result(opened, result)
    write_stored(path.with_name("colour.png"), patches_picture(fit))
    if as_json:
        print_json({"written": str(path), **_report(fit)})
        return
    _print_table(fit, patches)
    say(f"wrote {path}", quiet=quiet)


def _corner(text: str) -> tuple[float, float]:
    from lightstage.errors import InputError

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--corners takes four pairs such as 120,80, not {text!r}.") from None
    return x, y


def _report(fit: ColourFit) -> dict[str, Any]:
    from lightstage.calibration.colour_chart import PATCH_NAMES

    return {
        "white_balance": fit.white_balance.tolist(),
        "colour_matrix": fit.matrix.tolist(),
        "exposure_factor": fit.exposure,
        "mean_delta_e": float(fit.delta_e.mean()),
        "delta_e": dict(zip(PATCH_NAMES, fit.delta_e.tolist(), strict=True)),
    }


def _print_table(fit: ColourFit, patches: ChartPatches) -> None:
    """Print measured and published colours and their difference, then the transform."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from lightstage.calibration.colour_chart import PATCH_NAMES, PATCH_REC709

    def triple(values: Any) -> str:
        return " ".join(f"{v:6.3f}" for v in values)

    table = Table(title="Colour chart", title_justify="left", box=None, pad_edge=False)
    for name in ("patch", "camera RGB", "corrected", "published", "CIEDE2000"):
        table.add_column(name, justify="left" if name == "patch" else "right")
    for index, name in enumerate(PATCH_NAMES):
        table.add_row(
            name,
            triple(patches.colours[index]),
            triple(fit.corrected[index]),
            triple(PATCH_REC709[index]),
            f"{fit.delta_e[index]:.2f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table)
    console.print(
        f"CIEDE2000 mean {fit.delta_e.mean():.2f}, worst {fit.delta_e.max():.2f}; white balance "
        f"{triple(fit.white_balance)}; exposure x{fit.exposure:.3f}"
    )
    for row in fit.matrix:
        console.print(f"  {triple(row)}")
