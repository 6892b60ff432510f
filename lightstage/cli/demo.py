"""``lightstage demo``: the whole path on the simulated stage, in a few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    parse_size,
    print_json,
    print_table,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.fields import ReflectanceFields
    from lightstage.session import Take

#: What the contact sheet shows, besides the take itself.
ENVIRONMENTS = ("studio", "sunset")
STUDIO_LIGHTS = ("rembrandt", "rim", "cyberpunk")
#: One who moves a lot in the first half second.
PERFORMER = 2
#: The film: the sets forth and back, this often, while the light turns once.
_FILM_SWINGS = 2
_FILM_ENVIRONMENT = "sunset"


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("lightstage-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder to write to.",
)
@click.option("--seconds", type=float, default=0.5, show_default=True, help="Length of the take.")
@click.option("--size", default="384x288", show_default=True, metavar="WxH", help="Frame size.")
@workers_option
@quiet_option
@json_option
def command(
    output: Path, seconds: float, size: str, workers: int | None, quiet: bool, as_json: bool
) -> None:
    """Simulate a take, align it and relight it: the main job, from end to end.

    Writes a session, pictures and a film into one folder; run again, it goes on where it stopped.

    Example: [bold]lightstage demo -o my_demo[/bold]
    """
    from lightstage.fields import ReflectanceFields
    from lightstage.manifest import write_atomically
    from lightstage.preprocess.jobs import JobOptions, preprocess_take
    from lightstage.simulation.recipe import SessionRecipe, simulate_session

    silent = quiet or as_json
    cores = workers or usable_cores()
    width, height = parse_size(size)
    recipe = SessionRecipe.parse(
        {
            "stage": {"width": width, "height": height},
            "takes": [
                {"name": "talk", "seconds": seconds, "performer": PERFORMER, "truth_sets": 3}
            ],
        },
        "demo",
    )
    seconds_by_stage: dict[str, float] = {}

    def stage(name: str, what: str, unit: str, work: Callable[[Any], Any]) -> Any:
        say(f"{name}: {what}", quiet=silent)
        started = time.perf_counter()
        with progress_bar(name, unit, quiet=silent) as progress:
            result = work(progress)
        seconds_by_stage[name] = round(time.perf_counter() - started, 1)
        return result

    session = stage(
        "record",
        f"a performer talks for {seconds:g} s under {recipe.stage.lights} lights, one a frame",
        "frames",
        lambda progress: simulate_session(
            output / "session",
            recipe,
            workers=cores,
            progress=lambda what, done, total: progress(done, total),
        ),
    )
    take = session.take("talk")
    result = stage(
        "preprocess",
        "which light is in which frame, and every light moved to its set's centre",
        "sets",
        lambda progress: preprocess_take(
            take, options=JobOptions(workers=cores), progress=progress
        ),
    )
    fields = ReflectanceFields.open(take.path)
    quality = stage(
        "compare",
        "aligned and unaligned sets with the ground truth",
        "sets",
        lambda progress: _compare_with_truth(take, fields, output, progress),
    )
    _contact_sheet(fields, output)
    stage(
        "relight",
        f"by {len(ENVIRONMENTS)} environments and {len(STUDIO_LIGHTS)} studio lights",
        "frames",
        lambda progress: _film(fields, output, progress),
    )
    report: dict[str, Any] = {
        "folder": str(output),
        "frames": result.frames,
        "dropped_frames": len(result.plan.identification.dropped),
        "identified_by": result.plan.identification.method,
        "sets": result.sets,
        **quality,
        **{f"seconds_{name}": spent for name, spent in seconds_by_stage.items()},
        "seconds_total": round(sum(seconds_by_stage.values()), 1),
    }
    import json

    write_atomically(output / "summary.json", json.dumps(report, indent=1) + "\n")
    if as_json:
        print_json(report)
        return
    if quiet:
        return
    print_table("Demo", {name.replace("_", " "): value for name, value in report.items()})
    for name, what in (
        ("contact_sheet.png", "full-lit, and relit by environments and studio lights"),
        ("alignment.png", "a set before and after alignment"),
        ("turn.mp4", "the performer talks while the sunset turns about them"),
    ):
        click.echo(f"  {output / name}  {what}")
    click.echo(
        f"Next: lightstage relight {take.path} --studio rembrandt -o {output / 'rembrandt.png'}"
    )


def _compare_with_truth(
    take: Take, fields: ReflectanceFields, output: Path, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """Return PSNR against the truth with and without alignment; draw the set that moved most."""
    import numpy as np

    from lightstage.preprocess.plan import plan_take
    from lightstage.preprocess.set_maker import SetMaker
    from lightstage.preprocess.settings import PreprocessSettings
    from lightstage.preprocess.source import open_source
    from lightstage.simulation.truth import read_truth, truth_sets

    unmoved = PreprocessSettings.parse({"align": {"method": "none"}}, "demo")
    errors: dict[str, list[float]] = {"aligned": [], "unaligned": []}
    count = truth_sets(take.truth_path)
    with open_source(take) as source:
        plan = plan_take(take, source, unmoved)
        maker = SetMaker(source, unmoved)
        for index in range(count):
            truth = read_truth(take.truth_path, index)
            inside = truth.matte > 0.99
            number = source.first_frame_number + truth.centre_frame
            planned = next(p for p in plan.sets if p.centre_frame_number == number)
            aligned = fields[planned.index].olat
            still = maker.aligner(planned.frames, planned.part, maker.motion(planned))
            unaligned = np.stack([image.astype(np.float32) for image in still.lights()])
            expected = np.clip(truth.olat[:, inside], 0.0, 1.0)
            for name, olat in (("aligned", aligned), ("unaligned", unaligned)):
                errors[name].append(float(np.mean((olat[:, inside] - expected) ** 2)))
            if errors["unaligned"][-1] == max(errors["unaligned"]):
                _alignment_picture(unaligned, aligned, truth.olat, truth.matte, output)
            progress(index + 1, count)
    return {
        f"psnr_{name}_db": round(float(-10 * np.log10(np.mean(values))), 2)
        for name, values in errors.items()
    }


def _alignment_picture(
    unaligned: NDArray[np.floating],
    aligned: NDArray[np.floating],
    truth: NDArray[np.floating],
    matte: NDArray[np.floating],
    output: Path,
) -> None:
    """Draw the sum of all lights, whole and a close-up, before and after, beside the truth."""
    import numpy as np

    from lightstage.images import write_image
    from lightstage.relighting import exposure_for
    from lightstage.report.contact_sheet import Panel, contact_sheet

    sums = {
        "before alignment": unaligned.sum(axis=0),
        "after alignment": aligned.sum(axis=0),
        "ground truth": truth.sum(axis=0),
    }
    exposure = exposure_for(sums["ground truth"])
    rows, columns = np.nonzero(matte > 0.5)
    middle_y = round(float(rows.min() + 0.45 * (rows.max() - rows.min())))
    middle_x = round(float(columns.mean()))
    half_y, half_x = matte.shape[0] // 6, matte.shape[1] // 6
    top = min(max(middle_y - half_y, 0), matte.shape[0] - 2 * half_y)
    left = min(max(middle_x - half_x, 0), matte.shape[1] - 2 * half_x)
    close = (slice(top, top + 2 * half_y), slice(left, left + 2 * half_x))
    reference = sums["ground truth"] * exposure
    pictures = {name: total * exposure for name, total in sums.items()}
    sheet = contact_sheet(
        [
            [Panel(f"all lights, {name}", picture) for name, picture in pictures.items()],
            [Panel(f"close-up, {name}", picture[close]) for name, picture in pictures.items()],
            [
                Panel(f"difference to the truth x 4, {name}", 4 * np.abs(picture - reference))
                for name, picture in list(pictures.items())[:2]
            ],
        ],
        title="96 lights, one frame each, summed",
    )
    write_image(output / "alignment.png", sheet)


def _contact_sheet(fields: ReflectanceFields, output: Path) -> None:
    """Draw the middle set: full-lit, one light at a time, environments, studio lights."""
    from lightstage.images import write_image
    from lightstage.relighting import exposure_for, light_weights, load_environment, relight
    from lightstage.relighting.studio import STUDIO_LIGHTS as LINES
    from lightstage.relighting.studio import studio_environment
    from lightstage.report.contact_sheet import Panel, contact_sheet

    field = fields[len(fields) // 2]
    olat, directions = field.olat, fields.directions

    def exposed(picture: NDArray[np.floating]) -> NDArray[np.floating]:
        return picture * exposure_for(picture)

    single = [
        Panel(f"light {light} alone, from {name}", exposed(olat[light]))
        for name, light in (
            ("image right (+X)", int(directions[:, 0].argmax())),
            ("above (+Y)", int((directions @ [0.0, 0.8, 0.6]).argmax())),
        )
    ]
    environments = [
        Panel(
            f"environment: {name}",
            exposed(relight(olat, light_weights(load_environment(name), directions))),
        )
        for name in ENVIRONMENTS
    ]
    studio = [
        Panel(
            f"studio light: {name}",
            exposed(relight(olat, light_weights(studio_environment(name), directions))),
        )
        for name in STUDIO_LIGHTS
        if name in LINES
    ]
    first = [Panel("full-lit tracking frame", exposed(field.full_lit)), *single]
    sheet = contact_sheet(
        [first, [*environments, studio[0]], studio[1:]],
        title=f"One OLAT set of {fields.lights} lights, relit",
    )
    write_image(output / "contact_sheet.png", sheet)


def _film(fields: ReflectanceFields, output: Path, progress: Callable[[int, int], None]) -> None:
    """Write the sets forth and back while the light turns once."""
    from lightstage.exchange.film import FilmWriter
    from lightstage.relighting import (
        film_exposure,
        light_weights,
        load_environment,
        relight_frames,
    )

    forth = list(range(len(fields)))
    order = (forth + forth[-2:0:-1]) * _FILM_SWINGS
    light = load_environment(_FILM_ENVIRONMENT)
    plan = [
        (index, light_weights(light.rotated(360.0 * k / len(order)), fields.directions))
        for k, index in enumerate(order)
    ]
    exposure = film_exposure(fields, plan)
    rate = fields.rate_hz or 25.0
    with FilmWriter(output / "turn.mp4", fields.width, fields.height, rate) as film:
        for done, image in enumerate(relight_frames(fields, plan), 1):
            film.write(image * exposure)
            progress(done, len(plan))
