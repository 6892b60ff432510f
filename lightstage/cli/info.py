"""``lightstage info``: what a file or a session holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table


@click.command("info")
@click.argument("file", type=PATH)
@json_option
def command(file: Path, as_json: bool) -> None:
    """Tell what a .cine FILE, a session, a take or a store of reflectance fields holds.

    Example: [bold]lightstage info take7.cine[/bold]
    """
    from lightstage.errors import InputError

    if not file.exists():
        raise InputError(f"{file}: there is no such file or folder.")
    title, report = _describe(file)
    if as_json:
        print_json(report)
        return
    takes = report.pop("takes", [])
    warnings = report.pop("warnings", [])
    print_table(title, {_spoken(name): _shown(value) for name, value in report.items()})
    for take in takes:
        click.echo()
        print_table(f"Take {take['name']}", {_spoken(n): _shown(v) for n, v in take.items()})
    for warning in warnings:
        click.echo(f"{click.style('Warning:', fg='yellow')} {warning}")


def _describe(file: Path) -> tuple[str, dict[str, Any]]:
    from lightstage.session import Session, Take

    if file.is_file():
        from lightstage.cine import CineFile
        from lightstage.cine.describe import describe

        with CineFile(file, allow_truncated=True) as cine:
            return f"Cine {file.name}", describe(cine)
    if Session.is_at(file):
        return f"Session {file.name}", _session(Session.open(file))
    if Take.is_at(file):
        return f"Take {file.name}", _take(Take.open(file))
    return f"Reflectance fields {file.name}", _fields(file)


def _session(session: Any) -> dict[str, Any]:
    manifest, sequence, dome = session.manifest, session.sequence, session.dome
    return {
        "performer": manifest.performer,
        "stage": manifest.stage,
        "note": manifest.note,
        "created": manifest.created.isoformat(),
        "software": manifest.software,
        "lights": len(dome),
        "dome_radius_m": round(dome.radius_m, 3),
        "frame_rate_hz": sequence.frame_rate_hz,
        "exposure_us": sequence.exposure_us,
        "olat_per_tracking": sequence.olat_per_tracking,
        "cycle_frames": sequence.cycle_frames,
        "highest_set_rate_hz": round(sequence.tracking_rate_hz, 2),
        "calibration": _calibration(session.calibration.provenance),
        "takes": [_take(take) for take in session.takes],
    }


def _take(take: Any) -> dict[str, Any]:
    from lightstage.cine import CineFile
    from lightstage.errors import LightstageError
    from lightstage.fields import ReflectanceFields

    report: dict[str, Any] = {"name": take.name, "origin": take.manifest.origin}
    if take.manifest.note:
        report["note"] = take.manifest.note
    if take.cine_path.exists():
        with CineFile(take.cine_path, allow_truncated=True) as cine:
            report["recording"] = (
                f"{len(cine)} frames of {cine.width}x{cine.height}, {cine.cfa}, "
                f"{take.cine_path.stat().st_size / 1e6:.1f} MB"
            )
    else:
        report["recording"] = "gone" if take.cine_path.is_symlink() else "none"
    if not take.aligned_path.exists():
        report["fields"] = "none yet: run 'lightstage preprocess'"
        return report
    try:
        fields = ReflectanceFields.open(take.aligned_path)
    except LightstageError as reason:
        report["fields"] = str(reason)
    else:
        report["fields"] = _fields_line(fields)
        report["calibration"] = _calibration(fields.attributes.get("calibration") or {})
    return report


def _fields_line(fields: Any) -> str:
    rate = f" at {fields.rate_hz:g} Hz" if fields.rate_hz else ""
    return f"{len(fields)} sets{rate}, {fields.lights} lights, {fields.width}x{fields.height}"


def _fields(path: Path) -> dict[str, Any]:
    from lightstage.fields import ReflectanceFields

    fields = ReflectanceFields.open(path)
    report: dict[str, Any] = {
        "sets": len(fields),
        "lights": fields.lights,
        "width": fields.width,
        "height": fields.height,
        "rate_hz": fields.rate_hz,
        "duration_s": round(float(fields.time_s[-1] - fields.time_s[0]), 4),
    }
    for name in ("take", "identified_by", "source", "lightstage_version"):
        if name in fields.attributes:
            report[name] = fields.attributes[name]
    report["calibration"] = _calibration(fields.attributes.get("calibration") or {})
    missing = fields.attributes.get("missing") or []
    report["sets_with_missing_lights"] = len({pair[0] for pair in missing})
    return report


def _calibration(provenance: dict[str, dict[str, str]]) -> list[str]:
    """Return a line for each part: what it is, its hash or file, its day and source."""
    return [
        f"{name} {told.get('digest') or told.get('file')} of {told['made'][:10]}"
        + (f" from {told['source']}" if told.get("source") else "")
        for name, told in provenance.items()
    ]


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return "none" if not value else ", ".join(str(item) for item in value)
    return str(value)
