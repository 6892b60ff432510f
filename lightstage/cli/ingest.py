"""``lightstage ingest``: a compressed, verified copy of a take's frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    print_table,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)

if TYPE_CHECKING:
    from lightstage.session import Take


@click.command("ingest")
@click.argument("session", type=PATH)
@click.option("--take", "names", multiple=True, metavar="NAME", help="Only this take (repeatable).")
@click.option(
    "--from",
    "sources",
    type=PATH,
    multiple=True,
    metavar="FOLDER|FILE",
    help="Frames from elsewhere: a folder of raw pictures, or files (repeatable).",
)
@click.option("--dome", "dome_path", type=PATH, help="New take: light positions (dome.json, .lp).")
@click.option("--sequence", "sequence_path", type=PATH, help="New take: what the lights did.")
@click.option("--performer", default="unnamed", help="Who is seen, for a new session.")
@click.option(
    "--cfa",
    type=click.Choice(["GRAY", "RGGB", "GRBG", "GBRG", "BGGR"], case_sensitive=False),
    help="Colour filter of the top left 2x2 pixels; raw files tell their own.",
)
@click.option("--black", type=float, metavar="LEVEL", help="Stored value of no light.")
@click.option("--white", type=float, metavar="LEVEL", help="Stored value of full scale.")
@click.option("--rate", type=float, metavar="HZ", help="Frames a second, where no file tells it.")
@workers_option
@quiet_option
@json_option
def command(
    session: Path,
    names: tuple[str, ...],
    sources: tuple[Path, ...],
    dome_path: Path | None,
    sequence_path: Path | None,
    performer: str,
    cfa: str | None,
    black: float | None,
    white: float | None,
    rate: float | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a compressed copy of the frames of a SESSION's takes (or of one take's folder).

    Writes takes/NAME/frames.zarr without loss, reads it back from the disk and compares every frame
    with the recording; only then is the recording called redundant. It is never removed. Run again,
    only what is missing is made.

    With --from the frames come from a folder of DNGs, camera raws, TIFF, PNG or PGM mosaics (in
    the order of their names) instead, and become the take --take NAME, which is made if it is not
    there.

    Example: [bold]lightstage ingest my_session[/bold]

    From a folder: [bold]lightstage ingest my_session --take talk --from dng_folder --dome dome.json
    --sequence sequence.json[/bold]
    """
    from lightstage.errors import InputError, SessionError
    from lightstage.preprocess.ingest import ingest_take, take_for
    from lightstage.preprocess.raw_sequence import open_recording
    from lightstage.preprocess.source import CineSource, Recording
    from lightstage.preprocess.worker_process import keep_freed_memory
    from lightstage.session import Take, chosen_takes

    keep_freed_memory()
    if not sources:
        options = {"--cfa": cfa, "--black": black, "--white": white, "--rate": rate}
        given = [name for name, value in options.items() if value is not None]
        given += ["--dome"] * (dome_path is not None) + ["--sequence"] * (sequence_path is not None)
        if given:
            raise InputError(f"{given[0]} describes frames from elsewhere; give them with --from.")
        chosen = [take for take in chosen_takes(session, names) if names or _has_cine(take)]
        if not chosen or not all(_has_cine(take) for take in chosen):
            lacking = next((take.path for take in chosen), session)
            raise SessionError(f"{lacking}: has no take.cine to copy; bring frames in with --from.")
        jobs: list[tuple[Take, Recording]] = [(take, CineSource(take.cine_path)) for take in chosen]
    else:
        recording = open_recording(
            sources, cfa=cfa and cfa.upper(), black=black, white=white, rate_hz=rate
        )
        if len(names) > 1 or (not names and not Take.is_at(session)):
            raise InputError("--from brings in one take: name it with --take NAME.")
        name = names[0] if names else None
        jobs = [
            (take_for(session, name, recording, dome_path, sequence_path, performer), recording)
        ]
    reports: dict[str, Any] = {}
    for take, recording in jobs:
        with recording, progress_bar(take.name, "frames", quiet=quiet or as_json) as progress:
            result = ingest_take(
                take, recording, workers=workers or usable_cores(), progress=progress
            )
        reports[take.name] = {
            "frames": result.frames,
            "shards": result.shards,
            "shards_made_now": result.shards_made,
            "source": str(result.source),
            "source_bytes": result.source_bytes,
            "stored_bytes": result.stored_bytes,
            "ratio": round(result.source_bytes / result.stored_bytes, 2),
            "verified": True,
            "store": str(result.path),
        }
        if not (quiet or as_json):
            print_table(f"Take {take.name}", reports[take.name])
            say(
                f"{take.name}: all {result.frames} frames were read back from {result.path} and "
                f"equal those of {result.source}, which is redundant now; it was not removed."
            )
    if as_json:
        print_json({"takes": reports})


def _has_cine(take: Take) -> bool:
    return take.cine_path.exists() or take.cine_path.is_symlink()
