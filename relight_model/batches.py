"""Batches in an order that a seed decides, made ahead of the trainer by threads.

What a batch holds follows from the seed, the epoch and its place alone: a run that goes on from a
checkpoint sees what it would have seen, and processes that share a run split each batch among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightstage.errors import InputError, LightstageError
from relight_model.augmentation import Augmentation, AugmentationSettings, draw
from relight_model.dataset import PerformanceDataset

#: A batch that is not there after so long will not come.
_PATIENCE_S = 600.0
#: What the numbers of a seed are for.
_ORDER, _LIGHTS, _CHANGE = range(3)


class Place(NamedTuple):
    """A batch's place: the epoch, and the batch in it."""

    epoch: int
    batch: int


class TrainingBatches:
    """An endless stream of batches; memory holds those that are made ahead.

    Iterating goes on from :attr:`place`, that of the next batch to be handed out.
    """

    def __init__(
        self,
        dataset: PerformanceDataset,
        batch_size: int,
        seed: int = 0,
        *,
        lights_per_step: int | None = None,
        augmentation: AugmentationSettings | None = None,
        prefetch: int = 2,
        workers: int = 1,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
    ) -> None:
        """Take the dataset.

        Args:
            dataset: where samples come from.
            batch_size: samples in a batch of this process.
            seed: decides order, lights and changes.
            lights_per_step: so many lights' pictures, drawn anew for each batch and the same for
                all its samples and all processes; all by default.
            augmentation: how samples are changed; not at all by default.
            prefetch: batches made ahead; 0: made when asked for, by the caller's thread.
            workers: threads that make them.
            rank: this process among those that share the run.
            world: how many do.
            shuffle: otherwise samples come in order of time.

        Raises:
            InputError: numbers that make no sense.
        """
        if batch_size < 1 or workers < 1 or prefetch < 0 or not 0 <= rank < world:
            raise InputError(
                f"batches of {batch_size} by {workers} workers, {prefetch} ahead, process {rank} "
                f"of {world}: these numbers make no sense."
            )
        if lights_per_step is not None and not 1 <= lights_per_step <= dataset.lights:
            raise InputError(f"a step may see 1 to {dataset.lights} lights, not {lights_per_step}.")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.lights_per_step = lights_per_step
        self.augmentation = augmentation
        self.prefetch, self.workers = prefetch, workers
        self.rank, self.world, self.shuffle = rank, world, shuffle
        self.place = Place(0, 0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of all processes together until each sample was there; the rest is left out."""
        return max(1, len(self.dataset) // (self.batch_size * self.world))

    def __iter__(self) -> Generator[dict[str, Tensor], None, None]:
        """Yield batches without end; close the generator to stop what is made ahead."""
        if self.prefetch == 0:
            while True:
                place = self.place
                batch = self.make(place)
                self.place = self._after(place)
                yield batch
        ahead: deque[Future[dict[str, Tensor]]] = deque()
        pool = ThreadPoolExecutor(self.workers, "batches")
        next_place = self.place
        try:
            while True:
                while len(ahead) < self.prefetch:
                    ahead.append(pool.submit(self.make, next_place))
                    next_place = self._after(next_place)
                batch = self._waited(ahead.popleft())
                self.place = self._after(self.place)
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def make(self, place: Place) -> dict[str, Tensor]:
        """Return the batch at a place; tensors as :class:`TrainingSample`'s, stacked.

        ``lights`` ``(n,)`` and ``directions`` ``(lights, 3)`` are the same for all samples and not
        stacked; ``index`` is int64 and ``time_s`` float64, ``(b,)``.
        """
        lights = self.lights_at(place)
        samples = [
            self.dataset.sample(index, lights, change)
            for index, change in zip(*self._chosen(place), strict=True)
        ]
        shared = ("lights", "directions")
        batch = {
            name: torch.from_numpy(np.stack([sample[name] for sample in samples]))  # type: ignore[literal-required]
            for name in samples[0]
            if name not in (*shared, "index", "time_s")
        }
        batch |= {name: torch.from_numpy(samples[0][name]) for name in shared}  # type: ignore[literal-required]
        batch["index"] = torch.tensor([sample["index"] for sample in samples])
        batch["time_s"] = torch.tensor([sample["time_s"] for sample in samples], dtype=torch.double)
        return batch

    def indices_at(self, place: Place) -> NDArray[np.int64]:
        """Return which samples this process's batch holds."""
        return np.asarray(self._positions(place)[1])

    def lights_at(self, place: Place) -> NDArray[np.int64] | None:
        """Return which lights the batch shows, rising; ``None``: all."""
        if self.lights_per_step is None:
            return None
        rng = np.random.default_rng([self.seed, _LIGHTS, *place])
        chosen = rng.choice(self.dataset.lights, self.lights_per_step, replace=False)
        return np.sort(chosen).astype(np.int64)

    def state_dict(self) -> dict[str, int]:
        """Return where the stream is, for a checkpoint."""
        return {"seed": self.seed, "epoch": self.place.epoch, "batch": self.place.batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was taken; takes effect at the next iteration.

        Raises:
            InputError: it is of another seed, or none.
        """
        try:
            seed, place = int(state["seed"]), Place(int(state["epoch"]), int(state["batch"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{dict(state)} is no state of a stream of batches.") from None
        if seed != self.seed:
            raise InputError(f"the checkpoint's batches are of seed {seed}, not {self.seed}.")
        self.place = place

    def _after(self, place: Place) -> Place:
        if place.batch + 1 < self.batches_per_epoch:
            return Place(place.epoch, place.batch + 1)
        return Place(place.epoch + 1, 0)

    def _positions(self, place: Place) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return this process's places in the epoch's order, and the samples there."""
        count = len(self.dataset)
        order = np.arange(count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, _ORDER, place.epoch]).permutation(count)
        start = (place.batch * self.world + self.rank) * self.batch_size
        positions = start + np.arange(self.batch_size)
        return positions, order[positions % count]  # too few samples for one batch: they repeat

    def _chosen(self, place: Place) -> tuple[list[int], list[Augmentation | None]]:
        positions, indices = self._positions(place)
        changes: list[Augmentation | None] = [None] * len(indices)
        if self.augmentation is not None:
            mirror = self.dataset.mirror is not None
            changes = [
                draw(
                    self.augmentation,
                    np.random.default_rng([self.seed, _CHANGE, place.epoch, int(position)]),
                    mirror,
                )
                for position in positions
            ]
        return [int(index) for index in indices], changes

    @staticmethod
    def _waited(future: Future[dict[str, Tensor]]) -> dict[str, Tensor]:
        try:
            return future.result(timeout=_PATIENCE_S)
        except NotInTime:
            raise LightstageError(
                f"a batch was not read within {_PATIENCE_S:.0f} s; is the store's drive there?"
            ) from None
