"""A dataset that is a formula: a matt ball that turns, under any dome; no file, no head model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from lightstage.dome import Dome
from relight_model.losses import LossModels
from relight_model.networks import ReflectanceNetwork, ShapeRegressor, VggFeatures
from relight_model.trainer import (
    Learner,
    StepReport,
    Trainer,
    Watchers,
    learn_only_what_is_judged,
    new_discriminator,
)
from relight_model.training_batches import StepBatches
from relight_model.training_config import TrainingConfig
from relight_model.training_process import TrainingProcess


class SmoothSamples:
    """What :class:`relight_model.dataset.PerformanceDataset` is to a trainer."""

    mirror = None
    left_out = 0

    def __init__(self, size: int, channels: int, count: int = 6, lights: int = 12) -> None:
        self.size, self.channels, self.count = size, channels, count
        self.dome = Dome.evenly_spread(lights)
        self.lights = lights
        self.moments = [SimpleNamespace(take=0, set=k) for k in range(count)]

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, lights: Any = None, change: Any = None) -> dict[str, Any]:
        wanted = np.arange(self.lights) if lights is None else np.asarray(lights)
        y, x = np.mgrid[: self.size, : self.size] / (self.size - 1) * 2 - 1
        turn = 0.3 * index
        inside = (x * x + y * y < 0.8) * 1.0
        z = np.sqrt(np.clip(0.8 - x * x - y * y, 0, 1))
        normal = np.stack([x, -y, z]) / np.sqrt(0.8) * inside
        albedo = np.stack([0.5 + 0.2 * np.sin(3 * x + turn + c) for c in range(3)]) * inside
        towards = self.dome.directions[wanted]
        shading = np.clip(np.einsum("lc,chw->lhw", towards, normal), 0, None)
        phases = np.arange(self.channels)[:, None, None]
        arrays = {
            "conditioning": 0.5 + 0.5 * np.sin(phases + 3 * x + turn) * inside,
            "olat": shading[:, None] * albedo,
            "albedo": albedo,
            "normal": normal,
            "matte": inside[None],
            "full_lit": (shading[:, None] * albedo).sum(axis=0),
            "directions": self.dome.directions,
        }
        return {
            **{name: np.asarray(value, np.float32) for name, value in arrays.items()},
            "lights": wanted, "index": index, "time_s": index / 25,
        }  # fmt: skip


def small_config(*overrides: str) -> TrainingConfig:
    """The configuration ``tiny``, without what needs a head."""
    common = ["data.prefetch=0", "sample_every=0", "network.lights=12"]
    return TrainingConfig.read("tiny", [*common, *overrides])


def smooth_trainer(
    config: TrainingConfig,
    samples: Any = None,
    process: TrainingProcess | None = None,
    **watching: Any,
) -> tuple[Trainer, list[StepReport]]:
    """A trainer of the formula, and the list that its reports go to."""
    import torch

    process = process or TrainingProcess()
    if samples is None:
        samples = SmoothSamples(config.network.size, config.network.in_channels)
    torch.manual_seed(3)
    network = ReflectanceNetwork(config.network)
    learn_only_what_is_judged(network, config)
    needs = config.losses.models_needed
    judge = None
    if "shape_regressor" in needs:
        judge = ShapeRegressor(4, (8, 16)).eval().requires_grad_(False)
    models = LossModels(
        features=VggFeatures.stand_in() if "features" in needs else None,
        discriminator=new_discriminator(config) if "discriminator" in needs else None,
        shape_regressor=judge,
        beta_bar=torch.zeros(4),
    )
    learner = Learner(network, config, process, models)
    reports: list[StepReport] = []
    calls = {"stepped": reports.append, "sampled": lambda step: None, "saved": lambda step: None}
    return Trainer(
        learner, StepBatches(samples, config, process), Watchers(**(calls | watching))
    ), reports
