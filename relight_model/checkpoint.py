"""Checkpoints of a training: all of its state, in files that hold numbers and text alone.

``RUN/checkpoints/NNNNNNNN/`` is one state: ``NAME.safetensors`` of each network's weights,
``NAME.average.safetensors`` of their moving averages, ``NAME.optimiser.safetensors``, and
``state.json`` with the step, the data's place and a hash of every other file. All is written
beside its place, flushed and renamed: a folder with such a name is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightstage.errors import InputError
from lightstage.manifest import flush_folder, read_json
from relight_model.moving_average import MovingAverage

FOLDER = "checkpoints"
STATE = "state.json"
FORMAT = "lightstage checkpoint 1"
_NAME = re.compile(r"\d{8}")


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or of another network."""

    exit_code = 4


@dataclass(frozen=True)
class Training:
    """What a checkpoint saves and restores, by name; nothing in it is replaced, only filled."""

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, MovingAverage] = field(default_factory=dict)
    optimisers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)


def save_checkpoint(
    run: Path, step: int, training: Training, about: Mapping[str, Any], keep: int = 3
) -> Path:
    """Write the state after ``step`` and remove all but the last ``keep``; return its folder.

    Args:
        run: the run's folder.
        step: optimiser steps done, 0 to 99,999,999.
        training: networks, averages and optimisers.
        about: anything else that JSON holds, given back by :func:`load_checkpoint`.
        keep: how many checkpoints stay, at least 1.
    """
    place = run / FOLDER / f"{step:08d}"
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    groups: dict[str, Any] = {}
    for name, network in training.networks.items():
        _save(network.state_dict(), partial / f"{name}.safetensors")
    for name, average in training.averages.items():
        _save(average.state, partial / f"{name}.average.safetensors")
    for name, optimiser in training.optimisers.items():
        tensors, groups[name] = _flattened(optimiser.state_dict())
        _save(tensors, partial / f"{name}.optimiser.safetensors")
    state = {
        "format": FORMAT,
        "step": step,
        "about": dict(about),
        "optimisers": groups,
        "files": {path.name: _hash(path) for path in sorted(partial.iterdir())},
    }
    with (partial / STATE).open("w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if place.exists():
        shutil.rmtree(place)
    partial.replace(place)
    flush_folder(place.parent)
    for old in checkpoints(run)[: -max(keep, 1)]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def checkpoints(run: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first."""
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def latest_checkpoint(run: Path) -> Path:
    """Return the folder of the last checkpoint of a run.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints(run)
    if not found:
        raise CheckpointError(
            f"{run}: holds no checkpoint; `relight_model train … --out {run}` makes them."
        )
    return found[-1]


def read_state(path: Path) -> dict[str, Any]:
    """Return the ``state.json`` of the checkpoint ``path`` after checking every file's hash.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    state = read_json(path / STATE, CheckpointError)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no checkpoint that this version reads ({FORMAT!r}).")
    for name, wanted in state["files"].items():
        if not (path / name).is_file():
            raise CheckpointError(f"{path}: lacks {name}; remove the folder to go on before it.")
        if _hash(path / name) != wanted:
            raise CheckpointError(
                f"{path}: {name} is damaged (its hash is not the one written); remove the folder "
                f"to go on from the checkpoint before it."
            )
    return state


def load_checkpoint(path: Path, training: Training) -> tuple[int, dict[str, Any]]:
    """Fill ``training`` from the checkpoint ``path``; return its step and ``about``.

    Raises:
        CheckpointError: it is missing, damaged, or of networks of another make.
    """
    state = read_state(path)
    for name, network in training.networks.items():
        load_weights(network, path / f"{name}.safetensors")
    for name, average in training.averages.items():
        average.load(_load(path / f"{name}.average.safetensors"))
    for name, optimiser in training.optimisers.items():
        if name not in state["optimisers"]:
            raise CheckpointError(f"{path}: holds no state of the optimiser {name!r}.")
        tensors = _load(path / f"{name}.optimiser.safetensors")
        try:
            optimiser.load_state_dict(_unflattened(tensors, state["optimisers"][name]))
        except (ValueError, KeyError) as reason:
            raise CheckpointError(f"{path}: the optimiser {name!r} differs: {reason}.") from None
    return int(state["step"]), dict(state["about"])


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill ``network`` from a safetensors file.

    Raises:
        CheckpointError: missing or damaged, or weights of another network; the first difference is
            named.
    """
    tensors, own = _load(path), network.state_dict()
    for name, value in own.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: lacks the weights {name!r}: it is of another network.")
        if tensors[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: {name!r} is {tuple(tensors[name].shape)}, this network's is "
                f"{tuple(value.shape)}: its configuration differs."
            )
    extra = sorted(set(tensors) - set(own))
    if extra:
        raise CheckpointError(f"{path}: has weights {extra[0]!r} that this network lacks.")
    network.load_state_dict(tensors)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors; the file appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    _save(network.state_dict(), partial)
    partial.replace(path)
    flush_folder(path.parent)


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    # a copy of each: safetensors refuses tensors that share memory
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, str(path))
    path.chmod(0o644)  # safetensors keeps it from the group; the folder says who may look
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as reason:
        raise CheckpointError(f"{path}: cannot be read: {reason}.") from None


def _flattened(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors by ``index.name`` and what JSON holds."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, {"plain": plain, "groups": state["param_groups"]}


def _unflattened(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    for index, values in rest["plain"].items():
        state.setdefault(int(index), {}).update(values)
    groups = [
        {k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in rest["groups"]
    ]
    return {"state": state, "param_groups": groups}


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
