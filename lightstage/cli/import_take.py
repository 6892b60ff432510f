"""``lightstage import-take``: a recording made elsewhere becomes a take."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    print_table,
    progress_bar,
    quiet_option,
    say,
)


@click.command("import-take")
@click.argument("session", type=PATH)
@click.argument("file", type=PATH)
@click.option("--take", "name", required=True, metavar="NAME", help="What to call the take.")
@click.option("--dome", "dome_path", type=PATH, help="Light positions: dome.json or a .lp file.")
@click.option("--sequence", "sequence_path", type=PATH, help="What the lights did: sequence.json.")
@click.option(
    "--copy", is_flag=True, help="Copy the recording into the session instead of linking to it."
)
@click.option("--performer", default="unnamed", help="Who is seen, for a new session.")
@quiet_option
@json_option
def command(
    session: Path,
    file: Path,
    name: str,
    dome_path: Path | None,
    sequence_path: Path | None,
    copy: bool,
    performer: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring a .cine FILE that other software recorded into a SESSION.

    The phase at which the file starts is found from its time stamps and pictures, not assumed.
    A new session needs --dome and --sequence; a session that is there already has its own.

    Example: [bold]lightstage import-take my_session take7.cine --take talk --dome dome.json
    --sequence sequence.json[/bold]
    """
    from lightstage.dome import Dome
    from lightstage.preprocess.import_take import import_take
    from lightstage.sequence import CaptureSequence

    with progress_bar("copying", "bytes", quiet=quiet or as_json or not copy) as progress:
        take, found = import_take(
            session,
            file,
            name=name,
            dome=Dome.load(dome_path) if dome_path else None,
            sequence=CaptureSequence.load(sequence_path) if sequence_path else None,
            storage="copy" if copy else "link",
            performer=performer,
            progress=progress,
        )
    start = take.sequence.step(int(found.step_index[0]))
    report = {
        "take": str(take.path),
        "frames": len(found.step_index),
        "starts_with": f"light {start.light}" if start.light >= 0 else f"a {start.kind} frame",
        "first_step": int(found.step_index[0]),
        "identified_by": found.method,
        "margin": round(found.margin, 3),
        "dropped_frames": len(found.dropped),
        "unknown_frames": int((~found.known).sum()),
    }
    if as_json:
        print_json({**report, "warnings": list(found.warnings)})
        return
    for warning in found.warnings:
        say(f"{take.name}: {warning}", quiet=quiet)
    if not quiet:
        print_table(f"Take {take.name}", report)
