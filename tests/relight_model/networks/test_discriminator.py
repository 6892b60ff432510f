"""The PatchGAN discriminator and the shape regressor."""

from __future__ import annotations

import math

import pytest
import torch

from lightstage.errors import InputError
from relight_model.networks import PatchDiscriminator, ShapeRegressor, discriminator_loss


def test_a_patch_sees_seventy_pixels() -> None:
    """pix2pix's 70 x 70 PatchGAN: the gradient of one logit reaches just that far."""
    net = PatchDiscriminator(3, 3, 128, norm="none").double()
    picture = torch.rand(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = net(torch.zeros_like(picture), picture)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    assert picture.grad is not None
    reached = picture.grad.abs().sum(dim=(0, 1)) > 0
    assert int(reached.any(dim=0).sum()) == int(reached.any(dim=1).sum()) == 70


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_any_size_and_a_batch_of_one_train(size: int) -> None:
    net = PatchDiscriminator(2, 3, size, widths=(4, 6, 8, 8)).train()
    logits = net(torch.rand(1, 2, size, size), torch.rand(1, 3, size, size))
    assert min(logits.shape[2:]) >= 2
    logits.sum().backward()
    with pytest.raises(InputError, match="16 pixels or more"):
        PatchDiscriminator(2, 3, 8)


def test_the_loss_of_an_undecided_discriminator_is_two_ln_2() -> None:
    zero = torch.zeros(2, 1, 3, 3)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    assert float(discriminator_loss(zero + 30, zero - 30)) < 1e-9


def test_shape_does_not_depend_on_the_exposure_or_on_the_rest_of_the_batch() -> None:
    net = ShapeRegressor(5).eval()
    pictures = torch.rand(3, 3, 32, 32) + 0.05
    beta = net(pictures)
    assert beta.shape == (3, 5)
    torch.testing.assert_close(net(4.0 * pictures), beta, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(pictures[1:2]), beta[1:2], rtol=1e-4, atol=1e-5)


def test_a_regressor_learns_a_shape_that_pictures_show() -> None:
    """The width of a disc, from 24 pictures; held-out widths are then found."""
    torch.manual_seed(0)
    net = ShapeRegressor(1, widths=(8, 16))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")

    def discs(width: torch.Tensor) -> torch.Tensor:
        soft = torch.sigmoid(12 * (1 - (x / width[:, None, None]) ** 2 - y**2 / 0.3))
        return soft[:, None].expand(-1, 3, -1, -1)

    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(150):
        width = 0.3 + 0.6 * torch.rand(8)
        loss = (net(discs(width))[:, 0] - width).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    width = torch.linspace(0.35, 0.85, 6)
    with torch.inference_mode():
        assert float((net(discs(width))[:, 0] - width).abs().max()) < 0.08
