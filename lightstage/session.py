"""Sessions and takes on disk: the folder layout and its manifests.

::

    session/
      session.json  dome.json  sequence.json  calibration/
      takes/NAME/  take.json  take.cine  frames.zarr/  aligned.zarr/  ledger/

A take may hold a ``dome.json`` or ``sequence.json`` of its own, which then goes before the
session's.

A session's calibration, where there is one, is what :attr:`Session.dome` and :attr:`Take.dome` are
corrected by; a take with a dome of its own keeps that as it is.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from lightstage import __version__
from lightstage.dome import Dome
from lightstage.errors import SessionError
from lightstage.manifest import Manifest
from lightstage.sequence import CaptureSequence
from lightstage.stage_calibration import CALIBRATION_FOLDER, StageCalibration

SCHEMA_VERSION = 1
SESSION_FILE = "session.json"
TAKE_FILE = "take.json"
_TAKE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class SessionManifest(Manifest):
    """What ``session.json`` holds."""

    error: ClassVar = SessionError

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    performer: str = "unnamed"
    stage: str = "unnamed"
    note: str = ""
    created: datetime = Field(default_factory=_now)
    software: str = f"lightstage {__version__}"


class TakeManifest(Manifest):
    """What ``take.json`` holds: how the take came to be."""

    error: ClassVar = SessionError

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    origin: Annotated[str, Field(description="captured, simulated, or imported, and from what")]
    created: datetime = Field(default_factory=_now)
    note: str = ""
    software: str = f"lightstage {__version__}"
    details: dict[str, Any] = Field(default_factory=dict)


class Take:
    """One recording within a session: a folder ``takes/NAME``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether ``path`` is a take's folder."""
        return (path / TAKE_FILE).is_file()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a take's folder, or the only take of a session.

        Raises:
            SessionError: it is neither, or the session has no take or several.
        """
        path = Path(path)
        if cls.is_at(path):
            return cls(path)
        if Session.is_at(path):
            return cls(Session.open(path).only_take().path)
        reason = "there is no such folder" if not path.exists() else "is not a take or a session"
        raise SessionError(f"{path}: {reason}; a take is a folder SESSION/takes/NAME.")

    @property
    def name(self) -> str:
        """The take's name, that of its folder."""
        return self.path.name

    @cached_property
    def manifest(self) -> TakeManifest:
        """How the take came to be."""
        return TakeManifest.load(self.path / TAKE_FILE)

    @property
    def cine_path(self) -> Path:
        """The recording."""
        return self.path / "take.cine"

    @property
    def frames_path(self) -> Path:
        """The compressed copy of the recording's frames, where it has been made."""
        return self.path / "frames.zarr"

    @property
    def aligned_path(self) -> Path:
        """The reflectance fields, where they have been made."""
        return self.path / "aligned.zarr"

    @property
    def truth_path(self) -> Path:
        """The ground truth beside a simulated take."""
        return self.path / "truth.zarr"

    @property
    def ledger_path(self) -> Path:
        """The folder of records of finished work."""
        return self.path / "ledger"

    @cached_property
    def dome(self) -> Dome:
        """The dome that lit the take: its own, or else the session's, calibrated."""
        path = self._own_or_shared("dome.json")
        dome = Dome.load(path)
        return dome if path.parent == self.path else self.calibration.apply_to(dome)

    @cached_property
    def calibration(self) -> StageCalibration:
        """What the session's calibration found; it may be empty."""
        return StageCalibration(self.path.parent.parent / CALIBRATION_FOLDER)

    @cached_property
    def sequence(self) -> CaptureSequence:
        """The sequence that the take was recorded with: its own, or else the session's."""
        return CaptureSequence.load(self._own_or_shared("sequence.json"))

    @property
    def calibration_provenance(self) -> dict[str, dict[str, str]]:
        """Which calibration is used for the take: name to digest, date and source."""
        own_dome = (self.path / "dome.json").is_file()
        told = self.calibration.provenance
        return {k: v for k, v in told.items() if not (own_dome and k in ("lights", "gains"))}

    def _own_or_shared(self, name: str) -> Path:
        for folder in (self.path, self.path.parent.parent):
            if (folder / name).is_file():
                return folder / name
        raise SessionError(f"{self.path}: neither the take nor its session has a {name}.")


class Session:
    """A capture day's folder: one performer on one stage, any number of takes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether ``path`` is a session's folder."""
        return (path / SESSION_FILE).is_file()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        dome: Dome,
        sequence: CaptureSequence,
        performer: str = "unnamed",
        stage: str = "unnamed",
        note: str = "",
    ) -> Self:
        """Make a session's folder with its manifests.

        Raises:
            SessionError: a session is there already, or dome and sequence do not fit each other.
        """
        path = Path(path)
        if cls.is_at(path):
            raise SessionError(f"{path}: is a session already.")
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise SessionError(f"{path}: is in use for something else; name a new folder.")
        check_fit(dome, sequence, str(path))
        (path / "takes").mkdir(parents=True, exist_ok=True)
        dome.save(path / "dome.json")
        sequence.save(path / "sequence.json")
        SessionManifest(performer=performer, stage=stage, note=note).save(path / SESSION_FILE)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a session's folder.

        Raises:
            SessionError: it is not one, its manifest is damaged, or it is of a newer version.
        """
        path = Path(path)
        if not path.exists():
            raise SessionError(f"{path}: there is no such folder.")
        if not cls.is_at(path):
            raise SessionError(f"{path}: is not a session, it has no {SESSION_FILE}.")
        session = cls(path)
        if session.manifest.schema_version > SCHEMA_VERSION:
            raise SessionError(
                f"{path}: was written by a newer lightstage (layout "
                f"{session.manifest.schema_version}); update lightstage."
            )
        return session

    @cached_property
    def manifest(self) -> SessionManifest:
        """Performer, stage, versions."""
        return SessionManifest.load(self.path / SESSION_FILE)

    @cached_property
    def dome(self) -> Dome:
        """The session's dome, calibrated where a calibration has been made."""
        return self.calibration.apply_to(self.nominal_dome)

    @property
    def nominal_dome(self) -> Dome:
        """The session's dome as ``dome.json`` has it."""
        return Dome.load(self.path / "dome.json")

    @cached_property
    def calibration(self) -> StageCalibration:
        """What the session's calibration found; it may be empty."""
        return StageCalibration(self.path / CALIBRATION_FOLDER)

    @cached_property
    def sequence(self) -> CaptureSequence:
        """The session's capture sequence."""
        return CaptureSequence.load(self.path / "sequence.json")

    @property
    def takes(self) -> list[Take]:
        """All takes, by name."""
        folder = self.path / "takes"
        found = folder.iterdir() if folder.is_dir() else iter(())
        return [Take(path) for path in sorted(found) if Take.is_at(path)]

    def take(self, name: str) -> Take:
        """Return the take ``name``."""
        path = self.path / "takes" / name
        if not Take.is_at(path):
            names = ", ".join(take.name for take in self.takes) or "none"
            raise SessionError(f"{self.path}: has no take {name!r} (there are: {names}).")
        return Take(path)

    def only_take(self) -> Take:
        """Return the session's take if it has exactly one."""
        takes = self.takes
        if len(takes) == 1:
            return takes[0]
        if not takes:
            raise SessionError(f"{self.path}: this session has no takes yet.")
        names = ", ".join(take.name for take in takes)
        raise SessionError(f"{self.path}: has several takes ({names}); name one of their folders.")

    def add_take(
        self,
        name: str,
        *,
        origin: str,
        note: str = "",
        details: dict[str, Any] | None = None,
        dome: Dome | None = None,
        sequence: CaptureSequence | None = None,
    ) -> Take:
        """Make the folder of a new take.

        ``dome`` and ``sequence`` are stored with the take where they differ from the session's.

        Raises:
            SessionError: the name is taken or not a plain file name.
        """
        if not _TAKE_NAME.match(name):
            raise SessionError(
                f"{name!r} is not a take's name: use letters, digits, '-', '_' and '.', at most 64."
            )
        path = self.path / "takes" / name
        if path.exists():
            raise SessionError(f"{path}: there is a take of this name already.")
        check_fit(dome or self.dome, sequence or self.sequence, str(path))
        path.mkdir(parents=True)
        if dome is not None and dome not in (self.nominal_dome, self.dome):
            dome.save(path / "dome.json")
        if sequence is not None and sequence != self.sequence:
            sequence.save(path / "sequence.json")
        manifest = TakeManifest(origin=origin, note=note, details=details or {})
        manifest.save(path / TAKE_FILE)
        return Take(path)


def chosen_takes(path: Path, names: tuple[str, ...] = ()) -> list[Take]:
    """Return the take at ``path``, or those of the session there: the named ones, or all.

    Raises:
        SessionError: it is neither, a name is unknown, or the session has no takes.
    """
    if Take.is_at(path):
        return [Take.open(path)]
    session = Session.open(path)
    takes = [session.take(name) for name in names] if names else session.takes
    if not takes:
        raise SessionError(f"{path}: this session has no takes yet.")
    return takes


def check_fit(dome: Dome, sequence: CaptureSequence, where: str) -> None:
    """Raise SessionError unless the sequence drives exactly the dome's lights."""
    if len(dome) != sequence.lights:
        raise SessionError(
            f"{where}: the dome has {len(dome)} lights, the sequence drives {sequence.lights}."
        )
