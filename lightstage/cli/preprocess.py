"""``lightstage preprocess``: from raw frames to reflectance fields."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    parse_size,
    print_json,
    print_table,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
    workers_option,
)

if TYPE_CHECKING:
    from lightstage.preprocess.jobs import JobPlan, PreprocessResult
    from lightstage.preprocess.settings import PreprocessSettings
    from lightstage.session import Take


@click.command("preprocess")
@click.argument("session", type=PATH)
@click.option("--take", "names", multiple=True, metavar="NAME", help="Only this take (repeatable).")
@click.option(
    "--rate",
    default="25",
    metavar="HZ|all",
    show_default=True,
    help="OLAT sets per second; 'all' makes one for each tracking frame.",
)
@click.option(
    "--exact-times",
    is_flag=True,
    help="Align each set to its exact output time, not to the nearest tracking frame.",
)
@click.option(
    "--crop",
    default="full",
    show_default=True,
    metavar="full|face|X,Y,W,H",
    help="What is kept of the frame: all, a square that follows the head, or a rectangle.",
)
@click.option(
    "--size",
    default=None,
    metavar="N|WxH",
    help="Size of the images in pixels; that of the crop unless given.",
)
@click.option(
    "--store",
    "kind",
    type=click.Choice(["materialised", "virtual"]),
    default="materialised",
    show_default=True,
    help="'virtual' keeps flows only: images are made from the recording when they are read.",
)
@click.option(
    "--quality",
    type=click.Choice(["fast", "best"]),
    default="fast",
    show_default=True,
    help="'best' is some ten times slower; docs/alignment.md has the figures.",
)
@click.option(
    "--align",
    type=click.Choice(["flow", "none"]),
    default="flow",
    show_default=True,
    help="'none' leaves the motion in, for comparison.",
)
@click.option("--flow-method", default=None, metavar="NAME", help="dis, deepflow, or a plug-in's.")
@click.option(
    "--flow-scale",
    type=click.FloatRange(0.05, 1.0),
    default=None,
    help="Flow pixels per frame pixel; as the images need unless given.",
)
@click.option(
    "--demosaic",
    type=click.Choice(["bilinear", "malvar", "residual"]),
    default=None,
    help="How colour is interpolated; malvar for fast, residual for best.",
)
@click.option(
    "--missing",
    type=click.Choice(["nan", "fill"]),
    default="nan",
    show_default=True,
    help="A light without a frame is left NaN, or filled from the next cycle and recorded.",
)
@click.option(
    "--uncalibrated",
    is_flag=True,
    help="Keep the camera's colour: no dark frame, flat field or matrix of the calibration.",
)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The store; TAKE/aligned.zarr.")
@click.option("--scheduler", metavar="tcp://…", help="A running Dask scheduler to work on.")
@click.option(
    "--dashboard",
    type=click.IntRange(0, 65535),
    default=None,
    metavar="PORT",
    help="Show Dask's dashboard on 127.0.0.1:PORT.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and what it costs; make nothing.")
@workers_option
@quiet_option
@json_option
def command(
    session: Path,
    names: tuple[str, ...],
    output: Path | None,
    scheduler: str | None,
    dashboard: int | None,
    dry_run: bool,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Make the reflectance fields of a SESSION's takes (or of one take's folder).

    Finds which light each frame shows, develops the frames, finds the motion between tracking
    frames and warps each light's picture to the middle of its set. Writes takes/NAME/aligned.zarr;
    run again, it makes only what is missing.

    Example: [bold]lightstage preprocess my_session --crop face --size 512 --dry-run[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.preprocess.jobs import JobOptions, plan_job, preprocess_take
    from lightstage.session import chosen_takes

    takes = chosen_takes(session, names)
    if output is not None and len(takes) > 1:
        raise InputError(
            f"--output names one store, {session} has {len(takes)} takes; choose one with --take."
        )
    if dashboard is not None and importlib.util.find_spec("bokeh") is None:
        raise InputError(
            "--dashboard needs bokeh, which draws Dask's pages: "
            "pip install 'lightstage[dashboard]'."
        )
    kind = choices.pop("kind")
    settings = _settings(**choices)
    options = JobOptions(
        workers=workers or usable_cores(), scheduler=scheduler, dashboard=dashboard
    )
    silent = quiet or as_json
    reports = {}
    for take in takes:
        if dry_run:
            with progress_bar(take.name, "frames looked at", quiet=silent) as progress:
                job = plan_job(take, settings, kind=kind, output=output, look=progress)
            reports[take.name] = _plan_report(job, take, options)
        else:
            if dashboard is not None:
                say(f"dashboard: http://127.0.0.1:{dashboard}/status", quiet=silent)
            with progress_bar(take.name, "sets", quiet=silent) as progress:
                result = preprocess_take(
                    take, settings, output=output, kind=kind, options=options, progress=progress
                )
            reports[take.name] = _report(result)
            if not as_json:
                for warning in result.plan.identification.warnings:
                    say(f"{take.name}: {warning}", quiet=quiet)
        if not silent:
            print_table(f"Take {take.name}", reports[take.name])
    if as_json:
        print_json({"takes": reports})


def _settings(
    *,
    rate: str,
    exact_times: bool,
    crop: str,
    size: str | None,
    quality: str,
    align: str,
    flow_method: str | None,
    flow_scale: float | None,
    demosaic: str | None,
    missing: str,
    uncalibrated: bool,
) -> PreprocessSettings:
    """Return the settings that the options ask for."""
    from lightstage.errors import InputError
    from lightstage.preprocess.settings import PreprocessSettings

    try:
        rate_hz = None if rate == "all" else float(rate)
    except ValueError:
        raise InputError(
            f"--rate must be a number of sets per second or 'all', not {rate!r}."
        ) from None
    base = PreprocessSettings.of_quality("best" if quality == "best" else "fast")
    chosen = base.model_dump()
    chosen.update(rate_hz=rate_hz, exact_times=exact_times, crop=_crop(crop, size))
    chosen["align"].update(method=align, fill_missing=missing == "fill")
    chosen["develop"]["use_calibration"] = not uncalibrated
    if align == "none":
        chosen["align"]["fuse_cycles"] = 0
    if flow_method is not None:
        chosen["flow"]["method"] = flow_method
    if flow_scale is not None:
        chosen["flow"]["scale"] = flow_scale
    if demosaic is not None:
        chosen["develop"]["demosaic"] = demosaic
    settings = PreprocessSettings.parse(chosen, "preprocess")
    if align == "flow":
        from lightstage.preprocess.flow import flow_method as named_method

        named_method(settings.flow)  # an unknown name is refused before anything is read
    return settings


def _crop(crop: str, size: str | None) -> dict[str, Any]:
    from lightstage.errors import InputError

    wanted = None
    if size is not None:
        wanted = (int(size), int(size)) if size.isdecimal() else parse_size(size)
    if crop in ("full", "face"):
        return {"mode": crop, "size": wanted}
    parts = crop.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(
            f"--crop must be full, face or X,Y,WIDTH,HEIGHT in pixels, such as 512,200,1024,1024, "
            f"not {crop!r}."
        )
    return {"mode": "rectangle", "rectangle": [int(part) for part in parts], "size": wanted}


def _report(result: PreprocessResult) -> dict[str, Any]:
    plan, found = result.plan, result.plan.identification
    return {
        "frames": result.frames,
        "dropped_frames": len(found.dropped),
        "unknown_frames": int((~found.known).sum()),
        "identified_by": found.method,
        "store": result.kind,
        "sets": result.sets,
        "sets_made_now": result.made,
        "sets_skipped": len(plan.skipped_s),
        "sets_with_missing_lights": len({index for index, _ in plan.missing}),
        "sets_with_filled_lights": len({index for index, _ in plan.filled}),
        "sets_flagged": result.flagged,
        "seconds_identify": round(result.seconds["identify"], 2),
        "seconds_align": round(result.seconds["align"], 2),
        "worker_seconds": result.stages,
        "fields": str(result.path),
    }


def _plan_report(job: JobPlan, take: Take, options: Any) -> dict[str, Any]:
    from lightstage.preprocess.costs import check_it_fits, in_gigabytes

    costs, found = job.costs, job.plan.identification
    hours = job.seconds_per_set * costs.sets / options.workers / 3600
    report = {
        "frames": costs.frames,
        "dropped_frames": len(found.dropped),
        "identified_by": found.method,
        "sets": costs.sets,
        "sets_skipped": len(job.plan.skipped_s),
        "sets_with_missing_lights": len({index for index, _ in job.plan.missing}),
        "image_size": f"{job.width}x{job.height}",
        "bytes_read": costs.read_bytes,
        "bytes_written_at_most": costs.written_bytes,
        "memory_per_worker": costs.worker_bytes,
        "workers": options.workers,
        "seconds_per_set_measured": round(job.seconds_per_set, 2),
        "estimated_hours": round(hours, 3),
        "reads": in_gigabytes(costs.read_bytes),
        "writes_at_most": in_gigabytes(costs.written_bytes),
        "memory": f"{in_gigabytes(costs.worker_bytes)} for each of {options.workers} workers",
        "fields": str(job.output),
    }
    check_it_fits(costs, options.workers, job.output, options.memory_bytes)
    return report
