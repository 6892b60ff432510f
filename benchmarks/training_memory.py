"""Memory and time of one training step: the table in docs/training_memory.md.

    python benchmarks/training_memory.py [--size 512] [--lights 96] [--only NAME …]

The paper's network (99 channels in, 96 lights, albedo and normal out), batch 1, float32, with all
of the paper's losses (VGG: the stand-in, of the same shape). Each setting runs in a process of its
own, forward and backward, without an optimiser. *Saved* is the peak of bytes that autograd keeps
for the backward pass, each block of memory once, parameters left out; what checkpointing makes
again in the backward pass is not in it. *Peak* is how far the process's resident memory rises above
what it was before the step, with everything in it: activations, gradients, scratch memory. *Time*
is processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
# freed memory goes back at once, so that the peak is what is in use
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "65536")


@dataclass(frozen=True)
class Setting:
    """One row: how the step is taken."""

    chunk: int | None
    network: dict[str, Any] = field(default_factory=dict)


CHECKPOINT = {"checkpoint": True}
SETTINGS = {
    "plain": Setting(None),
    "groups of 8 lights": Setting(8),
    "groups of 1": Setting(1),
    "plain, checkpointed": Setting(None, CHECKPOINT),
    "groups of 8, checkpointed": Setting(8, CHECKPOINT),
    "groups of 1, checkpointed": Setting(1, CHECKPOINT),
    "low rank 32, plain": Setting(None, {"head": "low_rank", "rank": 32, "curve": "signed"}),
    "low rank 32, groups of 8, checkpointed": Setting(
        8, CHECKPOINT | {"head": "low_rank", "rank": 32, "curve": "signed"}
    ),
    "low rank 16, groups of 8, checkpointed": Setting(
        8, CHECKPOINT | {"head": "low_rank", "rank": 16, "curve": "signed"}
    ),
    "factored, groups of 8, checkpointed": Setting(8, CHECKPOINT | {"factored": True}),
}


class SavedBytes:
    """Counts what autograd keeps, by blocks of memory."""

    def __init__(self, apart: set[int]) -> None:
        self.now = self.peak = 0
        self._apart, self._held = apart, {}

    def keep(self, tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        return _Held(self, tensor, storage.data_ptr(), storage.nbytes())

    def begin(self, pointer: int, size: int) -> None:
        if pointer in self._apart:
            return
        self._held[pointer] = self._held.get(pointer, 0) + 1
        if self._held[pointer] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)

    def end(self, pointer: int, size: int) -> None:
        if pointer in self._apart:
            return
        self._held[pointer] -= 1
        if self._held[pointer] == 0:
            del self._held[pointer]
            self.now -= size


class _Held:
    def __init__(self, count: SavedBytes, tensor: Any, pointer: int, size: int) -> None:
        self.count, self.tensor, self.pointer, self.size = count, tensor, pointer, size
        count.begin(pointer, size)

    def __del__(self) -> None:
        self.count.end(self.pointer, self.size)


def one_step(name: str, size: int, lights: int) -> dict[str, float]:
    """Take a step and return its figures; in a process of its own."""
    import resource

    import psutil
    import torch

    from relight_model.light_chunks import backward_by_chunks
    from relight_model.losses import LossConfig, LossModels, Supervision
    from relight_model.networks import (
        NetworkConfig,
        PatchDiscriminator,
        ReflectanceNetwork,
        ShapeRegressor,
        VggFeatures,
    )

    torch.set_num_threads(1)
    torch.manual_seed(0)
    setting = SETTINGS[name]
    network = ReflectanceNetwork(NetworkConfig(size=size, lights=lights, **setting.network))
    models = LossModels(
        VggFeatures.stand_in(),
        PatchDiscriminator(9, 3, size),
        ShapeRegressor(100),
        torch.zeros(100),
    )
    maps = torch.rand(1, 99, size, size)
    truth = Supervision(
        olat=torch.rand(1, lights, 3, size, size) ** 4,
        albedo=torch.rand(1, 3, size, size),
        normal=torch.nn.functional.normalize(torch.rand(1, 3, size, size) - 0.5, dim=1),
        matte=torch.ones(1, 1, size, size),
        conditioning=maps[:, -9:],
    )
    modules = (network, models.features, models.discriminator, models.shape_regressor)
    apart = {p.untyped_storage().data_ptr() for m in modules for p in m.parameters()}
    saved = SavedBytes(apart)
    before = psutil.Process().memory_info().rss
    started = time.process_time()
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda held: held.tensor):
        backward_by_chunks(network(maps), truth, LossConfig(), models, chunk=setting.chunk)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    count = sum(p.numel() for p in network.parameters())
    return {"saved": saved.peak, "peak": peak - before, "time_s": seconds, "parameters": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--lights", type=int, default=96)
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS))
    parser.add_argument("--step", choices=list(SETTINGS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(one_step(options.step, options.size, options.lights)))
        return
    print("| setting | parameters | saved | of plain | peak | of plain | time |")
    print("|---|---|---|---|---|---|---|", flush=True)
    plain: dict[str, float] | None = None
    for name in options.only or SETTINGS:
        command = [sys.executable, str(Path(__file__)), "--step", name]
        command += ["--size", str(options.size), "--lights", str(options.lights)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout)
        plain = plain or found
        shares = [100 * found[k] / plain[k] for k in ("saved", "peak")]
        print(
            f"| {name} | {found['parameters'] / 1e6:.1f} M | {found['saved'] / 1e9:.2f} GB "
            f"| {shares[0]:.0f} % | {found['peak'] / 1e9:.2f} GB | {shares[1]:.0f} % "
            f"| {found['time_s']:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
