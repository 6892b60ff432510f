"""Hashes as ASC MHL writes them: of files, and of folders by the hashes of what they hold.

Source: ASC Media Hash List specification v2.0 (American Society of Cinematographers, 2022); C4 by
SMPTE ST 2114:2017.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_C4_DIGITS = 88
#: Bytes read at a time.
_CHUNK_BYTES = 1 << 22
#: What computes each kind of hash; the names are the manifest's elements.
HASH_FORMATS: Mapping[str, Callable[[], Any]] = {
    "xxh64": xxhash.xxh64,
    "xxh128": xxhash.xxh3_128,
    "xxh3": xxhash.xxh3_64,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "c4": hashlib.sha512,
}


def hash_file(
    path: Path, formats: Iterable[str], progress: Callable[[int], None] | None = None
) -> dict[str, str]:
    """Return a file's hashes, read once.

    Args:
        path: the file.
        formats: keys of :data:`HASH_FORMATS`.
        progress: told how many bytes each part had.
    """
    hashers = {name: HASH_FORMATS[name]() for name in formats}
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            for hasher in hashers.values():
                hasher.update(view[:count])
            if progress:
                progress(count)
    return {name: _text(name, hasher.digest()) for name, hasher in hashers.items()}


def hash_bytes(data: bytes, name: str) -> str:
    """Return the hash of ``data`` in the format ``name``, as a manifest writes it."""
    hasher = HASH_FORMATS[name]()
    hasher.update(data)
    return _text(name, hasher.digest())


def hash_of_hashes(hashes: Iterable[str], name: str) -> str:
    """Return the hash of hashes, in the order of their text: a folder's, or a list's."""
    return hash_bytes(b"".join(_digest(name, text) for text in sorted(hashes)), name)


def hash_of_name(file_name: str, text: str, name: str) -> str:
    """Return the hash of a child's name and hash: what a folder's structure hash is made of."""
    return hash_bytes(file_name.encode() + _digest(name, text), name)


def _text(name: str, digest: bytes) -> str:
    if name != "c4":
        return digest.hex()
    number, digits = int.from_bytes(digest, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "c4" + digits.rjust(_C4_DIGITS, _BASE58[0])


def _digest(name: str, text: str) -> bytes:
    if name != "c4":
        return bytes.fromhex(text)
    number = 0
    for digit in text[2:]:
        number = number * 58 + _BASE58.index(digit)
    return number.to_bytes(64, "big")
