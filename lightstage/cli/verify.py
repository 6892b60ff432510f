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

    Ends with exit code 4 where anything is damaged or a take was not recorded well.

    Example: [bold]lightstage verify my_session[/bold]
    """
    from lightstage.capture.verify import verify_take
    from lightstage.errors import DamagedDataError
    from lightstage.session import chosen_takes

    takes = chosen_takes(session, names)
    problems: dict[str, list[str]] = {}
    for take in takes:
        with progress_bar(f"verifying {take.name}", "frames", quiet=quiet or as_json) as progress:
            problems[take.name] = verify_take(take, progress)
    if as_json:
        print_json({"whole": not any(problems.values()), "takes": problems})
    else:
        for name, found in problems.items():
            say(f"{name}: {'whole' if not found else ''}".rstrip(": "), quiet=quiet)
            for problem in found:
                say(f"  {problem}")
    count = sum(1 for found in problems.values() if found)
    if count:
        raise DamagedDataError(
            f"{session}: {count} of {len(problems)} takes are not whole; what is wrong with each "
            f"is said above."
        )
