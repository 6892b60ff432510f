"""``lightstage import-olat``: other people's one-light pictures become a reflectance field."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table, quiet_option, say


@click.command("import-olat")
@click.argument("folder", type=PATH)
@click.option(
    "--lights",
    required=True,
    metavar="FILE|PATTERN",
    help="Light positions (.lp or .json), or how the pictures' names tell them: 'yale', "
    "'A{azimuth}E{elevation}'.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="The store to write; aligned.zarr in FOLDER unless said otherwise.",
)
@click.option("--dark", type=PATH, help="A picture with no light on, to subtract.")
@click.option(
    "--transfer",
    type=click.Choice(["linear", "srgb"]),
    default="linear",
    show_default=True,
    help="What the numbers of 8- and 16-bit files mean; photographs are mostly srgb.",
)
@click.option("--size", type=click.IntRange(1), metavar="N", help="Scale the longer side to N.")
@quiet_option
@json_option
def command(
    folder: Path,
    lights: str,
    output: Path | None,
    dark: Path | None,
    transfer: str,
    size: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring a FOLDER of one-light pictures in, so that they can be relit.

    Takes PNG, TIFF, PGM, JPEG, EXR, 8 or 16 bits or floating point, one picture for each light.

    Example: [bold]lightstage import-olat photos --lights photos/lights.lp -o face.zarr[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.exchange.image_stack import import_olat

    is_file = Path(lights).suffix.lower() in (".lp", ".json")
    if is_file and not Path(lights).is_file():
        raise InputError(f"{lights}: there is no such file of light positions.")
    stack = import_olat(
        folder,
        output or folder / "aligned.zarr",
        lights=lights if is_file else None,
        pattern=None if is_file else lights,
        dark=dark,
        transfer="srgb" if transfer == "srgb" else "linear",
        size=size,
    )
    if as_json:
        print_json(stack.as_dict())
        return
    for warning in stack.warnings:
        say(f"{folder}: {warning}", quiet=quiet)
    if not quiet:
        report = {
            "lights": stack.lights,
            "size": f"{stack.width}x{stack.height}",
            "fields": stack.path,
            "next": f"lightstage relight {stack.path} --environment studio -o relit.png",
        }
        print_table(f"Reflectance field from {folder}", report)
