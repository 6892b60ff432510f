"""Features of VGG-19 for the albedo loss: torchvision's weights, or a stand-in that needs none."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightstage.errors import InputError

#: Where torchvision publishes its weights, and how their SHA-256 begins.
VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG19_SHA256 = "dcbb9e9d"
_TIMEOUT_S = 60.0
#: torchvision's names of the first convolutions: (index in ``features``, inputs, outputs).
_LAYERS = ((0, 3, 64), (2, 64, 64), (5, 64, 128))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VggFeatures(nn.Module):  # type: ignore[misc]
    """The third layer of VGG-19: its third convolution, ``conv2_1``, and ReLU; 128 channels.

    It is frozen. Source: Simonyan and Zisserman 2015, configuration E.

    Attributes:
        is_stand_in: whether the filters are the fixed random ones of :meth:`stand_in`.
    """

    def __init__(self) -> None:
        """Make the layers; use :meth:`load` or :meth:`stand_in`."""
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for _, i, o in _LAYERS)
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).reshape(1, 3, 1, 1))
        self.is_stand_in = False
        self.requires_grad_(False)

    @classmethod
    def load(cls, source: str | os.PathLike[str], sha256: str | None = VGG19_SHA256) -> Self:
        """Return the features with the weights of ``source``.

        Args:
            source: torchvision's ``vgg19-dcbb9e9d.pth``, or its URL; what is downloaded is kept in
                the user's cache folder.
            sha256: how the file's SHA-256 must begin; ``None``: any file of the right layout.

        Raises:
            InputError: no such file, another SHA-256, or no weights of VGG-19.
        """
        text = os.fspath(source)
        path = _downloaded(text, sha256) if "://" in text else Path(text)
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such file. It should be torchvision's "
                f"vgg19-dcbb9e9d.pth ({VGG19_URL})."
            )
        if sha256 is not None:
            _check(path, _sha256(path), sha256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as reason:  # what torch raises depends on where it stumbles
            first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
            raise InputError(
                f"{path}: is no file of weights that torch can read: {first}"
            ) from None
        features = cls()
        with torch.no_grad():
            for (index, inputs, outputs), layer in zip(_LAYERS, features.convolutions, strict=True):
                assert isinstance(layer, nn.Conv2d) and layer.bias is not None
                shapes = {"weight": (outputs, inputs, 3, 3), "bias": (outputs,)}
                for name, shape in shapes.items():
                    key = f"features.{index}.{name}"
                    value = state.get(key) if isinstance(state, dict) else None
                    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
                        came = tuple(value.shape) if isinstance(value, Tensor) else "not there"
                        raise InputError(
                            f"{path}: holds no weights of VGG-19: {key} should be {shape}, it is "
                            f"{came}. Give torchvision's vgg19-dcbb9e9d.pth."
                        )
                    getattr(layer, name).copy_(value.float())
        return features

    @classmethod
    def stand_in(cls) -> Self:
        """Return the same layers with fixed random filters, for where the weights cannot be had.

        Zero-mean first filters, variance kept by each layer (He et al. 2015); always the same
        numbers. Such features compare edges and textures at the same scales, but know nothing of
        photographs; a run that used them says so.
        """
        features = cls()
        rng = np.random.default_rng(19)
        with torch.no_grad():
            for stage, layer in enumerate(features.convolutions):
                assert isinstance(layer, nn.Conv2d) and layer.bias is not None
                shape = tuple(layer.weight.shape)
                values = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
                if stage == 0:
                    # edges of each orientation; every fourth filter keeps its mean: colour
                    edges = np.arange(shape[0]) % 4 != 0
                    values[edges] -= values[edges].mean(axis=(2, 3), keepdims=True)
                layer.weight.copy_(torch.from_numpy(values.astype(np.float32)))
                layer.bias.zero_()
        features.is_stand_in = True
        return features

    def forward(self, display_bchw: Tensor) -> Tensor:
        """Return features ``(b, 128, h / 2, w / 2)`` of display-encoded pictures in [0, 1]."""
        x = (display_bchw - self.mean) / self.std
        for stage, layer in enumerate(self.convolutions):
            if stage == 2:
                x = F.max_pool2d(x, 2)
            x = F.relu(layer(x))
        return x


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(name: Path | str, found: str, expected: str) -> None:
    if not found.startswith(expected.lower()):
        raise InputError(
            f"{name}: its SHA-256 begins with {found[: max(8, len(expected))]}, not {expected}: "
            f"this is another file, or it is damaged. Download it again from {VGG19_URL}."
        )


def _downloaded(url: str, sha256: str | None) -> Path:
    """Return the file of ``url`` in the cache folder, downloading it if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lightstage"
    path = cache / (hashlib.sha256(url.encode()).hexdigest()[:12] + "-" + url.rsplit("/", 1)[-1])
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, partial.open("wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, OSError, ValueError) as reason:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{url}: could not be downloaded ({reason}). Download it elsewhere and give its path, "
            "or train with the stand-in."
        ) from None
    try:
        if sha256 is not None:
            _check(url, digest.hexdigest(), sha256)
    except InputError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    return path
