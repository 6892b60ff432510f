"""The stages of the U-Net: down, up, and normalisation that is the same when computed again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from relight_model.networks.config import Norm

_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)


@contextlib.contextmanager
def _recompute() -> Iterator[None]:
    token = _recomputing.set(True)
    try:
        yield
    finally:
        _recomputing.reset(token)


def checkpointed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Return ``function(*arguments)``, whose activations are computed again in the backward pass.

    The result and its gradient are the same: dropout draws the same numbers, and batch norm counts
    a batch once.
    """
    result: Tensor = checkpoint(
        function,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _recompute()),
    )
    return result


class BatchNorm(nn.BatchNorm2d):  # type: ignore[misc]
    """Batch norm whose running statistics count each batch once, also under checkpointing."""

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Normalise ``(b, c, h, w)``."""
        if torch.jit.is_tracing() or not (self.training and _recomputing.get()):
            return super().forward(x_bchw)
        # copies, so that autograd saves what it saved the first time and nothing is counted twice
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(
            x_bchw, mean, variance, self.weight, self.bias, True, self.momentum, self.eps
        )


def normalisation(kind: Norm, channels: int, size: int) -> nn.Module:
    """Return the normalisation of a layer with ``size`` x ``size`` outputs.

    A layer whose output is 1 x 1 has no batch norm: with a batch of one there is a single value for
    each channel, of which no variance can be taken, and the same network must train with any batch.
    """
    if kind == "batch":
        return BatchNorm(channels) if size > 1 else nn.Identity()
    if kind == "group":
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
        # one value a group has no variance either
        return nn.GroupNorm(groups, channels) if size > 1 or channels > groups else nn.Identity()
    return nn.Identity()


class Down(nn.Module):  # type: ignore[misc]
    """A 4x4 convolution of stride 2, normalisation, leaky ReLU (0.2)."""

    def __init__(self, inputs: int, outputs: int, size: int, norm: Norm, first: bool) -> None:
        """Make the stage; ``size`` is the output's side. The first stage is not normalised."""
        super().__init__()
        self.norm = nn.Identity() if first else normalisation(norm, outputs, size)
        self.convolution = nn.Conv2d(
            inputs, outputs, 4, 2, 1, bias=isinstance(self.norm, nn.Identity)
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Halve ``(b, c, h, w)``."""
        result: Tensor = F.leaky_relu(self.norm(self.convolution(x_bchw)), 0.2)
        return result


class Up(nn.Module):  # type: ignore[misc]
    """A transposed 4x4 convolution, normalisation, dropout, skip, ReLU, 3x3 refinement.

    Source: Deep Video Portraits (Kim et al. 2018), section 5, which the paper's Fig. 15 follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        skip: int,
        size: int,
        *,
        norm: Norm,
        dropout: float,
        refinement: int,
    ) -> None:
        """Make the stage; ``skip`` channels join, ``size`` is the output's side."""
        super().__init__()
        self.norm = normalisation(norm, outputs, size)
        plain = isinstance(self.norm, nn.Identity)
        self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=plain)
        self.dropout = nn.Dropout(dropout)
        layers: list[nn.Module] = []
        channels = outputs + skip
        for _ in range(refinement):
            normal = normalisation(norm, outputs, size)
            bias = isinstance(normal, nn.Identity)
            layers += [nn.Conv2d(channels, outputs, 3, 1, 1, bias=bias), normal, nn.ReLU()]
            channels = outputs
        self.refinement = nn.Sequential(*layers)
        #: channels that come out
        self.channels = channels

    def forward(self, x_bchw: Tensor, skip_bchw: Tensor | None = None) -> Tensor:
        """Double ``(b, c, h, w)`` and join the encoder's features of that size."""
        y = self.dropout(self.norm(self.convolution(x_bchw)))
        if skip_bchw is not None:
            y = torch.cat([y, skip_bchw], dim=1)
        refined: Tensor = self.refinement(F.relu(y))
        return refined


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())
