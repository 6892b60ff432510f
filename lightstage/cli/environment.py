"""``lightstage environment``: a map's light, which lights carry it, what a dome misses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.cli.light_options import map_options, weight_options
from lightstage.terminal import PATH, json_option, print_json, print_table, quiet_option, say

if TYPE_CHECKING:
    from lightstage.dome import Dome


@click.command("environment")
@click.argument("map_name", metavar="FILE|NAME")
@map_options
@click.option("--rotate", type=float, default=0.0, metavar="DEG", help="Turn it to image right.")
@click.option("--exposure", type=float, default=0.0, help="Brighten by so many stops.")
@weight_options
@click.option(
    "--dome",
    "dome_path",
    type=PATH,
    metavar="FILE",
    help="The lights: a dome.json, a .lp file, or a take's fields; 96 evenly spread unless given.",
)
@click.option("--report", type=PATH, metavar="PNG", help="Draw the map with the lights over it.")
@click.option(
    "-o", "--output", type=PATH, metavar="FILE",
    help="Write the map, converted and changed as asked, latitude-longitude (.exr, .hdr, .png).",
)  # fmt: skip
@quiet_option
@json_option
def command(
    map_name: str,
    rotate: float,
    exposure: float,
    method: str,
    uncovered: str,
    dome_path: Path | None,
    report: Path | None,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell which lights carry an environment map, and what a dome cannot show of it.

    Reads latitude-longitude maps, light probes, mirror-ball photographs and cube crosses.

    Example: [bold]lightstage environment sunset.hdr --dome my_session/dome.json
    --report lights.png[/bold]
    """
    from dataclasses import asdict

    import numpy as np

    from lightstage.cli.light_options import load_map
    from lightstage.images import write_image
    from lightstage.relighting import coverage, light_weights
    from lightstage.relighting.importance import importance, importance_picture

    light = load_map(map_name, **options).rotated(rotate)
    if exposure:
        light = light.scaled(exposure)
    dome = _dome(dome_path)
    present = (dome.gains > 0).all(axis=1)
    weights = light_weights(
        light, dome.directions, method, present=present, uncovered=uncovered,  # type: ignore[arg-type]
    )  # fmt: skip
    ranked = importance(weights, dome.directions)
    reach = coverage(dome.directions[present], light)
    if output is not None:
        write_image(output, light.picture())
    if report is not None:
        from lightstage.colour import decode_srgb

        drawn = importance_picture(light, weights, dome.directions)
        write_image(report, decode_srgb(drawn.astype(np.float32) / 255.0))
    total = light.integral()
    if as_json:
        print_json(
            {
                "map": light.name,
                "integral": total.tolist(),
                "weights_sum": weights.sum(axis=0).tolist(),
                "method": method,
                "effective_lights": ranked.effective_lights,
                "lights": [asdict(lamp) for lamp in ranked.lights],
                "coverage": {
                    name: None if value != value else value for name, value in asdict(reach).items()
                },
            }
        )
        return
    if not quiet:
        rows = {
            "map": light.name,
            "integral (RGB)": "  ".join(f"{value:.4g}" for value in total),
            "given by the lights": "  ".join(f"{value:.4g}" for value in weights.sum(axis=0)),
            "half of it from": f"{ranked.lights_for(0.5)} of {len(dome)} lights, "
            f"90 % from {ranked.lights_for(0.9)}, 99 % from {ranked.lights_for(0.99)}",
            "as concentrated as": f"{ranked.effective_lights:.1f} equal lights",
            "sphere covered": f"{reach.sphere:.1%} (a light within {reach.reach_deg:.0f} degrees)",
            "energy covered": "the map is black" if reach.energy != reach.energy
            else "all" if reach.energy > 0.9999
            else f"{reach.energy:.1%}; the rest {_fate(uncovered)}",
            "largest gap": f"{reach.largest_gap_deg:.1f} degrees to the nearest light, at azimuth "
            f"{reach.gap_azimuth_deg:.0f}, elevation {reach.gap_elevation_deg:.0f}",
        }  # fmt: skip
        for lamp in ranked.lights[:10]:
            rows[f"light {lamp.light}"] = (
                f"{lamp.share:6.1%}  azimuth {lamp.azimuth_deg:4.0f}, "
                f"elevation {lamp.elevation_deg:3.0f}"
            )
        print_table(f"lights that carry {light.name} ({method})", rows)
    for written in (output, report):
        if written is not None:
            say(f"wrote {written}", quiet=quiet)


def _fate(uncovered: str) -> str:
    return "goes to the nearest lights" if uncovered == "nearest" else "is left out"


def _dome(path: Path | None) -> Dome:
    """Return the lights of a dome file, or of what holds reflectance fields."""
    from lightstage.dome import Dome

    if path is None:
        return Dome.evenly_spread(96)
    if path.is_dir():
        from lightstage.fields import ReflectanceFields

        return ReflectanceFields.open(path).dome
    return Dome.load(path)
