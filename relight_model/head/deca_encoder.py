"""DECA's coarse encoder: a face picture becomes FLAME's numbers, by a user's own weights.

ResNet-50 (He et al. 2016, with the stride in the 3x3 convolution), then 2048 → 1024 → 236. Own
code; names of weights are those of DECA's checkpoint, which are torchvision's.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightstage.errors import InputError

#: Width and height of the picture that DECA takes.
IMAGE_PX = 224
#: What the 236 numbers are, in their order.
CODE_PARTS = {"shape": 100, "texture": 50, "expression": 50, "pose": 6, "camera": 3, "light": 27}
CODE_NUMBERS = sum(CODE_PARTS.values())
_FEATURES = 2048
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_WIDER = 4
_EXPECTED = "deca_model.tar, the checkpoint that DECA publishes,"


@dataclass(frozen=True, eq=False)
class DecaCode:
    """DECA's 236 numbers of B pictures, by what they are.

    ``shape`` (B, 100) and ``expression`` (B, 50) are FLAME's first coefficients; ``texture``
    (B, 50) those of its texture space; ``pose`` (B, 6) axis-angle radians of global and jaw;
    ``camera`` (B, 3) s, tx, ty: a point is seen at s (x + tx), s (y + ty), where the crop goes from
    -1 to 1 and y upwards; ``light`` (B, 9, 3) spherical harmonics, RGB.
    """

    shape: Tensor
    texture: Tensor
    expression: Tensor
    pose: Tensor
    camera: Tensor
    light: Tensor


def split_code(code: Tensor) -> DecaCode:
    """Return the parts of codes ``(B, 236)``."""
    if code.ndim != 2 or code.shape[1] != CODE_NUMBERS:
        raise InputError(f"a DECA code is (pictures, {CODE_NUMBERS}), not {tuple(code.shape)}.")
    parts = dict(zip(CODE_PARTS, code.split(list(CODE_PARTS.values()), 1), strict=True))
    parts["light"] = parts["light"].reshape(-1, 9, 3)
    return DecaCode(**parts)


class DecaEncoder(nn.Module):  # type: ignore[misc]
    """DECA's ``E_flame``. Made by :meth:`load`; a bare one has random weights."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.encoder = _ResNet50()
        self.layers = nn.Sequential(
            nn.Linear(_FEATURES, 1024), nn.ReLU(), nn.Linear(1024, CODE_NUMBERS)
        )

    @staticmethod
    def load(path: Path) -> DecaEncoder:
        """Return the encoder of a user's ``deca_model.tar``; no code in it is run.

        Raises:
            InputError: no such file, not DECA's, or one that asks to run something.
        """
        weights = _weights(path)
        with torch.device("meta"):
            encoder = DecaEncoder()
        wanted = encoder.state_dict()
        lacking = [n for n in wanted if n not in weights and not n.endswith("num_batches_tracked")]
        foreign = [n for n in weights if n not in wanted]
        if lacking or foreign:
            raise InputError(
                f"{path}: {_EXPECTED} was expected. Its E_flame "
                + (f"lacks {_some(lacking)}" if lacking else f"also holds {_some(foreign)}")
                + "; it must be a ResNet-50 encoder with 236 outputs."
            )
        for name, value in weights.items():
            shape = tuple(wanted[name].shape)
            if not isinstance(value, Tensor) or tuple(value.shape) != shape:
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise InputError(
                    f"{path}: E_flame's {name} must be {shape} as in {_EXPECTED} it is {found}."
                )
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"{path}: E_flame's {name} holds numbers that are not finite.")
        # copies: the file may change while the encoder is in use
        mine = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
        mine |= {n: v.clone() if n in mine else v.float().clone() for n, v in weights.items()}
        encoder.load_state_dict(mine, assign=True)
        encoder.eval()
        return encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return codes ``(B, 236)`` of pictures ``(B, 3, 224, 224)``, RGB as displayed, [0, 1]."""
        return cast(Tensor, self.layers(self.encoder(images)))

    def encode(self, images: Tensor) -> DecaCode:
        """Return the parts of the codes of pictures ``(B, 3, 224, 224)``; no gradients.

        Raises:
            InputError: pictures of another size.
        """
        if images.ndim != 4 or images.shape[1:] != (3, IMAGE_PX, IMAGE_PX):
            raise InputError(
                f"DECA takes pictures of (count, 3, {IMAGE_PX}, {IMAGE_PX}), not "
                f"{tuple(images.shape)}."
            )
        with torch.no_grad():
            return split_code(self(images))


def _weights(path: Path) -> dict[str, Any]:
    refused = f"{path}: {_EXPECTED} was expected; this is no checkpoint of torch, or is damaged."
    try:
        # a zip's other networks stay on the disk
        zipped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            # foreign pickles are remarked upon before they are refused
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; {_EXPECTED} was expected.") from None
    except pickle.UnpicklingError as reason:
        named = re.search(r"GLOBAL ([\w.]+)", str(reason))
        if named is None:
            raise InputError(refused) from None
        raise InputError(
            f"{path}: asks for {named[1]!r}, which {_EXPECTED} does not need. The file was not "
            f"run. Do not use it; get the file anew from where it is published."
        ) from None
    except Exception:
        # torch's reader promises nothing about what damaged bytes raise
        raise InputError(refused) from None
    found = content.get("E_flame") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        held = type(content).__name__
        if isinstance(content, Mapping):
            held = "the keys " + (_some([str(key) for key in content]) or "none")
        raise InputError(
            f"{path}: {_EXPECTED} was expected, with the key E_flame; this holds {held}."
        )
    return {str(name): value for name, value in found.items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


class _ResNet50(nn.Module):  # type: ignore[misc]
    """ResNet-50 without its last layer: ``(B, 3, 224, 224)`` to ``(B, 2048)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for number, (width, blocks, stride) in enumerate(_STAGES, 1):
            first = _Bottleneck(channels, width, stride)
            channels = _WIDER * width
            rest = [_Bottleneck(channels, width, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(first, *rest))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu_(self.bn1(self.conv1(x))))
        for number in range(1, len(_STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x.mean(dim=(2, 3))


class _Bottleneck(nn.Module):  # type: ignore[misc]
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = _WIDER * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu_(y + (x if self.downsample is None else self.downsample(x)))
