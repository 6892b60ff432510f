"""``lightstage export``: reflectance fields as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import rich_click as click

from lightstage.cli.film_options import STILL_FILM_RATE_HZ
from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
)

_FORMATS = ["exr", "png", "tiff", "film", "rti", "lights"]


@click.command("export")
@click.argument("take", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="DIR|FILE",
    help="A folder, or a film (.mp4, .mov, .mkv).",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="exr unless the output is a film; rti = stacks for RTIBuilder and Relight; lights = only "
    "where the lights are (.lp, .json).",
)
@click.option(
    "--contents",
    metavar="A,B,…",
    help="Of full_lit, albedo, normal, matte, lights; everything the take has unless said.",
)
@click.option("--lights", metavar="0:16,20", help="Only these lights, counted from 0.")
@click.option("--sets", metavar="FROM:TO[:STEP]", help="Only these sets; TO is left out.")
@click.option(
    "--colour",
    type=click.Choice(["rec709", "acescg"]),
    default="rec709",
    show_default=True,
    help="Colour space of EXR, PNG and TIFF.",
)
@click.option(
    "--layout",
    type=click.Choice(["parts", "layers"]),
    default="parts",
    show_default=True,
    help="EXR: a part for each picture, or layers light_000.R … of one part.",
)
@click.option(
    "--depth",
    type=click.Choice(["half", "float"]),
    default="half",
    show_default=True,
    help="EXR: 16- or 32-bit floating point; fields are stored as half.",
)
@click.option(
    "--compression",
    type=click.Choice(["zip", "zips", "piz", "rle", "pxr24", "dwaa", "dwab", "none"]),
    default="zip",
    show_default=True,
    help="EXR: dwaa and dwab lose detail, the others nothing of half floats.",
)
@click.option(
    "--white-luminance",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NITS",
    help="EXR: luminance of 1.0 on the stage, cd/m², where it was measured.",
)
@click.option(
    "--transfer",
    type=click.Choice(["srgb", "linear"]),
    default=None,
    help="PNG and TIFF: how colour is encoded in 16 bits; srgb, and linear for acescg.",
)
@click.option(
    "--picture",
    metavar="NAME",
    default="full_lit",
    show_default=True,
    help="Film: full_lit, albedo, normal, matte, or a light such as light_12.",
)
@click.option(
    "--codec",
    type=click.Choice(["h264", "prores422hq", "prores4444", "ffv1"]),
    help="Film: h264 in .mp4, prores422hq in .mov, ffv1 in .mkv unless said.",
)
@click.option("--alpha", is_flag=True, help="Film: the matte as straight alpha (4444, FFV1).")
@click.option("--rate", "rate_hz", type=click.FloatRange(0.1, 1000), help="Film: frames a second.")
@click.option(
    "--picture-format",
    type=click.Choice(["jpg", "png"]),
    default="jpg",
    show_default=True,
    help="RTI: kind of pictures.",
)
@click.option("--all-lights", is_flag=True, help="RTI: also lights behind the performer.")
@click.option("--exposure", type=float, default=0.0, metavar="STOPS", help="Brighten by so much.")
@click.option(
    "--even-lights/--lights-as-recorded",
    default=None,
    help="Divide each light by its calibrated gain; for RTI unless said otherwise.",
)
@click.option("--overwrite", is_flag=True, help="Make files anew that are there.")
@quiet_option
@json_option
@click.pass_context
def command(
    context: click.RichContext,
    /,
    take: Path,
    output: Path,
    kind: str | None,
    contents: str | None,
    lights: str | None,
    sets: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a TAKE (or a store of fields) as EXR, PNG, TIFF, a film or an RTI stack.

    Interrupted, the same command goes on where it stopped. Files are numbered as the sets.

    Example: [bold]lightstage export my_session/takes/talk -o talk_exr --colour acescg[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.exchange.film import FILM_SUFFIXES
    from lightstage.fields import ReflectanceFields

    film = output.suffix.lower() in FILM_SUFFIXES
    kind = kind or ("film" if film else "exr")
    if film != (kind == "film"):
        known = ", ".join(FILM_SUFFIXES)
        raise InputError(
            f"-o {output}: {kind} files go into a folder."
            if film
            else f"-o {output}: a film's name ends in one of {known}."
        )
    _check_options(context, kind)
    fields = ReflectanceFields.open(take)
    chosen = _indices(sets, len(fields), "--sets", f"{take} has sets")
    chosen_lights = _indices(lights, fields.lights, "--lights", "the dome has lights")
    if kind == "lights":
        report = _write_lights(fields, output, chosen_lights)
    elif kind == "film":
        report = _write_film(fields, output, chosen, options, quiet or as_json)
    else:
        named = tuple(part.strip() for part in contents.split(",")) if contents else None
        if kind == "rti":
            named = ("lights",)
        only = chosen_lights if lights else None
        if only and named and "lights" not in named:
            raise InputError("--lights chooses among lights, which --contents leaves out.")
        stills = cast("Literal['exr', 'png', 'tiff', 'rti']", kind)
        report = _write_sets(fields, output, stills, chosen, named, only, options, quiet or as_json)
    if as_json:
        print_json({"output": str(output), "format": kind, **report})
    else:
        facts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in report.items())
        say(f"wrote {output}: {facts}", quiet=quiet)


def _write_sets(
    fields: Any,
    output: Path,
    kind: Literal["exr", "png", "tiff", "rti"],
    sets: list[int],
    contents: tuple[str, ...] | None,
    lights: list[int] | None,
    options: dict[str, Any],
    silent: bool,
) -> dict[str, Any]:
    from lightstage.errors import InputError
    from lightstage.exchange.export import ExportSettings, export_sets, source_of
    from lightstage.exchange.field_pictures import pictures_of

    transfer: Literal["linear", "srgb"] = options["transfer"] or (
        "srgb" if options["colour"] == "rec709" and kind != "exr" else "linear"
    )
    if transfer == "srgb" and options["colour"] == "acescg":
        raise InputError("--transfer srgb: ACEScg is a linear space; use --transfer linear.")
    pictures = pictures_of(fields, contents, lights)
    even = options["even_lights"]
    settings = ExportSettings(
        format=kind,
        source=source_of(fields),
        name=_name_of(fields),
        pictures=tuple(picture.name for picture in pictures),
        colour=options["colour"],
        transfer=transfer,
        layout=options["layout"],
        depth=options["depth"],
        compression=options["compression"],
        picture_format=options["picture_format"],
        exposure_stops=options["exposure"],
        even_lights=kind == "rti" if even is None else even,
        all_lights=options["all_lights"],
        white_luminance_nits=options["white_luminance"],
    )
    with progress_bar(f"exporting {kind}", "sets", quiet=silent) as progress:
        written, there = export_sets(
            fields,
            output,
            settings,
            pictures,
            sets,
            overwrite=options["overwrite"],
            threads=usable_cores(),
            progress=progress,
        )
    return {"sets_written": written, "sets_already_there": there}


def _write_film(
    fields: Any, output: Path, sets: list[int], options: dict[str, Any], silent: bool
) -> dict[str, Any]:
    from lightstage.errors import InputError
    from lightstage.exchange.export import export_film
    from lightstage.exchange.field_pictures import named_picture

    if output.exists() and not options["overwrite"]:
        raise InputError(f"{output}: is there already; replace it with --overwrite.")
    picture = named_picture(fields, options["picture"])
    with progress_bar("exporting a film", "frames", quiet=silent) as progress:
        export_film(
            fields,
            output,
            picture,
            sets,
            rate_hz=options["rate_hz"] or fields.rate_hz or STILL_FILM_RATE_HZ,
            codec=options["codec"],
            alpha=options["alpha"],
            exposure_factor=2.0 ** options["exposure"],
            progress=progress,
        )
    return {"frames": len(sets)}


def _write_lights(fields: Any, output: Path, lights: list[int]) -> dict[str, Any]:
    from lightstage.exchange.field_pictures import pictures_of
    from lightstage.exchange.light_positions import write_light_positions

    fields.dome.save(output / "lights.json")
    names = [picture.name for picture in pictures_of(fields, ["lights"], lights)]
    write_light_positions(output / "lights.lp", names, fields.directions[lights])
    return {"lights": len(lights)}


def _name_of(fields: Any) -> str:
    """Return what files are named for: the take, or the store where it lies alone."""
    path: Path = fields.path.resolve()
    return path.parent.name if path.name == "aligned.zarr" else path.stem


#: Which formats each option means something to.
_MEANT_FOR = {
    "contents": {"exr", "png", "tiff"},
    "colour": {"exr", "png", "tiff"},
    "layout": {"exr"},
    "depth": {"exr"},
    "compression": {"exr"},
    "white_luminance": {"exr"},
    "transfer": {"png", "tiff"},
    "picture": {"film"},
    "codec": {"film"},
    "alpha": {"film"},
    "rate_hz": {"film"},
    "picture_format": {"rti"},
    "all_lights": {"rti"},
    "lights": {"exr", "png", "tiff", "rti", "lights"},
    "sets": {"exr", "png", "tiff", "film", "rti"},
    "exposure": {"exr", "png", "tiff", "film", "rti"},
    "even_lights": {"exr", "png", "tiff", "rti"},
}


def _check_options(context: click.RichContext, kind: str) -> None:
    """Refuse options that mean nothing for this format: they would be passed over in silence."""
    from lightstage.errors import InputError

    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and kind not in _MEANT_FOR.get(name, {kind}):
            raise InputError(f"{parameter.opts[-1]} means nothing for {kind} files; leave it out.")


def _indices(text: str | None, count: int, option: str, there: str) -> list[int]:
    """Return ``0:16,20`` as numbers, or all of ``count``."""
    from lightstage.errors import InputError

    if text is None:
        return list(range(count))
    found: list[int] = []
    for part in text.split(","):
        words = part.strip().split(":")
        try:
            if len(words) == 1:
                found.append(range(count)[int(words[0])])
            elif len(words) <= 3:
                found += range(count)[slice(*(int(word) if word else None for word in words))]
            else:
                raise ValueError
        except ValueError:
            raise InputError(
                f"{option} {text!r}: numbers, or FROM:TO[:STEP], are expected."
            ) from None
        except IndexError:
            raise InputError(f"{option} {text!r}: {there} 0 to {count - 1}.") from None
    if not found:
        raise InputError(f"{option} {text!r}: chooses nothing; {there} 0 to {count - 1}.")
    return list(dict.fromkeys(found))
