"""The training loop on a formula's data: batches, a golden curve, failures that are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from relight_model.checkpoint import load_checkpoint, save_checkpoint
from relight_model.losses import LOSSES
from relight_model.trainer import DivergedError, chosen_precision
from relight_model.training_batches import StepBatches
from relight_model.training_config import shipped_configs
from relight_model.training_process import TrainingProcess
from tests.relight_model.smooth_samples import SmoothSamples, small_config, smooth_trainer

GOLDEN = Path(__file__).with_name("golden_losses.json")
SMALL = (
    "steps=2", "batch_size=2", "accumulate=1", "network.size=32", "network.widths=[8, 16, 16]",
    "network.lights=12", "light_chunk=5", "discriminator.widths=[8, 8]", "threads=1",
    "sample_every=0",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def _weights(trainer):
    return trainer.learner.generator.state_dict()


def _same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize("name", shipped_configs())
def test_two_steps_of_every_shipped_configuration(name):
    from relight_model.training_config import TrainingConfig

    extra = ["network.rank=6"] if name == "low_rank" else []
    config = TrainingConfig.read(name, [*SMALL, *extra])
    trainer, reports = smooth_trainer(config)
    before = {k: v.clone() for k, v in _weights(trainer).items()}
    assert trainer.train(0) == 2
    named = {loss for loss, weight in config.losses.weights.items() if weight}
    assert named < set(reports[-1].losses)
    assert all(np.isfinite(list(r.losses.values())).all() for r in reports)
    learning = dict(trainer.learner.generator.named_parameters())
    moved = {k for k, p in learning.items() if not torch.equal(before[k], p)}
    assert len(moved) > 0.9 * len(learning)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_alone_falls(loss):
    weights = [f"losses.{name}={float(name == loss)}" for name in LOSSES]
    config = small_config(
        *weights, "steps=12", "data.relit_pictures=2", "optimiser.warmup_steps=1",
        "optimiser.rate=0.005",
    )  # fmt: skip
    trainer, reports = smooth_trainer(config)
    trainer.train(0)
    if loss != "gan":  # a game has no curve that must fall
        late = np.mean([r.losses[loss] for r in reports[-3:]])
        assert late < np.mean([r.losses[loss] for r in reports[:3]])


def golden_curve() -> list[dict[str, float]]:
    trainer, reports = smooth_trainer(small_config("steps=10"))
    trainer.train(0)
    return [dict(sorted(r.losses.items())) for r in reports]


def test_losses_follow_the_golden_curve():
    """Another curve is another training. If that is wanted, say why, and write the file anew:

    ``python -m tests.relight_model.test_trainer``
    """
    found = golden_curve()
    for step, (a, b) in enumerate(zip(found, json.loads(GOLDEN.read_text()), strict=True), 1):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert value == pytest.approx(b[name], rel=1e-4, abs=1e-4), (step, name)


def test_the_learning_falls_for_a_reason():
    """Not only the losses: the prediction comes nearer to the formula than a black picture."""
    config = small_config(
        "steps=40",
        "losses.gan=0",
        "losses.context=0",
        "losses.albedo_vgg=0",
        "losses.light_ms_ssim=0",
        "optimiser.rate=0.01",
        "average=0.0",
    )
    trainer, _ = smooth_trainer(config)
    trainer.train(0)
    batch = trainer.batches.fixed(2)
    with torch.no_grad(), trainer.learner.at_its_best() as network:
        predicted = network(batch.conditioning).olat()
    truth = batch.supervision.olat
    assert (predicted - truth).square().mean() < 0.5 * truth.square().mean()


def test_chunks_of_lights_do_not_change_the_training():
    curves = []
    for chunk in ("light_chunk=1", "light_chunk=7", "light_chunk=none"):
        trainer, reports = smooth_trainer(small_config("steps=4", chunk))
        trainer.train(0)
        curves.append([r.losses["total"] for r in reports])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] == pytest.approx(curves[2], rel=1e-4)


def test_accumulated_batches_are_one_large_batch():
    plain = ["network.norm='group'", "network.dropout=0.0", "discriminator.norm='group'", "steps=4"]
    one, reports = smooth_trainer(small_config(*plain, "batch_size=4"))
    one.train(0)
    two, split = smooth_trainer(small_config(*plain, "batch_size=2", "accumulate=2"))
    two.train(0)
    for a, b in zip(reports, split, strict=True):
        assert a.losses["total"] == pytest.approx(b.losses["total"], rel=2e-3)


@pytest.mark.parametrize("broken_at", [1, 5])
def test_a_broken_run_ends_in_the_weights_of_a_whole_one(tmp_path, broken_at):
    config = small_config("steps=7", "data.prefetch=2", "lights_per_step=5")
    whole, whole_reports = smooth_trainer(config)
    whole.train(0)
    first, _ = smooth_trainer(config)
    done = []
    first.watchers = first.watchers._replace(stepped=done.append)
    assert first.train(0, lambda: len(done) == broken_at) == broken_at
    save_checkpoint(tmp_path, broken_at, first.learner.kept(), first.state())
    torch.manual_seed(99)
    second, reports = smooth_trainer(config)
    step, about = load_checkpoint(
        tmp_path / "checkpoints" / f"{broken_at:08d}", second.learner.kept()
    )
    second.restore(about)
    second.train(step)
    _same(_weights(whole), _weights(second))
    _same(whole.learner.average.state, second.learner.average.state)
    assert [r.losses for r in whole_reports[broken_at:]] == [r.losses for r in reports]


def test_several_processes_see_together_what_one_sees_with_their_batches():
    samples = SmoothSamples(16, 4, count=10)
    alone = StepBatches(samples, small_config("batch_size=4"), TrainingProcess())
    shared = [
        StepBatches(samples, small_config("batch_size=2"), TrainingProcess(rank, 2))
        for rank in range(2)
    ]
    for step in range(6):
        together = [i for one in shared for i in one.batch(step, 0).indices]
        assert together == list(alone.batch(step, 0).indices)
    seeds = {one.network_seed(0, 0) for one in shared}
    assert len(seeds) == 2  # dropout differs


def test_batches_made_ahead_are_those_made_when_asked():
    samples = SmoothSamples(16, 4, count=5)
    config = small_config("lights_per_step=3", "data.prefetch=3", "accumulate=2")
    batches = StepBatches(samples, config, TrainingProcess())
    with batches.after(4) as taken:
        for step in range(4, 8):
            for part in range(2):
                a, b = taken(step, part), batches.batch(step, part)
                assert a.indices == b.indices
                assert torch.equal(a.supervision.lights, b.supervision.lights)
                assert torch.equal(a.supervision.olat, b.supervision.olat)


def test_every_light_is_as_likely():
    batches = StepBatches(
        SmoothSamples(16, 4), small_config("lights_per_step=3"), TrainingProcess()
    )
    counts = np.zeros(12)
    for step in range(600):
        counts[batches.batch(step, 0).supervision.lights.numpy()] += 1
    # binomial: 150 of 600 expected, deviation 10.6
    assert np.abs(counts - 150).max() < 45


def test_relit_lights_come_from_everywhere_and_the_first_is_even():
    batches = StepBatches(
        SmoothSamples(16, 4), small_config("data.relit_pictures=4"), TrainingProcess()
    )
    total = np.zeros(3)
    for step in range(100):
        weights = batches.batch(step, 0).supervision.relit_weights
        assert weights.shape == (1, 5, 12, 3)
        assert torch.equal(weights[0, 0], torch.ones(12, 3))
        assert weights[0, 1:].sum(dim=1) == pytest.approx(1.0, abs=1e-5)
        total += np.einsum("pl,lc->c", weights[0, 1:, :, 0].numpy(), batches.directions)
    assert np.linalg.norm(total / 400) < 0.15


class Damaged(SmoothSamples):
    """One sample has a pixel that is no number."""

    def sample(self, index, lights=None, change=None):
        sample = super().sample(index, lights, change)
        if index == 3:
            sample["albedo"][0, 5, 5] = np.nan
        return sample


def test_a_pixel_that_is_no_number_is_found_in_the_data():
    config = small_config("steps=20", "batch_size=1")
    trainer, reports = smooth_trainer(config, Damaged(32, config.network.in_channels))
    saved = []
    trainer.watchers = trainer.watchers._replace(saved=saved.append)
    with pytest.raises(DivergedError, match="albedo of the samples 3 hold numbers") as error:
        trainer.train(0)
    assert f"step {len(reports) + 1}:" in str(error.value)
    assert saved == []  # the last good checkpoint stays the last
    assert all(torch.isfinite(v).all() for v in _weights(trainer).values())


def test_a_training_that_diverges_says_which_loss_and_what_to_try():
    config = small_config(
        "steps=50", "optimiser.rate=1.0", "optimiser.clip_norm=none", "network.norm='none'",
        "optimiser.warmup_steps=0", "network.curve='square'", "optimiser.schedule='constant'",
    )  # fmt: skip
    trainer, reports = smooth_trainer(config)
    with pytest.raises(DivergedError) as error:
        trainer.train(0)
    text = str(error.value)
    assert f"step {len(reports) + 1}:" in text
    assert "a lower optimiser.rate (it is 1)" in text
    assert "optimiser.clip_norm = 1.0" in text


def test_half_precision_of_the_trunk_learns_alike():
    config = small_config("steps=6", "network.dropout=0.0")
    full, reports = smooth_trainer(config)
    full.train(0)
    half, halves = smooth_trainer(small_config("steps=6", "network.dropout=0.0", "precision=bf16"))
    half.train(0)
    for a, b in zip(reports, halves, strict=True):
        assert a.losses["total"] == pytest.approx(b.losses["total"], rel=0.05)
    assert half.learner.generator.light_head.convolution.weight.dtype == torch.float32
    with pytest.raises(Exception, match="needs a GPU"):
        chosen_precision(small_config("precision=fp16"), torch.device("cpu"))


def test_heads_that_no_loss_looks_at_stay_as_they_are():
    config = small_config("steps=2", "losses.normal_cosine=0", "optimiser.weight_decay=0.5")
    trainer, _ = smooth_trainer(config)
    before = trainer.learner.generator.normal_head.weight.clone()
    trainer.train(0)
    assert torch.equal(before, trainer.learner.generator.normal_head.weight)


def test_a_budget_of_time_ends_the_training():
    trainer, reports = smooth_trainer(small_config("hours=0.0003"))
    saved = []
    trainer.watchers = trainer.watchers._replace(saved=saved.append)
    steps = trainer.train(0)
    assert steps == len(reports) >= 1
    assert saved[-1] == steps
    assert reports[-1].elapsed_s >= 0.0003 * 3600


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.write_text(json.dumps(golden_curve(), indent=1) + "\n", encoding="utf-8")
