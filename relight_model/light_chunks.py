"""Losses over lights in groups, with exact gradients, so that 288 channels never exist at once.

Every loss over lights is a mean over lights. So the output is cut from the network, each group of
lights is made, compared and differentiated by itself, and its gradient is added to that of the
cut's ends (the last features, or a low-rank head's basis images). One backward pass through the
network then takes the sum. Losses of relit pictures see a sum over all lights: the picture is
first made without a graph, its gradient is found, and each group then adds
``<gradient, weights * lights>`` to its own loss. Both are the chain rule in another order: exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lightstage.errors import InputError
from relight_model.losses import (
    LossConfig,
    LossModels,
    Supervision,
    compute_losses,
    light_losses,
    map_losses,
    relit_losses,
    weighted_total,
)
from relight_model.networks.light_head import weighted_sum
from relight_model.networks.reflectance import ReflectanceOutput


def backward_by_chunks(
    output: ReflectanceOutput,
    supervision: Supervision,
    config: LossConfig,
    models: LossModels | None = None,
    *,
    chunk: int | None = 8,
    scale: float = 1.0,
) -> dict[str, Tensor]:
    """Add the gradient of the weighted total to the network's parameters; return the losses.

    The same as ``(scale * weighted_total(compute_losses(…))).backward()``, to rounding. Parameters
    of ``models`` get no gradient, and each parameter of the network gets its whole gradient in one
    backward pass, as DistributedDataParallel wants it. With mixed precision call it inside the same
    ``torch.autocast`` as the network; losses are taken in float32.

    Args:
        output: of the network, in a graph.
        supervision: the truth.
        config: which losses, and their weights.
        models: the networks that losses need.
        chunk: lights at a time; ``None``: all at once, the plain way.
        scale: what the total is multiplied by, for loss scaling and accumulation.

    Returns:
        Each loss, unweighted, without a graph.

    Raises:
        InputError: nothing to learn from, a missing model, or a chunk below 1.
    """
    models = models or LossModels()
    if chunk is not None and chunk < 1:
        raise InputError(f"lights are taken one or more at a time, not {chunk}.")
    with _frozen(models):
        if chunk is None:
            losses = compute_losses(output, supervision, config, models)
            (scale * weighted_total(losses, config)).backward()
            return {name: value.detach() for name, value in losses.items()}
        ends = output.ends()
        cut = output.detached()
        collected = _Collected(cut, config, scale)
        _collect(cut, supervision, config, models, chunk, collected)
    if not collected.losses:
        raise InputError("no loss weighs anything: there is nothing to learn from.")
    collected.hand_on(ends)
    return collected.losses


class _Collected:
    """Losses so far, and the gradients at the cut's ends and the head's own numbers."""

    def __init__(self, cut: ReflectanceOutput, config: LossConfig, scale: float) -> None:
        self.losses: dict[str, Tensor] = {}
        self._config, self._scale = config, scale
        self._own = cut.weights()
        self._inputs: list[Tensor] = [*cut.ends(), *self._own]
        self._gradients: list[Tensor | None] = [None] * len(self._inputs)

    def add(
        self, losses: Mapping[str, Tensor], share: float = 1.0, pulled: Tensor | None = None
    ) -> None:
        """Add ``share`` of these losses, and of their gradients; and ``pulled``'s gradient."""
        total = pulled
        if losses:
            own = share * weighted_total(losses, self._config)
            total = own if pulled is None else own + pulled
        if total is None:
            return
        found = torch.autograd.grad(self._scale * total, self._inputs, allow_unused=True)
        for i, gradient in enumerate(found):
            if gradient is not None:
                before = self._gradients[i]
                self._gradients[i] = gradient if before is None else before + gradient
        self.count(losses, share)

    def count(self, losses: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Add to the losses alone."""
        for name, value in losses.items():
            part = share * value.detach()
            self.losses[name] = self.losses[name] + part if name in self.losses else part

    def hand_on(self, ends: list[Tensor]) -> None:
        """Take the gradients through the network, in one backward pass."""
        pairs = [
            (root, gradient)
            for root, gradient in zip([*ends, *self._own], self._gradients, strict=True)
            if gradient is not None and root.requires_grad
        ]
        torch.autograd.backward([root for root, _ in pairs], [given for _, given in pairs])


def _collect(
    cut: ReflectanceOutput,
    supervision: Supervision,
    config: LossConfig,
    models: LossModels,
    chunk: int,
    collected: _Collected,
) -> None:
    """Go through all losses of a cut output, the lights in groups."""
    collected.add(map_losses(cut.albedo, cut.normal, supervision, config, models))
    pull: Tensor | None = None
    if config.active("relit"):
        weights, lights = supervision.weights, supervision.lights
        if cut.is_low_rank:
            # no light is made for this: a plain graph is small
            relit = cut.relight_many(weights, lights=lights)
            collected.add(relit_losses(relit, supervision, config, models))
        else:
            with torch.no_grad():
                relit = cut.relight_many(weights, chunk, lights)
            relit.requires_grad_()
            losses = relit_losses(relit, supervision, config, models)
            (pull,) = torch.autograd.grad(weighted_total(losses, config), relit)
            collected.count(losses)
    if not config.active("light") and pull is None:
        return
    count = supervision.olat.shape[1]
    for start in range(0, count, chunk):
        span = slice(start, min(start + chunk, count))
        if supervision.lights is None:
            images = cut.lights(span.start, span.stop)
        else:
            images = cut.chosen_lights(supervision.lights[span])
        losses = light_losses(images, supervision.olat[:, span], supervision, config)
        pulled = None
        if pull is not None:
            pulled = (weighted_sum(images, supervision.weights[:, :, span]) * pull).sum()
        collected.add(losses, (span.stop - span.start) / count, pulled)


@contextlib.contextmanager
def _frozen(models: LossModels) -> Iterator[None]:
    """Keep the gradient out of the models' own parameters."""
    modules = (models.features, models.discriminator, models.shape_regressor)
    learning = [p for m in modules if m is not None for p in m.parameters() if p.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
