"""Rows, windows and identities of frame sources."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.cine import CineFile
from lightstage.dome import Dome
from lightstage.errors import InputError, SessionError
from lightstage.preprocess.source import CineSource, open_path, open_source
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from tests.cine.cine_takes import FORMATS, write_take


@pytest.mark.parametrize(("bit_depth", "packing"), FORMATS)
@pytest.mark.parametrize("cfa", ["GRAY", "GBRG", "RGB"])
def test_rows_read_alone_are_those_of_the_whole_frame(
    tmp_path: Path, bit_depth: int, packing: Any, cfa: Any
) -> None:
    if packing and cfa == "RGB":
        pytest.skip("RGB is never packed")
    path = tmp_path / "take.cine"
    write_take(path, bit_depth=bit_depth, packing=packing, cfa=cfa)
    with CineSource(path) as source:
        for rows in ([0], [31], [-1, 5, 5, 2], range(0, 32, 4), range(32), [], [7, 8, 9, 20, 21]):
            found = source.read_rows(3, list(rows))
            expected = source[3][np.array(rows, dtype=int)]
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        np.testing.assert_array_equal(source.read_window(2, 5, 19), source[2][5:19])
        assert source.read_window(2, 5, 5).shape[0] == 0


@given(rows=st.lists(st.integers(-300, 299), max_size=40), seed=st.integers(0, 3))
def test_any_rows_in_any_order_of_a_frame_of_many_runs(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "wide.cine"
    if not path.exists():  # rows of 4 kB: distant ones are read apart
        write_take(path, frames=4, width=2048, height=300, bit_depth=12)
    with CineSource(path) as source:
        np.testing.assert_array_equal(source.read_rows(seed, rows), source[seed][rows])


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "take.cine"
    write_take(path, frames=2, width=1024, height=512)
    with CineFile(path) as cine:
        read = cine._source.read
        counts: list[int] = []

        def counted(offset: int, count: int, name: str) -> Any:
            counts.append(count)
            return read(offset, count, name)

        monkeypatch.setattr(cine._source, "read", counted)
        cine.read_rows(1, [*range(10, 20), *range(400, 405)])
        assert sum(counts) == 15 * 1024 + 4  # and the size of the annotation
        assert len(counts) == 3


@pytest.mark.parametrize("rows", [[32], [-33], [0, 99]])
def test_rows_outside_a_frame_are_refused(tmp_path: Path, rows: list[int]) -> None:
    path = tmp_path / "take.cine"
    write_take(path)
    with CineSource(path) as source:
        with pytest.raises(IndexError):
            source.read_rows(0, rows)
        with pytest.raises(IndexError):
            source.read_window(0, -1, 4)


def test_an_identity_survives_a_copy_and_tells_recordings_apart(tmp_path: Path) -> None:
    """Two takes may share size and time stamps and differ in their pixels alone."""
    write_take(tmp_path / "one.cine")
    shutil.copyfile(tmp_path / "one.cine", tmp_path / "copy.cine")
    data = bytearray((tmp_path / "one.cine").read_bytes())
    data[-1] ^= 1
    (tmp_path / "other.cine").write_bytes(data)
    names = {}
    for name in ("one", "copy", "other"):
        with open_path(tmp_path / f"{name}.cine") as source:
            names[name] = source.identity()
    assert names["one"] == names["copy"] != names["other"]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    dome = Dome.evenly_spread()
    session = Session.create(tmp_path / "session", dome=dome, sequence=CaptureSequence())
    return session.add_take("talk", origin="imported for a test")


def test_a_take_without_a_recording_says_so(take: Take) -> None:
    with pytest.raises(SessionError, match="no recording"):
        open_source(take)


def test_a_link_to_a_recording_that_is_gone_names_it(take: Take) -> None:
    take.cine_path.symlink_to(take.path / "elsewhere.cine")
    with pytest.raises(SessionError, match=r"elsewhere\.cine"):
        open_source(take)


def test_a_takes_cine_is_opened(take: Take) -> None:
    written = write_take(take.cine_path)
    with open_source(take) as source:
        assert source.path == take.cine_path
        np.testing.assert_array_equal(source[1], written[1])


def test_a_folder_that_is_no_store_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frames\.zarr"):
        open_path(tmp_path)
