"""``lightstage plan``: a sequence's timing, data, light order and safety, before any capture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    parse_size,
    print_json,
    print_table,
    quiet_option,
    say,
)

if TYPE_CHECKING:
    from lightstage.light_order import EyeSpectrum, OrderFigures
    from lightstage.safety import SafetyReport
    from lightstage.sequence import CaptureSequence

#: OLAT sets per second, where the sequence allows, as preprocess makes them unless told otherwise.
_SETS_RATE_HZ = 25.0
#: Harmonics in the table, the strongest ones; --json has all.
_MOST_ROWS = 12


@click.command("plan")
@click.option("--sequence", "sequence_file", type=PATH, help="Start from this sequence.json.")
@click.option(
    "--dome", "dome_file", type=PATH, help="The lights, .json or .lp; else evenly spread."
)
@click.option(
    "--lights", type=click.IntRange(1, 4096), metavar="N", help="Lights on the dome. [96]"
)
@click.option(
    "--olat-per-tracking",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="OLAT frames between two tracking frames. [6]",
)
@click.option("--rate", type=float, metavar="FPS", help="Frames per second. [1000]")
@click.option("--exposure", type=float, metavar="US", help="Exposure in microseconds. [700]")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 1e5, min_open=True),
    default=25.0,
    show_default=True,
    metavar="S",
    help="Length of a take.",
)
@click.option(
    "--size", default="2048x1440", show_default=True, metavar="WxH", help="Frame size in pixels."
)
@click.option(
    "--sets-rate",
    type=click.FloatRange(0, 1e6, min_open=True),
    metavar="HZ",
    help="OLAT sets per second, as for preprocess --rate. [25, or what can be made]",
)
@click.option(
    "--radiance",
    type=float,
    metavar="L_B",
    help="Measured blue-light radiance of a light, W/m2/sr.",
)
@click.option("--optimise", is_flag=True, help="Find the light order with the least flicker.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search for the order.")
@click.option("--picture", type=PATH, metavar="FILE", help="Draw the timing and the flicker.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Save the sequence as JSON.")
@quiet_option
@json_option
def command(
    sequence_file: Path | None,
    dome_file: Path | None,
    lights: int | None,
    olat_per_tracking: int | None,
    rate: float | None,
    exposure: float | None,
    seconds: float,
    size: str,
    sets_rate: float | None,
    radiance: float | None,
    optimise: bool,
    seed: int,
    picture: Path | None,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show what a capture sequence takes: timing, data, flicker in the performer's eyes, safety.

    Options override what is in --sequence. With --optimise the light order is found anew.

    Example: [bold]lightstage plan --optimise --picture plan.png -o sequence.json[/bold]
    """
    from lightstage.dome import Dome
    from lightstage.errors import InputError
    from lightstage.light_order import FLICKER_BAND_HZ, OrderFigures, eye_spectrum, optimise_order
    from lightstage.safety import assess

    if not math.isfinite(seconds):
        raise InputError(f"--seconds must be a number, not {seconds}.")
    width, height = parse_size(size)
    if not (width and height):
        raise InputError(f"--size must be at least 1x1, not {size}.")
    dome = None if dome_file is None else Dome.load(dome_file)
    changes = {
        "lights": lights,
        "olat_per_tracking": olat_per_tracking,
        "frame_rate_hz": rate,
        "exposure_us": exposure,
    }
    if dome is not None and lights is None and sequence_file is None:
        changes["lights"] = len(dome)
    sequence = _sequence(
        sequence_file, {name: value for name, value in changes.items() if value is not None}
    )
    dome = dome or Dome.evenly_spread(sequence.lights)
    sets_rate = sets_rate or min(_SETS_RATE_HZ, sequence.tracking_rate_hz)
    take = _take(sequence, seconds, width, height, sets_rate)

    def flicker(of: CaptureSequence) -> EyeSpectrum:
        return eye_spectrum(of, dome, up_to_hz=FLICKER_BAND_HZ[1]).within(*FLICKER_BAND_HZ)

    figures = {"before": OrderFigures.of(sequence, dome)}
    spectra = {"before": flicker(sequence)}
    if optimise:
        found = optimise_order(sequence, dome, seed=seed)
        sequence = found.sequence
        figures["after"], spectra["after"] = found.after, flicker(sequence)
    report = assess(sequence, dome, seconds, radiance)

    if output is not None:
        sequence.save(output)
    if picture is not None:
        _draw(picture, sequence, spectra)
    timing = _timing(sequence)
    if as_json:
        print_json(
            {
                "timing": timing,
                "take": take,
                "light_order": list(sequence.light_order),
                "order": {name: vars(item) for name, item in figures.items()},
                "spectrum": _spectrum_rows(spectra),
                "safety": report.model_dump(mode="json")
                | {"refused": bool(report.refusals), "needs_consent": report.needs_consent},
                "sequence": None if output is None else str(output),
                "picture": None if picture is None else str(picture),
            }
        )
    elif not quiet:
        _print(sequence, timing, take, figures, spectra, report)
        for path in (output, picture):
            if path is not None:
                say(f"wrote {path}")


def _sequence(path: Path | None, changes: dict[str, Any]) -> CaptureSequence:
    """Return the sequence in ``path``, or the default one, with ``changes``."""
    from lightstage.sequence import CaptureSequence

    if path is None:
        return CaptureSequence.parse(changes, "plan")
    data = CaptureSequence.load(path).model_dump()
    # what was fitted to the old number of lights or exposure is fitted to the new ones
    if changes.get("lights", data["lights"]) != data["lights"]:
        del data["light_order"], data["tracking_pulse_us"]
    elif changes.get("exposure_us", data["exposure_us"]) != data["exposure_us"]:
        del data["tracking_pulse_us"]
    return CaptureSequence.parse(data | changes, str(path))


def _timing(sequence: CaptureSequence) -> dict[str, Any]:
    return {
        "frame_rate_hz": sequence.frame_rate_hz,
        "frame_period_us": sequence.frame_period_us,
        "lead_us": sequence.lead_us,
        "exposure_us": sequence.exposure_us,
        "lag_us": sequence.lag_us,
        "settle_us": sequence.settle_us,
        "spare_us": sequence.spare_us,
        "olat_pulse_us": sequence.olat_pulse_us,
        "tracking_pulse_us": sequence.tracking_pulse_us,
        "lights": sequence.lights,
        "olat_per_tracking": sequence.olat_per_tracking,
        "groups": sequence.groups,
        "cycle_frames": sequence.cycle_frames,
        "cycle_ms": sequence.cycle_frames * sequence.frame_period_us / 1e3,
        "window_frames": sequence.frames_per_window,
        "most_sets_per_s": sequence.tracking_rate_hz,
    }


def _take(
    sequence: CaptureSequence, seconds: float, width: int, height: int, sets_rate: float
) -> dict[str, Any]:
    """Return a take's frames, windows and bytes; raises SequenceError for too many sets/s."""
    frames = max(1, round(seconds * sequence.frame_rate_hz))
    enough = sequence.frame_count_for(1, sets_rate)
    # each group more is a window more, so that a long take's need not be listed
    listed = min(frames, enough + (frames - enough) % sequence.period)
    windows = len(sequence.possible_centres(listed)) + (frames - listed) // sequence.period
    intervals = (windows - 1) * sequence.period * sets_rate / sequence.frame_rate_hz
    sets = math.floor(intervals + 1e-9) + 1 if windows else 0
    # as docs/formats/aligned.md has it: half floats of each light and of the full-lit frame, and
    # each light's confidence
    one_set = (sequence.lights + 1) * height * width * 3 * 2 + sequence.lights * 4
    return {
        "seconds": seconds,
        "width": width,
        "height": height,
        "frames": frames,
        "windows": windows,
        "sets_per_s": sets_rate,
        "sets": sets,
        "camera_bytes": frames * width * height,
        "aligned_bytes": sets * one_set,
    }


def _draw(path: Path, sequence: CaptureSequence, spectra: dict[str, EyeSpectrum]) -> None:
    from lightstage.images import write_image
    from lightstage.report.sequence_plot import FlickerSeries, sequence_picture

    names = {"before": "before", "after": "optimised"} if len(spectra) > 1 else {"before": "now"}
    series = [FlickerSeries(names[name], spectrum) for name, spectrum in spectra.items()]
    write_image(path, sequence_picture(sequence, series))


def _spectrum_rows(spectra: dict[str, EyeSpectrum]) -> list[dict[str, float]]:
    """Return each harmonic from 3 to 70 Hz with its worst gaze's modulation and its limit."""
    from lightstage.safety import low_risk_percent

    rows: list[dict[str, float]] = []
    for index, frequency in enumerate(spectra["before"].frequency_hz.tolist()):
        row = {"frequency_hz": frequency, "low_risk_percent": low_risk_percent(frequency)}
        for name, spectrum in spectra.items():
            row[f"{name}_percent"] = float(spectrum.worst_percent[index])
        rows.append(row)
    return rows


def _print(
    sequence: CaptureSequence,
    timing: dict[str, Any],
    take: dict[str, Any],
    figures: dict[str, OrderFigures],
    spectra: dict[str, EyeSpectrum],
    report: SafetyReport,
) -> None:
    units = {"us": "us", "ms": "ms", "hz": "Hz"}
    shown = {}
    for name, value in timing.items():
        words, _, unit = name.rpartition("_")
        known = unit in units
        text = f"{value:.5g}" + (f" {units[unit]}" if known else "")
        shown[(words if known else name).replace("_", " ")] = text
    print_table("Timing", shown)
    print_table(
        f"\nA take of {take['seconds']:g} s",
        {
            "frames": f"{take['frames']} of {take['width']}x{take['height']}",
            "windows": f"{take['windows']}, one for each tracking frame",
            "sets": f"{take['sets']}, at {take['sets_per_s']:.4g} sets/s",
            "camera memory": f"{_bytes(take['camera_bytes'])}, 8 bits a pixel",
            "aligned fields": f"{_bytes(take['aligned_bytes'])} before compression",
        },
    )
    rows = {
        "worst harmonic": [f"{f.worst_percent:.1f} % at {f.worst_at_hz:.3g} Hz" for f in
                           figures.values()],
        "all together (RMS)": [f"{f.total_percent:.1f} %" for f in figures.values()],
        "nearest to the next light": [f"{f.nearest_deg:.0f} deg" for f in figures.values()],
        "mean to the next light": [f"{f.mean_deg:.0f} deg" for f in figures.values()],
    }  # fmt: skip
    print_table(
        "\nLight order, flicker 3 to 70 Hz",
        {name: _then(values) for name, values in rows.items()},
    )
    harmonics = _spectrum_rows(spectra)
    strongest = sorted(harmonics, key=lambda row: -row["before_percent"])[:_MOST_ROWS]
    print_table(
        "\nFlicker at the eyes"
        + (", the strongest harmonics" if len(harmonics) > len(strongest) else ""),
        {
            f"{row['frequency_hz']:.3g} Hz": _then(
                [f"{row[f'{name}_percent']:.1f} %" for name in spectra]
            )
            + f"   (low risk: {row['low_risk_percent']:.2g} %)"
            for row in sorted(strongest, key=lambda row: row["frequency_hz"])
        },
    )
    print_table(
        "\nSafety (a qualified person must confirm it; docs/safety.md)",
        {f"{f.severity.value}: {f.subject}": f.text for f in report.findings},
    )


def _then(values: list[str]) -> str:
    return " -> ".join(values)


def _bytes(count: int) -> str:
    """Return a number of bytes as people say it, in powers of 1000."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
