"""``lightstage simulate-take``: a session of the simulated performer."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    parse_size,
    print_json,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)


@click.command("simulate-take")
@click.argument("session", type=PATH)
@click.option("--recipe", type=PATH, help="A TOML recipe; see sample_sessions/recipes.")
@click.option("--take", "name", default="talk", show_default=True, help="The take's name.")
@click.option("--seconds", type=float, default=0.5, show_default=True, help="How long it is.")
@click.option(
    "--motion",
    type=click.Choice(["still", "slow", "talking", "violent"]),
    default="talking",
    show_default=True,
    help="How the performer moves.",
)
@click.option(
    "--performer", type=int, default=0, show_default=True, help="Which performer, a number."
)
@click.option(
    "--size", default="512x384", show_default=True, metavar="WxH", help="Frame size in pixels."
)
@click.option("--lights", type=int, default=96, show_default=True, help="Lights on the dome.")
@click.option(
    "--truth", type=int, default=0, show_default=True, help="Sets of ground truth to write."
)
@workers_option
@quiet_option
@json_option
def command(
    session: Path,
    recipe: Path | None,
    name: str,
    seconds: float,
    motion: str,
    performer: int,
    size: str,
    lights: int,
    truth: int,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Record a simulated performer into a SESSION, as the camera would have.

    With --recipe the other options are not looked at.

    Example: [bold]lightstage simulate-take my_session --seconds 1 --motion talking[/bold]
    """
    from lightstage.simulation.recipe import SessionRecipe, simulate_session

    if recipe is not None:
        wanted = SessionRecipe.load_toml(recipe)
    else:
        width, height = parse_size(size)
        wanted = SessionRecipe.parse(
            {
                "stage": {"lights": lights, "width": width, "height": height},
                "takes": [
                    {
                        "name": name,
                        "seconds": seconds,
                        "motion": motion,
                        "performer": performer,
                        "truth_sets": truth,
                    }
                ],
            },
            "simulate-take",
        )
    with progress_bar("recording", "frames", quiet=quiet or as_json) as progress:
        made = simulate_session(
            session,
            wanted,
            workers=workers or usable_cores(),
            progress=lambda what, done, total: progress(done, total),
        )
    if as_json:
        print_json({"session": str(made.path), "takes": [take.name for take in wanted.takes]})
    else:
        names = ", ".join(take.name for take in wanted.takes)
        say(f"recorded {names} in {made.path}", quiet=quiet)
