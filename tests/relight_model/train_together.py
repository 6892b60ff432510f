"""One of several processes that train the formula together: ``python -m … OUT OVERRIDE …``."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

from relight_model.training_process import training_process
from tests.relight_model.smooth_samples import small_config, smooth_trainer


def main(out: Path, overrides: list[str]) -> None:
    """Train, and write the losses and a hash of the weights."""
    torch.set_num_threads(1)
    with training_process("cpu") as process:
        trainer, reports = smooth_trainer(small_config(*overrides), process=process)
        process.alike(list(trainer.learner.kept().networks.values()))
        trainer.train(0)
        digest = hashlib.sha256()
        for value in trainer.learner.generator.parameters():
            digest.update(value.detach().numpy().tobytes())
        told = {"losses": [r.losses for r in reports], "weights": digest.hexdigest()}
        (out / f"{process.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
