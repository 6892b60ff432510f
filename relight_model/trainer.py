"""The training loop: batches in, better networks out. It knows no loss by name.

All that a step does follows from its number: which samples, which lights, which random numbers. So
a run that goes on from a checkpoint ends, on one machine's CPU, in the same weights to the last bit
as one that was never broken.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightstage.errors import InputError
from relight_model.checkpoint import Training
from relight_model.light_chunks import backward_by_chunks
from relight_model.losses import LossModels, Supervision, display_exposure, encode_display
from relight_model.moving_average import MovingAverage
from relight_model.networks import (
    PatchDiscriminator,
    ReflectanceNetwork,
    ReflectanceOutput,
    discriminator_loss,
)
from relight_model.training_batches import Batch, StepBatches
from relight_model.training_config import TrainingConfig
from relight_model.training_process import TrainingProcess
from relight_model.training_schedule import learning_rate, progress

#: The generator's names in checkpoints and in the log.
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(InputError):
    """A loss or a gradient is no number any more."""


class StepReport(NamedTuple):
    """What one step found.

    Attributes:
        step: steps done, from 1.
        losses: each loss, unweighted, the mean over batches and processes; ``total`` is weighted.
        rate: the generator's learning rate.
        gradient: the norm of its gradient, before it was cut.
        done: share of the training that is done.
        elapsed_s: time since the training began.
        seconds: what the step took.
    """

    step: int
    losses: dict[str, float]
    rate: float
    gradient: float
    done: float
    elapsed_s: float
    seconds: float


class Watchers(NamedTuple):
    """What the loop calls; each may raise to end it.

    Attributes:
        stepped: after each step.
        sampled: when sample pictures are due.
        saved: when a checkpoint is due.
    """

    stepped: Callable[[StepReport], None]
    sampled: Callable[[int], None]
    saved: Callable[[int], None]


@dataclass(eq=False)
class Learner:
    """The networks that learn, those that judge, and all that a checkpoint keeps of them."""

    generator: ReflectanceNetwork
    config: TrainingConfig
    process: TrainingProcess = field(default_factory=TrainingProcess)
    models: LossModels = field(default_factory=LossModels)

    def __post_init__(self) -> None:
        """Make optimisers and averages."""
        config, device = self.config, self.process.device
        self.generator.to(device)
        if config.channels_last:
            self.generator.to(memory_format=torch.channels_last)
        for module in self._models:
            module.to(device)
        if self.models.beta_bar is not None:
            object.__setattr__(self.models, "beta_bar", self.models.beta_bar.to(device))
        self.average = MovingAverage(self.generator, config.average) if config.average else None
        choice = config.optimiser
        learning = [p for p in self.generator.parameters() if p.requires_grad]
        self.optimisers = {GENERATOR: _adamw(learning, choice.rate, config)}
        if self.models.discriminator is not None:
            self.optimisers[DISCRIMINATOR] = _adamw(
                list(self.models.discriminator.parameters()), config.discriminator.rate, config
            )

    @property
    def _models(self) -> list[nn.Module]:
        found = (self.models.features, self.models.discriminator, self.models.shape_regressor)
        return [model for model in found if model is not None]

    def kept(self) -> Training:
        """Return what checkpoints hold."""
        networks: dict[str, nn.Module] = {GENERATOR: self.generator}
        if self.models.discriminator is not None:
            networks[DISCRIMINATOR] = self.models.discriminator
        averages = {} if self.average is None else {GENERATOR: self.average}
        return Training(networks, averages, self.optimisers)

    @contextlib.contextmanager
    def at_its_best(self) -> Any:
        """Give the generator its averaged weights, and evaluation's ways, for a ``with`` block."""
        was_training = self.generator.training
        within = (
            contextlib.nullcontext()
            if self.average is None
            else self.average.within(self.generator)
        )
        with within:
            self.generator.eval()
            try:
                yield self.generator
            finally:
                self.generator.train(was_training)


class Trainer:
    """Takes steps until the training is done or told to stop."""

    def __init__(
        self, learner: Learner, batches: StepBatches, watchers: Watchers, elapsed_s: float = 0.0
    ) -> None:
        """Prepare.

        Args:
            learner: the networks.
            batches: what they learn from.
            watchers: what is called on the way.
            elapsed_s: time that the training took before this sitting.
        """
        self.learner, self.batches, self.watchers = learner, batches, watchers
        self.config, self.process = learner.config, learner.process
        self._began = time.monotonic() - elapsed_s
        self.precision = chosen_precision(self.config, self.process.device)
        half = self.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=half)
        _compile(learner.generator, self.config, self.process.device)
        self._generator = self.process.together(learner.generator)
        self._judged: nn.Module | None = None
        if learner.models.discriminator is not None:
            self._judged = self.process.together(_Judged(learner.models.discriminator))

    @property
    def elapsed_s(self) -> float:
        """Time since the training began, over all its sittings."""
        return time.monotonic() - self._began

    def train(self, step: int, stopped: Callable[[], bool] = lambda: False) -> int:
        """Take steps after ``step`` of them; return how many are done in the end.

        Args:
            step: steps done.
            stopped: asked after each step whether to end early; a checkpoint is then written.

        Raises:
            DivergedError: a loss or the gradient is no number any more. The weights are still
                those before that step.
        """
        config, watchers = self.config, self.watchers
        saved = sampled = -1
        self.learner.generator.train()
        with self.batches.after(step) as batch_of:
            while not self._finished(step):
                report = self._step(step, batch_of)
                step = report.step
                watchers.stepped(report)
                if config.sample_every and step % config.sample_every == 0:
                    watchers.sampled(step)
                    sampled = step
                if step % config.checkpoint_every == 0:
                    watchers.saved(step)
                    saved = step
                if self.process.largest(float(stopped())) > 0:
                    break
        if saved != step:
            watchers.saved(step)
        if config.sample_every and sampled != step:
            watchers.sampled(step)
        return step

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside weights and optimisers, as JSON holds it."""
        return {"elapsed_s": self.elapsed_s, "scaler": self.scaler.state_dict()}

    def restore(self, about: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._began = time.monotonic() - float(about["elapsed_s"])
        if about.get("scaler"):
            self.scaler.load_state_dict(dict(about["scaler"]))

    def _done(self, step: int) -> float:
        """Return the share of the training that is done, the same in all processes."""
        if self.config.steps is not None:
            return progress(self.config, step, 0.0)
        return self.process.largest(progress(self.config, step, self.elapsed_s))

    def _finished(self, step: int) -> bool:
        return self._done(step) >= 1.0

    def _step(self, step: int, batch_of: Callable[[int, int], Batch]) -> StepReport:
        began = time.monotonic()
        config, learner = self.config, self.learner
        factor = learning_rate(config.optimiser, step, self._done(step))
        rates = {GENERATOR: config.optimiser.rate, DISCRIMINATOR: config.discriminator.rate}
        for name, optimiser in learner.optimisers.items():
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rates[name] * factor
        summed: dict[str, Tensor] = {}
        indices: list[int] = []
        for part in range(config.accumulate):
            batch = batch_of(step, part)
            indices += batch.indices
            batch = batch.to(self.process.device, config.channels_last)
            torch.manual_seed(self.batches.network_seed(step, part))
            last = part == config.accumulate - 1
            for name, value in self._learn(batch, last).items():
                share = value / config.accumulate
                summed[name] = summed[name] + share if name in summed else share
            self._check_losses(summed, step, indices, batch)
        losses = self._means(summed)
        gradient = self._apply(step, indices)
        if learner.average is not None:
            learner.average.update(learner.generator, step)
        losses["total"] = sum(
            weight * losses[name]
            for name, weight in config.losses.weights.items()
            if name in losses
        )
        now = time.monotonic()
        return StepReport(
            step + 1,
            losses,
            rates[GENERATOR] * factor,
            gradient,
            progress(config, step + 1, self.elapsed_s),
            self.elapsed_s,
            now - began,
        )

    def _learn(self, batch: Batch, last: bool) -> dict[str, Tensor]:
        """Add one batch's gradients; return its losses."""
        config, supervision = self.config, batch.supervision
        scale = float(self.scaler.scale(torch.ones((), device=self.process.device)))
        # gradients of several batches are averaged over processes once, with the last
        waiting: Sequence[nn.Module] = () if last else self._wrapped()
        with contextlib.ExitStack() as stack:
            for module in waiting:
                stack.enter_context(module.no_sync())
            with self._autocast():
                output = self._generator(batch.conditioning)
            output = in_full(output)
            losses = backward_by_chunks(
                output,
                supervision,
                config.losses,
                self.learner.models,
                chunk=config.light_chunk,
                scale=scale / config.accumulate,
            )
            if self._judged is not None:
                losses[DISCRIMINATOR] = self._judge(output, supervision, scale)
        return losses

    def _judge(self, output: ReflectanceOutput, supervision: Supervision, scale: float) -> Tensor:
        """Add the discriminator's gradients on the full-lit pictures; return its loss."""
        assert self._judged is not None and supervision.conditioning is not None
        weights = supervision.weights[:, :1]
        with torch.no_grad():
            chunk = self.config.light_chunk or output.light_count
            made = output.relight_many(weights, chunk, supervision.lights)
            truth = supervision.relit()[:, :1]
            exposure = display_exposure(truth, supervision.matte)
            fake, real = (encode_display(p * exposure)[:, 0] for p in (made, truth))
        loss = discriminator_loss(*self._judged(supervision.conditioning, real, fake))
        (loss * (scale / self.config.accumulate)).backward()
        return loss.detach()

    def _apply(self, step: int, indices: list[int]) -> float:
        """Take the optimisers' steps; return the norm of the generator's gradient."""
        config = self.config
        norms = {}
        for name, optimiser in self.learner.optimisers.items():
            if self.scaler.is_enabled():
                self.scaler.unscale_(optimiser)
            parameters = [p for g in optimiser.param_groups for p in g["params"]]
            most = config.optimiser.clip_norm
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if most is None else most)
            norms[name] = float(norm)
            if not self.scaler.is_enabled() and not math.isfinite(norms[name]):
                raise DivergedError(
                    f"step {step + 1}: the gradient of the {name} is {norms[name]}, though every "
                    f"loss is a number (samples {_listed(indices)}). {self._advice()}"
                )
        for optimiser in self.learner.optimisers.values():
            # with fp16 a gradient that overflowed is left out, and the scale falls
            self.scaler.step(optimiser)
        self.scaler.update()
        return norms[GENERATOR]

    def _check_losses(
        self, losses: Mapping[str, Tensor], step: int, indices: list[int], batch: Batch
    ) -> None:
        values = torch.stack([value.float() for value in losses.values()])
        if self.process.largest(float(not bool(torch.isfinite(values).all()))) == 0:
            return
        wrong = [name for name, v in losses.items() if not bool(torch.isfinite(v))]
        given = {"conditioning": batch.conditioning} | {
            name: value for name, value in vars(batch.supervision).items() if name != "conditioning"
        }
        damaged = [
            name
            for name, value in given.items()
            if isinstance(value, Tensor) and not bool(torch.isfinite(value).all())
        ]
        if damaged:
            raise DivergedError(
                f"step {step + 1}: {' and '.join(damaged)} of the samples {_listed(batch.indices)} "
                "hold numbers that are not finite: the data is at fault, not the training. Make "
                "these sets anew, or leave them out."
            )
        named = ", ".join(f"{name} = {float(losses[name]):g}" for name in wrong)
        raise DivergedError(
            f"step {step + 1}: {named or 'a loss of another process is no number'} (samples "
            f"{_listed(indices)}). {self._advice()}"
        )

    def _advice(self) -> str:
        tries = [f"a lower optimiser.rate (it is {self.config.optimiser.rate:g})"]
        if self.config.optimiser.clip_norm is None:
            tries.append("optimiser.clip_norm = 1.0")
        if self.precision != "fp32":
            tries.append("precision = 'fp32'")
        if self.config.optimiser.warmup_steps < 100:
            tries.append("more optimiser.warmup_steps")
        return f"Go on from the last checkpoint with {', or '.join(tries)}."

    def _means(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        values = self.process.mean(torch.stack([value.float() for value in losses.values()]))
        return dict(zip(losses, values.tolist(), strict=True))

    def _wrapped(self) -> list[nn.Module]:
        if self.process.count == 1:
            return []
        return [m for m in (self._generator, self._judged) if m is not None]

    def _autocast(self) -> Any:
        dtype = _PRECISIONS.get(self.precision)
        return torch.autocast(self.process.device.type, dtype, enabled=dtype is not None)


class _Judged(nn.Module):  # type: ignore[misc]
    """A discriminator that judges real and predicted pictures in one call, as DDP wants it."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, maps: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(maps, real), self.discriminator(maps, fake)


def in_full(output: ReflectanceOutput) -> ReflectanceOutput:
    """Return an output of half precision in float32: lights and losses are not made in half."""
    if output.features.dtype == torch.float32:
        return output
    return ReflectanceOutput(
        output.albedo.float(), output.normal.float(), output.features.float(), output._head
    )


def chosen_precision(config: TrainingConfig, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        InputError: fp16 without a GPU.
    """
    if config.precision == "auto":
        good = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if good else "fp32"
    if config.precision == "fp16" and device.type != "cuda":
        raise InputError("precision = 'fp16' needs a GPU; use fp32, or bf16.")
    return config.precision


def learn_only_what_is_judged(network: ReflectanceNetwork, config: TrainingConfig) -> None:
    """Freeze heads that no loss looks at: they would never get a gradient."""
    from relight_model.losses import LOSSES

    about = {LOSSES[name].about for name, weight in config.losses.weights.items() if weight > 0}
    lit = bool(about & {"light", "relit"})
    network.light_head.requires_grad_(lit)
    network.normal_head.requires_grad_("normal" in about)
    network.albedo_head.requires_grad_("albedo" in about or (lit and network.config.factored))


def new_discriminator(config: TrainingConfig) -> PatchDiscriminator:
    """Return a fresh discriminator of pictures like the network's."""
    choice, network = config.discriminator, config.network
    return PatchDiscriminator(
        network.in_channels, 3, network.size, norm=choice.norm, widths=choice.widths
    )


def _adamw(parameters: list[nn.Parameter], rate: float, config: TrainingConfig) -> Any:
    choice = config.optimiser
    return torch.optim.AdamW(
        parameters, lr=rate, betas=choice.betas, weight_decay=choice.weight_decay
    )


def _compile(network: ReflectanceNetwork, config: TrainingConfig, device: torch.device) -> None:
    wanted = config.compile == "on" or (config.compile == "auto" and device.type == "cuda")
    if wanted:
        # the trunk is nearly all of the work; what comes after it is made in chunks
        network.trunk = torch.compile(network.trunk)  # type: ignore[method-assign]


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(str(i) for i in indices[:8]) + (", …" if len(indices) > 8 else "")
