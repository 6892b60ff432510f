"""Losses in groups of lights are the plain losses, and so are their gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.light_chunks import backward_by_chunks
from relight_model.losses import (
    LOSSES,
    LossConfig,
    LossModels,
    Supervision,
    compute_losses,
    weighted_total,
)
from relight_model.networks import (
    NetworkConfig,
    PatchDiscriminator,
    ReflectanceNetwork,
    ShapeRegressor,
    VggFeatures,
)

SIZE, LIGHTS, MAPS = 16, 7, 5
EVERYTHING = {name: 0.3 + 0.1 * k for k, name in enumerate(LOSSES)}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "full square": {"curve": "square"},
    "full factored": {"factored": True},
    "low rank": {"head": "low_rank", "rank": 3},
    "low rank signed": {"head": "low_rank", "rank": 3, "curve": "signed"},
    "low rank factored": {"head": "low_rank", "rank": 3, "factored": True},
    "checkpointed": {"checkpoint": True},
    "checkpointed low rank": {"checkpoint": True, "head": "low_rank", "rank": 3},
}


def network(variant: str, dtype: torch.dtype = torch.float64) -> ReflectanceNetwork:
    torch.manual_seed(1)
    config = NetworkConfig(
        size=SIZE, in_channels=MAPS, lights=LIGHTS, widths=(4, 6, 8, 8), refinement=1,
        **VARIANTS[variant],
    )  # fmt: skip
    made = ReflectanceNetwork(config).to(dtype)
    for parameter in made.light_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def batch(lights: list[int] | None, pictures: int, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=draw, dtype=dtype)

    n = LIGHTS if lights is None else len(lights)
    normal = torch.nn.functional.normalize(random(2, 3, SIZE, SIZE) - 0.3, dim=1)
    truth = Supervision(
        olat=random(2, n, 3, SIZE, SIZE) ** 3,
        albedo=random(2, 3, SIZE, SIZE),
        normal=normal,
        matte=(random(2, 1, SIZE, SIZE) > 0.3).to(dtype),
        lights=None if lights is None else torch.tensor(lights),
        relit_weights=None if pictures == 0 else random(2, pictures, n, 3),
        conditioning=random(2, MAPS, SIZE, SIZE),
    )
    return truth.conditioning, truth


def models(dtype: torch.dtype) -> LossModels:
    torch.manual_seed(2)
    return LossModels(
        features=VggFeatures.stand_in().to(dtype),
        discriminator=PatchDiscriminator(MAPS, 3, SIZE, widths=(4, 6, 8, 8)).to(dtype).eval(),
        shape_regressor=ShapeRegressor(4, widths=(4, 8)).to(dtype),
        beta_bar=torch.linspace(-1, 1, 4, dtype=dtype),
    )


def gradients(net: ReflectanceNetwork) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


def plain(net: ReflectanceNetwork, maps: Any, truth: Supervision, config: LossConfig) -> Any:
    """The definition: every light at once, one backward pass."""
    torch.manual_seed(3)  # dropout
    losses = compute_losses(net(maps), truth, config, models(maps.dtype))
    weighted_total(losses, config).backward()
    return {n: v.detach() for n, v in losses.items()}, gradients(net)


def check(
    variant: str, chunk: int, lights: list[int] | None, config: LossConfig, pictures: int,
    dtype: torch.dtype, tolerance: float,
) -> None:  # fmt: skip
    net = network(variant, dtype)
    other = copy.deepcopy(net)
    maps, truth = batch(lights, pictures, dtype)
    losses, slopes = plain(net, maps, truth, config)
    torch.manual_seed(3)
    found = backward_by_chunks(other(maps), truth, config, models(dtype), chunk=chunk)
    assert found.keys() == losses.keys()
    for name, value in losses.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)
    mine = gradients(other)
    assert mine.keys() == slopes.keys()
    for name, slope in slopes.items():
        scale = float(slope.abs().max())
        torch.testing.assert_close(
            mine[name], slope, rtol=tolerance, atol=tolerance * max(scale, 1e-3), msg=name
        )
    for (name, a), b in zip(net.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@settings(max_examples=25, deadline=None)
@given(
    variant=st.sampled_from(sorted(VARIANTS)),
    chunk=st.integers(1, LIGHTS + 3),
    lights=st.none() | st.lists(st.integers(0, LIGHTS - 1), min_size=1, unique=True),
    encoding=st.sampled_from(["linear", "sqrt", "log"]),
    masked=st.booleans(),
    pictures=st.integers(0, 3),
    names=st.sets(st.sampled_from(sorted(LOSSES)), min_size=1),
)
def test_groups_of_any_size_give_the_plain_loss_and_gradient(
    variant: str, chunk: int, lights: list[int] | None, encoding: Any, masked: bool,
    pictures: int, names: set[str],
) -> None:  # fmt: skip
    config = LossConfig(
        weights={n: EVERYTHING[n] for n in sorted(names)}, encoding=encoding, masked=masked
    )
    check(variant, chunk, lights, config, pictures, torch.float64, 1e-10)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_groups_in_single_precision_are_within_1e_5(variant: str) -> None:
    check(variant, 2, None, LossConfig(weights=EVERYTHING), 2, torch.float32, 1e-5)


def test_scale_multiplies_gradients_and_not_losses() -> None:
    net = network("full")
    other = copy.deepcopy(net)
    maps, truth = batch(None, 2, torch.float64)
    config = LossConfig(weights=EVERYTHING)
    losses, slopes = plain(net, maps, truth, config)
    torch.manual_seed(3)
    found = backward_by_chunks(
        other(maps), truth, config, models(torch.float64), chunk=3, scale=4.0
    )
    for name, value in losses.items():
        torch.testing.assert_close(found[name], value)
    for name, slope in gradients(other).items():
        torch.testing.assert_close(slope, 4.0 * slopes[name])


def test_gradients_of_two_batches_add_up() -> None:
    net = network("low rank")
    maps, truth = batch(None, 1, torch.float64)
    config = LossConfig(weights={"light_mse": 1.0})
    for _ in range(2):
        torch.manual_seed(3)
        backward_by_chunks(net(maps), truth, config, chunk=2)
    other = network("low rank")
    _, slopes = plain(other, maps, truth, config)
    for name, slope in gradients(net).items():
        # batch norm's statistics are the batch's own, so both passes are alike
        torch.testing.assert_close(slope, 2.0 * slopes[name])


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_models_of_losses_get_no_gradient(chunk: int | None) -> None:
    net, held = network("full"), models(torch.float64)
    maps, truth = batch(None, 1, torch.float64)
    config = LossConfig(weights=EVERYTHING)
    backward_by_chunks(net(maps), truth, config, held, chunk=chunk)
    assert held.discriminator is not None and held.shape_regressor is not None
    for module in (held.discriminator, held.shape_regressor):
        assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_at_most_a_group_of_lights_exists_at_once() -> None:
    """The largest tensor saved for the backward pass is a group's, not all lights'."""
    net = network("full", torch.float32)
    maps, truth = batch(None, 0, torch.float32)
    config = LossConfig(weights={"light_mse": 1.0, "light_ms_ssim": 1.0})
    sizes: list[int] = []

    def seen(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    output = net(maps)
    with torch.autograd.graph.saved_tensors_hooks(seen, lambda t: t):
        backward_by_chunks(output, truth, config, chunk=1)
    # MS-SSIM mirrors five pixels at each edge
    assert max(sizes) <= 2 * max(3, net.light_head.convolution.in_channels) * (SIZE + 10) ** 2


def test_nothing_to_learn_from_is_refused() -> None:
    net = network("full")
    maps, truth = batch(None, 0, torch.float64)
    for chunk in (None, 2):
        with pytest.raises(InputError, match="nothing to learn from"):
            backward_by_chunks(net(maps), truth, LossConfig(weights={}), chunk=chunk)
    with pytest.raises(InputError, match="one or more at a time"):
        backward_by_chunks(net(maps), truth, LossConfig(), chunk=0)


def test_mixed_precision_is_as_near_to_single_precision_in_groups_as_without() -> None:
    """bfloat16 holds eight bits, so gradients differ; losses are float32."""
    maps, truth = batch(None, 2, torch.float32)
    config = LossConfig(weights={"light_mse": 1.0, "light_ms_ssim": 1.0, "relit_l1": 1.0})
    found = []
    for chunk, mixed in ((None, False), (None, True), (2, True)):
        net = network("full", torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            torch.manual_seed(3)
            losses = backward_by_chunks(net(maps), truth, config, chunk=chunk)
        assert all(v.dtype == torch.float32 for v in losses.values())
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    single, whole, groups = found
    near = [float(torch.nn.functional.cosine_similarity(single, g, dim=0)) for g in (whole, groups)]
    assert near[1] > 0.9 and near[1] > near[0] - 0.03


def test_distributed_data_parallel_takes_each_gradient_once(tmp_path: Path) -> None:
    """DistributedDataParallel refuses a parameter that is ready twice in a step."""
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    maps, truth = batch(None, 2, torch.float64)
    config = LossConfig(weights={"light_mse": 1.0, "normal_cosine": 1.0, "albedo_l1": 1.0})
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        for variant in ("full factored", "low rank factored"):
            net = network(variant)
            _, slopes = plain(copy.deepcopy(net), maps, truth, config)
            parallel = DistributedDataParallel(net)
            for _ in range(2):
                net.zero_grad()
                torch.manual_seed(3)
                backward_by_chunks(parallel(maps), truth, config, chunk=3)
            for name, slope in gradients(net).items():
                torch.testing.assert_close(slope, slopes[name])
    finally:
        distributed.destroy_process_group()
