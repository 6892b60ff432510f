"""``lightstage seal``: an ASC MHL manifest of a session, so that every byte can be vouched for."""

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

#: What can be made again from the recordings, as patterns.
_MADE_AGAIN = ("**/aligned.zarr/", "**/frames.zarr/", "**/ledger/")
#: Files that are named before "and … more".
_NAMED = 20


@click.command("seal")
@click.argument("session", type=PATH)
@click.option(
    "--hash",
    "formats",
    multiple=True,
    type=click.Choice(["xxh64", "xxh128", "xxh3", "md5", "sha1", "c4"]),
    default=("xxh64",),
    show_default=True,
    help="Which hash to write (repeatable; files are read once).",
)
@click.option("--author", metavar="NAME", help="Who seals; written into the manifest.")
@click.option("--email", metavar="ADDRESS", help="The author's address.")
@click.option("--role", metavar="ROLE", help="The author's role, such as DIT.")
@click.option("--location", metavar="PLACE", help="Where this was done.")
@click.option("--comment", metavar="TEXT", help="What this generation is for.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files such as '*.tmp' (repeatable; kept for later generations).",
)
@click.option(
    "--recordings-only",
    is_flag=True,
    help="Leave out what can be made again from the recordings: fields, frame copies, ledgers.",
)
@quiet_option
@json_option
def command(
    session: Path,
    formats: tuple[str, ...],
    author: str | None,
    email: str | None,
    role: str | None,
    location: str | None,
    comment: str | None,
    ignore: tuple[str, ...],
    recordings_only: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Seal a SESSION (or any folder, such as an export) with an ASC MHL manifest.

    Hashes every file into the folder 'ascmhl'. Sealed again, everything is checked against the
    earlier generations and what is new is taken in. 'lightstage verify' and the reference tool
    'ascmhl' check a seal. Ends with exit code 4 where a file has changed or is gone.

    Example: [bold]lightstage seal my_session --author 'Ann Lee' --comment 'end of day 1'[/bold]
    """
    import re

    from lightstage.errors import DamagedDataError, InputError
    from lightstage.exchange.asc_mhl import seal
    from lightstage.exchange.mhl_history import Author

    if (email or role) and not author:
        raise InputError("--email and --role need --author, whose they are.")
    if email and not re.fullmatch(r"[^@]+@[^.]+\..+", email):
        raise InputError(f"--email {email!r}: an address such as ann@studio.com is expected.")
    patterns = (*ignore, *(_MADE_AGAIN if recordings_only else ()))
    with progress_bar("sealing", "MB", quiet=quiet or as_json) as progress:
        report = seal(
            session,
            formats=tuple(dict.fromkeys(formats)),
            author=Author(author, email, None, role) if author else None,
            location=location,
            comment=comment,
            ignore=patterns,
            progress=progress,
        )
    if as_json:
        print_json(report.as_dict())
    elif not quiet:
        print_table(
            f"Generation {report.generations} of {session}",
            {
                "files": f"{report.files} ({report.bytes / 1e6:.1f} MB)",
                "as sealed before": report.verified,
                "new": len(report.new),
                "manifest": report.manifest,
            },
        )
    if not report.whole:
        problems = report.problems
        for problem in () if as_json else problems[:_NAMED]:
            say(f"  {problem}")
        if len(problems) > _NAMED and not as_json:
            say(f"  and {len(problems) - _NAMED} more")
        raise DamagedDataError(
            f"{session}: {len(report.failed)} files have changed and {len(report.missing)} are "
            f"gone since they were sealed; the new generation records it. What was changed on "
            f"purpose can be left out from now on with --ignore."
        )
