"""``lightstage frames``: a recording's frames as pictures."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say


@click.command("frames")
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="Folder to write to.")
@click.option(
    "--frames",
    "chosen",
    default=":",
    show_default=True,
    metavar="FROM:TO[:STEP]",
    help="Which frames, counted from 0 as Python slices.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "tif", "exr"]),
    default="png",
    show_default=True,
    help="png: 8-bit sRGB; tif: 16-bit sRGB; exr: linear.",
)
@click.option("--raw", is_flag=True, help="Stored sensor values, not developed (png or tif).")
@click.option("--exposure", type=float, default=0.0, help="Brighten by so many stops.")
@click.option(
    "--demosaic",
    type=click.Choice(["malvar", "bilinear", "residual"]),
    default="malvar",
    show_default=True,
    help="How colour is interpolated.",
)
@quiet_option
@json_option
def command(
    file: Path,
    output: Path,
    chosen: str,
    suffix: str,
    raw: bool,
    exposure: float,
    demosaic: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the frames of a .cine FILE as developed pictures.

    Pictures are named for the camera's own frame numbers.

    Example: [bold]lightstage frames take7.cine -o pictures --frames 0:14 --format tif[/bold]
    """
    from lightstage.cine import CineFile
    from lightstage.errors import InputError
    from lightstage.images import write_image, write_stored
    from lightstage.preprocess.develop import develop
    from lightstage.preprocess.settings import DevelopSettings

    if raw and suffix == "exr":
        raise InputError("--raw writes integers, which EXR does not hold; use --format tif.")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; name a folder.")
    settings = DevelopSettings.parse({"demosaic": demosaic}, "frames")
    with CineFile(file) as cine:
        indices = _chosen(chosen, len(cine))
        output.mkdir(parents=True, exist_ok=True)
        with progress_bar(file.name, "frames", quiet=quiet or as_json) as progress:
            for done, index in enumerate(indices, 1):
                number = cine.first_frame_number + index
                target = output / f"{file.stem}_{number:+08d}.{suffix}"
                if raw:
                    write_stored(target, cine[index])
                else:
                    linear = develop(
                        cine[index],
                        cfa=str(cine.cfa),
                        black_level=float(cine.black_level),
                        white_level=float(cine.white_level),
                        settings=settings,
                    )
                    write_image(target, linear * 2.0**exposure)
                progress(done, len(indices))
    if as_json:
        print_json({"folder": str(output), "frames": len(indices)})
    else:
        say(f"{len(indices)} pictures in {output}", quiet=quiet)


def _chosen(text: str, count: int) -> range:
    from lightstage.errors import InputError

    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
        if len(numbers) == 1 and numbers[0] is not None:
            index = range(count)[numbers[0]]
            return range(index, index + 1)
        if len(numbers) not in (2, 3):
            raise ValueError
        found = range(count)[slice(*numbers)]
    except (ValueError, IndexError):
        raise InputError(
            f"--frames must be FROM:TO[:STEP] or one number within the file's {count} frames, "
            f"not {text!r}."
        ) from None
    if not found:
        raise InputError(f"--frames {text} chooses none of the file's {count} frames.")
    return found
