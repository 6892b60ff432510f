"""The exponential moving average of a network's weights: smoother, and better, than the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightstage.errors import InputError


class MovingAverage:
    """Follows a network's weights and buffers; ``decay`` in [0, 1), 0 = the weights themselves.

    The decay warms up as ``min(decay, (1 + step) / (10 + step))``, so that a short run's average is
    not held back by the first, random weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"the decay of a moving average must be in [0, 1), not {decay:g}.")
        self.decay = decay
        self.state: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps; whole numbers (counters) are copied."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                mine = self.state[name]
                if mine.is_floating_point():
                    mine.lerp_(value.detach(), 1.0 - decay)
                else:
                    mine.copy_(value)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from ``tensors``.

        Raises:
            InputError: they are of another network.
        """
        if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in self.state.items()}:
            raise InputError("the moving average in the checkpoint is of another network.")
        for name, value in tensors.items():
            self.state[name].copy_(value)

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """Give ``network`` the averaged weights for the duration of a ``with`` block."""
        before = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(before)
