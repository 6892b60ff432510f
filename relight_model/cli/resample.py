"""``relight_model resample``: a clip of head parameters at another rate."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.errors import InputError
from lightstage.terminal import PATH, json_option, print_json, quiet_option, say


@click.command("resample")
@click.argument("clip", type=PATH)
@click.option(
    "--rate", "rate_hz", type=float, metavar="HZ", help="Frames a second; as it is unless given."
)
@click.option(
    "--low-pass", is_flag=True, help="Going to fewer frames, take out what they cannot show."
)
@click.option(
    "--smooth",
    "smooth_s",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="Smooth all but lids and eyes, without lag, by a Gaussian of this deviation.",
)
@click.option(
    "--trim",
    metavar="FROM:TO",
    help="Only this part, in seconds of the clip's own time, such as 2:7.5.",
)
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="An .npz.")
@quiet_option
@json_option
def command(
    clip: Path,
    rate_hz: float | None,
    low_pass: bool,
    smooth_s: float,
    trim: str | None,
    output: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a CLIP of head parameters at another rate, smoothed or trimmed.

    Example: [bold]relight_model resample parameters.npz --rate 1000 -o fast.npz[/bold]
    """
    from lightstage.terminal import parse_range
    from relight_model.head import interpolate
    from relight_model.head.clip import HeadClip

    if rate_hz is None and not smooth_s and trim is None:
        raise InputError("nothing to do: give --rate, --smooth or --trim.")
    found = HeadClip.load(clip)
    frames = len(found)
    if smooth_s:
        found = interpolate.smooth(found, smooth_s)
    if trim is not None:
        found = interpolate.trim(found, *parse_range(trim, "--trim"))
    if rate_hz is not None:
        found = interpolate.resample(found, rate_hz, low_pass=low_pass)
    found.save(output)
    if as_json:
        print_json(
            {
                "output": str(output),
                "frames_before": frames,
                "frames": len(found),
                "from_s": float(found.time_s[0]),
                "to_s": float(found.time_s[-1]),
            }
        )
    else:
        say(f"{output}: {len(found)} frames of {frames}.", quiet=quiet)
