"""``lightstage composite``: the relit performer over the environment, a picture or a film."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
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
    from lightstage.relighting import EnvironmentMap
    from lightstage.relighting.camera_view import CameraView

    Array = NDArray[np.float32]

#: Vertical field of view of a portrait lens, where the take does not tell its own.
_PORTRAIT_FOV_DEG = 20.0


@click.command("composite")
@click.argument("take", type=PATH)
@click.option(
    "--environment",
    metavar="FILE|NAME|FILM",
    help="A map (.hdr, .exr), a built-in (studio, overcast, sunset), or a film of maps: a folder, "
    "env_%04d.exr, .mp4.",
)
@click.option("--studio", metavar="NAME", help="A studio light; needs a --background.")
@click.option(
    "--background",
    metavar="FILE",
    help="A picture or film behind the performer, instead of the environment.",
)
@click.option(
    "--matte",
    "own_matte",
    type=PATH,
    metavar="FILE",
    help="A matte of your own for all sets: a picture, white where the performer is.",
)
@click.option(
    "--rotate",
    default="0",
    metavar="DEG|FROM:TO",
    show_default=True,
    help="Turn light and background about the vertical; positive moves them to image right.",
)
@map_options
@weight_options
@click.option(
    "--fov",
    "fov_deg",
    type=click.FloatRange(1.0, 170.0),
    metavar="DEG",
    help="The camera's vertical field of view; the take's own, or 20.",
)
@click.option("--exposure", type=float, default=0.0, help="Brighten all by so many stops.")
@click.option(
    "--auto-exposure/--no-auto-exposure",
    default=True,
    show_default=True,
    help="Put the 99th percentile of the performer's luminance at 0.8, the same for a whole film.",
)
@click.option(
    "--background-exposure", type=float, default=0.0, help="Brighten the background alone, stops."
)
@click.option(
    "--unit",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="RADIANCE",
    help="The radiance that a relit 1.0 stands for; measured on the performer's skin.",
)
@click.option(
    "--rim",
    type=click.FloatRange(0.0, 100.0),
    default=0.0,
    show_default=True,
    help="Add rim light of so much of the environment's light.",
)
@click.option(
    "--wrap",
    type=click.FloatRange(0.0, 2.0),
    default=0.15,
    show_default=True,
    help="Background light that bleeds over edges.",
)
@click.option(
    "--defocus",
    type=click.FloatRange(0.0, 200.0),
    default=0.0,
    show_default=True,
    metavar="PIXELS",
    help="Put the background out of focus.",
)
@film_options
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FILE",
    help="A picture (.png, .tif, .exr, .hdr) or a film (.mp4, .mov, frame_%04d.exr).",
)
@quiet_option
@json_option
def command(
    take: Path,
    environment: str | None,
    studio: str | None,
    background: str | None,
    own_matte: Path | None,
    rotate: str,
    fov_deg: float | None,
    exposure: float,
    auto_exposure: bool,
    background_exposure: float,
    unit: float | None,
    rim: float,
    wrap: float,
    defocus: float,
    chosen: int | None,
    frames: int | None,
    rate_hz: float | None,
    output: Path,
    quiet: bool,
    as_json: bool,
    method: str,
    uncovered: str,
    **options: Any,
) -> None:
    """Put the performer of a TAKE, lit by an environment, into that environment.

    Behind the performer is what the camera would see of the map, exposed as the face is, and both
    turn together. A film of maps (virtual production) lights and backs the take frame by frame.
    Uses the take's mattes where 'lightstage matte' made them.

    Example: [bold]lightstage composite my_session/takes/talk --environment street.hdr
    --rotate 0:90 -o street.mp4[/bold]
    """
    import numpy as np

    from lightstage.cli.light_options import weights_of_set
    from lightstage.errors import InputError
    from lightstage.exchange.film import FilmWriter
    from lightstage.fields import ReflectanceFields
    from lightstage.images import write_image
    from lightstage.relighting import exposure_for, relight
    from lightstage.relighting.composite import composite, cover, defocused, radiance_unit

    if (environment is None) == (studio is None):
        raise InputError("give either --environment or --studio, to say what light there is.")
    if studio is not None and background is None:
        raise InputError("a --studio light has nothing to show behind: give a --background.")
    turn_from, turn_to = parse_range(rotate, "--rotate")
    fields = ReflectanceFields.open(take)
    check_set(fields, take, chosen)
    film = is_film(output)
    still = chosen is not None or len(fields) == 1 or not film
    moving = environment is not None and _is_film_of_pictures(environment)
    plate_moves = background is not None and _is_film_of_pictures(background)
    if not film:
        count: int | None = 1
    elif frames is not None:
        count = frames
    elif still:
        count = None if moving or plate_moves else STILL_FILM_FRAMES
    else:
        count = len(fields)
    lights = _lights(environment, studio, turn_from, turn_to, count, options)
    plates = _plates(background)
    view_of = _views(fields, take, fov_deg)
    mattes = _mattes(fields, own_matte)
    factor, per_radiance, done = 2.0**exposure, 0.0, 0
    held = -1
    olat: Array | None = None
    rate = rate_hz or (None if still else fields.rate_hz) or STILL_FILM_RATE_HZ

    def picture_of(place: int, light: EnvironmentMap, plate: Array | None) -> Array:
        nonlocal factor, per_radiance, held, olat
        index = range(len(fields))[chosen or 0] if still else _set_at(place, count, len(fields))
        if olat is None or held != index:
            olat = None  # let the old set go before the next one is read
            held, olat = index, fields.read_olat(index)
        alpha = mattes(index)
        relit = relight(
            olat,
            weights_of_set(fields, index, light, method, uncovered, rim=rim),
            missing="skip",
        )
        if per_radiance == 0.0:
            # one exposure for the whole film, as a camera's that is locked
            if auto_exposure:
                factor *= exposure_for(relit[alpha > 0.5] if (alpha > 0.5).any() else relit)
            relit_is = unit or (1.0 if plate is not None else radiance_unit(fields, index, alpha))
            per_radiance = factor / relit_is
        if plate is None:
            behind = view_of(index).see(light) * np.float32(per_radiance)
        else:
            behind = cover(plate, fields.width, fields.height)
        behind = defocused(behind * np.float32(2.0**background_exposure), defocus)
        return composite(relit * np.float32(factor), alpha, behind, wrap=wrap)

    pictures = (
        picture_of(place, light, plate)
        for place, (light, plate) in enumerate(zip(lights, plates, strict=False))
    )
    if not film:
        write_image(output, next(pictures))
        done = 1
    else:
        with (
            FilmWriter(output, fields.width, fields.height, rate, overwrite=True) as writer,
            progress_bar("compositing", "frames", quiet=quiet or as_json) as progress,
        ):
            for picture in itertools.islice(pictures, count):
                writer.write(picture)
                done += 1
                progress(done, max(done, count or 0))
    if as_json:
        report = {"output": str(output), "frames": done, "exposure_factor": factor}
        if background is None:
            report["background_factor"] = per_radiance * 2.0**background_exposure
        print_json(report)
    else:
        say(f"wrote {output}" + (f", {done} frames" if film else ""), quiet=quiet)


def _lights(
    environment: str | None,
    studio: str | None,
    turn_from: float,
    turn_to: float,
    count: int | None,
    options: dict[str, Any],
) -> Iterator[EnvironmentMap]:
    """Yield the light of each frame, turned."""
    from lightstage.cli.light_options import lighting

    if environment is not None and _is_film_of_pictures(environment):
        maps = _environment_film(environment, **options)
    else:
        maps = itertools.repeat(lighting(environment, studio, **options))
    if count is None and turn_from != turn_to:
        from lightstage.errors import InputError

        raise InputError("--rotate FROM:TO over a film of maps needs --frames, its length.")
    for place, light in enumerate(maps):
        if count is not None and place >= count:
            return
        share = 0.0 if count is None else place / count
        yield light.rotated(turn_from + (turn_to - turn_from) * share)


def _environment_film(
    source: str, *, layout: str | None, **options: Any
) -> Iterator[EnvironmentMap]:
    """Yield the maps of a film, one in memory at a time."""
    from lightstage.cli.light_options import changed, load_map
    from lightstage.exchange.film import read_film
    from lightstage.relighting import EnvironmentMap

    folder = _pictures_in(Path(source))
    if folder:
        for picture in folder:
            yield load_map(picture, layout=layout, **options)
        return
    for place, frame in enumerate(read_film(source)):
        yield changed(EnvironmentMap(frame, name=f"{source}, frame {place}"), **options)


def _plates(background: str | None) -> Iterator[Array | None]:
    """Yield what is behind each frame; None = the environment. A film's last frame stays."""
    from lightstage.exchange.film import read_film
    from lightstage.images import read_image

    if background is None:
        yield from itertools.repeat(None)
    elif not _is_film_of_pictures(background):
        yield from itertools.repeat(read_image(background, transfer="srgb"))
    else:
        folder = _pictures_in(Path(background))
        if folder:
            yield from (read_image(picture, transfer="srgb") for picture in folder)
        else:
            yield from read_film(background)


def _pictures_in(path: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names."""
    from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES

    if not path.is_dir():
        return []
    known = FLOAT_SUFFIXES | INTEGER_SUFFIXES
    return sorted(file for file in path.iterdir() if file.suffix.lower() in known)


def _is_film_of_pictures(source: str) -> bool:
    """Whether a source is a film: a folder, a pattern, or a film file."""
    from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES

    path = Path(source)
    suffix = path.suffix.lower()
    return (
        path.is_dir()
        or "%" in path.name
        or (bool(suffix) and path.is_file() and suffix not in FLOAT_SUFFIXES | INTEGER_SUFFIXES)
    )


def _set_at(place: int, count: int | None, sets: int) -> int:
    """Return the set that frame ``place`` shows: all sets spread over the film."""
    return min(sets - 1, place if count is None else place * sets // count)


def _mattes(fields: ReflectanceFields, own: Path | None) -> Callable[[int], Array]:
    """Return what gives a set's matte: the user's own, the stored one, or one found now."""
    from functools import lru_cache

    from lightstage.errors import InputError
    from lightstage.images import read_image
    from lightstage.relighting.matte_job import matte_of_set

    if own is not None:
        given = read_image(own).mean(axis=2).clip(0.0, 1.0)
        if given.shape != (fields.height, fields.width):
            raise InputError(
                f"{own}: a matte must have the size of the take's images, {fields.width} x "
                f"{fields.height}; this one is {given.shape[1]} x {given.shape[0]}."
            )
        return lambda index: given

    stored = fields.has("matte") and (fields.attributes.get("matte") or {}).get("finished", True)

    @lru_cache(maxsize=1)
    def matte(index: int) -> Array:
        if stored:
            return fields.read("matte", index)
        return matte_of_set(fields, index).alpha

    return matte


def _views(
    fields: ReflectanceFields, take: Path, fov_deg: float | None
) -> Callable[[int], CameraView]:
    """Return what gives the camera's view of a set: its crop of the recorded frame."""
    from functools import lru_cache

    from lightstage.errors import LightstageError
    from lightstage.preprocess.source import open_path
    from lightstage.relighting.camera_view import CameraView
    from lightstage.session import Take

    size = None
    recording = fields.path.parent / str(fields.attributes.get("recording", ""))
    if fields.has("crop") and recording.is_file():
        try:
            with open_path(recording) as source:
                size = (source.width, source.height)
        except LightstageError:
            size = None  # the recording only tells its size
    if fov_deg is None and Take.is_at(fields.path.parent):
        fov_deg = _simulated_fov_deg(Take.open(fields.path.parent))
    fov_deg = fov_deg or _PORTRAIT_FOV_DEG
    if size is None:
        whole = CameraView.of(fields.width, fields.height, fov_deg)
        return lambda index: whole
    frame = CameraView.of(*size, fov_deg)
    crops = fields.read_values("crop")

    @lru_cache(maxsize=1)
    def view(index: int) -> CameraView:
        left, top, width, height = (float(value) for value in crops[index])
        return frame.part((left, top, width, height), fields.width, fields.height)

    return view


def _simulated_fov_deg(take: object) -> float | None:
    """Return the field of view of the simulated stage's camera, or None for a real one's."""
    import math

    from lightstage.session import Take
    from lightstage.simulation import SimulatedCamera

    assert isinstance(take, Take)
    recipe = take.manifest.details.get("recipe") or {}
    stage = recipe.get("stage") or {}
    if take.manifest.origin != "simulated" or not {"width", "height"} <= stage.keys():
        return None
    camera = SimulatedCamera(int(stage["width"]), int(stage["height"]))
    return math.degrees(camera.field_of_view_rad)
