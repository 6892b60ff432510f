"""``lightstage capture``: record takes on a stage."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    parse_size,
    print_json,
    progress_bar,
    quiet_option,
    say,
)

if TYPE_CHECKING:
    from lightstage.capture.record import CaptureRecord
    from lightstage.capture.run import CaptureOrder
    from lightstage.devices.interfaces import Camera, LedController
    from lightstage.devices.stage import Stage
    from lightstage.dome import Dome
    from lightstage.session import Session


@click.command("capture")
@click.argument("session", type=PATH)
@click.option(
    "--take", "takes", required=True, metavar="NAME[,NAME…]", help="Takes to record, in a row."
)
@click.option(
    "--stage", "stage_path", type=PATH, metavar="FILE", help="The stage file, stage.toml."
)
@click.option("--simulated", is_flag=True, help="Record on the simulated stage.")
@click.option(
    "--faults", type=PATH, metavar="FILE", help="Faults of the simulated stage, a TOML file."
)
@click.option("--seconds", type=float, default=1.0, show_default=True, help="Length of each take.")
@click.option("--sequence", "sequence_path", type=PATH, help="For a new session: sequence.json.")
@click.option("--dome", "dome_path", type=PATH, help="For a new session: light positions.")
@click.option("--size", metavar="WxH", help="Frame size; the stage's unless said otherwise.")
@click.option("--performer", default="", help="Slate: who is in front of the camera.")
@click.option("--note", default="", help="Slate: anything worth remembering.")
@click.option(
    "--pre-trigger",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Frames to keep from before the trigger.",
)
@click.option("--light-check/--no-light-check", default=True, help="Fire each LED once, first.")
@click.option(
    "--discard-stored",
    is_flag=True,
    help="Let a recording go that the camera still holds from before.",
)
@click.option("--acknowledge", metavar="NAME", help="Who answers for the flicker; asked otherwise.")
@click.option(
    "--fetch",
    is_flag=True,
    help="Record nothing: fetch what the camera still holds of a take that broke off.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, record nothing.")
@quiet_option
@json_option
def command(
    session: Path,
    takes: str,
    stage_path: Path | None,
    simulated: bool,
    faults: Path | None,
    seconds: float,
    sequence_path: Path | None,
    dome_path: Path | None,
    size: str | None,
    performer: str,
    note: str,
    pre_trigger: int,
    light_check: bool,
    discard_stored: bool,
    acknowledge: str | None,
    fetch: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Record takes into a SESSION: preflight, arm, trigger, count, fetch, check from disk.

    Ctrl-C once ends a take cleanly with lights dark and keeps what there is; twice ends at once,
    with lights dark. A take with any fault is never marked good.

    Example: [bold]lightstage capture my_session --take talk --seconds 2 --simulated[/bold]
    """
    from lightstage.capture.run import CaptureOrder
    from lightstage.devices.stage import Stage
    from lightstage.errors import InputError

    if simulated == (stage_path is not None):
        raise InputError("name a stage file with --stage, or record with --simulated.")
    if faults is not None and not simulated:
        raise InputError("--faults are for the simulated stage; add --simulated.")
    stage = (
        Stage(name="simulated stage", leds="simulated:", camera="simulated:", width=256, height=192)
        if stage_path is None
        else Stage.load_toml(stage_path)
    )
    if size is not None:
        width, height = parse_size(size)
        stage = stage.replace(width=width, height=height)
    if not 0 < seconds <= 600:
        raise InputError(f"--seconds must be above 0 and at most 600, not {seconds:g}.")
    opened = _session(session, stage, stage_path, sequence_path, dome_path, performer)
    sequence = opened.sequence
    order = CaptureOrder(
        sequence=sequence,
        frame_count=len(sequence.preamble)
        + max(round(seconds * sequence.frame_rate_hz), sequence.cycle_frames + sequence.period),
        width=stage.width,
        height=stage.height,
        master=stage.master,
        pre_trigger_frames=pre_trigger,
        discard_stored=discard_stored,
        performer=performer or opened.manifest.performer,
        note=note,
        simulated=stage.is_simulated,
    )
    names = [name.strip() for name in takes.split(",") if name.strip()]
    silent = quiet or as_json
    if fetch:
        _report(opened, _fetch(opened, names, stage, order, silent), order, quiet, as_json)
        return
    order = replace(order, safety=_safety(opened, order, stage, acknowledge, dry_run))
    records: dict[str, CaptureRecord] = {}
    with _devices(stage, opened.dome, order, faults) as (leds, camera):
        order = _preflight(opened, leds, camera, order, light_check, silent)
        if dry_run:
            say("dry run: everything was checked, nothing recorded", quiet=silent)
        if light_check:
            order = replace(order, discard_stored=True)  # that of the light check
        for name in [] if dry_run else names:
            record = records[name] = _record(opened, name, leds, camera, order, silent)
            if record.counts.frames_downloaded < order.frame_count:
                break  # what the camera still holds must not be lost to the next take
            order = replace(order, discard_stored=True)
    _report(opened, records, order, quiet, as_json)


def _session(
    path: Path,
    stage: Stage,
    stage_path: Path | None,
    sequence_path: Path | None,
    dome_path: Path | None,
    performer: str,
) -> Session:
    from lightstage.dome import Dome
    from lightstage.errors import InputError
    from lightstage.sequence import CaptureSequence
    from lightstage.session import Session

    if Session.is_at(path):
        if sequence_path or dome_path:
            raise InputError(
                f"{path}: has its own dome and sequence; leave --dome and --sequence out, or name "
                f"a new session."
            )
        return Session.open(path)
    if dome_path is None and stage.dome is not None and stage_path is not None:
        dome_path = stage_path.parent / stage.dome
    if dome_path is None and not stage.is_simulated:
        raise InputError(f"{path}: is a new session; give its lights with --dome.")
    dome = Dome.load(dome_path) if dome_path else Dome.evenly_spread()
    sequence = (
        CaptureSequence.load(sequence_path) if sequence_path else CaptureSequence(lights=len(dome))
    )
    return Session.create(
        path,
        dome=dome,
        sequence=sequence,
        performer=performer or "unnamed",
        stage=stage.name,
    )


def _safety(
    session: Session, order: CaptureOrder, stage: Stage, name: str | None, dry_run: bool
) -> dict[str, Any]:
    """Return the safety record; a real stage needs a measured radiance and an acknowledgement."""
    from lightstage.safety import (
        ACKNOWLEDGEMENT_PHRASE,
        Acknowledgement,
        assess,
        require_acknowledged,
    )

    length_s = order.frame_count / order.sequence.frame_rate_hz
    report = assess(order.sequence, session.dome, length_s, stage.radiance_w_m2_sr)
    record: dict[str, Any] = {"report": report.model_dump(mode="json")}
    if stage.is_simulated:
        return {**record, "acknowledgement": "not needed: no performer is in front of it"}
    acknowledgement = None
    if not report.refusals and report.needs_consent and not dry_run:
        for finding in report.findings:
            say(f"safety: {finding.text}")
        name = name or click.prompt("Name of who answers for the performer's safety", err=True)
        phrase = click.prompt(f"Type: {ACKNOWLEDGEMENT_PHRASE}", err=True)
        acknowledgement = Acknowledgement(name=name, phrase=phrase)
        record["acknowledgement"] = acknowledgement.model_dump(mode="json")
    if not dry_run or report.refusals:
        require_acknowledged(report, acknowledgement)
    return record


@contextmanager
def _devices(
    stage: Stage, dome: Dome, order: CaptureOrder, faults: Path | None
) -> Iterator[tuple[LedController, Camera]]:
    """Yield the stage's drivers, connected; a simulated stage is started for the time being."""
    from contextlib import ExitStack, closing

    from lightstage.devices.phantom import PhantomCamera
    from lightstage.devices.serial_led import SerialLedController

    with ExitStack() as stack:
        leds_at, camera_at = stage.leds, stage.camera
        if stage.leds.startswith("simulated:") or stage.camera.startswith("simulated:"):
            from lightstage.simulation.stage_hardware import SimulatedHardware, StageFaults

            hardware = stack.enter_context(
                SimulatedHardware(
                    dome=dome,
                    width=order.width,
                    height=order.height,
                    master=order.master,
                    faults=StageFaults.load_toml(faults) if faults else StageFaults(),
                )
            )
            if leds_at.startswith("simulated:"):
                leds_at = hardware.leds_address
            if camera_at.startswith("simulated:"):
                camera_at = hardware.camera_address
        leds = stack.enter_context(closing(SerialLedController(leds_at)))
        camera = stack.enter_context(closing(PhantomCamera(camera_at)))
        yield leds, camera


def _preflight(
    session: Session,
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    light_check: bool,
    silent: bool,
) -> CaptureOrder:
    """Check devices, disk and lights; refuse with all reasons at once."""
    from lightstage.capture.preflight import check_lights, preflight
    from lightstage.errors import DeviceError

    findings = list(preflight(leds, camera, order, session.path).findings)
    if light_check and not any(finding.severity == "refuse" for finding in findings):
        with progress_bar("light check", "frames", quiet=silent) as progress:
            findings += check_lights(leds, camera, order, session.dome, progress)
    for finding in findings:
        mark = {"good": "ok", "warning": "warning", "refuse": "REFUSED"}[finding.severity]
        say(f"{mark:8s} {finding.check}: {finding.text}", quiet=silent)
    refused = [finding for finding in findings if finding.severity == "refuse"]
    if refused:
        reasons = "; ".join(f"{finding.check}: {finding.text}" for finding in refused)
        raise DeviceError(f"the stage is not ready: {reasons}.")
    return replace(order, preflight=tuple(finding.as_dict() for finding in findings))


def _record(
    session: Session,
    name: str,
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    silent: bool,
) -> CaptureRecord:
    from lightstage.capture.run import capture_take

    take = session.add_take(name, origin="captured", note=order.note)
    say(f"take {name}: {order.frame_count} frames", quiet=silent)
    stop = threading.Event()
    with _stopped_by_ctrl_c(stop), progress_bar(name, "frames", quiet=silent) as progress:
        return capture_take(
            take,
            leds,
            camera,
            order,
            stop=stop,
            progress=lambda what, done, total: progress(done, total),
        )


def _fetch(
    session: Session, names: list[str], stage: Stage, order: CaptureOrder, silent: bool
) -> dict[str, CaptureRecord]:
    """Fetch the recording that the camera holds into the one take that is named."""
    from contextlib import closing

    from lightstage.capture.run import fetch_take
    from lightstage.devices.phantom import PhantomCamera
    from lightstage.errors import InputError

    if len(names) != 1:
        raise InputError("--fetch takes one take: the camera holds one recording.")
    if stage.camera.startswith("simulated:"):
        raise InputError(
            "--fetch needs a camera that is still there; the simulated one goes with its command. "
            "Keep one with 'lightstage simulate-hardware' and name its stage file."
        )
    take = session.take(names[0])
    with (
        closing(PhantomCamera(stage.camera)) as camera,
        progress_bar(f"fetching {take.name}", "frames", quiet=silent) as progress,
    ):
        record = fetch_take(take, camera, order, lambda what, done, total: progress(done, total))
    return {take.name: record}


@contextmanager
def _stopped_by_ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C end the take cleanly, the second end the program at once."""

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("ending the take; Ctrl-C again ends the program at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(
    session: Session,
    records: dict[str, CaptureRecord],
    order: CaptureOrder,
    quiet: bool,
    as_json: bool,
) -> None:
    from lightstage.errors import DeviceError

    if as_json:
        print_json(
            {
                "session": str(session.path),
                "frames": order.frame_count,
                "takes": {name: record.model_dump(mode="json") for name, record in records.items()},
            }
        )
    for name, record in records.items():
        verdict = "good" if record.good else "NOT GOOD"
        say(f"take {name}: {verdict}", quiet=quiet or as_json)
        for fault in record.faults:
            say(f"  {fault.code}: {fault.text}", quiet=as_json)
        for warning in record.warnings:
            say(f"  warning: {warning}", quiet=quiet or as_json)
    bad = [name for name, record in records.items() if not record.good]
    if bad:
        accounts = ", ".join(str(session.path / "takes" / name / "capture.json") for name in bad)
        raise DeviceError(
            f"{len(bad)} of {len(records)} takes are not good; the whole account is in {accounts}."
        )
