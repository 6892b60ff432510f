"""The LED controller's protocol: SPECIFICATION.md, frames, messages, vectors, C firmware."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
#: The specification in words, and the byte-exact vectors that every implementation must pass.
SPECIFICATION = FOLDER / "SPECIFICATION.md"
CONFORMANCE_VECTORS = FOLDER / "conformance.json"
#: Sources of the reference firmware in C99.
FIRMWARE_SOURCES = FOLDER / "firmware"
