"""The vendor's own recordings and exports, where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "cine"
FILES = sorted(FOLDER.glob("*.cine"))

needs_real_files = pytest.mark.skipif(
    not FILES, reason="no real .cine files in ../shared/data/cine beside the repository"
)
each_real_file = pytest.mark.parametrize(
    "real",
    FILES or [pytest.param(None, marks=pytest.mark.skip(reason="no real .cine files beside us"))],
    ids=lambda path: path.stem if path else "none",
)


def beside(name: str, suffix: str) -> Path:
    """Return an export of a real file, or skip the test where it is absent."""
    path = FOLDER / f"{name}{suffix}"
    if not path.is_file():
        pytest.skip(f"no {path.name} in ../shared/data/cine beside the repository")
    return path
