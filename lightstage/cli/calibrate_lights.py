"""``lightstage calibrate lights``: where the lights are, from pictures of mirror spheres."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say

if TYPE_CHECKING:
    from lightstage.calibration.light_directions import LightDirections, LightPictures
    from lightstage.calibration.silhouette import Circle
    from lightstage.dome import Dome
    from lightstage.session import Session


@click.command("lights")
@click.argument("source", type=PATH)
@click.option(
    "--session",
    "session_path",
    type=PATH,
    metavar="DIR",
    help="The session whose lights these are; that of SOURCE unless said otherwise.",
)
@click.option("--mask", type=PATH, metavar="FILE", help="A picture, white where the spheres are.")
@click.option(
    "--sphere",
    "spheres",
    multiple=True,
    metavar="X,Y,RADIUS",
    help="A sphere's circle in pixels, instead of finding it; once for each sphere.",
)
@click.option(
    "--spheres",
    "count",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="How many mirror spheres there are; from two on distances are measured, too.",
)
@click.option("--radius", type=float, metavar="METRES", help="The spheres' radius, such as 0.06.")
@click.option("--focal", type=float, metavar="PX", help="The camera's focal length in pixels.")
@click.option(
    "--fov", type=float, metavar="DEG", help="Or its vertical angle of view, such as 12.5."
)
@click.option(
    "--principal",
    metavar="X,Y",
    help="Where the camera's axis is seen, in pixels, if the pictures are cropped.",
)
@click.option(
    "--distance",
    type=float,
    metavar="METRES",
    help="The lights' distance from the sphere; the session's dome tells it unless given.",
)
@click.option("--dark", type=PATH, metavar="FILE", help="A picture without lights, to subtract.")
@click.option(
    "--transfer",
    type=click.Choice(["linear", "srgb"]),
    default="linear",
    show_default=True,
    help="What the numbers of 8- and 16-bit files mean; photographs are mostly srgb.",
)
@click.option("--set", "chosen", type=int, metavar="N", help="Which OLAT set of a take to use.")
@click.option(
    "--least-seen",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of the lights that must be found.",
)
@click.option(
    "--largest-uncertainty",
    type=click.FloatRange(0, min_open=True),
    default=0.4,
    show_default=True,
    metavar="DEG",
    help="Leave lights out that are less certain: those whose highlight is near the rim.",
)
@click.option(
    "--largest-deviation",
    type=click.FloatRange(0, min_open=True),
    default=15.0,
    show_default=True,
    metavar="DEG",
    help="How far the lights may be from where the session's dome has them, in the median.",
)
@click.option(
    "--apply/--no-apply",
    default=True,
    show_default=True,
    help="Write SESSION/calibration/lights.json, which every later step uses.",
)
@click.option("--lp", type=PATH, metavar="FILE", help="Write the directions as a .lp file.")
@click.option("-o", "--picture", type=PATH, metavar="FILE", help="Draw the result, such as l.png.")
@quiet_option
@json_option
def command(
    source: Path,
    session_path: Path | None,
    mask: Path | None,
    spheres: tuple[str, ...],
    count: int,
    radius: float | None,
    focal: float | None,
    fov: float | None,
    principal: str | None,
    distance: float | None,
    dark: Path | None,
    transfer: str,
    chosen: int | None,
    least_seen: float,
    largest_uncertainty: float,
    largest_deviation: float,
    apply: bool,
    lp: Path | None,
    picture: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find the lights from their highlights on mirror spheres.

    SOURCE is a folder with one picture for each light, in the order of the lights, or a take (or
    its store of fields) whose performer is the sphere. Without --focal or --fov the camera is
    taken for one far away.

    Example: [bold]lightstage calibrate lights ball_photos --session my_session --mask ball.png
    --radius 0.06 --focal 5200 -o lights.png[/bold]
    """
    from lightstage.calibration.light_checks import Limits
    from lightstage.calibration.light_directions import SphereSetup, calibrate_lights
    from lightstage.calibration.light_pictures import read_gray
    from lightstage.calibration.results import save_result
    from lightstage.dome import Dome
    from lightstage.images import Transfer, write_image
    from lightstage.report.light_directions import light_directions_picture

    meaning: Transfer = "srgb" if transfer == "srgb" else "linear"
    given = tuple(_circle(text) for text in spheres)
    left_out = [path for path in (mask, dark) if path is not None]
    pictures = _pictures(source, left_out, meaning, dark, chosen)
    session = _session_of(source, session_path)
    # the dome as it was built: what is corrected, and what says which lights are hidden
    nominal = None if session is None else session.nominal_dome
    if nominal is not None and distance is None and radius is not None:
        distance = nominal.radius_m
    first = pictures.read(0)
    setup = SphereSetup(
        focal_px=_focal_px(focal, fov, first.shape[0]),
        principal_px=None if principal is None else _numbers(principal, 2, "--principal"),
        radius_m=radius,
        distance_m=distance,
        spheres=len(given) or count,
        circles=given,
        mask=None if mask is None else read_gray(mask),
    )
    with progress_bar("calibrating lights", "pictures", quiet=quiet or as_json) as progress:
        found = calibrate_lights(
            pictures,
            setup,
            Limits(
                least_seen=least_seen,
                largest_uncertainty_deg=largest_uncertainty,
                largest_deviation_deg=largest_deviation,
            ),
            None if nominal is None else nominal.directions,
            progress,
        )
    written: dict[str, str] = {}
    if session is not None and apply:
        saved = save_result(session, found.result(str(source)))
        written["lights"] = str(saved)
        picture = picture or saved.with_suffix(".png")
    if picture is not None:
        directions = None if nominal is None else nominal.directions
        write_image(picture, light_directions_picture(found, directions))
        written["picture"] = str(picture)
    if lp is not None:
        names = [name for name, seen in zip(found.names, found.seen, strict=True) if seen]
        Dome.from_directions(found.directions[found.seen]).save_lp(lp, names)
        written["lp"] = str(lp)
    report = _report(found, nominal)
    if as_json:
        print_json({**report, "written": written})
        return
    if not quiet:
        _print_lights(f"Lights from {source}", report)
    for warning in report["warnings"]:
        say(f"{source}: {warning}", quiet=quiet)
    for path in written.values():
        say(f"wrote {path}", quiet=quiet)
    if session is None:
        say("no --session given: nothing was stored in one.", quiet=quiet)


def _pictures(
    source: Path, left_out: list[Path], transfer: Any, dark: Path | None, chosen: int | None
) -> LightPictures:
    """Return the one-light pictures of a folder of files, or of reflectance fields."""
    from lightstage.calibration.light_pictures import FieldPictures, FilePictures
    from lightstage.errors import InputError
    from lightstage.exchange.image_stack import DARK_WORDS, natural_order
    from lightstage.fields import ReflectanceFields
    from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES
    from lightstage.session import Session, Take

    for path in (source, *left_out):
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder.")
    if Session.is_at(source) or Take.is_at(source) or (source / "zarr.json").is_file():
        fields = ReflectanceFields.open(source)
        index = len(fields) // 2 if chosen is None else chosen
        if not -len(fields) <= index < len(fields):
            raise InputError(f"--set {index}: {source} has {len(fields)} sets.")
        return FieldPictures(fields, index)
    if not source.is_dir():
        raise InputError(f"{source}: a folder of pictures or a take is expected, this is a file.")
    known = FLOAT_SUFFIXES | INTEGER_SUFFIXES
    paths = [
        path
        for path in sorted(source.iterdir(), key=natural_order)
        if path.suffix.lower() in known
        and not path.name.startswith(".")
        and not DARK_WORDS.search(path.stem)
        and not any(path.samefile(other) for other in left_out)
    ]
    if not paths:
        raise InputError(f"{source}: holds no pictures ({', '.join(sorted(known))}).")
    masks = [path.name for path in paths if "mask" in path.stem.lower()]
    if masks:
        raise InputError(f"{source}: {masks[0]} looks like a mask; name it by --mask.")
    return FilePictures(paths, transfer, dark)


def _session_of(source: Path, given: Path | None) -> Session | None:
    """Return the session to write to: the one named, or the one that the take belongs to."""
    from lightstage.session import Session

    if given is not None:
        return Session.open(given)
    # a session, SESSION/takes/NAME, or SESSION/takes/NAME/aligned.zarr; a folder of pictures
    # within a session, too
    for folder in (source, *list(source.resolve().parents)[:3]):
        if Session.is_at(folder):
            return Session.open(folder)
    return None


def _focal_px(focal: float | None, fov: float | None, height: int) -> float | None:
    from lightstage.errors import InputError

    if focal is not None and fov is not None:
        raise InputError("give either --focal or --fov, not both.")
    if fov is None:
        return focal
    if not 0 < fov < 170:
        raise InputError(f"--fov must be an angle between 0 and 170 degrees, it is {fov:g}.")
    return 0.5 * height / math.tan(math.radians(fov) / 2)


def _circle(text: str) -> Circle:
    from lightstage.calibration.silhouette import Circle

    return Circle(*_numbers(text, 3, "--sphere"))


def _numbers(text: str, count: int, option: str) -> Any:
    from lightstage.errors import InputError

    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        example = "X,Y,RADIUS, such as 253,148,119.5" if count == 3 else "X,Y, such as 960,540"
        raise InputError(f"{option} must be {example}, not {text!r}.")
    return values


def _report(found: LightDirections, nominal: Dome | None) -> dict[str, Any]:
    """Return what is printed: the summary, each light's row, and warnings."""
    import numpy as np

    from lightstage.calibration.mirror_sphere import angle_deg

    off = None if nominal is None else angle_deg(found.directions, nominal.directions)
    rows = []
    for index, name in enumerate(found.names):
        row: dict[str, Any] = {"light": index, "picture": name, "verdict": found.verdicts[index]}
        if found.seen[index]:
            row["direction"] = [round(float(v), 5) for v in found.directions[index]]
            row["uncertainty_deg"] = round(float(found.uncertainty_deg[index]), 3)
            if np.isfinite(found.positions_m[index]).all():
                row["position_m"] = [round(float(v), 4) for v in found.positions_m[index]]
            if np.isfinite(found.residual_deg[index]):
                row["residual_deg"] = round(float(found.residual_deg[index]), 3)
            if off is not None:
                row["from_nominal_deg"] = round(float(off[index]), 2)
            row["saturated"] = any(spot.saturated for spot in found.highlights[index])
        rows.append(row)
    report = {**found.summary(), "rows": rows, "warnings": list(found.warnings)}
    if off is not None and found.seen.any():
        report["from_nominal_median_deg"] = round(float(np.nanmedian(off)), 3)
    return report


def _print_lights(title: str, report: dict[str, Any]) -> None:
    """Print the table of lights, and under it the summary."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = {
        "light": "light",
        "picture": "picture",
        "direction": "direction (x, y, z)",
        "position_m": "position (m)",
        "uncertainty_deg": "±°",
        "residual_deg": "residual °",
        "from_nominal_deg": "from dome °",
        "verdict": "verdict",
    }
    used = [key for key in columns if any(key in row for row in report["rows"])]
    for key in used:
        text = key in ("picture", "verdict")
        table.add_column(columns[key], justify="left" if text else "right", no_wrap=True)
    for row in report["rows"]:
        table.add_row(*(_cell(row.get(key)) for key in used))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table)
    console.print(
        f"{report['seen']} of {report['lights']} lights found; uncertainty "
        f"{report['uncertainty_median_deg']:.2f}° in the median, "
        f"{report['uncertainty_worst_deg']:.2f}° at worst"
        + (f"; {report['positions']} positions" if report["positions"] else "")
    )
    for number, sphere in enumerate(report["spheres"], 1):
        fitted = f"rms {sphere['outline_rms_px']:.2f} px" if sphere["outline_seen"] else "as given"
        console.print(
            f"sphere {number}: middle ({sphere['x_px']:.2f}, {sphere['y_px']:.2f}), radius "
            f"{sphere['radius_px']:.2f} px, outline {fitted}"
        )


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{part:+.4f}" for part in value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)
