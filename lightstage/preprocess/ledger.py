"""The ledger: one record on disk for each finished unit of work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightstage.manifest import write_atomically


class Ledger:
    """Records in a folder, each named for its unit and for a hash of what it was made from.

    A record is written after the work's data is on disk; so a unit with a record is done, and one
    without is not, whatever else is there.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder
        self._digest = digest

    def _record(self, unit: str) -> Path:
        return self._folder / f"{unit}.{self._digest}.json"

    def is_done(self, unit: str) -> bool:
        """Whether ``unit`` was finished with this hash."""
        return self._record(unit).is_file()

    def finish(self, unit: str, **figures: Any) -> None:
        """Record that ``unit`` is done, with figures about it."""
        write_atomically(self._record(unit), json.dumps({"unit": unit, **figures}) + "\n")

    def figures(self, unit: str) -> dict[str, Any]:
        """Return what was recorded about ``unit``."""
        loaded: dict[str, Any] = json.loads(self._record(unit).read_text(encoding="utf-8"))
        return loaded

    def forget_all(self) -> None:
        """Remove all records, of this hash and of others: their data is about to be replaced."""
        if self._folder.is_dir():
            for record in self._folder.glob("*.json"):
                record.unlink()
