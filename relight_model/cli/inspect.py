"""``relight_model inspect``: what a take would give a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table


@click.command("inspect")
@click.argument("take", type=PATH)
@click.option(
    "--held-out",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of the take's end that is kept for judging.",
)
@json_option
def command(take: Path, held_out: float, as_json: bool) -> None:
    """Tell how a TAKE's reflectance fields split into training and held-out sets.

    Example: [bold]relight_model inspect my_session/takes/talk[/bold]
    """
    from lightstage.fields import ReflectanceFields
    from relight_model.split import TooShortError, split_by_time

    fields = ReflectanceFields.open(take)
    per_set = fields.lights * fields.height * fields.width * 3 * 4
    report: dict[str, Any] = {
        "sets": len(fields),
        "lights": fields.lights,
        "size": f"{fields.width}x{fields.height}",
        "rate_hz": fields.rate_hz,
        "megabytes_per_set_float32": round(per_set / 1e6, 1),
    }
    try:
        split = split_by_time(fields.time_s, held_out)
    except TooShortError as reason:
        report["split"] = str(reason)
    else:
        report["train_sets"] = len(split.train)
        report["held_out_sets"] = len(split.held_out)
        report["held_out_from_s"] = round(float(fields.time_s[split.held_out[0]]), 4)
    if as_json:
        print_json(report)
    else:
        print_table(f"Training data in {take}", {k.replace("_", " "): v for k, v in report.items()})
