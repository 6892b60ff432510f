"""``lightstage convert``: stores of images from stores of flows, and the other way."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)


@click.command("convert")
@click.argument("fields", type=PATH)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["materialised", "virtual"]),
    required=True,
    help="'materialised' stores every light's image, 'virtual' only what they are made from.",
)
@workers_option
@quiet_option
@json_option
def command(
    fields: Path,
    kind: Literal["materialised", "virtual"],
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the reflectance fields of a take virtual or materialised, in place.

    A virtual store is a hundredth of the size; its images are made from the recording whenever they
    are read, and are the same to the last bit.

    Example: [bold]lightstage convert my_session/takes/talk --to virtual[/bold]
    """
    from lightstage.fields import find_store
    from lightstage.preprocess.convert import convert
    from lightstage.preprocess.jobs import JobOptions

    store = find_store(fields)
    with progress_bar(store.name, "sets", quiet=quiet or as_json) as progress:
        made = convert(store, kind, JobOptions(workers=workers or usable_cores()), progress)
    if as_json:
        print_json({"fields": str(store), "store": kind, "sets_made_now": made})
    else:
        say(f"{store} is {kind}", quiet=quiet)
