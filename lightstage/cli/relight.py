"""``lightstage relight``: reflectance fields under any light, as a picture or a film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

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

    from lightstage.fields import ReflectanceField, ReflectanceFields

#: Rate of films of a still, and of what has no rate of its own.
_STILL_FILM_RATE_HZ = 25.0
#: Frames of a film of a still unless --frames says otherwise: four seconds.
_STILL_FILM_FRAMES = 100


@click.command("relight")
@click.argument("take", type=PATH)
@click.option(
    "--environment",
    metavar="FILE|NAME",
    help="A latitude-longitude map (.hdr, .exr), or a built-in: studio, overcast, sunset.",
)
@click.option("--studio", metavar="NAME", help="A studio light; --list-lights names them.")
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
@click.option("--set", "chosen", type=int, metavar="N", help="Only this OLAT set, held still.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Length of the film.")
@click.option("--rate", "rate_hz", type=click.FloatRange(0.1, 1000), help="Film frames per second.")
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
    output: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Light a TAKE (or a store of reflectance fields) by an environment map or studio light.

    A picture shows one set; a film plays all sets, or holds one with --set, while the light turns.

    Example: [bold]lightstage relight my_session/takes/talk --environment studio.hdr
    --rotate 0:360 -o turn.mp4[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.exchange.film import FilmWriter, is_film
    from lightstage.fields import ReflectanceFields
    from lightstage.images import check_writable, write_image
    from lightstage.relighting import exposure_for, relight

    if (environment is None) == (studio is None):
        raise InputError("give either --environment or --studio, to say what light there is.")
    film = is_film(output)
    if not film:
        check_writable(output)
    turn_from, turn_to = parse_range(rotate, "--rotate")
    fields = ReflectanceFields.open(take)
    if chosen is not None and not -len(fields) <= chosen < len(fields):
        raise InputError(f"--set {chosen}: {take} has {len(fields)} sets, 0 to {len(fields) - 1}.")
    light = _Light(fields, environment, studio)

    still = chosen is not None or len(fields) == 1
    count = 1 if not film else frames or (_STILL_FILM_FRAMES if still else len(fields))
    held = fields[chosen or 0] if still or not film else None

    def angle(index: int) -> float:
        # a full turn ends a step short of where it began, so that the film loops
        return turn_from + (turn_to - turn_from) * index / count

    def picture(index: int) -> NDArray[np.float32]:
        shown = held or fields[index * len(fields) // count]
        return relight(shown.olat, light.weights(shown, angle(index)), missing="skip")

    brightness = 2.0**exposure
    if auto_exposure:
        # brightest of a few frames, so that none of the film is blown out
        probes = sorted({0, count // 3, 2 * count // 3, count - 1})
        brightness *= min(exposure_for(picture(index)) for index in probes)
    if not film:
        write_image(output, picture(0) * brightness)
    else:
        rate = rate_hz or (None if still else fields.rate_hz) or _STILL_FILM_RATE_HZ
        with (
            FilmWriter(output, fields.width, fields.height, rate) as writer,
            progress_bar("relighting", "frames", quiet=quiet or as_json) as progress,
        ):
            for index in range(count):
                writer.write(picture(index) * brightness)
                progress(index + 1, count)
    if as_json:
        report = {"output": str(output), "frames": count, "exposure_factor": brightness}
        print_json(report)
    else:
        say(f"wrote {output}" + (f", {count} frames" if film else ""), quiet=quiet)


class _Light:
    """The light of one command line: weights for a set and an angle."""

    def __init__(
        self, fields: ReflectanceFields, environment: str | None, studio: str | None
    ) -> None:
        from lightstage.relighting import load_environment

        self._dome = fields.dome
        self._studio = studio
        self._environment = load_environment(environment) if environment else None
        self.weights_for_all(0.0)  # a wrong name is told before any work

    def weights_for_all(self, degrees: float) -> NDArray[np.float64]:
        """Return the weights when no light is missing."""
        import numpy as np

        return self._weights(degrees, np.ones(len(self._dome), dtype=bool))

    def weights(self, shown: ReflectanceField, degrees: float) -> NDArray[np.float64]:
        """Return the weights for a set; lights without a picture are taken over by neighbours."""
        import numpy as np

        return self._weights(degrees, ~np.isnan(shown.olat[:, 0, 0, 0]))

    def _weights(self, degrees: float, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        import numpy as np

        from lightstage.relighting import divide_by_gains, light_weights, studio_weights

        usable = present & (self._dome.gains > 0).all(axis=1)
        if self._environment is not None:
            turned = self._environment.rotated(degrees)
            weights = light_weights(turned, self._dome.directions, present=usable)
        else:
            assert self._studio is not None
            weights = np.zeros((len(self._dome), 3))
            weights[usable] = studio_weights(
                self._studio, self._dome.directions[usable], rotate_deg=degrees
            )
        return divide_by_gains(weights, self._dome.gains)


def _list_lights(ctx: click.Context) -> None:
    from lightstage.relighting import ENVIRONMENTS, STUDIO_LIGHTS

    for title, lights in (("--environment", ENVIRONMENTS), ("--studio", STUDIO_LIGHTS)):
        for name, light in lights.items():
            click.echo(f"{title} {name:12s} {light.description}")
    ctx.exit()
