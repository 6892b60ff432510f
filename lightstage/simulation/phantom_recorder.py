"""The recorder inside a simulated Phantom: sync edges in, exposures in a ring of memory.

No sockets and no pictures here: a frame is the interval of its exposure in the stage's time, and
its pixels are made only when somebody asks for them.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from firmware_protocols.phantom import Flags, Struct, trigger_fields
from lightstage.simulation.phantom_faults import CameraFaults
from lightstage.simulation.phantom_parameters import CameraParameters, cine_parameters


class Exposure(NamedTuple):
    """One exposure in the stage's time: start and length in ns, and its place since arming."""

    start_ns: int
    exposure_ns: int
    index: int  # type: ignore[assignment]  # not tuple.index


@dataclass(frozen=True)
class CameraClock:
    """The camera's own clock: UTC ns as it believes, from the stage's ns."""

    offset_ns: int = 0
    drift_ppm: float = 0.0
    reference_ns: int = 0

    def utc_ns(self, stage_ns: int) -> int:
        """Return what the clock shows at a moment of the stage's time."""
        drift = round((stage_ns - self.reference_ns) * self.drift_ppm * 1e-6)
        return stage_ns + self.offset_ns + drift


@dataclass
class Cine:
    """One partition of the memory."""

    state: str = "RDY"  # RDY, INV, WTR, TRG, STR
    settings: Struct = field(default_factory=dict)
    frames: deque[Exposure] = field(default_factory=deque)
    before_trigger: int = 0
    trigger_ns: int | None = None
    saved: bool = False

    @property
    def first(self) -> int:
        """Number of the first frame; image 0 is the first after the trigger."""
        return -self.before_trigger if self.trigger_ns is not None else 0

    @property
    def last(self) -> int:
        """Number of the last frame."""
        return self.first + len(self.frames) - 1 if self.trigger_ns is not None else 0


class RefusedError(Exception):
    """The camera refuses a command; the text is its reply."""


class Recorder:
    """Cines, their states, and the exposures in them. Safe to share between threads.

    Args:
        parameters: the camera's parameters; ``defc`` and ``cam`` are read when arming.
        clock: the camera's clock.
        stage_now: returns the stage's time, ns.
        faults: what goes wrong.
        on_strobe: called with the stage time of the start of each exposure while recording, if
            ``cam.aux1mode`` is 0 (strobe); outside of all locks.
        notify: called with ``startaq``, ``trig`` and ``stored``; outside of all locks.
    """

    def __init__(
        self,
        parameters: CameraParameters,
        clock: CameraClock,
        stage_now: Callable[[], int],
        faults: CameraFaults,
        on_strobe: Callable[[int], None] | None,
        notify: Callable[[str], None],
    ) -> None:
        self.parameters, self.clock, self.faults = parameters, clock, faults
        self.cines: dict[int, Cine] = {1: Cine()}
        self.edges_seen = self.edges_ignored = 0
        self.on_strobe = on_strobe
        self._stage_now, self._notify = stage_now, notify
        self._lock = threading.RLock()
        self._recording: Cine | None = None
        self._edge = self._taken = 0
        self._next_beat_ns: int | None = None
        self._free_at_ns = -(2**62)
        self._exposure_ns = self._period_ns = self._wanted = 0

    @property
    def is_free_running(self) -> bool:
        """Whether it records by its own beat."""
        with self._lock:
            return self._recording is not None and self._next_beat_ns is not None

    def cine(self, number: object) -> Cine:
        """Return a RAM cine, or refuse."""
        cine = self.cines.get(number) if isinstance(number, int) else None
        if cine is None:
            raise RefusedError("invalid cine number")
        return cine

    def arm(self, number: int | None) -> None:
        """Begin to record into a cine (``rec``); what it held is gone without a word."""
        with self._lock:
            if number is None:
                free = [n for n, cine in self.cines.items() if cine.state == "RDY"]
                number = free[0] if free else 1
            self.cine(number)
            self._stop()
            settings = copy.deepcopy(self.parameters.tree["defc"])
            capacity = self.parameters.capacity()
            cine = Cine("WTR", settings, deque(maxlen=capacity))
            self.cines[number] = self._recording = cine
            self._exposure_ns = int(self.parameters.number("defc", "exp"))
            self._period_ns = round(1e9 / self.parameters.number("defc", "rate"))
            self._wanted = int(self.parameters.number("defc", "ptframes"))
            self._edge = self._taken = self.edges_seen = self.edges_ignored = 0
            self._free_at_ns = -(2**62)
            internal = self.parameters.number("cam", "syncimg") == 0
            self._next_beat_ns = self._stage_now() + self._period_ns if internal else None
        self._notify("startaq")

    def stop(self) -> None:
        """Stop recording (``rec 0``); what was recorded without end is invalid."""
        with self._lock:
            self._stop()

    def delete(self, number: int) -> None:
        """Empty a cine (``del``)."""
        with self._lock:
            if self.cine(number) is self._recording:
                self._stop()
            self.cines[number] = Cine()

    def repartition(self, count: int) -> None:
        """Divide the memory into ``count`` empty cines (``partition``)."""
        with self._lock:
            self._stop()
            self.parameters.repartition(count)
            self.cines = {number: Cine() for number in range(1, count + 1)}

    def trigger(self, time_ns: int | None = None) -> None:
        """Trigger at a moment of the stage's time, by default now (``trig`` or the input)."""
        self.advance()
        with self._lock:
            cine = self._recording
            if cine is None or cine.state != "WTR":
                raise RefusedError("cine status invalid")
            cine.trigger_ns = self._stage_now() if time_ns is None else time_ns
            cine.state = "TRG"
            after = sum(frame.start_ns >= cine.trigger_ns for frame in cine.frames)
            cine.before_trigger = len(cine.frames) - after
            while len(cine.frames) > cine.before_trigger + self._wanted:
                cine.frames.pop()
            self._make_room(cine)
            stored = self._finish_if_full(cine)
        self._notify("trig")
        if stored:
            self._notify("stored")

    def sync_edge(self, time_ns: int) -> None:
        """Take a falling edge on F-Sync at a moment of the stage's time."""
        with self._lock:
            if self._recording is None or self._next_beat_ns is not None:
                return
            begun = self._beat(time_ns)
        self._tell(begun)

    def advance(self) -> None:
        """Free-run up to the stage's present time; does nothing while edges give the beat."""
        now_ns = self._stage_now()
        begun: list[tuple[int, bool]] = []
        with self._lock:
            while (
                self._recording is not None
                and self._next_beat_ns is not None
                and self._next_beat_ns <= now_ns
            ):
                beat_ns = self._next_beat_ns
                self._next_beat_ns += self._period_ns
                begun += self._beat(beat_ns)
        self._tell(begun)

    def state(self, number: int) -> Flags:
        """Return a cine's state as the camera tells it; c0 is the preview."""
        with self._lock:
            if number == 0:
                return Flags(("RDY", "DEF", "PRE", *(() if self._recording else ("ACT",))))
            cine = self.cine(number)
            active = cine is self._recording
            flags = [cine.state, *(() if cine.state == "STR" else ("DEF",)), "ABL"]
            return Flags((*flags, *(["ACT"] if active else []), *(["REU"] if cine.saved else [])))

    def describe(self, number: int) -> Struct:
        """Return a cine's parameters as ``get c1`` shows them."""
        with self._lock:
            cine = Cine() if number == 0 else self.cine(number)
            trigger = (0, 0)
            if cine.trigger_ns is not None:
                trigger = trigger_fields(self.clock.utc_ns(cine.trigger_ns))
            return cine_parameters(
                self.parameters,
                cine.settings or self.parameters.tree["defc"],
                self.state(number),
                cine.first,
                cine.last,
                trigger,
                cine.state == "STR",
            )

    def stored(self, number: object, start: object, count: object) -> list[Exposure]:
        """Return frames ``start … start + count - 1`` of a stored cine, or refuse."""
        with self._lock:
            cine = self.cine(number)
            if cine.state != "STR":
                raise RefusedError("requested cine not stored")
            if not isinstance(count, int) or count <= 0:
                raise RefusedError("count should be > 0")
            if not isinstance(start, int) or not cine.first <= start <= cine.last:
                raise RefusedError("start frame outside range")
            if start + count - 1 > cine.last:
                raise RefusedError("start+count frame outside range")
            begin = start - cine.first
            return list(islice(cine.frames, begin, begin + count))

    # Inside

    def _stop(self) -> None:
        if self._recording is not None:
            self._recording.state = "INV"
            self._recording.frames.clear()
            self._recording = None

    def _beat(self, edge_ns: int) -> list[tuple[int, bool]]:
        """Take one edge; return the starts of the exposures it gives, and whether all is stored."""
        edge, faults = self._edge, self.faults
        self._edge += 1
        self.edges_seen += 1
        if edge in faults.missed_edges:
            return []
        dead_ns = self.parameters.model.dead_time_ns
        start_ns = edge_ns + int(self.parameters.number("cam", "frdelay"))
        begun = []
        if edge == 0 and faults.extra_first_frame:
            begun += self._expose(start_ns - self._period_ns, self._exposure_ns)
        if start_ns < self._free_at_ns:
            self.edges_ignored += 1  # over-triggered: the last exposure is not over
            return begun
        begun += self._expose(start_ns, self._exposure_ns)
        self._free_at_ns = start_ns + self._exposure_ns + dead_ns
        if edge in faults.extra_edges:
            rest_ns = self._period_ns - self._exposure_ns - 3 * dead_ns
            begun += self._expose(self._free_at_ns, max(rest_ns, 1000))
        return begun

    def _expose(self, start_ns: int, exposure_ns: int) -> list[tuple[int, bool]]:
        cine = self._recording
        if cine is None:
            return []
        if cine.trigger_ns is not None and start_ns < cine.trigger_ns:
            cine.before_trigger += 1  # an edge that was told late
        cine.frames.append(Exposure(start_ns, exposure_ns, self._taken))
        self._taken += 1
        self._make_room(cine)
        return [(start_ns, self._finish_if_full(cine))]

    def _make_room(self, cine: Cine) -> None:
        """Forget the oldest frames before the trigger; those after it have a right to room."""
        capacity = cine.frames.maxlen or 1
        if cine.trigger_ns is not None:
            keep = max(capacity - self._wanted, 0)
            while cine.before_trigger > keep:
                cine.frames.popleft()
                cine.before_trigger -= 1

    def _finish_if_full(self, cine: Cine) -> bool:
        after = len(cine.frames) - cine.before_trigger
        full = self.faults.memory_full_after is not None and (
            len(cine.frames) >= self.faults.memory_full_after
        )
        if cine.state != "TRG" or not (after >= self._wanted or full):
            return False
        cine.state = "STR"
        self._recording = None
        return True

    def _tell(self, begun: list[tuple[int, bool]]) -> None:
        strobe = self.on_strobe if self.parameters.number("cam", "aux1mode") == 0 else None
        for start_ns, stored in begun:
            if strobe is not None:
                strobe(start_ns)
            if stored:
                self._notify("stored")
