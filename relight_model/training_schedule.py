"""How far a training is, and the learning rate there: by steps, or by a budget of time."""

from __future__ import annotations

import math

from relight_model.training_config import OptimiserConfig, TrainingConfig


def progress(config: TrainingConfig, step: int, elapsed_s: float) -> float:
    """Return the share of the training that is done, 0 to 1.

    Args:
        config: has ``steps`` or ``hours``.
        step: steps done.
        elapsed_s: time since it began, over all of its sittings.
    """
    if config.steps is not None:
        return min(1.0, step / config.steps)
    assert config.hours is not None
    return min(1.0, elapsed_s / (3600.0 * config.hours))


def learning_rate(optimiser: OptimiserConfig, step: int, done: float) -> float:
    """Return the factor that rates are multiplied by, in [0, 1].

    It rises evenly over the first ``warmup_steps``. With ``cosine`` it then falls with the share
    ``done`` of the training, ``f + (1 - f) (1 + cos(pi done)) / 2``, to ``final_share`` f at its
    end, whether that was given as steps or as time.

    Args:
        optimiser: the schedule.
        step: steps done before this one.
        done: share of the training done before it.
    """
    rise = min(1.0, (step + 1) / (optimiser.warmup_steps + 1))
    if optimiser.schedule == "constant":
        return rise
    floor = optimiser.final_share
    return rise * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done)))
