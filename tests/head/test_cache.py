"""The head on disk is the head that was made, and a damaged file only costs making it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.head.cache import cache_folder, cached

ARRAYS = {
    "vertices": np.arange(30, dtype=np.float64).reshape(10, 3),
    "names": np.array(["a", "b"]),
    "faces": np.arange(9, dtype=np.uint32),
}
KEPT = {"vertices": ARRAYS["vertices"], "labels": ARRAYS["names"], "faces": ARRAYS["faces"]}


class Maker:
    """Counts how often the arrays had to be made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.count += 1
        return dict(KEPT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def same(found: object) -> bool:
    assert isinstance(found, dict)
    return sorted(found) == sorted(KEPT) and all(
        found[name].dtype == array.dtype and (found[name] == array).all()
        for name, array in KEPT.items()
    )


def test_what_was_made_is_read_back(folder: Path) -> None:
    make = Maker()
    assert same(cached("thing", make)) and same(cached("thing", make))
    assert make.count == 1
    assert len(list(folder.iterdir())) == 1  # no partial file stays


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 255), st.booleans())
def test_a_damaged_file_is_made_anew(
    tmp_path_factory: pytest.TempPathFactory, where: float, change: int, cut: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        make = Maker()
        cached("thing", make)
        (file,) = cache_folder().iterdir()
        content = bytearray(file.read_bytes())
        place = int(where * len(content))
        if cut:
            content = content[:place]
        else:
            content[place] ^= change
        file.write_bytes(content)
        assert same(cached("thing", make))
        # a byte that zip's own headers do not need may be harmless; whatever is read is right
        assert same(cached("thing", make))
        assert make.count <= 2


def test_a_file_of_something_else_is_not_read(folder: Path) -> None:
    make = Maker()
    cached("thing", make)
    (file,) = folder.iterdir()
    np.savez(file, vertices=np.zeros(3))
    assert same(cached("thing", make)) and make.count == 2


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    make = Maker()
    assert same(cached("thing", make)) and same(cached("thing", make))
    assert make.count == 2


def test_only_the_newest_versions_stay(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(8):
        (folder / f"thing-{number}.npz").write_bytes(b"old")
    (folder / "other-1.npz").write_bytes(b"not of this name")
    cached("thing", Maker())
    assert len(list(folder.glob("thing-*.npz"))) == 4
    assert (folder / "other-1.npz").exists()


def test_the_head_from_disk_is_the_head_as_made() -> None:
    from lightstage.head import procedural_head
    from lightstage.head.procedural import _arrays

    head = procedural_head()
    for name, array in _arrays().items():
        if name != "expression_names":
            np.testing.assert_array_equal(getattr(head, name), array)
