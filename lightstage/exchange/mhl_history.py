"""The ``ascmhl`` folder: generations of manifests and the chain that vouches for them.

::

    FOLDER/ascmhl/
      0001_NAME_2026-11-24_172108Z.mhl   what was there, with its hashes
      0002_NAME_….mhl                    what was there later, checked against the earlier
      ascmhl_chain.xml                   the manifests' own hashes

Source: ASC Media Hash List specification v2.0, and its XML schemas.
"""

from __future__ import annotations

import os
import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lightstage import __version__
from lightstage.errors import DamagedDataError, InputError
from lightstage.exchange.mhl_hashes import HASH_FORMATS, hash_file
from lightstage.manifest import write_atomically

FOLDER = "ascmhl"
CHAIN_FILE = "ascmhl_chain.xml"
_MANIFEST_NAMESPACE = "urn:ASC:MHL:v2.0"
_CHAIN_NAMESPACE = "urn:ASC:MHL:DIRECTORY:v2.0"
_MANIFEST_NAME = re.compile(r"(\d{4,})(?:_.+)?\.mhl\Z")
#: Characters that XML 1.0 cannot hold or keep, and halves of surrogate pairs, which Python makes of
#: names that are not UTF-8.
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
#: Left out of every seal: the history itself, litter, files that are still being written.
DEFAULT_IGNORES = (".DS_Store", FOLDER, f"{FOLDER}/", "*.partial", "coarse.*.npy")


@dataclass(frozen=True)
class Author:
    """Who made a generation, as its manifest says; the schema wants ``x@y.z`` of an address."""

    name: str
    email: str | None = None
    phone: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class FileEntry:
    """A file in a generation.

    Attributes:
        path: relative to the sealed folder, with slashes.
        size: in bytes.
        modified: when it was last changed.
        hashes: text of each hash by its format.
        actions: ``original``, ``verified`` or ``failed`` for each hash.
    """

    path: str
    size: int
    modified: datetime
    hashes: dict[str, str]
    actions: dict[str, str]


@dataclass(frozen=True)
class FolderEntry:
    """A folder in a generation; ``path`` is ``.`` for the sealed folder itself.

    Attributes:
        path: relative to the sealed folder.
        modified: when it was last changed.
        content: hash of its files' hashes, by format: whether the same bytes are there.
        structure: hash of names and hashes, by format: whether they also have the same names.
    """

    path: str
    modified: datetime
    content: dict[str, str]
    structure: dict[str, str]


@dataclass
class History:
    """What all generations of a folder say.

    Attributes:
        folder: the sealed folder.
        generations: the manifests, in order.
        known: for each file its first hash in each format, in the order they were recorded.
        ignores: patterns of the latest generation, after the manner of ``.gitignore``.
        chain: name and C4 of each manifest in the chain file.
    """

    folder: Path
    generations: list[Path] = field(default_factory=list)
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    ignores: tuple[str, ...] = ()
    chain: list[tuple[str, str]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The folder that holds the history."""
        return self.folder / FOLDER

    @property
    def next_number(self) -> int:
        """The number of the generation that comes next; the first is 1."""
        return max((_number(path) for path in self.generations), default=0) + 1


def has_history(folder: Path) -> bool:
    """Whether a folder has been sealed."""
    return (folder / FOLDER).is_dir()


def read_history(folder: Path) -> History:
    """Read all generations of a folder; none makes an empty history.

    Raises:
        DamagedDataError: the chain or a manifest is missing, altered or no XML. Nothing that such a
            history says can be trusted.
    """
    history = History(folder)
    if not has_history(folder):
        return history
    chain_file = history.path / CHAIN_FILE
    if not chain_file.is_file():
        raise DamagedDataError(
            f"{chain_file}: is missing, so that nothing vouches for the manifests beside it; "
            f"restore it, or remove the folder {history.path} and seal anew."
        )
    for element in _parsed(chain_file).iter(f"{{{_CHAIN_NAMESPACE}}}hashlist"):
        name = element.findtext(f"{{{_CHAIN_NAMESPACE}}}path") or ""
        recorded = element.findtext(f"{{{_CHAIN_NAMESPACE}}}c4") or ""
        if Path(name).name != name or not name:
            raise DamagedDataError(f"{chain_file}: {name!r} is no name of a manifest beside it.")
        if not (history.path / name).is_file():
            raise DamagedDataError(f"{history.path / name}: this manifest of the seal is missing.")
        if hash_file(history.path / name, ["c4"])["c4"] != recorded:
            raise DamagedDataError(
                f"{history.path / name}: this manifest of the seal was altered after it was "
                f"written; its hash is not the one in {CHAIN_FILE}."
            )
        history.chain.append((name, recorded))
    listed = {name for name, _ in history.chain}
    for path in sorted(history.path.glob("*.mhl")):
        if not path.name.startswith("._") and path.name not in listed:
            raise DamagedDataError(
                f"{path}: is not in {CHAIN_FILE}: its writing was interrupted, or it was put there "
                f"by hand; remove it."
            )
    history.generations = sorted((history.path / name for name in listed), key=_number)
    for path in history.generations:
        _read_manifest(path, history)
    return history


def write_generation(
    history: History,
    entries: Sequence[FileEntry | FolderEntry],
    root: FolderEntry,
    *,
    ignores: Sequence[str],
    author: Author | None = None,
    location: str | None = None,
    comment: str | None = None,
) -> Path:
    """Write the next generation and add it to the chain; return its manifest.

    The manifest gets its name first, the chain after it: a history that was interrupted between
    the two is refused when it is read, and says which file to remove.
    """
    now = datetime.now(UTC)
    name = history.folder.resolve().name
    stamp = now.strftime("%Y-%m-%d_%H%M%SZ")
    manifest = history.path / f"{history.next_number:04d}_{name}_{stamp}.mhl"
    tree = ET.Element("hashlist", {"version": "2.0", "xmlns": _MANIFEST_NAMESPACE})
    creator = ET.SubElement(tree, "creatorinfo")
    ET.SubElement(creator, "creationdate").text = _iso(now)
    ET.SubElement(creator, "hostname").text = _legal(socket.gethostname(), "the host's name")
    ET.SubElement(creator, "tool", {"version": __version__}).text = "lightstage"
    if author is not None:
        given = {"email": author.email, "phone": author.phone, "role": author.role}
        facts = {key: _legal(text, "--author") for key, text in given.items() if text}
        ET.SubElement(creator, "author", facts).text = _legal(author.name, "--author")
    for tag, text in (("location", location), ("comment", comment)):
        if text:
            ET.SubElement(creator, tag).text = _legal(text, f"--{tag}")
    process = ET.SubElement(tree, "processinfo")
    ET.SubElement(process, "process").text = "in-place"
    _add_folder_hashes(ET.SubElement(process, "roothash"), root, now)
    patterns = ET.SubElement(process, "ignore")
    for pattern in ignores:
        ET.SubElement(patterns, "pattern").text = _legal(pattern, "--ignore")
    hashes = ET.SubElement(tree, "hashes")
    for entry in entries:
        if isinstance(entry, FileEntry):
            _add_file(hashes, entry, now)
        else:
            _add_folder(hashes, entry, now)
    write_atomically(manifest, _document(tree))
    history.chain.append((manifest.name, hash_file(manifest, ["c4"])["c4"]))
    chain = ET.Element("ascmhldirectory", {"xmlns": _CHAIN_NAMESPACE})
    for file_name, c4 in history.chain:
        number = str(_number(Path(file_name)))
        element = ET.SubElement(chain, "hashlist", {"sequencenr": number})
        ET.SubElement(element, "path").text = file_name
        ET.SubElement(element, "c4").text = c4
    write_atomically(history.path / CHAIN_FILE, _document(chain))
    return manifest


def _read_manifest(path: Path, history: History) -> None:
    space = f"{{{_MANIFEST_NAMESPACE}}}"
    tree = _parsed(path)
    ignores = []
    for element in tree.iter():
        if element.tag == f"{space}pattern" and element.text:
            ignores.append(element.text)
        elif element.tag == f"{space}hash":
            name = element.findtext(f"{space}path") or ""
            former = element.findtext(f"{space}previousPath")
            if former is not None:  # renamed: the other tool's renaming detection
                history.known[name] = history.known.pop(former, {})
            known = history.known.setdefault(name, {})
            for item in element:
                kind = item.tag.removeprefix(space)
                if kind in HASH_FORMATS and item.text and item.get("action") != "failed":
                    known.setdefault(kind, item.text.strip())
    history.ignores = tuple(ignores)


def _add_file(parent: ET.Element, entry: FileEntry, now: datetime) -> None:
    element = ET.SubElement(parent, "hash")
    facts = {"size": str(entry.size), "lastmodificationdate": _iso(entry.modified)}
    ET.SubElement(element, "path", facts).text = _legal(entry.path, entry.path)
    for kind in sorted(entry.hashes):
        facts = {"action": entry.actions[kind], "hashdate": _iso(now)}
        ET.SubElement(element, kind, facts).text = entry.hashes[kind]


def _add_folder(parent: ET.Element, entry: FolderEntry, now: datetime) -> None:
    element = ET.SubElement(parent, "directoryhash")
    facts = {"lastmodificationdate": _iso(entry.modified)}
    ET.SubElement(element, "path", facts).text = _legal(entry.path, entry.path)
    _add_folder_hashes(element, entry, now)


def _add_folder_hashes(element: ET.Element, entry: FolderEntry, now: datetime) -> None:
    for tag, hashes in (("content", entry.content), ("structure", entry.structure)):
        part = ET.SubElement(element, tag)
        for kind in sorted(hashes):
            ET.SubElement(part, kind, {"hashdate": _iso(now)}).text = hashes[kind]


def _document(tree: ET.Element) -> str:
    ET.indent(tree, "  ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(tree, encoding="unicode") + "\n"


def _parsed(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()
    except (ET.ParseError, ValueError) as reason:
        raise DamagedDataError(f"{path}: is not the XML of a seal: {reason}.") from None


def _legal(text: str, what: str) -> str:
    if _NOT_XML.search(text):
        shown = os.fsencode(what) if what == text else what
        raise InputError(
            f"{shown!r}: has characters that a manifest cannot hold; rename it or leave it out."
        )
    return text


def _number(path: Path) -> int:
    match = _MANIFEST_NAME.match(path.name)
    if match is None:
        raise DamagedDataError(f"{path}: is no name of a manifest, such as 0001_NAME_DATE.mhl.")
    return int(match[1])


def _iso(moment: datetime) -> str:
    return moment.astimezone().isoformat(timespec="seconds")
