"""``relight_model fit``: face capture, from any face video to a file of head parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


@click.command("fit")
@click.argument("sources", type=PATH, nargs=-1, required=True, metavar="VIDEO|TAKE|IMAGES...")
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Where the parameters go: an .npz, see docs/formats.",
)
@click.option(
    "--head",
    "head_path",
    type=PATH,
    metavar="FILE",
    help="A converted FLAME head ('relight_model convert-head'); the procedural head otherwise.",
)
@click.option(
    "--fov",
    "fov_deg",
    type=click.FloatRange(2.0, 150.0),
    default=30.0,
    show_default=True,
    metavar="DEG",
    help="The lens's angle of view over the picture's shorter side, if you know it.",
)
@click.option(
    "--distance",
    "distance_m",
    type=click.FloatRange(0.1, 20.0),
    metavar="METRES",
    help="From the camera to the stage's centre; to the head, where nothing is said.",
)
@click.option(
    "--refine/--no-refine",
    default=True,
    show_default=True,
    help="Compare the rendered face with the frames; without, landmarks alone.",
)
@click.option(
    "--shape",
    "shape_path",
    type=PATH,
    metavar="FILE",
    help="Parameters of the same performer: their shape is held.",
)
@click.option(
    "--backend",
    type=click.Choice(["landmarks", "deca"]),
    default="landmarks",
    show_default=True,
    help="What fits: this toolkit's solver, or a DECA encoder of your own.",
)
@click.option("--deca", "deca_path", type=PATH, metavar="FILE", help="Your deca_model.tar.")
@click.option(
    "--overlay",
    type=PATH,
    metavar="FILE",
    help="A film (.mp4) or pictures (frame_%04d.png) with the fit drawn over the frames.",
)
@click.option("--report", "report_path", type=PATH, metavar="FILE", help="Figures as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@quiet_option
@json_option
def command(
    sources: tuple[Path, ...],
    output: Path,
    head_path: Path | None,
    fov_deg: float,
    distance_m: float | None,
    refine: bool,
    shape_path: Path | None,
    backend: str,
    deca_path: Path | None,
    overlay: Path | None,
    report_path: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find pose, expression, gaze and shape of the head in every frame.

    VIDEO is any film that ffmpeg reads; TAKE a session's take (its full-lit pictures); IMAGES
    pictures of one size or a folder of them.

    Example: [bold]relight_model fit talk.mp4 -o talk.npz --overlay talk_fit.mp4[/bold]
    """
    from lightstage.errors import InputError

    for path in (output, overlay, report_path):
        if path is None:
            continue
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists; give --overwrite to replace it.")
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist.")
    if output.suffix.lower() != ".npz":
        raise InputError(f"{output}: parameters go into an .npz file.")
    if (backend == "deca") != (deca_path is not None):
        raise InputError("--backend deca needs --deca FILE, and --deca only that backend.")

    # thousands of small matrices: threads that share one wait for each other, ten times as long
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    import json

    import cv2

    from relight_model.frame_source import open_frames
    from relight_model.head.capture import Captured, CaptureSettings, capture
    from relight_model.head.capture_deca import capture_by_deca
    from relight_model.head.clip import HeadClip
    from relight_model.head.landmarks import landmark_detector
    from relight_model.head.model import HeadModel

    cv2.setNumThreads(1)  # pictures of a face are small: threads only get in each other's way
    source = open_frames(sources)
    model = HeadModel.load(head_path)
    shape = None
    if shape_path is not None:
        known = HeadClip.load(shape_path)
        if known.head and known.head != model.fingerprint:
            raise InputError(f"{shape_path}: its shape is of another head model.")
        shape = known.shape
    settings = CaptureSettings(fov_deg=fov_deg, distance_m=distance_m, refine=refine, shape=shape)
    say(f"Fitting {source.name}", quiet=quiet or as_json)
    captured: Captured
    with _Bars(quiet or as_json) as told:
        if deca_path is not None:
            captured = capture_by_deca(
                source, model, deca_path, landmark_detector(), settings, told
            )
        else:
            captured = capture(
                source, model.head, model.fingerprint, landmark_detector(), settings, told
            )
        captured.clip.save(output)
        if overlay is not None:
            from relight_model.head.capture_overlay import write_overlay

            write_overlay(overlay, source, model.head, captured, told)
    report: dict[str, Any] = {"output": str(output), **captured.report}
    if report_path is not None:
        report_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(report)
    elif not quiet:
        print_table(f"Fit of {source.name}", _rows(report))


def _rows(report: dict[str, Any]) -> dict[str, str]:
    rows = {}
    for name, value in report.items():
        shown = f"{value:.3g}" if isinstance(value, float) else value
        rows[name.replace("_", " ").replace("percent iod", "(% of inter-ocular)")] = str(shown)
    return rows


class _Bars:
    """One progress bar after another, as the work goes from one part to the next."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._name = ""
        self._bar: Any = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._name:
            self._close()
            self._name = what
            self._bar = progress_bar(what, "frames", quiet=self._quiet)
            self._update = self._bar.__enter__()
        self._update(done, total)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None
