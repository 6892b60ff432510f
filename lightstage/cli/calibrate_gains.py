"""``lightstage calibrate gains``: how bright each light is, the dark frame and the flat field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightstage.calibration.light_gains import LightGains, Target
    from lightstage.session import Session, Take


@click.command("gains")
@click.argument("session", type=PATH)
@click.option("--take", metavar="NAME", help="The take of the white target, under single lights.")
@click.option(
    "--ball",
    metavar="X,Y,RADIUS",
    help="The matt white ball in pixels; it is looked for unless a card or ball is given.",
)
@click.option(
    "--mirror",
    metavar="X,Y,RADIUS",
    help="A mirror sphere instead, in pixels; its highlights must not saturate.",
)
@click.option("--card", metavar="X,Y,W,H", help="A part of the picture that is all white card.")
@click.option(
    "--normal",
    default="0,0,1",
    show_default=True,
    metavar="X,Y,Z",
    help="Where the card faces; 0,0,1 is to the camera, 0,1,0 up.",
)
@click.option(
    "--relative", is_flag=True, help="Take the card's brightness as it is, without the cosine."
)
@click.option(
    "--ball-radius",
    type=click.FloatRange(0.001, 2),
    metavar="M",
    help="The ball's or sphere's radius.",
)
@click.option(
    "--camera-distance",
    type=click.FloatRange(0.05, 100),
    metavar="M",
    help="From the ball's middle to the camera; far away unless given.",
)
@click.option(
    "--dark", metavar="TAKE|FILE", help="Dark frames: a take (its dark steps) or a recording."
)
@click.option(
    "--flat", metavar="TAKE|FILE", help="Evenly lit white: a take (its full-lit frames) or a file."
)
@click.option(
    "--limit",
    type=click.FloatRange(0.01, 1),
    default=0.25,
    show_default=True,
    help="Refuse a ball whose usual light leaves more than this share unexplained.",
)
@quiet_option
@json_option
def command(
    session: Path,
    take: str | None,
    dark: str | None,
    flat: str | None,
    limit: float,
    quiet: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Measure the gains of a SESSION's lights on a white target in the dome's middle.

    Also takes a dark frame and a flat field of the camera; any of the three may be made alone, the
    others stay. Writes calibration/gains.json and gains.png. Run preprocess again afterwards.

    Example: [bold]lightstage calibrate gains my_session --take ball --ball-radius 0.05
    --camera-distance 1.5 --dark ball[/bold]
    """
    from lightstage.calibration.light_gains import gains_picture
    from lightstage.calibration.results import GainsResult, save_field_picture, save_result
    from lightstage.errors import InputError
    from lightstage.images import write_stored
    from lightstage.session import Session
    from lightstage.stage_calibration import StageCalibration

    if take is None and dark is None and flat is None:
        raise InputError("give --take with a white target, --dark or --flat: what is measured?")
    opened = Session.open(session)
    result = opened.calibration.gains or GainsResult()
    path = opened.calibration.folder / GainsResult.file_name
    with progress_bar("looking", "frames", quiet=quiet or as_json) as progress:
        if dark is not None:
            picture = _camera_picture(opened, dark, "dark", progress)
            record = save_field_picture(opened, "dark", picture, dark)
            result = result.replace(dark=record)
        if flat is not None:
            save_result(opened, result)  # the flat field is taken with the dark frame taken out
            opened = Session.open(session)
            picture = _camera_picture(opened, flat, "flat", progress)
            result = result.replace(flat=save_field_picture(opened, "flat", picture, flat))
        if dark is not None or flat is not None:
            save_result(opened, result)
        measured = None
        if take is not None:
            calibration = StageCalibration(opened.calibration.folder)
            white = opened.take(take)
            measured, method = _measured(white, calibration, limit, place, progress)
            result = result.replace(**_record(measured, method, take))
            save_result(opened, result)
            write_stored(path.with_name("gains.png"), gains_picture(measured))
    report = _report(result, measured)
    if as_json:
        print_json({"written": str(path), **report})
        return
    if measured is not None:
        _print_table(measured)
    for line in report["notes"]:
        say(line, quiet=quiet)
    say(f"wrote {path}", quiet=quiet)


def _camera_picture(
    session: Session, name: str, kind: str, progress: Callable[[int, int], None]
) -> Any:
    """Return the dark frame or flat field that a take or file gives."""
    from lightstage.calibration.flat_field import dark_frame, flat_field
    from lightstage.calibration.target_pictures import find_target, identified_frames, open_file
    from lightstage.errors import InputError
    from lightstage.images import read_image
    from lightstage.preprocess.source import open_source

    target = find_target(session, name)
    gains = session.calibration.gains
    known = None
    if gains is not None and gains.dark is not None:
        known = read_image(session.calibration.folder / gains.dark.file)[..., 0]
    with open_file(target) if isinstance(target, Path) else open_source(target) as source:
        if isinstance(target, Path):
            frames: tuple[int, ...] = tuple(range(min(len(source), 256)))
        else:
            found = identified_frames(target, source, progress)
            frames = found.dark if kind == "dark" else found.tracking
        if not frames:
            raise InputError(f"{name}: has no {kind} frames; record the preamble, or give a file.")
        if kind == "dark":
            return dark_frame(source, frames)
        return flat_field(source, frames, known)


def _measured(
    take: Take,
    calibration: Any,
    limit: float,
    place: dict[str, Any],
    progress: Callable[[int, int], None],
) -> tuple[LightGains, str]:
    """Return the gains that a take of a white target gives, and how they were found."""
    from lightstage.calibration.light_gains import gains_from, measure_highlight, measure_light
    from lightstage.calibration.target_pictures import identified_frames, mean_picture
    from lightstage.errors import InputError
    from lightstage.preprocess.source import open_source

    with open_source(take) as source:
        frames = identified_frames(take, source, progress)
        if not frames.tracking or not all(frames.lights):
            missing = [index for index, found in enumerate(frames.lights) if not found]
            raise InputError(
                f"{take.path}: lights {missing} have no frame of their own; record a whole cycle."
            )
        full_lit = mean_picture(source, frames.tracking, calibration)
        target, method = _target(full_lit, place)
        circle = _numbers(place["mirror"], "--mirror", 3) if place["mirror"] else None
        measurements = []
        for light, position in enumerate(take.dome.positions_m):
            picture = mean_picture(source, frames.lights[light], calibration)
            if circle is not None:
                radius, distance = place["ball_radius"], place["camera_distance"]
                measurements.append(measure_highlight(picture, circle, position, radius, distance))
            else:
                assert target is not None
                measurements.append(measure_light(picture, target, position))
            progress(light + 1, len(take.dome))
    fits = place["card"] is None and circle is None
    return gains_from(measurements, limit_residual=limit, check_fit=fits), method


def _target(full_lit: Any, place: dict[str, Any]) -> tuple[Target | None, str]:
    """Return the target that the options tell of, none for a mirror sphere, and its name."""
    from lightstage.calibration.light_gains import ball_target, card_target, find_ball
    from lightstage.errors import InputError

    shape = full_lit.shape[:2]
    if sum(place[name] is not None for name in ("ball", "card", "mirror")) > 1:
        raise InputError("give one of --ball, --card and --mirror.")
    if place["mirror"] is not None:
        return None, f"mirror sphere at {place['mirror']}"
    if place["card"] is not None:
        left, top, wide, high = (round(v) for v in _numbers(place["card"], "--card", 4))
        x, y, z = _numbers(place["normal"], "--normal", 3)
        normal = None if place["relative"] else (x, y, z)
        name = "card, relative" if normal is None else f"card facing {x:g},{y:g},{z:g}"
        return card_target((left, top, wide, high), shape, normal), name
    if place["relative"]:
        raise InputError("--relative goes with --card: a ball shades each light's own way.")
    if place["ball"] is not None:
        x, y, radius = _numbers(place["ball"], "--ball", 3)
    else:
        x, y, radius = find_ball(full_lit)
    target = ball_target((x, y, radius), shape, place["ball_radius"], place["camera_distance"])
    return target, f"matt ball at {x:.1f},{y:.1f}, radius {radius:.1f} px"


def _numbers(text: str, option: str, count: int) -> tuple[Any, ...]:
    from lightstage.errors import InputError

    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(abs(value) < 1e6 for value in values):
        raise InputError(f"{option} must be {count} numbers with commas between, not {text!r}.")
    return values


def _record(measured: LightGains, method: str, take: str) -> dict[str, Any]:
    """Return what gains.json holds of the measurement."""
    from datetime import UTC, datetime

    import numpy as np

    return {
        "gains": tuple(
            None if np.isnan(gain).any() else tuple(round(float(v), 6) for v in gain)
            for gain in measured.gains
        ),
        "verdicts": tuple(str(verdict) for verdict in measured.verdicts),
        "mean": tuple(float(v) for v in measured.mean),
        "source": take,
        "method": method,
        "made": datetime.now(UTC).replace(microsecond=0),
        "details": {
            "relative_error": [
                round(item.error, 6) if item.error < 1e6 else None for item in measured.measurements
            ],
            "residual": [
                round(item.residual, 6) if item.residual < 1e6 else None
                for item in measured.measurements
            ],
            "pixels": [item.pixels for item in measured.measurements],
        },
    }


def _report(result: Any, measured: LightGains | None) -> dict[str, Any]:
    notes: list[str] = []
    report: dict[str, Any] = {"notes": notes}
    for name in ("dark", "flat"):
        picture = getattr(result, name)
        report[name] = picture.file if picture is not None else None
    if measured is not None:
        report |= {"gains": result.gains, "verdicts": result.verdicts, **result.details}
        for verdict in sorted(set(result.verdicts) - {"judged"}):
            lights = [str(i) for i, said in enumerate(result.verdicts) if said == verdict]
            kept = "counts as 0" if verdict == "does not shine" else "keeps the dome's gain"
            notes.append(f"{verdict}: light {', '.join(lights)} (each {kept})")
    return report


def _print_table(measured: LightGains) -> None:
    """Print the gains, residuals and verdicts as a table."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(title="Light gains", title_justify="left", box=None, pad_edge=False)
    for name in ("light", "red", "green", "blue", "error %", "residual %", "pixels", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for index, (gain, item) in enumerate(zip(measured.gains, measured.measurements, strict=True)):
        shown = [f"{v:.3f}" if v == v else "-" for v in gain]
        left = [f"{100 * v:.2f}" if v < 1e6 else "-" for v in (item.error, item.residual)]
        table.add_row(str(index), *shown, *left, str(item.pixels), str(item.verdict))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
