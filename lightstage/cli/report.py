"""``lightstage report``: one page that tells how a session went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, progress_bar, quiet_option, say


@click.command("report")
@click.argument("session", type=PATH)
@click.option("--take", "names", multiple=True, metavar="NAME", help="Only this take (repeatable).")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The page to write; report.html in the session's folder unless given.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@quiet_option
@json_option
def command(
    session: Path,
    names: tuple[str, ...],
    output: Path | None,
    show: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write one HTML page on how a SESSION (or one take's folder) went, pictures and plots in it.

    The verdict comes first, then timing, lost frames, exposure, motion, alignment, each light's
    picture, calibration and how it all was made. The page needs no other file and no network.

    Example: [bold]lightstage report my_session -o monday.html --open[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.manifest import write_atomically
    from lightstage.report.session_report import render_html, session_report

    output = output or session / "report.html"
    if output.suffix.lower() not in {".html", ".htm"}:
        # also lest a slip replaces a recording
        raise InputError(f"{output}: the page is an HTML file; name it, such as report.html.")
    with _bars(quiet=quiet or as_json) as progress:
        report = session_report(session, names, progress)
    write_atomically(output, render_html(report))
    figures = {"output": str(output), "bytes": output.stat().st_size, **report.figures()}
    if as_json:
        print_json(figures)
    else:
        for take in report.takes:
            words = "good" if take.verdict.good else "look at this"
            say(f"{take.name}: {words}", quiet=quiet)
            for reason in take.verdict.reasons:
                if reason.grave:
                    say(f"  {reason.text}", quiet=quiet)
        for problem in report.problems:
            say(problem, quiet=quiet)
        say(f"wrote {output}", quiet=quiet)
    if show:
        click.launch(output.resolve().as_uri())


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what draws a bar for each take, one after another."""
    with ExitStack() as drawn:
        bars: dict[str, Callable[[int, int], None]] = {}

        def update(take: str, done: int, total: int) -> None:
            if take not in bars:
                drawn.close()
                bars[take] = drawn.enter_context(
                    progress_bar(f"looking at {take}", "%", quiet=quiet)
                )
            bars[take](done, total)

        yield update
