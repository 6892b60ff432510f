"""``lightstage doctor``: what is here, what is connected, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json

State = Literal["good", "note", "missing"]

#: Packages that every part needs, and what they are for.
_LIBRARIES = {
    "numpy": "arrays",
    "scipy": "geometry",
    "cv2": "flow, demosaic, pictures",
    "zarr": "stores",
    "zarrs": "quick stores",
    "distributed": "worker processes and clusters",
    "OpenEXR": "EXR",
    "av": "films",
    "serial": "the LED controller's line",
    "cobs": "the LED controller's frames",
}
_OPTIONAL = {
    "torch": ("the learnt performer", "pip install 'lightstage[model]'"),
    "fastapi": ("the viewer", "pip install 'lightstage[view]'"),
}


class Line(NamedTuple):
    """One thing that was looked at."""

    what: str
    state: State
    text: str


@click.command("doctor")
@click.option("--stage", "stage_path", type=PATH, metavar="FILE", help="Ask this stage's devices.")
@json_option
def command(stage_path: Path | None, as_json: bool) -> None:
    """Tell what is installed, what is connected, what is missing and how to get it.

    Example: [bold]lightstage doctor --stage stage.toml[/bold]
    """
    lines = [*_machine(), *_libraries(), *_ports()]
    if stage_path is not None:
        lines += _stage(stage_path)
    else:
        lines.append(Line("stage", "note", "name a stage file with --stage to ask its devices"))
    if as_json:
        print_json({"checks": [line._asdict() for line in lines]})
    else:
        marks = {
            "good": click.style("ok     ", fg="green"),
            "note": click.style("note   ", fg="cyan"),
            "missing": click.style("missing", fg="red"),
        }
        for line in lines:
            click.echo(f"{marks[line.state]} {line.what}: {line.text}")
    missing = [line for line in lines if line.state == "missing"]
    if missing:
        from lightstage.errors import DeviceError

        names = ", ".join(line.what for line in missing)
        raise DeviceError(f"not everything is in order: {names}; see above for what to do.")


def _machine() -> list[Line]:
    import platform
    import shutil

    import psutil

    from lightstage import __version__

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(".")
    return [
        Line("lightstage", "good", f"{__version__}, Python {platform.python_version()}"),
        Line(
            "machine",
            "good",
            f"{psutil.cpu_count()} cores, {memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} "
            f"GB of memory free, {disk.free / 1e9:.0f} GB of disk free here",
        ),
    ]


def _libraries() -> list[Line]:
    import importlib

    lines = []
    for name, use in _LIBRARIES.items():
        try:
            module = importlib.import_module(name)
        except ImportError as reason:
            text = f"{use}: cannot be imported ({reason}); install lightstage again"
            lines.append(Line(name, "missing", text))
        else:
            version = getattr(module, "__version__", "present")
            lines.append(Line(name, "good", f"{version}, for {use}"))
    from importlib.util import find_spec

    for name, (use, how) in _OPTIONAL.items():
        there = find_spec(name) is not None
        text = f"present, for {use}" if there else f"not installed; for {use}: {how}"
        lines.append(Line(name, "good" if there else "note", text))
    return lines


def _ports() -> list[Line]:
    from serial.tools import list_ports

    ports = [f"{port.device} ({port.description})" for port in list_ports.comports()]
    text = ", ".join(ports) or "none; plug the LED controller in, or use the simulated stage"
    return [Line("serial ports", "good" if ports else "note", text)]


def _stage(path: Path) -> list[Line]:
    """Ask each device of a stage who it is; the reason is given where one does not answer."""
    from contextlib import closing

    from lightstage.devices.phantom import PhantomCamera
    from lightstage.devices.serial_led import SerialLedController
    from lightstage.devices.stage import Stage
    from lightstage.errors import DeviceError

    stage = Stage.load_toml(path)
    lines: list[Line] = []

    def ask(what: str, address: str, driver: Any) -> None:
        if address.startswith("simulated:"):
            lines.append(Line(what, "good", "simulated"))
            return
        try:
            with closing(driver(address)) as device:
                who = device.identify()
        except DeviceError as reason:
            lines.append(Line(what, "missing", str(reason)))
        else:
            name = getattr(who, "product", None) or getattr(who, "model", "")
            lines.append(
                Line(what, "good", f"{name} {who.serial}, firmware {who.firmware_version}")
            )

    ask("LED controller", stage.leds, SerialLedController)
    ask("camera", stage.camera, PhantomCamera)
    measured = stage.radiance_w_m2_sr is not None
    text = (
        f"{stage.radiance_w_m2_sr:g} W/m2/sr"
        if measured
        else "not measured; capture with a performer is refused without radiance_w_m2_sr"
    )
    lines.append(Line("LED radiance", "good" if measured or stage.is_simulated else "note", text))
    return lines
