"""``lightstage studio``: the studio rigs, and a light card of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table, quiet_option, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.relighting import Rig

#: The sample head's picture.
_HEAD_SIZE = (320, 320)


@click.command("studio")
@click.argument("rig_name", metavar="[NAME|FILE.toml]", required=False)
@click.option("--list", "listing", is_flag=True, help="Name the rigs that come with lightstage.")
@click.option("--toml", is_flag=True, help="Print the rig as TOML, to make your own from.")
@click.option(
    "-o", "--output", type=PATH, metavar="PNG",
    help="Draw the light card: a plan, a ball and a head under the rig.",
)  # fmt: skip
@click.option(
    "--take",
    type=PATH,
    metavar="TAKE",
    help="Show this take's (or store's) first set on the card, not the simulated head.",
)
@quiet_option
@json_option
def command(
    rig_name: str | None,
    listing: bool,
    toml: bool,
    output: Path | None,
    take: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show a studio rig: its lights as a table, its TOML, or its light card.

    Example: [bold]lightstage studio rembrandt -o card.png[/bold], or your own:
    [bold]lightstage studio rembrandt --toml > mine.toml; lightstage studio mine.toml -o
    card.png[/bold]
    """
    import numpy as np

    from lightstage.colour import decode_srgb
    from lightstage.errors import InputError
    from lightstage.images import write_image
    from lightstage.relighting.light_card import light_card
    from lightstage.relighting.rig import load_rig, rig_text, shipped_rigs

    if listing:
        rigs = shipped_rigs()
        if as_json:
            print_json({name: rig.description for name, rig in rigs.items()})
        else:
            print_table("studio rigs", {name: rig.description for name, rig in rigs.items()})
        return
    if rig_name is None:
        raise InputError("name a rig or a .toml file; 'lightstage studio --list' names the rigs.")
    rig = load_rig(rig_name)
    if toml:
        shipped = rig_name in shipped_rigs()
        text = rig_text(rig_name) if shipped else Path(rig_name).read_text(encoding="utf-8")
        click.echo(text, nl=False)
        return
    if output is not None:
        card = light_card(rig, [_head(rig) if take is None else _relit(rig, take)])
        write_image(output, decode_srgb(card.astype(np.float32) / 255.0))
        say(f"wrote {output}", quiet=quiet)
    if as_json:
        print_json(rig.model_dump(exclude_none=True))
    elif output is None:
        rows = {"": rig.description}
        for number, light in enumerate(rig.lights, 1):
            values = light.model_dump(exclude_none=True)
            rows[f"{number} {values.pop('role')}"] = ", ".join(
                f"{name} {value}" for name, value in values.items()
            )
        print_table(rig.name, rows)


def _head(rig: Rig) -> NDArray[np.float32]:
    """Return the simulated head under a rig, lit by many more lights than a dome has."""
    import cv2
    import numpy as np

    from lightstage.dome import Dome
    from lightstage.relighting import studio_weights
    from lightstage.simulation import Performer, Scene, SimulatedCamera, render_sum

    performer = Performer(0, "still")
    width, height = _HEAD_SIZE
    camera = SimulatedCamera(width=width, height=height, head_fill=0.8)
    scene = Scene(performer.model, camera, performer.vertices(0.0))
    dome = Dome.evenly_spread(600)
    weights = studio_weights(rig, dome.directions)
    used = np.flatnonzero(weights.max(axis=1) > 1e-4 * weights.max())
    picture = render_sum(scene, dome, used.tolist(), weights[used])
    return np.asarray(cv2.max(picture, 0.0), dtype=np.float32)


def _relit(rig: Rig, take: Path) -> NDArray[np.float32]:
    """Return the first set of a take under a rig."""
    from lightstage.fields import ReflectanceFields
    from lightstage.relighting import divide_by_gains, light_weights, relight, studio_environment

    fields = ReflectanceFields.open(take)
    present = (fields.dome.gains > 0).all(axis=1)
    weights = light_weights(studio_environment(rig), fields.directions, present=present)
    return relight(fields.read_olat(0), divide_by_gains(weights, fields.dome.gains), missing="skip")
