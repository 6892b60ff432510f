"""A generator as one file that runs without this project: ONNX, TorchScript or torch.export.

ONNX is written by torch's tracing exporter, which needs no further package.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightstage.errors import InputError
from relight_model.networks.reflectance import ReflectanceNetwork

Format = Literal["onnx", "torchscript", "torch_export"]
Array = NDArray[np.float32]

#: The files' endings.
SUFFIXES: dict[str, Format] = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "torch_export"}
#: Inputs and outputs by name, in every format.
INPUT, OUTPUTS = "conditioning", ("olat", "albedo", "normal")
#: How far a file's answer may lie from the network's, of values about 1.
TOLERANCE = 1e-5


class Generator(nn.Module):  # type: ignore[misc]
    """The network with plain tensors going out: OLAT ``(b, lights, 3, h, w)``, albedo, normal."""

    def __init__(self, network: ReflectanceNetwork) -> None:
        """Take a network; its weights are shared, not copied."""
        super().__init__()
        self.network = network

    def forward(self, conditioning: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the whole field, albedo and normal of ``(b, channels, size, size)`` maps."""
        output = self.network(conditioning)
        return output.olat(), output.albedo, output.normal


def export_network(
    network: ReflectanceNetwork,
    path: str | os.PathLike[str],
    format: Format | None = None,
    *,
    about: dict[str, Any] | None = None,
) -> float:
    """Write a generator and check the file: it is run, and must answer as the network does.

    Args:
        network: the trained network; it is copied, set to evaluation, and brought to float32.
        path: the file; it appears whole or not at all.
        format: by default what the ending says: ``.onnx``, ``.pt`` (TorchScript) or ``.pt2``
            (torch.export).
        about: what else to write into the file, as JSON holds it, such as the layout of the stack
            of maps; the network's configuration is always there.

    Returns:
        The largest difference of any output from the network's, on random maps.

    Raises:
        InputError: another ending, or a file that does not answer alike.
    """
    path = Path(path)
    chosen = format or SUFFIXES.get(path.suffix.lower())
    if chosen is None or chosen not in get_args(Format):
        raise InputError(
            f"{path}: the ending says which file to write: .onnx, .pt (TorchScript) or .pt2 "
            "(torch.export)."
        )
    frozen = copy.deepcopy(network).to("cpu", torch.float32).eval().requires_grad_(False)
    generator = Generator(frozen).eval()
    config = frozen.config
    generator_input = torch.rand(
        (1, config.in_channels, config.size, config.size),
        generator=torch.Generator().manual_seed(7),
    )
    with torch.inference_mode():
        expected = [t.numpy() for t in generator(generator_input)]
    text = json.dumps({"config": config.model_dump(mode="json"), **(about or {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    # the ending stays, as runners go by it
    partial = path.with_name(f".partial-{path.name}")
    try:
        _WRITERS[chosen](generator, generator_input, partial, text)
        found = run_exported(partial, generator_input.numpy(), chosen)
        worst = max(
            float(np.abs(f - e).max() / max(1.0, float(np.abs(e).max())))
            for f, e in zip(found, expected, strict=True)
        )
        if not worst <= TOLERANCE:
            raise InputError(
                f"{path}: the exported network differs from the trained one by {worst:.2g}, more "
                f"than {TOLERANCE:g}; it was not written. Please report this with the "
                "network's configuration."
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return worst


def run_exported(
    path: str | os.PathLike[str], conditioning: Array, format: Format | None = None
) -> tuple[Array, Array, Array]:
    """Return OLAT, albedo and normal that an exported file gives for maps ``(b, c, h, w)``.

    ONNX files are run by OpenCV, or by onnx's own reference where OpenCV cannot.

    Raises:
        InputError: another ending, or a file that cannot be read.
    """
    path = Path(path)
    chosen = format or SUFFIXES.get(path.suffix.lower())
    if chosen is None or not path.is_file():
        raise InputError(f"{path}: an exported network (.onnx, .pt, .pt2) is expected here.")
    maps = np.ascontiguousarray(conditioning, np.float32)
    try:
        found = _RUNNERS[chosen](path, maps)
    except InputError:
        raise
    except Exception as reason:
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        raise InputError(f"{path}: is no exported network that runs here: {first}") from None
    olat, albedo, normal = (np.asarray(a, np.float32) for a in found)
    return olat, albedo, normal


def _write_torchscript(module: Generator, example: Tensor, path: Path, text: str) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing is deprecated, and what works everywhere
        traced = torch.jit.trace(module, example, check_trace=False)
        torch.jit.save(traced, str(path), _extra_files={"about.json": text.encode()})
    _forget_sources(path)


def _write_torch_export(module: Generator, example: Tensor, path: Path, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), strict=False)
        for node in program.graph.nodes:
            # the names of source files on this machine
            node.meta.pop("stack_trace", None)
        torch.export.save(program, path, extra_files={"about.json": text})


def _forget_sources(path: Path) -> None:
    """Take out the names of source files on this machine, which only error messages use."""
    bare = path.with_name(path.name + ".bare")
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bare, "w") as kept:
            for entry in archive.infolist():
                if not entry.filename.endswith(".debug_pkl"):
                    kept.writestr(entry.filename, archive.read(entry))
        bare.replace(path)
    finally:
        bare.unlink(missing_ok=True)


def _write_onnx(module: Generator, example: Tensor, path: Path, text: str) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), str(path), dynamo=False, opset_version=17,
            input_names=[INPUT], output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
        )  # fmt: skip
    # a protobuf message may go on: metadata_props is field 14 of ONNX's ModelProto, an entry has
    # its key in field 1 and its value in field 2
    entry = _field(1, b"about") + _field(2, text.encode())
    with path.open("ab") as file:
        file.write(_field(14, entry))


def _field(number: int, data: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _run_torchscript(path: Path, maps: Array) -> Any:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        return [t.numpy() for t in torch.jit.load(str(path))(torch.from_numpy(maps))]


def _run_torch_export(path: Path, maps: Array) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = torch.export.load(path).module()
        return [t.numpy() for t in module(torch.from_numpy(maps))]


def _run_onnx(path: Path, maps: Array) -> Any:
    import cv2

    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        net.setInput(maps, INPUT)
        return list(net.forward(list(OUTPUTS)))
    except cv2.error:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(str(path)).run(list(OUTPUTS), {INPUT: maps})


_Writer = Callable[[Generator, Tensor, Path, str], None]
_WRITERS: dict[str, _Writer] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch_export": _write_torch_export,
}
_RUNNERS: dict[str, Callable[[Path, Array], Any]] = {
    "onnx": _run_onnx,
    "torchscript": _run_torchscript,
    "torch_export": _run_torch_export,
}
