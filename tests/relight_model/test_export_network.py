"""Exported generators answer as the network, and say what they are."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from lightstage.errors import InputError
from relight_model.export_network import export_network, run_exported
from relight_model.networks import NetworkConfig, ReflectanceNetwork

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "low_rank": {"head": "low_rank", "rank": 3, "curve": "signed"},
    "factored": {"factored": True, "input_skip": 6, "albedo_from": 0, "normal_from": 3},
    "group_norm": {"norm": "group", "curve": "square", "checkpoint": True},
}
ENDINGS = ("onnx", "pt", "pt2")


def network(variant: str) -> ReflectanceNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(
        size=16, in_channels=6, lights=5, widths=(6, 8, 8), refinement=1, **VARIANTS[variant]
    )
    made = ReflectanceNetwork(config)
    made(torch.rand(4, 6, 16, 16))  # running statistics that are not 0 and 1
    for parameter in made.light_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_file_answers_as_the_network(variant: str, ending: str, tmp_path: Path) -> None:
    net = network(variant)
    path = tmp_path / f"generator.{ending}"
    assert export_network(net, path) <= 1e-5
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    maps = np.random.default_rng(3).random((1, 6, 16, 16), np.float32)
    olat, albedo, normal = run_exported(path, maps)
    with torch.inference_mode():
        output = net.eval()(torch.from_numpy(maps))
    assert olat.shape == (1, 5, 3, 16, 16) and olat.min() >= 0
    np.testing.assert_allclose(olat, output.olat().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(albedo, output.albedo.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(normal, output.normal.numpy(), rtol=1e-5, atol=1e-5)


def test_onnx_is_valid_takes_any_batch_and_runs_by_the_reference(tmp_path: Path) -> None:
    net = network("factored")
    path = tmp_path / "generator.onnx"
    export_network(net, path, about={"maps": ["diffuse", "normal"]})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    about = json.loads({p.key: p.value for p in model.metadata_props}["about"])
    assert about["maps"] == ["diffuse", "normal"] and about["config"]["lights"] == 5
    maps = np.random.default_rng(4).random((3, 6, 16, 16), np.float32)
    found = ReferenceEvaluator(model).run(["olat"], {"conditioning": maps})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(
            found,
            net.eval()(torch.from_numpy(maps)).olat().numpy(),
            rtol=1e-5,
            atol=1e-5,
        )


def test_torchscript_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "generator.pt"
    export_network(network("full"), path, about={"frames": 11})
    extra = {"about.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra["about.json"])["frames"] == 11


def test_no_file_of_this_machine_is_named_inside(tmp_path: Path) -> None:
    """Traces must not carry the exporter's own folders to whoever gets the file."""
    here = str(Path(__file__).resolve().parents[2]).encode()
    for ending in ENDINGS:
        path = tmp_path / f"generator.{ending}"
        export_network(network("full"), path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                parts = {n: archive.read(n) for n in archive.namelist()}
        else:
            parts = {path.name: path.read_bytes()}
        for name, data in parts.items():
            assert here not in data, f"{ending}: {name}"


def test_training_goes_on_as_before(tmp_path: Path) -> None:
    net = network("full").train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    export_network(net, tmp_path / "a.pt")
    assert net.training and all(p.requires_grad for p in net.parameters())
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_file_that_differs_is_not_left(tmp_path: Path, monkeypatch: Any) -> None:
    import relight_model.export_network as module

    def wrong(path: Path, maps: Any) -> Any:
        return [np.zeros((1, 5, 3, 16, 16)), np.zeros((1, 3, 16, 16)), np.zeros((1, 3, 16, 16))]

    monkeypatch.setitem(module._RUNNERS, "torchscript", wrong)
    with pytest.raises(InputError, match="differs from the trained one"):
        export_network(network("full"), tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(".onnx, .pt (TorchScript) or .pt2")):
        export_network(network("full"), tmp_path / "a.safetensors")
    maps = np.zeros((1, 6, 16, 16), np.float32)
    with pytest.raises(InputError, match="an exported network"):
        run_exported(tmp_path / "none.onnx", maps)
    for ending in ENDINGS:
        junk = tmp_path / f"junk.{ending}"
        junk.write_bytes(b"not a network at all")
        with pytest.raises(InputError, match="is no exported network that runs here"):
            run_exported(junk, maps)
