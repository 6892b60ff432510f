"""Pickles give their arrays, and never run: whatever they name, however they are damaged."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.head.safe_pickle import load_npy, load_pickle

CONTENT: dict[str, Any] = {
    "c": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big end": np.array([1, 2], ">i4"),
    "none": np.zeros((0, 3), np.float32),
    "truth": np.array([True, False]),
    "scalar": np.float64(3.5),
    "tensor": torch.arange(12).reshape(3, 4).T[1:],
    "columns": scipy.sparse.csc_matrix(np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])),
    "rows": scipy.sparse.csr_matrix(np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])),
    "places": scipy.sparse.coo_matrix(np.array([[0.0, 2.0], [3.0, 0.0]])),
    "text": "lbs",
    "list": [1, 2.5, None],
}


def plain(value: Any) -> np.ndarray:
    return np.asarray(value.todense() if scipy.sparse.issparse(value) else value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_out_as_they_went_in(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    found = load_pickle(path, "a test")
    assert found.keys() == CONTENT.keys()
    for name, value in CONTENT.items():
        truth = plain(value)
        assert np.array_equal(np.asarray(found[name]), truth), name
    np.save(tmp_path / "a.npy", CONTENT, allow_pickle=True)  # type: ignore[arg-type]
    assert load_npy(tmp_path / "a.npy", "a test").keys() == CONTENT.keys()
    np.save(tmp_path / "b.npy", CONTENT["c"])
    assert np.array_equal(load_npy(tmp_path / "b.npy", "a test"), CONTENT["c"])


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # as Python 2 and numpy 1 print numpy.array([0.5, 2.0]) in protocol 0
    raw = repr(struct.pack("<2d", 0.5, 2.0))[1:]
    text = (
        "cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\n"
        "tp4\nRp5\n(I1\n(I2\ntp6\ncnumpy\ndtype\np7\n(S'f8'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\n"
        f"p11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS{raw}\np13\ntp14\nb."
    )
    (tmp_path / "a.pkl").write_bytes(text.encode("latin1"))
    assert load_pickle(tmp_path / "a.pkl", "a test").tolist() == [0.5, 2.0]


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def attacks(marker: Path) -> dict[str, Any]:
    """Ways to make a pickle write ``marker``, and the name that a refusal must give."""
    script = f"open({str(marker)!r}, 'w').close()"
    evil = marker.with_suffix(".npy")
    np.save(evil, np.array([Call(builtins.eval, script)], dtype=object), allow_pickle=True)
    blob = io.BytesIO()
    torch.save({"a": Call(os.system, f"touch {marker}")}, blob)
    load_from_bytes = torch.storage._load_from_bytes
    rebuild = torch._utils._rebuild_tensor_v2
    storage = Call(load_from_bytes, blob.getvalue())
    return {
        "system": Call(os.system, f"touch {marker}"),
        "builtins.eval": Call(builtins.eval, script),
        "builtins.exec": [{"nested": (Call(builtins.exec, script),)}],
        "builtins.getattr": Call(getattr, CONTENT, "clear"),
        "load": Call(np.load, str(evil), None, True),
        "torch.serialization.load": Call(torch.load, str(marker)),
        "posix.system": Call(rebuild, storage, 0, (1,), (1,), False, {}),
        "numpy.memmap": Call(np.memmap, str(marker), "u1", "w+", 0, (4,)),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "named",
    [
        "system",
        "builtins.eval",
        "builtins.exec",
        "builtins.getattr",
        "load",
        "torch.serialization.load",
        "posix.system",
        "numpy.memmap",
    ],
)
def test_no_pickle_runs_and_what_it_asks_for_is_named(
    named: str, protocol: int, tmp_path: Path
) -> None:
    marker = tmp_path / "it_ran"
    attack = attacks(marker)[named]
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": attack}, protocol=protocol))
    expected = named.replace("builtins", r"(builtins|__builtin__)")
    with pytest.raises(InputError, match=rf"asks for '.*{expected}'.*was not run"):
        load_pickle(path, "a FLAME model")
    np.save(tmp_path / "e.npy", np.array([attack], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=rf"asks for '.*{expected}'.*was not run"):
        load_npy(tmp_path / "e.npy", "an embedding")
    assert not marker.exists()


def test_the_attacks_would_work_on_an_unpickler_that_trusts(tmp_path: Path) -> None:
    marker = tmp_path / "it_ran"
    pickle.loads(pickle.dumps(attacks(marker)["system"]))  # noqa: S301
    assert marker.exists()


ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02r\xff\xff\xff\x7fN.",  # a memo of two thousand million places
        b"\x80\x04N" + b"\x8d" + struct.pack("<Q", 2**60) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
        b"\x80\x02" + b"(" * 3000 + b"t" * 3000 + b".",
        ARRAY + b"}S'__setstate__'\nNsb.",  # changes a class of ours
        ARRAY + b"N}S'__setstate__'\nNs\x86b.",
        ARRAY + b"(" + NDARRAY + b"(I0\ntS'b'\ntR(I1\n(L99999999999L\ntNI00\nS''\ntb.",
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02Q.",
        b"L" + b"9" * 100000 + b"L\n.",
        b"",
        b".",
    ],
)
def test_crafted_pickles_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError):
        load_pickle(path, "a test")


def test_sparse_matrices_and_tensors_cannot_reach_outside_their_data(tmp_path: Path) -> None:
    good = scipy.sparse.csc_matrix(np.eye(3))
    path = tmp_path / "a.pkl"
    for name, wrong in (
        ("indices", np.array([0, 1, 7])),
        ("indices", np.array([0, -1, 2])),
        ("indptr", np.array([0, 9, 2, 3])),
        ("indptr", np.array([0, 1, 2, 300])),
        ("_shape", (10**9, 10**9)),
    ):
        bad = good.copy()
        vars(bad)[name] = wrong
        path.write_bytes(pickle.dumps(bad))
        with pytest.raises(InputError, match="damaged"):
            load_pickle(path, "a test")
    rebuild, load = torch._utils._rebuild_tensor_v2, torch.storage._load_from_bytes
    blob = io.BytesIO()
    torch.save(torch.arange(4.0)._typed_storage(), blob)
    for offset, shape, strides in ((3, (4,), (1,)), (0, (4,), (2,)), (0, (10**6, 10**6), (0, 0))):
        call = Call(rebuild, Call(load, blob.getvalue()), offset, shape, strides, False, {})
        path.write_bytes(pickle.dumps(call))
        with pytest.raises(InputError):
            load_pickle(path, "a test")


def read(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    for load in (load_pickle, load_npy):
        try:
            load(path, "a test")
        except InputError as refused:
            assert str(path) in str(refused)


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_give_arrays_or_a_refusal(tmp_path_factory: Any, data: bytes) -> None:
    read(data, tmp_path_factory.getbasetemp() / "bytes.pkl")


WHOLE = [pickle.dumps(CONTENT, protocol=p) for p in (0, 2, 5)]


@settings(max_examples=150)
@given(st.data())
def test_damaged_pickles_give_arrays_or_a_refusal(tmp_path_factory: Any, data: Any) -> None:
    whole = data.draw(st.sampled_from(WHOLE))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=3)):
        if damaged:
            damaged[place] = data.draw(st.integers(0, 255))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    read(bytes(damaged), path)
    read(header.getvalue() + bytes(damaged), path)
