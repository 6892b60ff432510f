"""Runs a matting network that was saved as TorchScript; ``lightstage matte`` finds it here.

``lightstage`` itself never imports torch: it asks for the entry point ``torchscript`` of the group
``lightstage.matte``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

Array = NDArray[np.float32]


def load_torchscript(path: Path) -> Callable[[Array], Array]:
    """Return a function from a batch ``(1, 3, height, width)`` to the network's last output.

    TorchScript holds code and weights in one file and is loaded without pickle.

    Raises:
        InputError: torch is not installed, or the file is no TorchScript.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path}: a TorchScript network needs torch: pip install 'lightstage[model]'. Or "
            f"export it to ONNX, which needs nothing."
        ) from None
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as reason:
        first = str(reason).strip().splitlines()[0]
        raise InputError(
            f"{path}: is no TorchScript file ({first}). A checkpoint of weights alone will not "
            f"do: save the network with torch.jit.script or torch.jit.trace."
        ) from None

    def run(batch: Array) -> Array:
        try:
            with torch.inference_mode():
                found = network(torch.from_numpy(batch))
        except RuntimeError as reason:
            first = str(reason).strip().splitlines()[-1]
            raise InputError(f"{path}: the network failed on a picture: {first}") from None
        last = found[-1] if isinstance(found, (tuple, list)) else found
        return np.asarray(last.float().numpy(), np.float32)

    return run
