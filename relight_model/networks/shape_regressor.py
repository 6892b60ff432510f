"""beta(image): the head's shape coefficients from a picture, for the context loss (equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relight_model.networks.blocks import normalisation


class ShapeRegressor(nn.Module):  # type: ignore[misc]
    """A small convolutional network: picture to shape coefficients, whatever the exposure.

    It is trained on renders and relit frames of the performer, then frozen. Group norm, so that a
    picture's answer does not depend on the others of its batch. Any size of 16 pixels and more.
    """

    def __init__(self, shape_count: int, widths: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        """Make a regressor of ``shape_count`` coefficients."""
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [
                nn.Conv2d(channels, width, 3, 2, 1),
                normalisation("group", width, 2),
                nn.LeakyReLU(0.2),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(2 * channels, shape_count)

    def forward(self, picture_bchw: Tensor) -> Tensor:
        """Return coefficients ``(b, S)`` of pictures ``(b, 3, h, w)`` in linear light."""
        mean = picture_bchw.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        # a picture twice as bright is the same head
        shown = torch.sqrt((0.2 * picture_bchw / mean).clamp_min(0.0) + 1e-3)
        features = self.layers(shown - 0.3)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        beta: Tensor = self.last(pooled)
        return beta
