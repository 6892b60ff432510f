"""What a simulated Phantom answers to each PH16 command."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware_protocols.phantom import (
    Answer,
    Command,
    Failure,
    Reply,
    Resolution,
    Struct,
    Success,
    TimeStamp,
    Value,
    Word,
    format_time_stamp,
    since_year_ns,
)
from lightstage.cine import CineWriter
from lightstage.simulation.phantom_data_link import DataLink
from lightstage.simulation.phantom_faults import CameraFaults
from lightstage.simulation.phantom_parameters import RefusedSetting
from lightstage.simulation.phantom_recorder import Exposure, Recorder, RefusedError

if TYPE_CHECKING:
    from lightstage.cine.pixel_format import ColourFilter

#: Given an exposure's start and length (ns, stage time) and its place since arming, the frame as
#: stored: (height, width), uint8, or uint16 of 12 bits.
PictureSource = Callable[[int, int, int], NDArray[np.uint8 | np.uint16]]

_RECORD_SIZE = {0: 8, 1: 12, 2: 24, 3: 28}
_GARBAGE = b"\xff" * 28
_BUSY = "an automatic operation is in progress"


class Client(Protocol):
    """The control connection that a command came by."""

    host: str
    notify: bool


class PhantomCommands:
    """Answers commands; owns the data link and the camera's drive.

    Args:
        recorder: cines and parameters.
        picture_source: makes pixels.
        faults: what goes wrong.
        accept_attached: returns the connection that came from (host, port) to the attach port.
    """

    def __init__(
        self,
        recorder: Recorder,
        picture_source: PictureSource,
        faults: CameraFaults,
        accept_attached: Callable[[str, int], socket.socket | None],
    ) -> None:
        self.recorder, self.faults = recorder, faults
        self._picture_source = picture_source
        self._accept_attached = accept_attached
        self._link: DataLink | None = None
        self._links = 0
        self._busy_left = faults.busy_commands
        self._drive = tempfile.TemporaryDirectory(prefix="phantom-drive-")
        self._saver: threading.Thread | None = None
        self._closing = threading.Event()
        self._verbs: dict[str, Callable[[Client, Command], Reply]] = {
            "get": self._get,
            "set": self._set,
            "rec": self._rec,
            "del": self._del,
            "trig": self._trig,
            "partition": self._partition,
            "cstats": self._cstats,
            "notify": self._notify,
            "startdata": self._startdata,
            "attach": self._attach,
            "img": self._img,
            "time": self._time,
            "cfls": self._cfls,
            "cfsave": self._cfsave,
            "cfread": self._cfread,
        }

    def answer(self, client: Client, command: Command) -> Reply:
        """Return the reply to a command, having done what it says."""
        self.recorder.advance()
        act = self._verbs.get(command.verb)
        if act is None:
            return Failure(f"command {command.verb}  is unknown")
        if self._busy_left and command.verb in ("del", "rec", "img"):
            self._busy_left -= 1
            return Failure(_BUSY)
        try:
            return act(client, command)
        except (RefusedError, RefusedSetting) as reason:
            return Failure(str(reason))

    def close(self) -> None:
        """Close the data link and forget the drive."""
        self._closing.set()
        if self._saver is not None:
            self._saver.join()
        if self._link is not None:
            self._link.close()
        self._drive.cleanup()

    # Parameters and states

    def _get(self, _: Client, command: Command) -> Reply:
        path = command.name or ""
        root, rest = (*path.split(".", 1), "")[:2]
        found: Value | None
        if root[:1] == "c" and root[1:].isascii() and root[1:].isdecimal():
            number = int(root[1:])
            if number and number not in self.recorder.cines:
                return Failure(f"name {root}  is unknown")
            found = self.recorder.describe(number)
            for part in rest.split(".") if rest else ():
                found = found.get(part) if isinstance(found, dict) else None
        else:
            found = self.recorder.parameters.get(path)
        if found is None:
            return Failure(f"name {path}  is unknown")
        return Answer(path.rpartition(".")[2], found)

    def _set(self, _: Client, command: Command) -> Reply:
        if command.name is None or command.value is None:
            return Failure("a name and a value are expected")
        self.recorder.parameters.set(command.name, command.value)
        return Success()

    def _rec(self, _: Client, command: Command) -> Reply:
        if command.value == 0:
            self.recorder.stop()
        else:
            number = command.value
            if number is not None and not isinstance(number, int):
                raise RefusedError("invalid cine number")
            self.recorder.arm(number)
        return Success()

    def _del(self, _: Client, command: Command) -> Reply:
        self.recorder.cine(command.value)
        assert isinstance(command.value, int)
        self.recorder.delete(command.value)
        return Success()

    def _trig(self, _: Client, command: Command) -> Reply:
        self.recorder.trigger()
        return Success()

    def _partition(self, _: Client, command: Command) -> Reply:
        if not isinstance(command.value, int) or not 1 <= command.value <= 16:
            raise RefusedError("invalid cine number")
        self.recorder.repartition(command.value)
        return Success()

    def _cstats(self, _: Client, command: Command) -> Reply:
        numbers = (0, *self.recorder.cines)
        return Answer("cstats", {f"c{n}": {"state": self.recorder.state(n)} for n in numbers})

    def _notify(self, client: Client, command: Command) -> Reply:
        client.notify = command.value != 0
        return Success()

    # Data

    def _startdata(self, client: Client, command: Command) -> Reply:
        port = _member(command, "port")
        if self.faults.refuse_startdata or not isinstance(port, int) or not 0 < port < 1 << 16:
            raise RefusedError("Cannot start data conn")
        try:
            connection = socket.create_connection((client.host, port), timeout=2.0)
        except OSError:
            raise RefusedError("Cannot start data conn") from None
        self._link_to(connection)
        return Success()

    def _attach(self, client: Client, command: Command) -> Reply:
        port = _member(command, "port")
        connection = self._accept_attached(client.host, port) if isinstance(port, int) else None
        if connection is None:
            raise RefusedError("attach failure")
        self._link_to(connection)
        return Success()

    def _link_to(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        if self._link is not None:
            self._link.close()
        self._link = DataLink(connection, self.faults, self._links < self.faults.data_fault_times)
        self._links += 1

    def _data_link(self) -> DataLink:
        if self._link is None:
            raise RefusedError("data transfer disabled")
        return self._link

    def _img(self, _: Client, command: Command) -> Reply:
        cine, start, count = (_member(command, name) for name in ("cine", "start", "cnt"))
        code = _member(command, "fmt")
        frames = self.recorder.stored(cine, start, count)
        if code not in (8, -8, Word("8R"), 272, -272, Word("P16"), Word("P16R")):
            raise RefusedError("unsupported image format")
        wide = code not in (8, -8, "8R")
        link = self._data_link()
        resolution = self._resolution(cine)
        link.send(self._pixels(frames, resolution, wide))
        return Success({"cine": cine or 0, "res": resolution, "fmt": code or 8})

    def _pixels(
        self, frames: list[Exposure], resolution: Resolution, wide: bool
    ) -> Iterator[memoryview]:
        for frame in frames:
            yield self._stored_frame(frame, resolution, wide).reshape(-1).view(np.uint8).data

    def _stored_frame(
        self, frame: Exposure, resolution: Resolution, wide: bool
    ) -> NDArray[np.uint8 | np.uint16]:
        picture = self._picture_source(*frame)
        if picture.shape != (resolution.height, resolution.width):
            # a simulation that is put together wrongly sends what the client can tell
            picture = np.zeros((resolution.height, resolution.width), picture.dtype)
        if wide:
            return np.ascontiguousarray(
                picture.astype("<u2") << (4 if picture.dtype == np.uint8 else 0)
            )
        return np.ascontiguousarray(
            picture if picture.dtype == np.uint8 else (picture >> 4).astype(np.uint8)
        )

    def _resolution(self, number: object) -> Resolution:
        found = self.recorder.cine(number).settings["res"]
        assert isinstance(found, Resolution)
        return found

    def _time(self, _: Client, command: Command) -> Reply:
        cine, start, count = (_member(command, name) for name in ("cine", "start", "cnt"))
        frames = self.recorder.stored(cine, start, count)
        link = self._data_link()
        size = _RECORD_SIZE.get(int(self.recorder.parameters.number("cam", "tsformat")), 12)
        held = self.recorder.cine(cine)
        garbage = {index % len(held.frames) for index in self.faults.garbage_stamps}
        first = int(start) - held.first if isinstance(start, int) else 0
        link.send(
            [
                b"".join(
                    _GARBAGE[:size] if first + place in garbage else self._stamp(frame, size)
                    for place, frame in enumerate(frames)
                )
            ]
        )
        return Success({"cine": cine or 0, "cnt": len(frames), "size": size})

    def _stamp(self, frame: Exposure, size: int) -> bytes:
        clock = self.recorder.clock
        end_ns = clock.utc_ns(frame.start_ns + frame.exposure_ns)
        return format_time_stamp(TimeStamp(since_year_ns(end_ns), frame.exposure_ns), size)

    # The drive

    def _cfls(self, _: Client, command: Command) -> Reply:
        files = sorted(Path(self._drive.name).glob("*.cine"))
        if not files:
            return Success()
        return Success(
            {f"f{n}": {"name": f.name, "size": f.stat().st_size} for n, f in enumerate(files)}
        )

    def _cfsave(self, _: Client, command: Command) -> Reply:
        cine = self.recorder.cine(_member(command, "cine"))
        if cine.state != "STR":
            raise RefusedError("requested cine not stored")
        if self._saver is not None and self._saver.is_alive():
            raise RefusedError(_BUSY)
        self.recorder.parameters.tree["auto"]["progress"] = 0
        number = len(list(Path(self._drive.name).glob("*.cine"))) + 1
        path = Path(self._drive.name) / f"recording{number:04d}.cine"
        frames, first = list(cine.frames), cine.first
        resolution = self._resolution(_member(command, "cine"))

        def save() -> None:
            clock, model = self.recorder.clock, self.recorder.parameters.model
            cfa: ColourFilter = model.cfa  # type: ignore[assignment]
            with CineWriter(
                path,
                width=resolution.width,
                height=resolution.height,
                frame_count=len(frames),
                frame_rate_hz=float(self.recorder.parameters.number("defc", "rate")),
                exposure_us=frames[0].exposure_ns / 1000,
                cfa=cfa,
                first_frame_number=first,
                trigger_time_ns=clock.utc_ns(cine.trigger_ns or 0),
                camera_model=model.model,
                serial=model.serial,
            ) as writer:
                for done, frame in enumerate(frames, 1):
                    if self._closing.is_set():
                        break
                    pixels = self._stored_frame(frame, resolution, wide=False)
                    writer.write(pixels, clock.utc_ns(frame.start_ns), frame.exposure_ns)
                    # 100 only once the file has its name
                    self.recorder.parameters.tree["auto"]["progress"] = 99 * done // len(frames)
            cine.saved = True
            self.recorder.parameters.tree["auto"]["progress"] = 100

        self._saver = threading.Thread(target=save, name="phantom-save")
        self._saver.start()
        return Success()

    def _cfread(self, _: Client, command: Command) -> Reply:
        name, offset, count = (_member(command, key) for key in ("filename", "offset", "count"))
        path = Path(self._drive.name) / str(name)
        if path.parent != Path(self._drive.name) or not path.is_file():
            raise RefusedError("cannot open file")
        if not isinstance(offset, int) or not isinstance(count, int) or offset < 0 or count < 0:
            raise RefusedError("count should be > 0")
        link = self._data_link()
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(min(count, 1 << 26))
        if data:
            link.send([data])
        return Success({"count": len(data)})


def _member(command: Command, name: str) -> Value | None:
    values: Value | None = command.value
    if not isinstance(values, dict):
        return None
    known: Struct = values
    return known.get(name)
