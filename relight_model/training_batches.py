"""What a step learns from, by its number alone: samples, lights, lights that relit pictures have.

Nothing here remembers anything, so a run that goes on from a checkpoint sees the batches of one
that was never broken, and several processes see together what one sees with as many times the
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relight_model.batches import Place, TrainingBatches
from relight_model.dataset import PerformanceDataset
from relight_model.losses import Supervision
from relight_model.training_config import TrainingConfig
from relight_model.training_process import TrainingProcess

#: What random numbers are for; each purpose has its own.
_DIRECTIONS, _NETWORK = 101, 102


@dataclass(frozen=True, eq=False)
class Batch:
    """What the network is given and what should come out; ``indices`` are the samples'."""

    conditioning: Tensor
    supervision: Supervision
    indices: tuple[int, ...]

    def to(self, device: torch.device, channels_last: bool = False) -> Batch:
        """Return the batch on a device."""
        given = self.supervision
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(given).items()
            if isinstance(value, Tensor)
        }
        conditioning = moved["conditioning"]
        if channels_last:
            conditioning = conditioning.contiguous(memory_format=torch.channels_last)
            moved["conditioning"] = conditioning
        return Batch(conditioning, Supervision(**moved), self.indices)


class StepBatches:
    """The batches of a training, ``accumulate`` of them in each step."""

    def __init__(
        self, dataset: PerformanceDataset, config: TrainingConfig, process: TrainingProcess
    ) -> None:
        """Deal the dataset's samples out to steps and processes."""
        self.dataset, self.config, self.process = dataset, config, process
        self.directions = np.asarray(dataset.dome.directions, np.float64)
        gains = np.asarray(dataset.dome.gains, np.float64)
        self._even = np.divide(1.0, gains, out=np.zeros_like(gains), where=gains > 0)
        chosen = config.lights_per_step
        every = chosen is None or chosen >= len(self.directions)
        self._stream = TrainingBatches(
            dataset,
            config.batch_size,
            config.seed,
            lights_per_step=None if every else chosen,
            augmentation=config.data.augmentation,
            prefetch=config.data.prefetch,
            rank=process.rank,
            world=process.count,
        )

    def batch(self, step: int, part: int) -> Batch:
        """Return batch ``part`` of step ``step``, both from 0; always the same."""
        number = step * self.config.accumulate + part
        return self._made(number, self._stream.make(self._place(number)))

    @contextmanager
    def after(self, step: int) -> Iterator[Callable[[int, int], Batch]]:
        """Yield a function like :meth:`batch` that is asked in order; batches are made ahead.

        Args:
            step: steps done; the first batch is of the next.
        """
        number = step * self.config.accumulate
        self._stream.place = self._place(number)
        with closing(iter(self._stream)) as stream:

            def taken(at: int, part: int) -> Batch:
                nonlocal number
                assert number == at * self.config.accumulate + part, "batches are taken in order"
                made = self._made(number, next(stream))
                number += 1
                return made

            yield taken

    def fixed(self, index: int) -> Batch:
        """Return one sample as it is, with all lights."""
        sample: Any = self.dataset.sample(index)
        given = {
            name: torch.from_numpy(np.asarray(sample[name])[None])
            for name in ("conditioning", "olat", "albedo", "normal", "matte")
        }
        return Batch(given["conditioning"], Supervision(**given), (index,))

    def network_seed(self, step: int, part: int) -> int:
        """Return what torch's own random numbers (dropout) of a batch are seeded with."""
        return seed_of(self.config.seed, _NETWORK, step, part, self.process.rank)

    def _place(self, number: int) -> Place:
        return Place(*divmod(number, self._stream.batches_per_epoch))

    def _made(self, number: int, given: dict[str, Tensor]) -> Batch:
        lights = given["lights"]
        every = len(lights) == len(self.directions)
        supervision = Supervision(
            olat=given["olat"],
            albedo=given["albedo"],
            normal=given["normal"],
            matte=given["matte"],
            lights=None if every else lights,
            relit_weights=self._relit_weights(number, lights.numpy()),
            conditioning=given["conditioning"],
        )
        return Batch(given["conditioning"], supervision, tuple(given["index"].tolist()))

    def _relit_weights(self, number: int, lights: NDArray[np.int64]) -> Tensor:
        """Return the weights ``(1, p, n, 3)`` of relit pictures, the full-lit one first.

        The others are von Mises and Fisher's lobes around directions that are even on the sphere.
        """
        data, towards = self.config.data, self.directions[lights]
        rows = [np.ones(len(lights))]
        if data.relit_pictures:
            rng = np.random.default_rng([self.config.seed, _DIRECTIONS, number])
            middles = rng.normal(size=(data.relit_pictures, 3))
            middles /= np.linalg.norm(middles, axis=1, keepdims=True)
            sharpness = 1.0 / (1.0 - np.cos(np.deg2rad(data.relit_radius_deg)))
            nearness = sharpness * (middles @ towards.T)
            lobes = np.exp(nearness - nearness.max(axis=1, keepdims=True))
            rows += list(lobes / lobes.sum(axis=1, keepdims=True))
        weights = np.stack(rows)[:, :, None] * self._even[lights]
        return torch.from_numpy(weights[None].astype(np.float32))


def seed_of(*key: int) -> int:
    """Return a seed for torch that belongs to some whole numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
