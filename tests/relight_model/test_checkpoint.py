"""Checkpoints: what is saved comes back to the last bit, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from relight_model.checkpoint import (
    CheckpointError,
    Training,
    checkpoints,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from relight_model.moving_average import MovingAverage


def training(seed: int, width: int = 8) -> Training:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 3, 1))
    return Training(
        {"generator": network},
        {"generator": MovingAverage(network, 0.9)},
        {"generator": torch.optim.AdamW(network.parameters(), lr=1e-2, betas=(0.5, 0.99))},
    )


def take_steps(made: Training, first: int, last: int) -> None:
    network, optimiser = made.networks["generator"], made.optimisers["generator"]
    for step in range(first, last):
        picture = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(picture).square().mean().backward()
        optimiser.step()
        made.averages["generator"].update(network, step)


def test_a_run_that_was_broken_ends_in_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole, first, second = training(0), training(0), training(99)
    take_steps(whole, 0, 9)
    take_steps(first, 0, 4)
    save_checkpoint(tmp_path, 4, first, {"epoch": 3, "place": [1, 2]})
    step, about = load_checkpoint(latest_checkpoint(tmp_path), second)
    assert (step, about) == (4, {"epoch": 3, "place": [1, 2]})
    take_steps(second, 4, 9)
    wanted = whole.networks["generator"].state_dict()
    for name, value in second.networks["generator"].state_dict().items():
        assert torch.equal(value, wanted[name]), name
    for name, value in second.averages["generator"].state.items():
        assert torch.equal(value, whole.averages["generator"].state[name]), name


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    made = training(0)
    for step in (1, 2, 3, 10, 11):
        save_checkpoint(tmp_path, step, made, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["00000010", "00000011"]


def test_an_unfinished_folder_is_no_checkpoint(tmp_path: Path) -> None:
    made = training(0)
    save_checkpoint(tmp_path, 1, made, {})
    (tmp_path / "checkpoints" / "00000002.partial").mkdir()
    assert latest_checkpoint(tmp_path).name == "00000001"


@pytest.mark.parametrize("name", ["generator.safetensors", "generator.optimiser.safetensors"])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, 1, training(0), {}) / name
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        load_checkpoint(path.parent, training(1))


def test_another_networks_weights_are_refused_by_name(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, training(0, width=8), {})
    with pytest.raises(CheckpointError, match=r"'0.weight' is \(8, 3, 3, 3\)"):
        load_checkpoint(path, training(0, width=4))


def test_a_folder_without_checkpoints_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="relight_model train"):
        latest_checkpoint(tmp_path)


def test_the_average_of_constant_weights_is_those_weights() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage(network, 0.99)
    for step in range(20):
        average.update(network, step)
    assert torch.equal(average.state["weight"], network.weight)


def test_weights_return_after_the_average_was_tried() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    average = MovingAverage(network, 0.5)
    with torch.no_grad():
        network.weight.add_(1.0)
    with average.within(network):
        assert torch.equal(network.weight, before)
    assert torch.equal(network.weight, before + 1.0)
