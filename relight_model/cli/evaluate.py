"""``relight_model evaluate``: predicted reflectance fields against the true ones."""

from __future__ import annotations

from collections.abc import Callable
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
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightstage.fields import ReflectanceFields


@click.command("evaluate")
@click.argument("prediction", type=PATH)
@click.argument("truth", type=PATH)
@click.option(
    "--directions", type=click.IntRange(1, 1024), default=24, show_default=True, metavar="N",
    help="Light directions, evenly spread over the sphere.",
)  # fmt: skip
@click.option(
    "--radius", type=click.FloatRange(1, 180), default=15.0, show_default=True, metavar="DEG",
    help="How large the light is.",
)  # fmt: skip
@click.option("--from", "from_s", type=float, metavar="S", help="Only sets from this time on.")
@click.option("--to", "to_s", type=float, metavar="S", help="Only sets before this time.")
@click.option(
    "--held-out", type=float, metavar="SHARE", help="Only the end of the true take, as in training."
)
@click.option(
    "--every", type=click.IntRange(1), default=1, metavar="N",
    help="Only every Nth set; from frame to frame is then not measured.",
)  # fmt: skip
@click.option("--no-olat", is_flag=True, help="Do not measure single lights: three times as quick.")
@click.option(
    "--parameters", type=PATH, metavar="FILE",
    help="Head parameters that drive a RUN; those beside the truth (head.npz) unless named.",
)  # fmt: skip
@click.option("--name", default="prediction", show_default=True, help="What the table calls it.")
@click.option(
    "-o", "--output", type=PATH, metavar="DIR",
    help="Write evaluation.json, table.md and frames.png (worst, median and best) there.",
)  # fmt: skip
@quiet_option
@json_option
def command(
    prediction: Path,
    truth: Path,
    directions: int,
    radius: float,
    from_s: float | None,
    to_s: float | None,
    held_out: float | None,
    every: int,
    no_olat: bool,
    parameters: Path | None,
    name: str,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a PREDICTION's reflectance fields against the TRUTH.

    Both are takes, sessions of one take, or stores (aligned.zarr) of one dome and size; sets are
    matched by time. PREDICTION may also be a RUN of relight_model train: it then renders the
    truth's frames, and the truth is brought to its size. PSNR, SSIM and MAE of sequences relit from
    evenly spread directions, and of single lights; inside the matte where the truth has one
    (lightstage matte makes it).
    docs/evaluation.md has the definition.

    Example: [bold]relight_model evaluate rendered/takes/held_out my_session/takes/held_out[/bold]
    """
    from functools import partial

    import numpy as np

    from lightstage.errors import InputError
    from lightstage.fields import ReflectanceFields
    from relight_model.evaluate import (
        EvaluatedFields,
        EvaluationSettings,
        MatchedFields,
        check_same_lights,
        evaluate,
        matched,
    )
    from relight_model.run import SizedFields, TrainedRun, is_run
    from relight_model.training_take import TrainingTake

    guess: EvaluatedFields
    run = None
    true = ReflectanceFields.open(truth)
    if is_run(prediction):
        take, run = TrainingTake.open(truth, parameters), TrainedRun.open(prediction)
        check_same_lights(run.dome, true.dome)
        guess = run.predictor(take.clip)
        a, b = take.frames, np.arange(len(true))
    elif parameters is not None:
        raise InputError(f"{prediction}: is no RUN, so it takes no --parameters.")
    else:
        guess = stored = ReflectanceFields.open(prediction)
        check_same_lights(stored.dome, true.dome)
        a, b = matched(stored.time_s, true.time_s)
    kept = _chosen(true, truth, b, from_s, to_s, held_out)[::every]
    a, b = a[kept], b[kept]
    settings = EvaluationSettings(
        directions=directions, radius_deg=radius, olat=not no_olat, temporal=every == 1
    )
    shown: EvaluatedFields = true
    matte_of: Callable[[int], NDArray[np.floating]] = partial(true.read, "matte")
    if run is not None and run.size != true.width:
        shown = sized = SizedFields(true, run.size)
        matte_of = sized.matte
    mattes = (lambda index: matte_of(int(b[index]))) if true.has("matte") else None
    pair = MatchedFields(guess, a.tolist()), MatchedFields(shown, b.tolist())
    with progress_bar("comparing", "sets", quiet=quiet or as_json) as progress:
        found = evaluate(*pair, true.dome, settings, mattes=mattes, progress=progress)
    _tell(found, pair, true, name, output, quiet, as_json)


def _tell(
    found: Any,
    pair: Any,
    true: ReflectanceFields,
    name: str,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    import json

    from lightstage.images import write_image
    from relight_model.evaluation_report import frames_picture, report_of, summary_rows, table_of

    report = {"name": name, **report_of(found)}
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, allow_nan=False) + "\n"
        (output / "evaluation.json").write_text(text, encoding="utf-8")
        parts = {"inside": "Inside the matte", "whole": "Whole picture"}
        tables = [
            f"{title}, relit sequences:\n\n{table_of({name: found}, where)}"
            for where, title in parts.items()
            if where in report["relit"]
        ]
        (output / "table.md").write_text("\n".join(tables), encoding="utf-8")
        write_image(output / "frames.png", frames_picture(found, pair[0], pair[1], true.dome))
    if as_json:
        print_json(report)
        return
    for note in found.notes:
        say(f"note: {note}", quiet=quiet)
    if not quiet:
        print_table(f"{name} against {true.path}", summary_rows(found))
    if output is not None:
        say(f"wrote evaluation.json, table.md and frames.png in {output}", quiet=quiet)


def _chosen(
    true: ReflectanceFields,
    path: Path,
    indices: NDArray[np.int64],
    from_s: float | None,
    to_s: float | None,
    held_out: float | None,
) -> NDArray[np.int64]:
    """Return which of the matched sets are in the times asked for."""
    import numpy as np

    from lightstage.errors import InputError
    from relight_model.split import split_by_time

    times = true.time_s[indices]
    kept = np.ones(len(indices), bool)
    if from_s is not None:
        kept &= times >= from_s
    if to_s is not None:
        kept &= times < to_s
    if held_out is not None:
        kept &= np.isin(indices, split_by_time(true.time_s, held_out).held_out)
    if not kept.any():
        raise InputError(
            f"{path}: no set with a prediction is in the times asked for; they run from "
            f"{times.min():.2f} to {times.max():.2f} s."
        )
    return np.flatnonzero(kept)
