"""Sealing a folder with ASC MHL, and checking it: is every byte what it was?

A seal is a history of manifests beside the data (``ascmhl/``) that other tools of the film trade
read and extend. Sealing again checks everything against what the earlier generations say, takes in
what is new, and writes a further generation.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pathspec

from lightstage.errors import InputError
from lightstage.exchange.mhl_hashes import (
    HASH_FORMATS,
    hash_file,
    hash_of_hashes,
    hash_of_name,
)
from lightstage.exchange.mhl_history import (
    DEFAULT_IGNORES,
    FOLDER,
    Author,
    FileEntry,
    FolderEntry,
    History,
    has_history,
    read_history,
    write_generation,
)

Progress = Callable[[int, int], None]
#: Hashes of a seal that is not finished yet, so that one that was interrupted goes on.
_JOURNAL = "ascmhl_journal.partial"
_MEGABYTE = 1_000_000


@dataclass
class SealReport:
    """What sealing or checking a folder found; paths are relative to it.

    Attributes:
        folder: the folder.
        generations: how many there are now.
        manifest: the manifest that was written, where one was.
        files: how many files were read.
        bytes: how much they hold.
        verified: how many files are what an earlier generation says.
        new: files that no generation knew.
        failed: files that are not what they were.
        missing: files that are gone.
    """

    folder: str
    generations: int = 0
    manifest: str | None = None
    files: int = 0
    bytes: int = 0
    verified: int = 0
    new: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether everything that was sealed is there and unchanged."""
        return not self.failed and not self.missing

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence for each file."""
        return [
            *(
                f"{self.folder}/{path}: its bytes are not those that were sealed"
                for path in self.failed
            ),
            *(f"{self.folder}/{path}: was sealed, and is gone" for path in self.missing),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values, for ``--json``; of new files their number."""
        return {**asdict(self), "new": len(self.new), "whole": self.whole}


def seal(
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("xxh64",),
    author: Author | None = None,
    location: str | None = None,
    comment: str | None = None,
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> SealReport:
    """Write a generation of hashes of everything in a folder, checked against the earlier ones.

    The generation is written where files fail, too: it records that they did. Files read before an
    interruption are not read again, unless their size or time has changed.

    Args:
        folder: a session, or any folder, such as an export.
        formats: which hashes to write; a file known by others only is checked by one of those.
        author: who seals.
        location: where.
        comment: why, or what.
        ignore: further patterns to leave out, after the manner of ``.gitignore``; those of the
            generation before stay.
        progress: told megabytes done and in all.

    Raises:
        InputError: there is no such folder, or it holds what cannot be sealed: nothing at all, a
            link to a folder, a broken link, a device, a folder with a seal of its own.
        DamagedDataError: the history is damaged.
    """
    root = _existing(folder)
    unknown = [name for name in formats if name not in HASH_FORMATS]
    if unknown or not formats:
        raise InputError(f"{unknown or 'no hash'}: hashes are {', '.join(HASH_FORMATS)}.")
    history = read_history(root)
    ignores = tuple(dict.fromkeys([*(history.ignores or DEFAULT_IGNORES), *ignore]))
    tree = list(_walk(root, _matcher(ignores)))
    report = SealReport(str(folder))
    entries: list[FileEntry | FolderEntry] = []
    folders: dict[str, FolderEntry] = {}
    seen: set[str] = set()
    with _Journal(root) as journal, _Meter(root, tree, progress) as meter:
        for place, children in tree:
            content: dict[str, list[str]] = {name: [] for name in formats}
            structure: dict[str, list[str]] = {name: [] for name in formats}
            for name, is_folder in children:
                path = _joined(place, name)
                if is_folder:
                    inner = folders.pop(path)
                    for kind in formats:
                        content[kind].append(inner.content[kind])
                        structure[kind].append(hash_of_name(name, inner.structure[kind], kind))
                    continue
                entry = _file_entry(root, path, formats, history, journal, meter)
                seen.add(path)
                entries.append(entry)
                _count(report, entry)
                for kind in formats:
                    content[kind].append(entry.hashes[kind])
                    structure[kind].append(hash_of_name(name, entry.hashes[kind], kind))
            folders[place] = FolderEntry(
                place or ".",
                _modified((root / place).stat()),
                {kind: hash_of_hashes(hashes, kind) for kind, hashes in content.items()},
                {kind: hash_of_hashes(hashes, kind) for kind, hashes in structure.items()},
            )
            if place:
                entries.append(folders[place])
        if not seen:
            raise InputError(f"{folder}: holds no file that could be sealed.")
        report.missing = _missing(history, seen, ignores)
        manifest = write_generation(
            history,
            entries,
            folders[""],
            ignores=ignores,
            author=author,
            location=location,
            comment=comment,
        )
        journal.remove()
    report.manifest = str(manifest)
    report.generations = len(history.chain)
    return report


def check(folder: str | os.PathLike[str], progress: Progress | None = None) -> SealReport:
    """Read everything in a sealed folder and compare it with the history; write nothing.

    Raises:
        InputError: the folder is not there or was never sealed.
        DamagedDataError: the history itself is damaged.
    """
    root = _existing(folder)
    if not has_history(root):
        raise InputError(f"{folder}: has not been sealed; 'lightstage seal {folder}' does it.")
    history = read_history(root)
    report = SealReport(str(folder), generations=len(history.generations))
    tree = list(_walk(root, _matcher(history.ignores)))
    seen = set()
    with _Meter(root, tree, progress) as meter:
        for place, children in tree:
            for name, is_folder in children:
                path = _joined(place, name)
                if is_folder:
                    continue
                seen.add(path)
                known = history.known.get(path)
                if not known:
                    report.new.append(path)
                    continue
                kind = min(known, key=list(HASH_FORMATS).index)  # the fastest
                recorded = known[kind]
                found = hash_file(root / path, [kind], meter)
                report.files += 1
                report.bytes += (root / path).stat().st_size
                if found[kind] == recorded:
                    report.verified += 1
                else:
                    report.failed.append(path)
    report.missing = _missing(history, seen, history.ignores)
    return report


class _Journal:
    """Hashes of files already read, one JSON line each, until the manifest is written."""

    def __init__(self, root: Path) -> None:
        self._path = root / _JOURNAL
        self._known: dict[str, tuple[list[int], dict[str, str]]] = {}
        with suppress(OSError, ValueError):  # a last line may be half: what is before it counts
            for line in self._path.read_text(encoding="utf-8").splitlines():
                path, facts, hashes = json.loads(line)
                self._known[path] = (facts, hashes)

    def __enter__(self) -> _Journal:
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def remove(self) -> None:
        """Drop the journal: the manifest holds it all."""
        self._path.unlink(missing_ok=True)

    def hashes(self, path: str, facts: list[int], wanted: Sequence[str]) -> dict[str, str] | None:
        """Return what was found for a file that has not changed since, if it is all there."""
        then, hashes = self._known.get(path, ([], {}))
        return (
            {kind: hashes[kind] for kind in wanted}
            if (then == facts and all(kind in hashes for kind in wanted))
            else None
        )

    def add(self, path: str, facts: list[int], hashes: dict[str, str]) -> None:
        """Note a file's hashes."""
        self._file.write(json.dumps([path, facts, hashes]) + "\n")


class _Meter:
    """Tells progress in megabytes; called with the bytes that were read."""

    def __init__(
        self, root: Path, tree: list[tuple[str, list[tuple[str, bool]]]], progress: Progress | None
    ) -> None:
        self._progress = progress
        self._done = self._total = 0
        if progress:
            self._total = sum(
                (root / place / name).stat().st_size
                for place, children in tree
                for name, is_folder in children
                if not is_folder
            )

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, count: int) -> None:
        """Count bytes as done."""
        self._done += count
        if self._progress:
            self._progress(self._done // _MEGABYTE, max(1, self._total // _MEGABYTE))


def _file_entry(
    root: Path,
    path: str,
    formats: Sequence[str],
    history: History,
    journal: _Journal,
    meter: _Meter,
) -> FileEntry:
    known = history.known.get(path, {})
    wanted = list(formats)
    if known and not any(kind in known for kind in wanted):
        wanted.append(next(iter(known)))  # or nothing would be compared
    before = (root / path).stat()
    facts = _facts(before)
    hashes = journal.hashes(path, facts, wanted)
    if hashes is None:
        hashes = hash_file(root / path, wanted, meter)
        if _facts((root / path).stat()) != facts:
            raise InputError(
                f"{root / path}: changed while it was read; stop what writes to it, then seal."
            )
        journal.add(path, facts, hashes)
    else:
        meter(before.st_size)
    compared = {kind: hashes[kind] == known[kind] for kind in wanted if kind in known}
    sound = all(compared.values())
    actions = {
        kind: "original" if not known else ("verified" if compared.get(kind, sound) else "failed")
        for kind in wanted
    }
    return FileEntry(path, before.st_size, _modified(before), hashes, actions)


def _count(report: SealReport, entry: FileEntry) -> None:
    report.files += 1
    report.bytes += entry.size
    actions = set(entry.actions.values())
    if "failed" in actions:
        report.failed.append(entry.path)
    elif "original" in actions:
        report.new.append(entry.path)
    else:
        report.verified += 1


def _missing(history: History, seen: set[str], ignores: Sequence[str]) -> list[str]:
    ignored = _matcher(ignores)
    return sorted(
        path for path in history.known if path not in seen and not ignored.match_file(path)
    )


def _matcher(ignores: Sequence[str]) -> pathspec.PathSpec[Any]:
    return pathspec.PathSpec.from_lines("gitignore", ignores)


def _walk(
    root: Path, ignored: pathspec.PathSpec[Any], place: str = ""
) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Yield folders after those within them, each with its children's names in order."""
    children = []
    for name in sorted(child.name for child in (root / place).iterdir()):
        path = _joined(place, name)
        full = root / path
        is_folder = full.is_dir()
        if ignored.match_file(path + "/" if is_folder else path):
            continue
        if is_folder and full.is_symlink():
            raise InputError(
                f"{full}: is a link to a folder, which a manifest cannot describe; put the folder "
                f"itself there, or leave it out with --ignore {name}/."
            )
        if is_folder and (full / FOLDER).is_dir():
            raise InputError(
                f"{full}: has a seal of its own within this folder; leave it out with --ignore "
                f"{name}/, or remove its folder {FOLDER}."
            )
        if not is_folder:
            try:
                regular = stat.S_ISREG(full.stat().st_mode)
            except OSError:
                raise InputError(f"{full}: is a broken link; mend or remove it.") from None
            if not regular:
                raise InputError(f"{full}: is neither a file nor a folder; remove it.")
        children.append((name, is_folder))
    for name, is_folder in children:
        if is_folder:
            yield from _walk(root, ignored, _joined(place, name))
    yield place, children


def _existing(folder: str | os.PathLike[str]) -> Path:
    root = Path(folder)
    if not root.is_dir():
        what = "is a file" if root.exists() else "there is no such folder"
        raise InputError(f"{root}: {what}; a session or another folder can be sealed.")
    return root


def _joined(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _facts(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)
