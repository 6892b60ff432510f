"""``lightstage matte``: the performer's matte for each set of a take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from lightstage.cli.film_options import check_set
from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.relighting.matte import Matte


@click.command("matte")
@click.argument("take", type=PATH)
@click.option(
    "--light",
    type=click.Choice(["rim", "front"]),
    default="rim",
    show_default=True,
    help="'front' leaves out the lights behind the performer, to see what they give.",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="Share that neighbouring sets have in each matte, moved along the flow.",
)
@click.option(
    "--network",
    metavar="FILE|URL",
    help="Matte by this network (.onnx, TorchScript .pt), such as MODNet, instead.",
)
@click.option("--sha256", metavar="HEX", help="The network file's hash; needed with a URL.")
@click.option(
    "--network-size",
    type=click.IntRange(32, 4096),
    default=512,
    show_default=True,
    metavar="PIXELS",
    help="The shorter side of the picture that the network sees.",
)
@click.option("--foreground", is_flag=True, help="Also store the performer's clean colour.")
@click.option("--set", "chosen", type=int, metavar="N", help="Only this set, as a picture; see -o.")
@click.option(
    "--show",
    type=click.Choice(["matte", "trimap", "guide", "foreground"]),
    default="matte",
    show_default=True,
    help="What the picture shows.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="Write the set's matte as a picture (.png, .tif, .exr) and store nothing.",
)
@workers_option
@quiet_option
@json_option
def command(
    take: Path,
    light: str,
    smoothing: float,
    network: str | None,
    sha256: str | None,
    network_size: int,
    foreground: bool,
    chosen: int | None,
    show: str,
    output: Path | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Cut the performer of a TAKE out of the background: hair, edges and all.

    The lights behind the performer tell where edges and hair end. Writes 'matte' into the take's
    aligned.zarr; run again, it makes only what is missing. With -o, one set's matte as a picture.

    Example: [bold]lightstage matte my_session/takes/talk --set 0 -o matte.png[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.fields import ReflectanceFields
    from lightstage.preprocess.jobs import JobOptions
    from lightstage.relighting.matte import MatteSettings
    from lightstage.relighting.matte_job import NetworkFile, matte_of_set, matte_take
    from lightstage.relighting.matte_network import fetch_network, open_network

    if output is None and (chosen is not None or show != "matte"):
        raise InputError("--set and --show make a picture: name its file with -o.")
    if sha256 is not None and network is None:
        raise InputError("--sha256 is the hash of a --network file, and there is none.")
    fields = ReflectanceFields.open(take)
    check_set(fields, take, chosen)
    settings = MatteSettings(rim_light=light == "rim", smoothing=smoothing)
    file = None
    if network is not None:
        file = NetworkFile(*fetch_network(network, sha256), shorter_side=network_size)
        open_network(file.path)  # one that cannot be run is refused before any work
    if output is not None:
        index = range(len(fields))[chosen or 0]
        matte = matte_of_set(fields, index, settings, file)
        _write_picture(output, show, matte, fields[index].full_lit)
        report = {"output": str(output), "set": index, "shows": show}
        if as_json:
            print_json(report)
        say(f"wrote {output}, the {show} of set {index}", quiet=quiet or as_json)
        return
    with progress_bar("mattes", "steps", quiet=quiet or as_json) as progress:
        result = matte_take(
            fields,
            settings,
            network=file,
            foreground=foreground,
            options=JobOptions(workers=workers or usable_cores()),
            progress=progress,
        )
    if as_json:
        print_json({"store": str(result.path), "sets": result.sets, "made": result.made})
    elif result.made:
        say(f"{result.path}: made {result.made} of {result.sets} mattes", quiet=quiet)
    else:
        say(f"{result.path}: all {result.sets} mattes are there already", quiet=quiet)


def _write_picture(output: Path, show: str, matte: Matte, full_lit: NDArray[np.float32]) -> None:
    """Write a matte as data, which no display curve may bend, and pictures as pictures."""
    import numpy as np

    from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES, write_image, write_stored
    from lightstage.relighting.combine import exposure_for
    from lightstage.relighting.matte import foreground_colour

    if show in ("guide", "foreground"):
        if show == "guide":
            write_image(output, matte.guide)
        else:
            colour = foreground_colour(full_lit, matte.alpha)
            shown = matte.alpha > 0.01
            write_image(output, colour * exposure_for(colour[shown]) if shown.any() else colour)
        return
    data = matte.alpha if show == "matte" else matte.trimap
    suffix = output.suffix.lower()
    if suffix in FLOAT_SUFFIXES or suffix not in INTEGER_SUFFIXES:
        write_image(output, data)
        return
    deep = suffix in {".png", ".tif", ".tiff"}
    levels, kind = (65535, np.uint16) if deep else (255, np.uint8)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_stored(output, np.rint(data * levels).astype(kind))
