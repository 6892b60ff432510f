"""What a report tells of one take; what cannot be read is told, and does not end the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from lightstage.aligned_store import olat_shard
from lightstage.errors import LightstageError, SessionError
from lightstage.fields import ReflectanceFields
from lightstage.manifest import read_json
from lightstage.preprocess.source import FrameSource, open_source
from lightstage.report.field_figures import FieldFigures, field_figures
from lightstage.report.inline_picture import scaled_to_width
from lightstage.report.recording_figures import (
    ExposureFigures,
    FrameFigures,
    TimingFigures,
    exposure_figures,
    frame_figures,
    identified,
    timing_figures,
)
from lightstage.report.set_pictures import (
    BeforeAfter,
    Picture,
    SetPictures,
    before_and_after,
    exposed,
    flow_picture,
    set_pictures,
)
from lightstage.report.verdict import (
    Reason,
    Verdict,
    capture_reasons,
    exposure_reasons,
    field_reasons,
    frame_reasons,
    timing_reasons,
)
from lightstage.report.words import runs
from lightstage.sequence import CaptureSequence, StepKind
from lightstage.session import Take

#: Called with a take's name, how much of its report is done, and how much there is.
Progress = Callable[[str, int, int], None]
#: Which part of all work on a take each stage is, in percent from and to.
_STAGES = {
    "frames": (0, 40),
    "olat": (40, 50),
    "tracking": (50, 55),
    "set": (55, 75),
    "unaligned": (75, 100),
}

#: Full-lit pictures over the length of a take, and their width in pixels.
_STRIP, _STRIP_WIDTH = 8, 160
#: Sets that are tried before pictures are given up.
_TRIES = 4
#: Arrays of a store that are shown where they have been made.
_EXTRAS = ("matte", "normal", "albedo", "visibility", "specular", "normal_confidence")
_CAPTURE_FILE = "capture.json"


@dataclass
class TakeReport:
    """All that is told of a take; parts that are not there or cannot be read are ``None``."""

    name: str
    origin: str = ""
    note: str = ""
    created: str = ""
    software: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    recording: dict[str, Any] | None = None
    capture: dict[str, Any] | None = None
    sequence: CaptureSequence | None = None
    frames: FrameFigures | None = None
    possible_sets: int | None = None
    timing: TimingFigures | None = None
    exposures: list[ExposureFigures] = field(default_factory=list)
    fields: FieldFigures | None = None
    strip: list[tuple[float, Picture]] = field(default_factory=list)
    pictures: SetPictures | None = None
    alignment: BeforeAfter | None = None
    flow: tuple[Picture, Picture, float] | None = None
    extras: list[tuple[str, Picture]] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict.of(()))


def take_report(take: Take, progress: Progress | None = None) -> TakeReport:
    """Look at a take's recording and fields; a few sets and frames are read, whatever its length.

    Args:
        take: the take.
        progress: called with the take's name and percents.
    """
    return _Examination(take, progress).report


class _Examination:
    """Fills a report part by part, gathering what is wrong."""

    def __init__(self, take: Take, progress: Progress | None) -> None:
        self._take, self._progress = take, progress
        self._reasons: list[Reason] = []
        self.report = TakeReport(take.name)
        with ExitStack() as held:
            source: FrameSource | None = None
            with self._problems():
                source = held.enter_context(open_source(take))
            for look in (self._manifest, self._capture):
                with self._problems():
                    look()
            if source is not None:
                with self._problems():
                    self._recording(source)
            with self._problems():
                self._fields(source)
        self.report.verdict = Verdict.of(self._reasons)
        if progress is not None:
            progress(take.name, 100, 100)

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """Note an error of the data as a reason to look, and go on."""
        try:
            yield
        except LightstageError as reason:
            self._reasons.append(Reason(True, str(reason)))
        except OSError as reason:
            where = f"{reason.filename}: " if reason.filename else ""
            self._reasons.append(Reason(True, f"{where}{reason.strerror or reason}"))

    def _stage(self, what: str) -> Callable[[int, int], None] | None:
        progress, name = self._progress, self._take.name
        if progress is None:
            return None
        begin, end = _STAGES[what]
        return lambda done, total: progress(
            name, begin + (end - begin) * done // max(total, 1), 100
        )

    def _manifest(self) -> None:
        report, manifest = self.report, self._take.manifest
        report.origin, report.note = manifest.origin, manifest.note
        report.created, report.software = f"{manifest.created:%Y-%m-%d %H:%M}", manifest.software
        report.details = dict(manifest.details)

    def _capture(self) -> None:
        path = self._take.path / _CAPTURE_FILE
        if not path.exists():
            return
        record = read_json(path, SessionError)
        if not isinstance(record, dict):
            raise SessionError(f"{path}: is not the record of a capture.")
        self.report.capture = record
        self._reasons += capture_reasons(record)

    def _recording(self, source: FrameSource) -> None:
        report, take = self.report, self._take
        report.recording = {
            "file": source.path.name,
            "frames": len(source),
            "size": f"{source.width} x {source.height} pixels, {source.cfa}",
            "levels": f"black {source.black_level:g}, white {source.white_level:g}",
            "first frame": source.first_frame_number,
        }
        report.sequence = sequence = take.sequence
        first = source.first_frame_number
        found, report.possible_sets = identified(take, source, self._stage("frames"))
        report.frames = frame_figures(found, sequence, first)
        self._reasons += frame_reasons(report.frames)
        report.timing = timing_figures(found, source.time_ns, sequence, first)
        if report.timing is not None:
            self._reasons += timing_reasons(report.timing, sequence)
        for kind in (StepKind.OLAT, StepKind.TRACKING):
            stage = self._stage(kind.value)
            exposure = exposure_figures(source, found, sequence, kind, stage)
            if exposure is not None:
                report.exposures.append(exposure)
                self._reasons += exposure_reasons(exposure)

    def _fields(self, source: FrameSource | None) -> None:
        if not self._take.aligned_path.exists():
            self._reasons.append(Reason(False, "no reflectance fields have been made yet"))
            return
        store = ReflectanceFields.open(self._take.aligned_path)
        report = self.report
        report.fields = figures = field_figures(store)
        self._reasons += field_reasons(figures)
        lost = [
            index
            for index in range(figures.sets)
            if not store.is_virtual and not olat_shard(store.path, index).is_file()
        ]
        if lost:
            self._reasons.append(Reason(True, f"the images of sets {runs(lost)} are gone"))
        every = max(1, -(-figures.sets // _STRIP))
        for index in range(0, figures.sets, every):
            with self._problems():
                full_lit = scaled_to_width(store.read("full_lit", index), _STRIP_WIDTH)
                report.strip.append((float(figures.time_s[index]), exposed(full_lit)))
        for index in figures.showing()[:_TRIES]:
            with self._problems():
                report.pictures = set_pictures(store, index, self._stage("set"))
                break
        if report.pictures is None:
            return
        self._extras(store, report.pictures.index)
        report.flow = flow_picture(store, report.pictures.index)
        made_from = store.attributes.get("recording_identity")
        if source is None or made_from is None:
            return
        if source.identity() != made_from:
            self._reasons.append(
                Reason(True, "the fields were made from another recording than the one beside them")
            )
            return
        stage = self._stage("unaligned")
        report.alignment = before_and_after(store, report.pictures, source, stage)

    def _extras(self, store: ReflectanceFields, index: int) -> None:
        for name in _EXTRAS:
            if not store.has(name):
                continue
            with self._problems():
                picture = scaled_to_width(store.read(name, index), 320)
                name = name.replace("_", " ")
                if name == "normal":
                    picture = picture * 0.5 + 0.5
                elif name == "albedo":
                    picture = exposed(picture)
                self.report.extras.append((name, picture))
