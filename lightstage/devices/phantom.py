"""The driver of a Phantom high-speed camera, over PH16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from firmware_protocols.phantom import (
    Flags,
    ProtocolError,
    Resolution,
    Struct,
    Value,
    Word,
    trigger_ns,
)
from lightstage.devices.interfaces import (
    CameraIdentity,
    CameraSettings,
    ColourFilter,
    FrameFormat,
    Progress,
    Recording,
)
from lightstage.devices.phantom_connection import PhantomConnection, as_number
from lightstage.devices.phantom_data import REQUEST_BYTES, DataMode, PhantomData
from lightstage.devices.phantom_discovery import DiscoveredCamera, discover
from lightstage.devices.phantom_drive import CameraDrive
from lightstage.devices.phantom_stamps import exposure_times
from lightstage.errors import DeviceError

__all__ = ["DiscoveredCamera", "PhantomCamera", "discover"]

#: info.cfa, low byte (the top nibble marks gray heads); 1 and 2 are old heads of unknown layout.
_CFA: dict[int, ColourFilter] = {0: "GRAY", 3: "GBRG", 4: "RGGB", 5: "GRBG", 6: "BGGR"}
_SYNC: Final = {"internal": 0, "external": 1}
#: The vendor's black and white levels by depth.
_LEVELS = {8: (4, 254), 10: (16, 1016), 12: (64, 4064), 14: (256, 16256), 16: (1024, 65024)}
#: Stamps are asked for in blocks of this many.
_STAMPS = 8192


class PhantomCamera:
    """A Phantom camera behind ``phantom:HOST[:PORT]``; implements :class:`Camera`.

    Args:
        address: where it is; the control port is 7115 unless told, data attaches at the next one.
        timeout_s: how long any reply, or the next bytes of data, may take.
        data: who makes the data connection: "startdata" the camera, "attach" this computer, "auto"
            the one, and where that fails the other.
        image_format: "8" (one byte a pixel) or "P16" (two, as many bits as were recorded).
        cine: which of the camera's memory partitions to record into.
        request_bytes: the most that is asked for at once; the protocol's limit is 2 GB.

    Raises:
        InputError: the address is none.
        DeviceError: nothing answers there.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float = 5.0,
        *,
        data: DataMode = "auto",
        image_format: Literal["8", "P16"] = "8",
        cine: int = 1,
        request_bytes: int = REQUEST_BYTES,
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.cine = cine
        self.control = PhantomConnection(address, timeout_s)
        self.data = PhantomData(self.control, data)
        self.drive = CameraDrive(self.control, self.data)
        self._image_format = image_format
        self._request_bytes = min(request_bytes, (2 << 30) - 1)

    def identify(self) -> CameraIdentity:
        """Return who it is and what it can do."""
        info = self.control.get_struct("info")
        return CameraIdentity(
            model=str(info.get("model", "")),
            serial=str(info.get("serial", "")),
            firmware_version=f"{info.get('fver', '')} (software {info.get('swver', '')})",
            width_max=self._integer(info, "xmax"),
            height_max=self._integer(info, "ymax"),
            width_step=self._integer(info, "xinc"),
            height_step=self._integer(info, "yinc"),
            exposure_min_ns=self._integer(info, "minexp"),
            dead_time_ns=self._integer(info, "expdead"),
            memory_mb=self._integer(info, "cinemem" if "cinemem" in info else "memsz"),
            cfa=_CFA.get(self._integer(info, "cfa") & 0xFF, "UNKNOWN"),
        )

    def configure(self, settings: CameraSettings) -> CameraSettings:
        """Set the camera up and return what it made of the settings, read back.

        Raises:
            DeviceError: the camera cannot do the job: wrong picture size, exposure and dead time
                that fill the period (over-triggering: every other frame would be lost), too slow,
                or no memory for the frames after the trigger.
        """
        identity = self.identify()
        self._check_wanted(settings, identity)
        control = self.control
        control.set("cam.syncimg", _SYNC[settings.sync])
        if settings.sync == "internal":
            control.set("cam.aux1mode", 0)  # strobe out, which steps the lights
        control.set(
            "defc",
            {
                "res": Resolution(settings.width, settings.height),
                "rate": settings.frame_rate_hz,
                "exp": settings.exposure_ns,
                "ptframes": settings.post_trigger_frames,
            },
        )
        defc = control.get_struct("defc")
        sync = control.get_number("cam.syncimg")
        resolution = self._resolution(defc)
        became = CameraSettings(
            width=resolution.width,
            height=resolution.height,
            frame_rate_hz=self._number(defc, "rate"),
            exposure_ns=self._integer(defc, "exp"),
            post_trigger_frames=self._integer(defc, "ptframes"),
            sync="internal" if sync == 0 else "external",
        )
        if sync != _SYNC[settings.sync]:
            raise self._unfit("synchronisation", settings.sync, f"syncimg {sync:g}")
        if (became.width, became.height) != (settings.width, settings.height):
            size = f"{became.width} x {became.height}"
            raise self._unfit("picture size", f"{settings.width} x {settings.height}", size)
        if became.frame_rate_hz < 0.999 * settings.frame_rate_hz:
            rate = f"{became.frame_rate_hz:g} fps"
            raise self._unfit("frame rate", f"{settings.frame_rate_hz:g} fps", rate)
        if became.post_trigger_frames < settings.post_trigger_frames:
            raise self._unfit(
                "frames after the trigger",
                str(settings.post_trigger_frames),
                f"{became.post_trigger_frames}: its memory holds no more; record less at once",
            )
        self._check_period(settings, became.exposure_ns, identity.dead_time_ns)
        return became

    def arm(self, *, discard_stored: bool = False) -> None:
        """Record into memory and wait for a trigger; return once it truly waits.

        Raises:
            DeviceError: a recording is stored and may not be discarded, or the camera did not
                begin to wait in time.
        """
        state = self.state()
        if "STR" in state:
            # 'rec' would delete it without a word
            if not discard_stored:
                raise DeviceError(
                    f"{self.address}: cine {self.cine} holds a recording that arming would delete. "
                    "Download it first, or say that it may be discarded."
                )
            self.control.ask("del", value=self.cine)
        self.control.notifications.clear()
        self.control.ask("rec", value=self.cine)
        self.control.wait_until(
            lambda: "WTR" in self.state(),
            self.timeout_s,
            lambda: (
                f"did not begin to wait for a trigger within {self.timeout_s:g} s; cine "
                f"{self.cine} is {' '.join(self.state())}."
            ),
        )

    def trigger(self) -> None:
        """Trigger by software.

        Raises:
            DeviceError: the camera does not wait for a trigger.
        """
        self.control.ask("trig")

    def wait_recorded(self, timeout_s: float, progress: Progress | None = None) -> Recording:
        """Wait until the recording is stored.

        Args:
            timeout_s: how long from now.
            progress: called with (frames after the trigger so far, how many there will be).

        Raises:
            DeviceError: no trigger came, too few frames came after it, or nothing is recording.
        """
        wanted = self._integer(self.control.get_struct("defc"), "ptframes")

        def stored() -> bool:
            state = self.state()
            if not {"STR", "WTR", "TRG"} & set(state):
                raise DeviceError(
                    f"{self.address}: cine {self.cine} is {' '.join(state)}: nothing is being "
                    "recorded. It was stopped, or never armed."
                )
            if progress is not None and wanted > 0 and "WTR" not in state:
                progress(min(max(self._cine_number("lastfr") + 1, 0), wanted), wanted)
            return "STR" in state

        def failure() -> str:
            if "WTR" in self.state():
                return f"no trigger came within {timeout_s:g} s. Check the trigger line."
            came = max(self._cine_number("lastfr") + 1, 0)
            return (
                f"only {came} of {wanted} frames came after the trigger within {timeout_s:g} s. "
                "Check the F-Sync line and that the LED controller runs."
            )

        self.control.wait_until(stored, timeout_s, failure)
        return self.recording()

    def recording(self) -> Recording:
        """Return the stored recording.

        Raises:
            DeviceError: none is stored, or what the camera says of it cannot be.
        """
        return self._recording(self._stored_cine())

    def timestamps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return exposure starts (UTC, ns since 1970) and exposures (ns) of the recording.

        One of each for every frame. The camera stamps an exposure's end; the start is that less
        the exposure. A stamp that cannot be true (no time of any year, more than a day from the
        trigger, out of order among its neighbours) is 0, and the log names its frame.

        Raises:
            DeviceError: fewer than half of the stamps can be true, or they could not be had.
        """
        recording = self.recording()

        def ask(first: int, asked: int) -> tuple[Struct, int]:
            values = self._ask_range("time", first, asked)
            size = self._integer(values, "size")
            if size not in (8, 12, 24, 28) or self._integer(values, "cnt") != asked:
                raise DeviceError(f"{self.address}: 'time' was answered with {values!r}.")
            return values, size

        blocks = self.data.items(
            ask,
            recording.first_frame_number,
            recording.frame_count,
            per_block=_STAMPS,
            per_request=_STAMPS,
            what="time stamps",
        )
        return exposure_times(self.address, recording, blocks, _STAMPS)

    def frame_format(self) -> FrameFormat:
        """Return how the frames that :meth:`frames` yields are laid out."""
        return self._frame_format(self._stored_cine())

    def frames(
        self, first: int, count: int, progress: Progress | None = None
    ) -> Iterator[memoryview]:
        """Yield the raw frames ``first … first + count - 1`` (camera's numbers), top row first.

        Each lies in memory of its own; the top row first is what PH16 says of no format and real
        software relies on (inferred). A data connection that breaks, stalls or delivers short is
        made anew and gone on with at the first frame that is missing; see
        :meth:`PhantomData.items`.

        Raises:
            DeviceError: the frames are not in the recording, or could not be had; the text names
                what came and what is missing.
        """
        cine = self._stored_cine()
        layout, recording = self._frame_format(cine), self._recording(cine)
        last = recording.first_frame_number + recording.frame_count - 1
        if count < 1 or first < recording.first_frame_number or first + count - 1 > last:
            raise DeviceError(
                f"{self.address}: frames {first} to {first + count - 1} were asked for, the "
                f"recording has {recording.first_frame_number} to {last}."
            )
        value_bytes = 1 if layout.bit_depth == 8 else 2
        frame_bytes = layout.width * layout.height * value_bytes

        def ask(begin: int, asked: int) -> tuple[Struct, int]:
            code: Value = 8 if self._image_format == "8" else Word(self._image_format)
            values = self._ask_range("img", begin, asked, fmt=code)
            came = values.get("res", Resolution(layout.width, layout.height))
            if came != (layout.width, layout.height):
                raise DeviceError(f"{self.address}: frames of {came} come, not of {layout}.")
            return values, frame_bytes

        yield from self.data.items(
            ask,
            first,
            count,
            per_block=1,
            per_request=max(1, self._request_bytes // frame_bytes),
            what="frames",
            progress=progress,
        )

    def abort(self) -> None:
        """Stop recording; a recording that is stored stays. Does nothing if nothing records."""
        if {"WTR", "TRG"} & set(self.state()):
            self.control.ask("rec", value=0)

    def close(self) -> None:
        """Close the connections; may be called again."""
        self.data.close()
        self.control.close()

    def __enter__(self) -> PhantomCamera:
        """Return the camera."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def state(self) -> Flags:
        """Return the state of the cine: ``WTR``, ``TRG``, ``STR`` and others."""
        state = self.control.get(f"c{self.cine}.state")
        if not isinstance(state, Flags):
            raise DeviceError(f"{self.address}: a cine's state should be a list, not {state!r}.")
        return state

    # What the camera says

    def _stored_cine(self) -> Struct:
        cine = self.control.get_struct(f"c{self.cine}")
        state = cine.get("state")
        if not isinstance(state, Flags) or "STR" not in state:
            raise DeviceError(
                f"{self.address}: cine {self.cine} holds no finished recording; its state is "
                f"{state}."
            )
        return cine

    def _recording(self, cine: Struct) -> Recording:
        first, last = self._integer(cine, "firstfr"), self._integer(cine, "lastfr")
        if last < first:
            raise DeviceError(f"{self.address}: a recording of frames {first} to {last} cannot be.")
        trigger = cine.get("trigtime")
        trigger = trigger if isinstance(trigger, dict) else {}
        try:
            time_ns = trigger_ns(self._integer(trigger, "secs"), self._integer(trigger, "frac"))
        except ProtocolError as reason:
            raise DeviceError(f"{self.address}: the trigger's time is damaged: {reason}") from None
        return Recording(first, last - first + 1, time_ns)

    def _frame_format(self, cine: Struct) -> FrameFormat:
        resolution = self._resolution(cine)
        info, cam = cine.get("info"), cine.get("cam")
        info = info if isinstance(info, dict) else {}
        cam = cam if isinstance(cam, dict) else {}
        code = self._integer(info, "cfa") & 0xFF
        if code not in _CFA:
            raise DeviceError(
                f"{self.address}: the layout of colour filter {code} is not known to the toolkit."
            )
        depth = 8 if self._image_format == "8" else self._integer(cam, "membpp")
        if depth not in _LEVELS:
            raise DeviceError(f"{self.address}: recordings of {depth} bits are not known.")
        return FrameFormat(*resolution, depth, _CFA[code], *_LEVELS[depth])

    def _ask_range(self, verb: str, first: int, count: int, **more: Value) -> Struct:
        value: Struct = {"cine": self.cine, "start": first, "cnt": count, **more}
        return self.control.ask(verb, value=value)

    def _cine_number(self, name: str) -> int:
        return int(self.control.get_number(f"c{self.cine}.{name}"))

    def _number(self, values: Struct, name: str) -> float:
        return as_number(self.address, name, values.get(name))

    def _integer(self, values: Struct, name: str) -> int:
        return round(self._number(values, name))

    def _resolution(self, values: Struct) -> Resolution:
        found = values.get("res")
        if not isinstance(found, Resolution) or 0 in found:
            raise DeviceError(f"{self.address}: res should be a picture size, not {found!r}.")
        return found

    # What can be told before, and after

    def _check_wanted(self, settings: CameraSettings, identity: CameraIdentity) -> None:
        for name, size, step, most in (
            ("width", settings.width, identity.width_step, identity.width_max),
            ("height", settings.height, identity.height_step, identity.height_max),
        ):
            if not 0 < size <= most or size % step:
                raise DeviceError(
                    f"{self.address}: a {name} of {size} cannot be recorded: a multiple of {step} "
                    f"up to {most} is expected."
                )
        if settings.exposure_ns < identity.exposure_min_ns:
            raise DeviceError(
                f"{self.address}: an exposure of {settings.exposure_ns} ns is too short: the "
                f"camera's shortest is {identity.exposure_min_ns} ns."
            )
        self._check_period(settings, settings.exposure_ns, identity.dead_time_ns)

    def _check_period(self, settings: CameraSettings, exposure_ns: int, dead_ns: int) -> None:
        period_ns = 1e9 / settings.frame_rate_hz
        busy_ns = exposure_ns + dead_ns
        # by its own clock a camera may fill its period; an edge from outside would come too early
        if busy_ns > period_ns or (settings.sync == "external" and busy_ns >= period_ns):
            raise DeviceError(
                f"{self.address}: over-triggering: an exposure of {exposure_ns} ns and "
                f"{dead_ns} ns of dead time fill the period of {period_ns:.0f} ns, so every other "
                "frame would be lost. Shorten the exposure or lower the frame rate."
            )

    def _unfit(self, what: str, wanted: str, became: str) -> DeviceError:
        return DeviceError(
            f"{self.address}: {what}: {wanted} was asked for, the camera made of it {became}."
        )
