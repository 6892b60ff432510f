"""Which sets of a take a picture or film shows, and at which rate: shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from lightstage.terminal import Command

if TYPE_CHECKING:
    from lightstage.fields import ReflectanceFields

#: Rate of films of a still, and of what has no rate of its own.
STILL_FILM_RATE_HZ = 25.0
#: Frames of a film of a still unless --frames says otherwise: four seconds.
STILL_FILM_FRAMES = 100

_FILM_OPTIONS = (
    click.option("--set", "chosen", type=int, metavar="N", help="Only this OLAT set, held still."),
    click.option("--frames", type=click.IntRange(1), metavar="N", help="Length of the film."),
    click.option(
        "--rate", "rate_hz", type=click.FloatRange(0.1, 1000), help="Film frames per second."
    ),
)


def film_options(command: Command) -> Command:
    """``--set``, ``--frames``, ``--rate``: what of a take is shown, and for how long."""
    for option in reversed(_FILM_OPTIONS):
        command = option(command)
    return command


def is_film(output: Path) -> bool:
    """Whether ``output`` names a film: a film file, numbered pictures, or a folder for them."""
    from lightstage.exchange.film import FILM_SUFFIXES

    suffix = output.suffix.lower()
    return suffix in FILM_SUFFIXES or "%" in output.name or not suffix


def check_set(fields: ReflectanceFields, take: Path, chosen: int | None) -> None:
    """Refuse a ``--set`` that a take does not have; negative ones count from the end.

    Raises:
        InputError: there is no such set; the text says which there are.
    """
    from lightstage.errors import InputError

    if chosen is not None and not -len(fields) <= chosen < len(fields):
        raise InputError(f"--set {chosen}: {take} has {len(fields)} sets, 0 to {len(fields) - 1}.")
