"""The PatchGAN discriminator: is each patch of this picture real, given the maps?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightstage.errors import InputError
from relight_model.networks.blocks import normalisation
from relight_model.networks.config import Norm

_WIDTHS = (64, 128, 256, 512)


class PatchDiscriminator(nn.Module):  # type: ignore[misc]
    """4x4 convolutions 64-128-256-512 (stride 2 but for the last), then one logit for each patch.

    At 128 pixels and more a logit sees 70 x 70 pixels. Smaller pictures are halved less often, so
    that at least 2 x 2 logits remain.

    Source: Isola et al. 2017, section 6.1.2; conditioned on the maps as in the paper.
    """

    def __init__(
        self,
        condition_channels: int,
        picture_channels: int = 3,
        size: int = 512,
        norm: Norm = "batch",
        widths: tuple[int, ...] = _WIDTHS,
    ) -> None:
        """Make it for ``size`` x ``size`` pictures.

        Raises:
            InputError: pictures below 16 pixels.
        """
        super().__init__()
        if size < 16:
            raise InputError(f"a discriminator needs pictures of 16 pixels or more, not {size}.")
        halvings = min(len(widths) - 1, size.bit_length() - 3)
        layers: list[nn.Module] = []
        channels, side = condition_channels + picture_channels, size
        for stage, width in enumerate(widths):
            halve = stage < halvings
            if stage and not halve and stage < len(widths) - 1:
                continue
            side = side // 2 if halve else side - 1
            normal = normalisation(norm, width, side) if stage else nn.Identity()
            plain = isinstance(normal, nn.Identity)
            layers += [
                nn.Conv2d(channels, width, 4, 2 if halve else 1, 1, bias=plain),
                normal,
                nn.LeakyReLU(0.2),
            ]
            channels = width
        layers.append(nn.Conv2d(channels, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, condition_bchw: Tensor, picture_bchw: Tensor) -> Tensor:
        """Return logits ``(b, 1, h', w')``, above 0 where a patch seems real.

        Args:
            condition_bchw: conditioning maps.
            picture_bchw: the picture, display-encoded in [0, 1].
        """
        logits: Tensor = self.layers(torch.cat([condition_bchw, picture_bchw], dim=1))
        return logits


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return ``mean softplus(-D(real)) + mean softplus(D(fake))``.

    Source: Goodfellow et al. 2014, the non-saturating game, on logits.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()
