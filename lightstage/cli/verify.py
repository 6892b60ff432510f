"""``lightstage verify``: a session checked from disk."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say


@click.command("verify")
@click.argument("session", type=PATH)
@click.option("--take", "names", multiple=True, metavar="NAME", help="Only this take (repeatable).")
@quiet_option
@json_option
def command(session: Path, names: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Check a SESSION's takes from disk: recordings, checksums, time stamps, pictures, fields.

    Where the session was sealed ('lightstage seal'), every byte is checked against its manifests,
    too; any other sealed folder, such as an export, is checked by its seal alone. Ends with exit
    code 4 where anything is damaged or a take was not recorded well.

    Example: [bold]lightstage verify my_session[/bold]
    """
    from lightstage.capture.verify import verify_take
    from lightstage.errors import DamagedDataError
    from lightstage.exchange.asc_mhl import SealReport, check
    from lightstage.exchange.mhl_history import has_history
    from lightstage.session import Session, Take, chosen_takes

    sealed = has_history(session) and not names
    only_sealed = sealed and not Session.is_at(session) and not Take.is_at(session)
    takes = [] if only_sealed else chosen_takes(session, names)
    seal: SealReport | None = None
    if sealed:
        with progress_bar("verifying the seal", "MB", quiet=quiet or as_json) as progress:
            seal = check(session, progress)
    problems: dict[str, list[str]] = {}
    for take in takes:
        with progress_bar(f"verifying {take.name}", "frames", quiet=quiet or as_json) as progress:
            problems[take.name] = verify_take(take, progress)
    whole = not any(problems.values()) and (seal is None or seal.whole)
    if as_json:
        print_json(
            {"whole": whole, "takes": problems, "seal": None if seal is None else seal.as_dict()}
        )
    else:
        for name, found in problems.items():
            say(f"{name}: {'whole' if not found else ''}".rstrip(": "), quiet=quiet)
            for problem in found:
                say(f"  {problem}")
        if seal is not None:
            new = f", {len(seal.new)} files are not sealed yet" if seal.new else ""
            state = f"{seal.verified} of {seal.verified + len(seal.problems)} files unchanged{new}"
            say(f"seal: {state}", quiet=quiet)
            for problem in seal.problems:
                say(f"  {problem}")
    count = sum(1 for found in problems.values() if found)
    if count:
        raise DamagedDataError(
            f"{session}: {count} of {len(problems)} takes are not whole; what is wrong with each "
            f"is said above."
        )
    if seal is not None and not seal.whole:
        raise DamagedDataError(
            f"{session}: {len(seal.problems)} files are not as they were sealed; they are named "
            f"above."
        )
