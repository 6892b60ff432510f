"""No damage whatever escapes as another error, takes long, or takes more memory than the file."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightstage.cine import CineFile
from lightstage.cine.describe import describe
from lightstage.errors import CineError, InputError
from tests.cine.cine_real_files import FILES
from tests.cine.cine_takes import write_take

#: For reading a file of up to 1 MB twice with memory traced: generous, machines are shared.
DEADLINE_S = 2.0
SETUP = 84


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Written takes of each kind and, where there are any, real files of less than a MB."""
    folder = tmp_path_factory.mktemp("sources")
    kinds = [(8, None, "GRAY"), (16, None, "RGB"), (12, "P10", "GBRG"), (12, "P12L", "RGGB")]
    found = [path.read_bytes() for path in FILES if path.stat().st_size < 1e6]
    for number, (depth, packing, cfa) in enumerate(kinds):
        path = folder / f"{number}.cine"
        write_take(path, width=16, height=8, bit_depth=depth, packing=packing, cfa=cfa)
        found.append(path.read_bytes())
    return found


def _survives(path: Path, content: bytes) -> None:
    """Assert that ``content`` is read or refused as it should be, in time and in memory."""
    path.write_bytes(content)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        for allow_truncated in (False, True):
            try:
                with CineFile(path, allow_truncated=allow_truncated) as cine:
                    describe(cine)
                    repr(cine)
                    for index in (0, len(cine) // 2, -1):
                        try:
                            assert cine[index].nbytes <= 2 * len(content)
                        except CineError:
                            continue
            except (CineError, InputError) as reason:
                assert str(path) in str(reason)
        elapsed = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert elapsed < DEADLINE_S
    assert peak < 12 * len(content) + (1 << 20)


INTERESTING = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Return ``(kind, where, what)``; most of them in the headers, where they matter."""
    where = st.one_of(
        st.integers(0, 84),
        st.sampled_from([SETUP + at for at in (0x8C, 0x8E, 0x300, 0x328, 0x380, 0x620, 0x1664)]),
        st.integers(0, 16_400),
        st.integers(0, 1 << 20),
    )
    one = st.tuples(
        st.sampled_from(["flip", "word", "cut", "insert", "remove"]),
        where,
        st.one_of(st.sampled_from(INTERESTING), st.integers(0, 0xFFFFFFFF)),
    )
    return draw(st.lists(one, min_size=1, max_size=4))


def _damage(content: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(content)
    for kind, where, what in changes:
        if not data:
            break
        where %= len(data)
        if kind == "flip":
            data[where] ^= 1 << (what % 8)
        elif kind == "word":
            data[where : where + 4] = what.to_bytes(4, "little")
        elif kind == "cut":
            del data[where:]
        elif kind == "insert":
            data[where:where] = what.to_bytes(4, "little") * (what % 5)
        else:
            del data[where : where + what % 64]
    return bytes(data)


@given(number=st.integers(0, 7), changes=damages())
@example(number=0, changes=[("word", 0x14, 0xFFFFFFFF)])
@example(number=0, changes=[("word", 0x30, 1_000_000_000)])
@settings(max_examples=250)
def test_no_damage_escapes(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[bytes],
    number: int,
    changes: list[tuple[str, int, int]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.cine"
    _survives(path, _damage(sources[number % len(sources)], changes))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(number=st.integers(0, 7), changes=damages())
@settings(max_examples=5_000)
def test_no_damage_escapes_at_length(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[bytes],
    number: int,
    changes: list[tuple[str, int, int]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.cine"
    _survives(path, _damage(sources[number % len(sources)], changes))


def _every_header_word(content: bytes) -> Iterator[bytes]:
    for offset in range(0, 84, 2):
        for value in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            yield _damage(content, [("word", offset, value)])


def test_every_header_word_at_its_extremes(tmp_path: Path, sources: list[bytes]) -> None:
    for content in _every_header_word(sources[-1]):
        _survives(tmp_path / "extreme.cine", content)


def test_splices_of_two_recordings(tmp_path: Path, sources: list[bytes]) -> None:
    for first in sources:
        for second in sources:
            if first is second:
                continue
            for cut in (44, 84):
                _survives(tmp_path / "spliced.cine", first[:cut] + second[cut:])
