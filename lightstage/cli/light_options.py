"""The options that say what light there is: shared by the commands that light something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import Command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.fields import ReflectanceFields
    from lightstage.relighting import EnvironmentMap

_LAYOUTS = ("latlong", "angular", "mirror-ball", "cross-vertical", "cross-horizontal")

_MAP_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(_LAYOUTS),
        help="How the sphere lies in the map's file; told by its shape unless it is square.",
    ),
    click.option(
        "--pitch", type=float, default=0.0, metavar="DEG",
        help="Tilt the light: positive raises what is behind the performer. Before --rotate.",
    ),
    click.option(
        "--roll", type=float, default=0.0, metavar="DEG",
        help="Roll the light clockwise as the camera sees it. Before --pitch.",
    ),
    click.option(
        "--blur", type=click.FloatRange(0, 90), default=0.0, metavar="DEG",
        help="Soften the light by so many degrees (1 sigma); its energy stays.",
    ),
    click.option(
        "--saturation", type=click.FloatRange(0), default=1.0, metavar="FACTOR",
        help="Strength of the light's colours: 0 is grey, 1 as it is.",
    ),
    click.option(
        "--clamp", type=click.FloatRange(0, min_open=True), metavar="RADIANCE",
        help="Bring what is brighter down to this luminance; light is lost.",
    ),
)  # fmt: skip


def map_options(command: Command) -> Command:
    """``--layout``, ``--pitch``, ``--roll``, ``--blur``, ``--saturation``, ``--clamp``."""
    for option in reversed(_MAP_OPTIONS):
        command = option(command)
    return command


def weight_options(command: Command) -> Command:
    """``--method`` and ``--uncovered``: how a map becomes brightnesses of lights."""
    command = click.option(
        "--uncovered",
        type=click.Choice(["nearest", "leave-out"]),
        default="nearest",
        show_default=True,
        help="Light from where the dome has no lights goes to the nearest, or is left out.",
    )(command)
    return click.option(
        "--method",
        type=click.Choice(["voronoi", "cosine", "harmonics"]),
        default="voronoi",
        show_default=True,
        help="voronoi is exact and crisp; cosine glides from light to light as a sun turns; "
        "harmonics is nearest to the truth.",
    )(command)


def load_map(
    name: str | Path,
    *,
    layout: str | None = None,
    pitch: float = 0.0,
    roll: float = 0.0,
    blur: float = 0.0,
    saturation: float = 1.0,
    clamp: float | None = None,
) -> EnvironmentMap:
    """Return the environment ``name`` (built in, or a file) with :func:`map_options` applied."""
    from lightstage.relighting import load_environment

    return changed(
        load_environment(name, layout),  # type: ignore[arg-type]  # click checked it
        pitch=pitch, roll=roll, blur=blur, saturation=saturation, clamp=clamp,
    )  # fmt: skip


def changed(
    light: EnvironmentMap,
    *,
    pitch: float = 0.0,
    roll: float = 0.0,
    blur: float = 0.0,
    saturation: float = 1.0,
    clamp: float | None = None,
) -> EnvironmentMap:
    """Return ``light`` clamped, coloured, blurred, rolled and tilted, in this order."""
    if clamp is not None:
        light = light.clamped(clamp)
    if saturation != 1.0:
        light = light.saturated(saturation)
    return light.blurred(blur).rotated(pitch_deg=pitch, roll_deg=roll)


def lighting(environment: str | None, studio: str | None, **options: Any) -> EnvironmentMap:
    """Return the one light that ``--environment`` or ``--studio`` names, with the options applied.

    Raises:
        InputError: none or both are given, or a studio light is given a layout.
    """
    from lightstage.errors import InputError
    from lightstage.relighting.studio import studio_environment

    if (environment is None) == (studio is None):
        raise InputError("give either --environment or --studio, to say what light there is.")
    if environment is not None:
        return load_map(environment, **options)
    if options.pop("layout", None) is not None:
        raise InputError("--layout is of map files: a studio light has none.")
    return changed(studio_environment(studio or ""), **options)


def weights_of_set(
    fields: ReflectanceFields,
    index: int,
    light: EnvironmentMap,
    method: str = "voronoi",
    uncovered: str = "nearest",
    *,
    rim: float = 0.0,
) -> NDArray[np.float64]:
    """Return the weights ``(lights, 3)`` for a set; neighbours take over for lights it lacks.

    Args:
        fields: the reflectance fields.
        index: the set.
        light: what lights it.
        method: as :func:`weight_options`.
        uncovered: as :func:`weight_options`.
        rim: rim light that is added, as a share of the light's luminance.
    """
    import numpy as np

    from lightstage.colour import luminance
    from lightstage.relighting import divide_by_gains, light_weights, studio_environment

    present = np.asarray((fields.dome.gains > 0).all(axis=1))
    present[fields.missing_lights(index)] = False
    weights = light_weights(
        light, fields.directions, method, present=present, uncovered=uncovered,  # type: ignore[arg-type]
    )  # fmt: skip
    if rim > 0.0:
        edge = light_weights(studio_environment("rim"), fields.directions, present=present)
        share = luminance(weights.sum(axis=0)) / luminance(edge.sum(axis=0))
        weights = weights + edge * (rim * float(share))
    return divide_by_gains(weights, fields.dome.gains)
