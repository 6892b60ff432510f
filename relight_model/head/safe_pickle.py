"""Reads the arrays of a pickle without running it.

FLAME's files are pickles, and a pickle may name any function of the interpreter and call it. Here
a name stands for one of the inert classes of this module, or the file is refused: nothing of numpy,
scipy, chumpy or torch is called while a pickle is read. What numbers, sizes and strides an array
claims is checked when it is made of the bytes afterwards.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

#: FLAME's largest file has 0.1 GB, its texture space's 1.3 (which is no pickle).
LARGEST_FILE_BYTES = 2**30
_DEEPEST = 32
_OPCODES = {op.code.encode("latin1"): op for op in pickletools.opcodes}
#: Whatever a damaged pickle may raise.
_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
    AssertionError,
    LookupError,
    RuntimeError,
)


class _Frozen(type):
    """The class of stubs: a pickle's BUILD may not change them."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise ValueError("a pickle tried to change a class")


class _Stub(metaclass=_Frozen):
    """Stands for a class or function that a pickle names; only keeps what it is given."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise ValueError("a pickle gave a state to what has none")


class _Codecs(_Stub):
    """``_codecs.encode``: how Python 3 writes bytes into old protocols."""

    __slots__ = ()

    def __new__(cls, text: str = "", encoding: str = "latin1") -> Any:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError("an encoding that pickles do not use")
        return text.encode("latin1")


class _Bytes(_Stub):
    """``bytes()``: how Python 3 writes no bytes into old protocols."""

    __slots__ = ()

    def __new__(cls, *values: Any) -> Any:
        if values:
            raise ValueError("bytes of something")
        return b""


class _Items(_Stub):
    """``set`` and ``OrderedDict``: never of use here, but old files hold empty ones."""

    __slots__ = ()

    def __new__(cls, *values: Any) -> Any:
        return {}


class _Object(_Stub):
    """``object``, as ``copyreg._reconstructor`` names it."""

    __slots__ = ()


class _Reconstructor(_Stub):
    """``copyreg._reconstructor``: an empty object of a class."""

    __slots__ = ()

    def __new__(cls, kind: Any, base: Any = None, state: Any = None) -> Any:
        if not (isinstance(kind, _Frozen) and issubclass(kind, _Attributes)):
            raise ValueError("an object of a class that has no empty one")
        return object.__new__(kind)


class _Dtype(_Stub):
    """``numpy.dtype`` of plain numbers, or of objects; fields are refused."""

    __slots__ = ("code",)
    code: str

    def __new__(cls, code: Any = "", align: Any = False, copy: Any = True) -> Any:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not re.fullmatch(
            r"[|<>=]?([biufc][0-9]{1,2}|O8?|\?)", code
        ):
            raise ValueError("an array of neither numbers nor objects")
        made = object.__new__(cls)
        made.code = code
        return made

    def __setstate__(self, state: Any) -> None:
        # version, byte order, then what only structured types have
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if any(part not in (None, ()) for part in state[2:5]):
            raise ValueError("an array of records")
        self.code = order + self.code.lstrip("|<>=")

    @property
    def of_objects(self) -> bool:
        return self.code.lstrip("|<>=").startswith("O")


class _NdarrayClass(_Stub):
    """``numpy.ndarray`` where a pickle names the class itself."""

    __slots__ = ()


class _Array(_Stub):
    """``numpy`` arrays in the making, by ``_reconstruct`` and a state."""

    __slots__ = ("dtype", "fortran", "raw", "shape")
    dtype: _Dtype
    fortran: bool
    raw: Any
    shape: tuple[int, ...]

    def __new__(cls, *args: Any) -> Any:
        made = object.__new__(cls)
        made.raw = None
        return made

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self._keep(shape, dtype, bool(fortran), raw)

    def _keep(self, shape: Any, dtype: Any, fortran: bool, raw: Any) -> None:
        if not isinstance(dtype, _Dtype):
            raise ValueError("an array without a type")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > _DEEPEST:
            raise ValueError("an array of impossible size")
        self.shape, self.dtype, self.fortran, self.raw = shape, dtype, fortran, raw


class _FromBuffer(_Stub):
    """``numpy.core.numeric._frombuffer``: how protocol 5 writes arrays."""

    __slots__ = ()

    def __new__(cls, raw: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
        array = _Array()
        array._keep(shape, dtype, order == "F", raw)
        return array


class _Scalar(_Stub):
    """``numpy.core.multiarray.scalar``."""

    __slots__ = ()

    def __new__(cls, dtype: Any, raw: Any = b"") -> Any:
        array = _Array()
        array._keep((), dtype, False, raw)
        return array


class _Attributes(_Stub):
    """An object that is told by its attributes."""

    __slots__ = ("state",)
    state: dict[str, Any]

    def __new__(cls, *args: Any) -> Any:
        made = object.__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:
            state = state[0] or state[1]
        if not isinstance(state, dict):
            raise ValueError("an object without attributes")
        self.state = state


class _Columns(_Attributes):
    """``scipy.sparse.csc_matrix``."""

    __slots__ = ()


class _Rows(_Attributes):
    """``scipy.sparse.csr_matrix``."""

    __slots__ = ()


class _Coordinates(_Attributes):
    """``scipy.sparse.coo_matrix``."""

    __slots__ = ()


class _Chumpy(_Attributes):
    """``chumpy.ch.Ch``: an array, as its attribute x."""

    __slots__ = ()


class _Storage(_Stub):
    """``torch.storage._load_from_bytes``: a whole ``torch.save`` file, opened afterwards."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: Any = b"") -> Any:
        if not isinstance(raw, bytes):
            raise ValueError("a storage that is not bytes")
        made = object.__new__(cls)
        made.raw = raw
        return made


class _Tensor(_Stub):
    """``torch._utils._rebuild_tensor_v2``: part of a storage."""

    __slots__ = ("offset", "shape", "storage", "strides")
    offset: int
    shape: tuple[int, ...]
    storage: _Storage
    strides: tuple[int, ...]

    def __new__(
        cls, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any = False, *rest: Any
    ) -> Any:
        shape, strides = tuple(shape), tuple(strides)
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides) > _DEEPEST:
            raise ValueError("a tensor without a storage")
        if not all(isinstance(n, int) and 0 <= n < 2**40 for n in numbers):
            raise ValueError("a tensor of impossible size")
        made = object.__new__(cls)
        made.storage, made.offset, made.shape, made.strides = storage, offset, shape, strides
        return made


def _old_and_new(package: str, old: str, new: str, name: str) -> tuple[str, str]:
    return f"{package}.{old}.{name}", f"{package}.{new}.{name}"


_ALLOWED: dict[str, type[_Stub]] = {
    "_codecs.encode": _Codecs,
    "builtins.bytes": _Bytes,
    "__builtin__.bytes": _Bytes,
    "builtins.object": _Object,
    "__builtin__.object": _Object,
    "builtins.set": _Items,
    "__builtin__.set": _Items,
    "collections.OrderedDict": _Items,
    "copy_reg._reconstructor": _Reconstructor,
    "copyreg._reconstructor": _Reconstructor,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _NdarrayClass,
    **dict.fromkeys(_old_and_new("numpy", "core", "_core", "multiarray._reconstruct"), _Array),
    **dict.fromkeys(_old_and_new("numpy", "core", "_core", "multiarray.scalar"), _Scalar),
    **dict.fromkeys(_old_and_new("numpy", "core", "_core", "numeric._frombuffer"), _FromBuffer),
    **dict.fromkeys(_old_and_new("scipy.sparse", "csc", "_csc", "csc_matrix"), _Columns),
    **dict.fromkeys(_old_and_new("scipy.sparse", "csr", "_csr", "csr_matrix"), _Rows),
    **dict.fromkeys(_old_and_new("scipy.sparse", "coo", "_coo", "coo_matrix"), _Coordinates),
    "chumpy.ch.Ch": _Chumpy,
    "torch.storage._load_from_bytes": _Storage,
    "torch._utils._rebuild_tensor_v2": _Tensor,
}


class _RefusedError(Exception):
    """A pickle names something that is not on the list."""


class _ArrayUnpickler(pickle.Unpickler):
    """Finds stubs for the names on the list, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _ALLOWED:
            raise _RefusedError(full)
        return _ALLOWED[full]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an object outside the file")


def load_pickle(path: Path, what: str) -> Any:
    """Return what a pickle file holds: dicts, lists, numbers and texts; arrays as numpy arrays.

    Args:
        path: the file, of any protocol and of Python 2 or 3.
        what: the file that is expected, for the text of an error.

    Raises:
        InputError: no such file, no pickle, or one that names anything but arrays of numbers; the
            text says which name.
    """
    return _loaded(_read(path), path, what)


def load_npy(path: Path, what: str) -> Any:
    """Return what an ``.npy`` holds; where that is an array of objects, as :func:`load_pickle`.

    An array of one object is given as that object.

    Raises:
        InputError: as :func:`load_pickle`.
    """
    data = _read(path)
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        dtype = read_header(file)[2]
        if not dtype.hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except (*_UNREADABLE, SyntaxError, OSError):
        raise InputError(f"{path}: is no numpy file (.npy); {what} was expected.") from None
    return _loaded(data[file.tell() :], path, what)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise InputError(f"{path}: has {size / 1e9:.1f} GB, no file of its kind is so large.")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except OSError as reason:
        raise InputError(f"{path}: cannot be read: {reason.strerror}.") from None


def _loaded(data: bytes, path: Path, what: str) -> Any:
    try:
        _check_opcodes(data)
        unpickler = _ArrayUnpickler(io.BytesIO(data), encoding="latin1")
        return _resolved(unpickler.load(), 0)
    except _RefusedError as refused:
        raise InputError(
            f"{path}: asks for {str(refused)[:200]!r}, which {what} does not need. The file was "
            f"not run. Do not use it; get the file anew from where it is published."
        ) from None
    except _UNREADABLE:
        raise InputError(
            f"{path}: is no pickle of arrays, or is damaged; {what} was expected."
        ) from None


def _check_opcodes(data: bytes) -> None:
    """Refuse what would cost memory or need not be there, before anything is built."""
    file = io.BytesIO(data)
    for count in range(len(data)):
        opcode = _OPCODES[file.read(1)]
        argument: Any = None
        if opcode.name == "STRING":
            # pickletools takes it for ASCII; Python 2 wrote an array's bytes so
            file.readline()
        elif opcode.arg is not None:
            argument = opcode.arg.reader(file)
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument) > count:
            raise ValueError("a memo beyond all objects")
        if opcode.name in ("GLOBAL", "INST"):
            full = str(argument).replace(" ", ".")
            if full not in _ALLOWED:
                raise _RefusedError(full)
        if opcode.name.startswith("EXT"):
            raise _RefusedError(f"extension {argument}")
        if opcode.name == "STOP":
            return
    raise ValueError("a pickle without an end")


def _resolved(value: Any, depth: int) -> Any:
    """Return ``value`` with arrays in place of stubs."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        if len(value) > 10000:
            raise ValueError("too many entries")
        return {str(k): _resolved(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if all(type(v) in (int, float) for v in value):
            return value
        if len(value) > 10000:
            raise ValueError("too many entries")
        return [_resolved(v, depth + 1) for v in value]
    if isinstance(value, _Array):
        return _array(value, depth)
    if isinstance(value, _Tensor):
        return _tensor(value)
    if isinstance(value, _Chumpy):
        return _resolved(value.state["x"], depth + 1)
    if isinstance(value, _Attributes):
        return _dense(value, depth)
    if isinstance(value, (str, bytes, int, float, bool, type(None))):
        return value
    raise ValueError("an object that is no array")


def _array(stub: _Array, depth: int) -> Any:
    count = math.prod(stub.shape)
    if stub.dtype.of_objects:
        if not isinstance(stub.raw, list) or len(stub.raw) != count:
            raise ValueError("an array of objects without its objects")
        return _resolved(stub.raw[0] if stub.shape == () else stub.raw, depth + 1)
    raw = stub.raw.encode("latin1") if isinstance(stub.raw, str) else stub.raw
    dtype = np.dtype(stub.dtype.code)
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != count * dtype.itemsize:
        raise ValueError("an array without its bytes")
    order = "F" if stub.fortran else "C"
    return np.frombuffer(raw, dtype).reshape(stub.shape, order=order)  # type: ignore[call-overload]


def _tensor(stub: _Tensor) -> NDArray[Any]:
    try:
        import torch
    except ImportError:
        raise InputError(
            "the file holds tensors of torch: pip install 'lightstage[model]' and convert again."
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = io.BytesIO(stub.storage.raw)
            storage = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:
        named = re.search(r"GLOBAL ([\w.]+)", str(reason))
        raise _RefusedError(named[1] if named else "a storage that is none") from None
    except Exception:
        # torch's reader promises nothing about what damaged bytes raise
        raise ValueError("a storage that cannot be read") from None
    kind = getattr(storage, "dtype", torch.uint8)
    untyped = getattr(storage, "_untyped_storage", storage)
    flat = torch.tensor([], dtype=kind).set_(untyped).numpy()
    if math.prod(stub.shape) > len(flat):
        raise ValueError("a tensor larger than its storage")
    index: NDArray[np.int64] = np.array(stub.offset, np.int64)
    for size, stride in zip(stub.shape, stub.strides, strict=True):
        index = index[..., None] + np.arange(size) * stride
    return np.asarray(flat[index])


def _dense(stub: _Attributes, depth: int) -> NDArray[np.float64]:
    """Return a sparse matrix in full; every index is checked."""
    state = stub.state
    shape = state["_shape"] if "_shape" in state else state["shape"]
    rows, columns = (int(n) for n in shape)
    if not 0 < rows * columns <= 10**8 or rows < 1:
        raise ValueError("a sparse matrix of impossible size")

    def part(*names: str) -> NDArray[Any]:
        found = next(state[name] for name in names if name in state)
        return np.asarray(_resolved(found, depth + 1)).ravel()

    values = part("data").astype(np.float64)
    if isinstance(stub, _Coordinates):
        if "coords" in state:
            i, j = (np.asarray(_resolved(c, depth + 1)) for c in state["coords"])
        else:
            i, j = part("row"), part("col")
    else:
        starts, minor = part("indptr").astype(np.int64), part("indices")
        lines = columns if isinstance(stub, _Columns) else rows
        if len(starts) != lines + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
            raise ValueError("a sparse matrix whose lines are wrong")
        if starts[-1] != len(values):
            raise ValueError("a sparse matrix whose lines are wrong")
        major = np.repeat(np.arange(lines), np.diff(starts))
        i, j = (minor, major) if isinstance(stub, _Columns) else (major, minor)
    i, j = i.astype(np.int64), j.astype(np.int64)
    if not len(i) == len(j) == len(values):
        raise ValueError("a sparse matrix whose parts differ")
    if len(i) and (min(i.min(), j.min()) < 0 or i.max() >= rows or j.max() >= columns):
        raise ValueError("a sparse matrix with an index outside it")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (i, j), values)
    return dense


def as_array(value: Any, shape: Sequence[int | None]) -> NDArray[Any]:
    """Return ``value`` as an array of numbers of ``shape`` (``None``: any), or raise ValueError."""
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        want in (None, n) for want, n in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ValueError(f"{array.shape}")
    return array
