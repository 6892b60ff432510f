"""``lightstage relight``: reflectance fields under any light, as a picture or a film."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.cli.film_options import (
    STILL_FILM_FRAMES,
    STILL_FILM_RATE_HZ,
    check_set,
    film_options,
    is_film,
)
from lightstage.cli.light_options import map_options, weight_options
from lightstage.terminal import (
    PATH,
    json_option,
    parse_range,
    print_json,
    progress_bar,
    quiet_option,
    say,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.fields import ReflectanceFields


@click.command("relight")
@click.argument("take", type=PATH)
@click.option(
    "--environment",
    metavar="FILE|NAME",
    help="A map (.hdr, .exr; latitude-longitude, mirror ball or cube cross), or a built-in: "
    "studio, overcast, sunset.",
)
@click.option(
    "--studio", metavar="NAME|FILE", help="A studio light (--list-lights), or your own .toml rig."
)
@map_options
@weight_options
@click.option(
    "--rotate",
    default="0",
    metavar="DEG|FROM:TO",
    show_default=True,
    help="Turn the light about the vertical; positive moves it to image right.",
)
@click.option("--exposure", type=float, default=0.0, help="Brighten by so many stops.")
@click.option(
    "--auto-exposure/--no-auto-exposure",
    default=True,
    show_default=True,
    help="Put the 99th percentile of luminance at 0.8, the same for a whole film.",
)
@film_options
@click.option(
    "--basis",
    "basis_size",
    type=click.IntRange(1),
    metavar="K",
    help="Relight from a low-rank basis of K images for each set, such as 24, and tell its PSNR.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads that read and relight a film's sets; one for each core unless said otherwise.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FILE",
    help="A picture (.png, .tif, .exr, .hdr) or a film (.mp4, .mov, frame_%04d.png).",
)
@click.option(
    "--list-lights",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, wanted: _list_lights(ctx) if wanted else None,
    help="Name all built-in environments and studio lights, and stop.",
)
@quiet_option
@json_option
def command(
    take: Path,
    environment: str | None,
    studio: str | None,
    rotate: str,
    exposure: float,
    auto_exposure: bool,
    chosen: int | None,
    frames: int | None,
    rate_hz: float | None,
    basis_size: int | None,
    workers: int | None,
    output: Path,
    quiet: bool,
    as_json: bool,
    method: str,
    uncovered: str,
    **options: Any,
) -> None:
    """Light a TAKE (or a store of reflectance fields) by an environment map or studio light.

    A picture shows one set; a film plays all sets, or holds one with --set, while the light turns.

    Example: [bold]lightstage relight my_session/takes/talk --environment studio.hdr
    --rotate 0:360 -o turn.mp4[/bold]
    """
    from lightstage.cli.light_options import lighting, weights_of_set
    from lightstage.exchange.film import FilmWriter
    from lightstage.fields import ReflectanceFields
    from lightstage.images import write_image
    from lightstage.relighting import film_exposure, relight_frames

    light = lighting(environment, studio, **options)
    turn_from, turn_to = parse_range(rotate, "--rotate")
    fields = ReflectanceFields.open(take)
    check_set(fields, take, chosen)

    film = is_film(output)
    still = chosen is not None or len(fields) == 1
    if film:
        count = frames or (STILL_FILM_FRAMES if still else len(fields))
        # a full turn ends a step short of where it began, so that the film loops
        angles = [turn_from + (turn_to - turn_from) * index / count for index in range(count)]
        sets = [
            range(len(fields))[chosen or 0] if still else i * len(fields) // count
            for i in range(count)
        ]
    else:
        angles, sets = [turn_from], [range(len(fields))[chosen or 0]]
    plan = [
        (index, weights_of_set(fields, index, light.rotated(angle), method, uncovered))
        for index, angle in zip(sets, angles, strict=True)
    ]
    brightness = 2.0**exposure
    if auto_exposure:
        brightness *= film_exposure(fields, plan, missing="skip", workers=workers)
    quality_db: list[float] = []
    if basis_size is None:
        relit = relight_frames(fields, plan, missing="skip", workers=workers)
    else:
        relit = _by_basis(fields, plan, basis_size, quality_db)
    if not film:
        with closing(relit):
            write_image(output, next(relit) * brightness)
    else:
        rate = rate_hz or (None if still else fields.rate_hz) or STILL_FILM_RATE_HZ
        with (
            closing(relit),
            FilmWriter(output, fields.width, fields.height, rate, overwrite=True) as writer,
            progress_bar("relighting", "frames", quiet=quiet or as_json) as progress,
        ):
            for done, image in enumerate(relit, 1):
                writer.write(image * brightness)
                progress(done, len(plan))
    report = {"output": str(output), "frames": len(plan), "exposure_factor": brightness}
    if basis_size is not None:
        report["basis"] = {"images": basis_size, **_summary_db(quality_db)}
    if as_json:
        print_json(report)
        return
    say(f"wrote {output}" + (f", {len(plan)} frames" if film else ""), quiet=quiet)
    if basis_size is not None:
        found = _summary_db(quality_db)["psnr_db"]
        told = ", ".join(
            f"{which} {'exact' if value is None else f'{value} dB'}"
            for which, value in found.items()
        )
        say(f"PSNR of {basis_size} images instead of {fields.lights}: {told}", quiet=quiet)


def _by_basis(
    fields: ReflectanceFields,
    plan: list[tuple[int, NDArray[np.float64]]],
    size: int,
    quality_db: list[float],
) -> Generator[NDArray[np.float32], None, None]:
    """Yield the frames as a basis gives them, noting how good each is."""
    from lightstage.relighting.basis import basis_frames

    for image, decibels in basis_frames(fields, plan, size, missing="skip"):
        quality_db.append(decibels)
        yield image


def _summary_db(quality_db: list[float]) -> dict[str, dict[str, float | None]]:
    """Return least and median PSNR; ``None`` where there is no error at all."""
    from statistics import median

    found = {"least": min(quality_db), "median": median(quality_db)}
    return {
        "psnr_db": {
            which: round(value, 2) if value < float("inf") else None
            for which, value in found.items()
        }
    }


def _list_lights(ctx: click.Context) -> None:
    from lightstage.relighting.procedural import ENVIRONMENTS
    from lightstage.relighting.studio import STUDIO_LIGHTS

    for option, lights in (("--environment", ENVIRONMENTS), ("--studio", STUDIO_LIGHTS)):
        for name, line in lights.items():
            click.echo(f"{option:13s} {name:10s} {line}")
    ctx.exit()
