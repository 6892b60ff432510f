"""``lightstage simulate-take``: a session of the simulated performer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    type=click.Choice(["still", "slow", "talking", "violent", "grimacing"]),
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
@click.option(
    "--truth-olat-flow", is_flag=True, help="In the truth also the flow to each OLAT frame (big)."
)
@click.option(
    "--first-step", type=int, default=0, metavar="N",
    help="Step of the sequence at which the take begins; above 9 it has no whole preamble.",
)  # fmt: skip
@click.option("--no-noise", is_flag=True, help="A sensor without noise.")
@click.option("--read-noise", type=float, metavar="ELECTRONS", help="Noise of one reading.")
@click.option("--full-well", type=float, metavar="ELECTRONS", help="Electrons at white level.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of noise and faults.")
@click.option("--drops", type=float, metavar="RATE", help="Share of frames lost, as 0.05.")
@click.option("--bursts", type=int, metavar="N", help="Runs of frames lost at random places.")
@click.option("--burst-frames", type=int, metavar="N", help="Frames that a burst loses.")
@click.option("--repeats", type=float, metavar="RATE", help="Share that repeat the one before.")
@click.option("--swaps", type=float, metavar="RATE", help="Share of pairs that are exchanged.")
@click.option("--extra", type=float, metavar="RATE", help="Share followed by a false frame.")
@click.option("--garbage-stamps", type=float, metavar="RATE", help="Share with a senseless time.")
@click.option("--no-stamps", is_flag=True, help="Store no time stamps.")
@click.option(
    "--tracking-jitter", type=float, metavar="SHARE", help="Tracking frames' brightness varies."
)
@click.option("--olat-jitter", type=float, metavar="SHARE", help="OLAT frames' brightness varies.")
@click.option("--light-errors", type=float, metavar="SHARE", help="Lights are unequally bright.")
@click.option("--droop", type=float, metavar="SHARE", help="All lights at once lose this share.")
@click.option("--fade", type=float, metavar="SHARE", help="All at once lose this each second.")
@click.option("--stuck-on", type=int, multiple=True, metavar="LIGHT", help="Always on.")
@click.option("--stuck-dark", type=int, multiple=True, metavar="LIGHT", help="Never on.")
@click.option(
    "--dim",
    type=(int, float),
    multiple=True,
    metavar="LIGHT SHARE",
    help="Share of it that is left.",
)
@workers_option
@quiet_option
@json_option
def command(
    session: Path,
    recipe: Path | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Record a simulated performer into a SESSION, as the camera would have.

    Beside the take lies the truth about it: see docs/formats/truth.md. Run again, what is there is
    kept and what is missing is made. With --recipe the other options are not looked at.

    Example: [bold]lightstage simulate-take my_session --seconds 1 --drops 0.05 --truth 2[/bold]
    """
    from lightstage.simulation.recipe import SessionRecipe, simulate_session

    if recipe is not None:
        wanted = SessionRecipe.load_toml(recipe)
    else:
        wanted = SessionRecipe.parse(_recipe(**options), "simulate-take")
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


#: Options that are faults of a take, and what a recipe calls them.
_FAULTS = {
    "drops": "drop_rate",
    "bursts": "drop_bursts",
    "burst_frames": "burst_frames",
    "repeats": "repeat_rate",
    "swaps": "swap_rate",
    "extra": "extra_rate",
    "garbage_stamps": "garbage_stamp_rate",
    "no_stamps": "no_stamps",
    "tracking_jitter": "tracking_gain_jitter",
    "olat_jitter": "olat_gain_jitter",
    "light_errors": "light_gain_error",
    "droop": "supply_droop",
    "fade": "supply_fade_per_s",
    "stuck_on": "stuck_on",
    "stuck_dark": "stuck_dark",
}


def _recipe(**options: Any) -> dict[str, Any]:
    """Return the recipe that the command's options stand for."""
    width, height = parse_size(options["size"])
    faults = {
        key: options[name]
        for name, key in _FAULTS.items()
        if options[name] not in (None, False, ())
    }
    faults |= {"seed": options["seed"], "dim": dict(options["dim"])}
    take = {
        "name": options["name"],
        "seconds": options["seconds"],
        "motion": options["motion"],
        "performer": options["performer"],
        "first_step": options["first_step"],
        "noise": not options["no_noise"],
        "noise_seed": options["seed"],
        "truth_sets": options["truth"],
        "truth_olat_flow": options["truth_olat_flow"],
        "faults": faults,
    }
    take |= {k: options[k] for k in ("read_noise", "full_well") if options[k] is not None}
    return {
        "stage": {"lights": options["lights"], "width": width, "height": height},
        "takes": [take],
    }
