"""The head that turns features into one picture for each light, a few lights at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from relight_model.networks.blocks import checkpointed
from relight_model.networks.config import NetworkConfig
from relight_model.networks.light_basis import smooth_light_basis

#: Linear light that a fresh head gives everywhere, in units of ``light_scale``.
_FIRST_LIGHT = 0.05


@dataclass(frozen=True, eq=False)
class PlaneSource:
    """What lights are made from: features ``(b, c, h, w)`` of a full head, or the basis images
    ``(b, K, channels, h, w)`` of a low-rank one; and the albedo ``(b, 3, h, w)``.
    """  # noqa: D205

    tensor: Tensor
    albedo: Tensor


class LightHead(nn.Module):  # type: ignore[misc]
    """Planes, how they mix to lights, and how their channels become colours.

    A *plane* is an image that the last convolution makes: three colours, or (``factored``) a
    shading and a specular channel, ``colour = albedo * shading + specular``. A full head has a
    plane for each light. A low-rank head has K planes and a light basis ``(lights, K)`` that is
    learned: light l is ``sum_k basis[l, k] * plane_k``. Each light also has a learned tint of three
    numbers near 1 when ``factored``, as LEDs differ.

    Nothing is negative: with the curves ``softplus`` and ``square`` planes are positive, and the
    basis goes through a softplus. With ``signed`` both have any sign, as principal components have,
    and lights are cut at 0 after mixing.
    """

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        """Make a head on ``channels`` features."""
        super().__init__()
        self.config = config
        self.lights = config.lights
        kernel = config.head_kernel
        outputs = config.planes * config.plane_channels
        self.convolution = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)
        nn.init.normal_(self.convolution.weight, std=0.01)
        nn.init.constant_(self.convolution.bias, _inverse(_FIRST_LIGHT, config.curve))
        self.basis: nn.Parameter | None = None
        if config.head == "low_rank":
            self.basis = nn.Parameter(torch.zeros(config.lights, config.rank))
            self.set_light_basis(smooth_light_basis(config.lights, config.rank, config.curve))
        self.tint = nn.Parameter(torch.zeros(config.lights, 3)) if config.factored else None

    def set_light_basis(self, basis: Tensor) -> None:
        """Start from this light basis ``(lights, K)``; below 0 only with the curve ``signed``."""
        if self.basis is None:
            raise ValueError("a full head has no light basis")
        if self.config.curve != "signed":
            floor = basis.clamp_min(1e-4)
            basis = floor + torch.log(-torch.expm1(-floor))  # the inverse of softplus
        with torch.no_grad():
            self.basis.copy_(basis)

    def light_basis(self) -> Tensor:
        """Return the light basis ``(lights, K)`` as it is used."""
        if self.basis is None:
            raise ValueError("a full head has no light basis")
        return self.basis if self.config.curve == "signed" else F.softplus(self.basis)

    def prepare(self, features: Tensor, albedo: Tensor) -> PlaneSource:
        """Return what lights are made from; here a low-rank head makes its basis images."""
        if self.basis is None:
            return PlaneSource(features, albedo)
        return PlaneSource(self._planes(features, slice(None)), albedo)

    def forward(self, source: PlaneSource, which: slice | Tensor) -> Tensor:
        """Return some lights, ``(b, n, 3, h, w)``, linear, not below 0.

        Args:
            source: what :meth:`prepare` gave.
            which: a slice, or indices ``(n,)``; a full head convolves only these lights' rows.
        """
        if self.basis is None:
            planes = self._planes(source.tensor, which)
        else:
            planes = _mix(self.light_basis()[which], source.tensor)
        if self.config.curve == "signed":
            planes = planes.clamp_min(0.0)
        if self.tint is None:
            return planes
        shading, specular = planes[:, :, 0:1], planes[:, :, 1:2]
        colours = source.albedo.unsqueeze(1) * shading + specular
        return colours * torch.exp(self.tint[which])[None, :, :, None, None]

    def relight(
        self, source: PlaneSource, weights: Tensor, chunk: int, lights: Tensor | None
    ) -> Tensor:
        """Return pictures ``(b, p, 3, h, w)`` under ``weights`` ``(b or 1, p, n, 3)``.

        ``lights`` are the indices ``(n,)`` that the weights are of; ``None``: all.
        """
        weights = weights.to(source.tensor.dtype)
        if self.basis is None:
            return self._relight_by_chunks(source, weights, chunk, lights)
        which = slice(None) if lights is None else lights
        if self.tint is not None:
            weights = weights * torch.exp(self.tint[which])
        planes = source.tensor
        b, k, channels, height, width = planes.shape
        # (b, p, 3, K): how much of each basis image, for each colour
        shares = torch.einsum("bpnc,nk->bpck", weights, self.light_basis()[which])
        shares = shares.expand(b, -1, -1, -1)
        # (b, channels, K, h w)
        flat = planes.transpose(1, 2).reshape(b, channels, k, height * width)
        if self.tint is None:
            relit = torch.matmul(shares.transpose(1, 2), flat).transpose(1, 2)
            relit = relit.reshape(b, -1, 3, height, width)
        else:
            # (b, channels, p 3, h w)
            mixed = torch.matmul(shares.reshape(b, 1, -1, k), flat)
            mixed = mixed.reshape(b, channels, -1, 3, height, width)
            relit = source.albedo.unsqueeze(1) * mixed[:, 0] + mixed[:, 1]
        return relit.clamp_min(0.0) if self.config.curve == "signed" else relit

    def _relight_by_chunks(
        self, source: PlaneSource, weights: Tensor, chunk: int, lights: Tensor | None
    ) -> Tensor:
        def part(tensor: Tensor, albedo: Tensor, some: Tensor, which: Any) -> Tensor:
            return weighted_sum(self(PlaneSource(tensor, albedo), which), some)

        total: Tensor | None = None
        count = weights.shape[2]
        for start in range(0, count, chunk):
            span = slice(start, min(start + chunk, count))
            which = span if lights is None else lights[span]
            arguments = (source.tensor, source.albedo, weights[:, :, span], which)
            again = torch.is_grad_enabled() and count > chunk
            lit = checkpointed(part, *arguments) if again else part(*arguments)
            total = lit if total is None else total + lit
        assert total is not None
        return total

    def _planes(self, features: Tensor, which: slice | Tensor) -> Tensor:
        """Return planes ``(b, n, channels, h, w)``: only these rows are convolved."""
        n, conv = self.config.plane_channels, self.convolution
        assert conv.bias is not None
        weight = conv.weight.reshape(-1, n, *conv.weight.shape[1:])[which].flatten(0, 1)
        bias = conv.bias.reshape(-1, n)[which].flatten()
        x = F.conv2d(features, weight, bias, padding=conv.padding)
        if self.config.curve == "softplus":
            x = F.softplus(x)
        elif self.config.curve == "square":
            x = x.square()
        if self.config.light_scale != 1.0:
            x = x * self.config.light_scale
        return x.reshape(x.shape[0], -1, n, *x.shape[2:])


def weighted_sum(lights: Tensor, weights: Tensor) -> Tensor:
    """Return pictures ``(b, p, 3, h, w)`` of lights ``(b, n, 3, h, w)``: plain linear combination.

    ``weights`` are ``(b or 1, p, n, 3)``.
    """
    b, n, channels, height, width = lights.shape
    flat = lights.transpose(1, 2).reshape(b, channels, n, height * width)
    shares = weights.permute(0, 3, 1, 2).expand(b, -1, -1, -1)
    relit = torch.matmul(shares, flat).transpose(1, 2)
    return relit.reshape(b, -1, channels, height, width)


def _mix(basis: Tensor, planes: Tensor) -> Tensor:
    b, k, channels, height, width = planes.shape
    mixed = torch.matmul(basis, planes.reshape(b, k, channels * height * width))
    return mixed.reshape(b, basis.shape[0], channels, height, width)


def _inverse(light: float, curve: str) -> float:
    if curve == "softplus":
        return math.log(math.expm1(light))
    return math.sqrt(light) if curve == "square" else light
