"""The paper's network: stacked conditioning maps in, a reflectance field, albedo and normal out."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightstage.errors import InputError
from relight_model.networks.blocks import Down, Up, checkpointed
from relight_model.networks.config import NetworkConfig
from relight_model.networks.light_head import LightHead, PlaneSource

_CLOSE_TO_BLACK, _CLOSE_TO_WHITE = 0.004, 0.996


class ReflectanceOutput:
    """What the network says of a batch; lights are made when they are asked for.

    Attributes:
        albedo: ``(b, 3, h, w)`` linear, in [0, 1].
        normal: ``(b, 3, h, w)`` unit vectors, world axes.
        light_count: how many lights there are.
    """

    def __init__(self, albedo: Tensor, normal: Tensor, features: Tensor, head: LightHead) -> None:
        """Keep the heads' inputs."""
        self.albedo, self.normal, self.features = albedo, normal, features
        self._head = head
        self._source: PlaneSource | None = None

    @property
    def light_count(self) -> int:
        """How many lights there are."""
        return self._head.lights

    @property
    def source(self) -> PlaneSource:
        """What the light head makes lights from; a low-rank head's basis images are made once."""
        if self._source is None:
            self._source = self._head.prepare(self.features, self.albedo)
        return self._source

    def lights(self, start: int, stop: int) -> Tensor:
        """Return lights ``start`` to ``stop - 1``, ``(b, stop - start, 3, h, w)``.

        Linear light, never negative, in units of the training pictures' white level.

        Raises:
            InputError: there are no such lights.
        """
        if not 0 <= start < stop <= self.light_count:
            raise InputError(
                f"lights {start} to {stop - 1} were asked for; the network has lights 0 to "
                f"{self.light_count - 1}."
            )
        with self._mode():
            return cast(Tensor, self._head(self.source, slice(start, stop)))

    def chosen_lights(self, indices: Tensor) -> Tensor:
        """Return the lights of ``indices`` ``(n,)``, as :meth:`lights` does."""
        with self._mode():
            return cast(Tensor, self._head(self.source, indices))

    def olat(self) -> Tensor:
        """Return all lights, ``(b, lights, 3, h, w)``: as much memory as that takes."""
        return self.lights(0, self.light_count)

    def relight(self, weights: Tensor, chunk: int = 8) -> Tensor:
        """Return the picture under lights of ``weights``, ``(b, 3, h, w)``, linear.

        Weights go through a low-rank head's light basis first, so that no light is made. The result
        is the weighted sum of :meth:`lights`, but for a low-rank ``signed`` head, whose lights are
        cut at 0 one by one, its relit picture as a whole.

        Args:
            weights: ``(b or 1, lights, 3)``.
            chunk: a full head's lights are made so many at a time.

        Raises:
            InputError: weights of another shape.
        """
        if weights.ndim != 3:
            raise InputError(f"weights must be (batch or 1, lights, 3), not {weights.ndim}-D.")
        return self.relight_many(weights.unsqueeze(1), chunk).squeeze(1)

    def relight_many(self, weights: Tensor, chunk: int = 8, lights: Tensor | None = None) -> Tensor:
        """Return several pictures of each of the batch, ``(b, pictures, 3, h, w)``.

        Args:
            weights: ``(b or 1, pictures, n, 3)``.
            chunk: as for :meth:`relight`.
            lights: the n lights' indices; all by default.

        Raises:
            InputError: weights of another shape.
        """
        count = self.light_count if lights is None else len(lights)
        if weights.ndim != 4 or weights.shape[2:] != (count, 3):
            raise InputError(
                f"weights of {count} lights must end in ({count}, 3), they are "
                f"{tuple(weights.shape)}."
            )
        with self._mode():
            return self._head.relight(self.source, weights, chunk, lights)

    @property
    def is_low_rank(self) -> bool:
        """Whether lights are mixed from fewer basis images."""
        return self._head.basis is not None

    def _mode(self) -> contextlib.AbstractContextManager[Any]:
        """What was inferred without a graph gives lights without one, wherever it is asked."""
        inferred = self.features.is_inference()
        return torch.inference_mode() if inferred else contextlib.nullcontext()

    def detached(self) -> ReflectanceOutput:
        """Return the same output cut from the network, whose :meth:`ends` collect gradients.

        See :mod:`relight_model.light_chunks`, which hands them on to the network in one go.
        """
        albedo, normal, last = (t.detach().requires_grad_() for t in self.ends())
        cut = ReflectanceOutput(albedo, normal, last, self._head)
        if self.is_low_rank:
            cut._source = PlaneSource(last, albedo)
        return cut

    def ends(self) -> list[Tensor]:
        """Return the tensors that everything else here is made from, with :meth:`weights`."""
        return [self.albedo, self.normal, self.source.tensor]

    def weights(self) -> list[nn.Parameter]:
        """Return the light head's numbers that take part after :meth:`ends` and learn."""
        head = self._head
        used = [head.basis, head.tint] if self.is_low_rank else [head.tint]
        own = [] if self.is_low_rank else list(head.convolution.parameters())
        return [p for p in (*own, *used) if p is not None and p.requires_grad]


class ReflectanceNetwork(nn.Module):  # type: ignore[misc]
    """A U-Net with skips and three heads (Fig. 15): the field of lights, albedo and normal."""

    def __init__(self, config: NetworkConfig) -> None:
        """Build the network; weights are random until they are trained or loaded."""
        super().__init__()
        self.config = config
        widths, size = config.encoder_widths, config.size
        depth = len(widths)
        self.encoder = nn.ModuleList()
        channels = config.in_channels
        for stage, width in enumerate(widths):
            side = size >> (stage + 1)
            self.encoder.append(Down(channels, width, side, config.norm, stage == 0))
            channels = width
        self.decoder = nn.ModuleList()
        for stage in reversed(range(depth)):
            # the last stage is as wide as the first of the encoder
            width = widths[max(stage - 1, 0)]
            skip = widths[stage - 1] if stage else config.input_skip
            inner = depth - 1 - stage < config.dropout_stages
            up = Up(
                channels,
                width,
                skip,
                size >> stage,
                norm=config.norm,
                dropout=config.dropout if inner else 0.0,
                refinement=config.refinement,
            )
            self.decoder.append(up)
            channels = up.channels if config.refinement else width + skip
        kernel = config.head_kernel
        self.light_head = LightHead(config, channels)
        self.albedo_head = nn.Conv2d(channels, 3, kernel, padding=kernel // 2)
        self.normal_head = nn.Conv2d(channels, 3, kernel, padding=kernel // 2)
        _initialise(self)

    def trunk(self, conditioning_bchw: Tensor) -> Tensor:
        """Return the last stage's features, ``(b, c, h, w)``."""
        config = self.config
        expected = (config.in_channels, config.size, config.size)
        if tuple(conditioning_bchw.shape[1:]) != expected:
            raise InputError(
                f"the network takes (batch, {', '.join(map(str, expected))}) conditioning, not "
                f"{tuple(conditioning_bchw.shape)}."
            )
        skips: list[Tensor | None] = [None]
        if config.input_skip:
            skips = [conditioning_bchw[:, -config.input_skip :]]
        x = conditioning_bchw
        for down in self.encoder:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.decoder:
            skip = skips.pop()
            joined = (x,) if skip is None else (x, skip)
            again = config.checkpoint and torch.is_grad_enabled()
            x = checkpointed(up, *joined) if again else up(*joined)
        return x

    def forward(self, conditioning_bchw: Tensor) -> ReflectanceOutput:
        """Return what the network says of stacked conditioning maps.

        Args:
            conditioning_bchw: ``(b, in_channels, size, size)``, as
                :func:`relight_model.conditioning.stack` gives them.

        Raises:
            InputError: another shape.
        """
        features = self.trunk(conditioning_bchw)
        albedo, normal = self.albedo_head(features), self.normal_head(features)
        if self.config.albedo_from is not None:
            first = self.config.albedo_from
            drawn = conditioning_bchw[:, first : first + 3]
            drawn = drawn.clamp(_CLOSE_TO_BLACK, _CLOSE_TO_WHITE)
            albedo = albedo + torch.log(drawn / (1.0 - drawn))
            # the sigmoid undoes the line above: the change is made on display-encoded values
            albedo = torch.sigmoid(albedo).pow(2.2)
        else:
            albedo = torch.sigmoid(albedo)
        if self.config.normal_from is not None:
            first = self.config.normal_from
            normal = normal + conditioning_bchw[:, first : first + 3]
        normal = F.normalize(normal, dim=1, eps=1e-6)
        return ReflectanceOutput(albedo, normal, features, self.light_head)

    def describe(self) -> dict[str, Any]:
        """Return parameter count, receptive field and shapes, for logs and tables."""
        from relight_model.networks.blocks import parameter_count

        config = self.config
        return {
            "parameters": parameter_count(self),
            "receptive_field_px": config.receptive_field,
            "encoder": [(w, config.size >> (s + 1)) for s, w in enumerate(config.encoder_widths)],
            "head_channels": config.planes * config.plane_channels + 6,
        }


def _initialise(network: ReflectanceNetwork) -> None:
    """Start with small heads, so that the first output is grey and not noise."""
    for layer in (network.albedo_head, network.normal_head):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    if network.config.normal_from is None:
        with torch.no_grad():
            network.normal_head.bias[2] = 1.0
