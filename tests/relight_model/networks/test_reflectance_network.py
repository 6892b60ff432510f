"""The reflectance network: the paper's shape, any size and lights, laws of its output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.networks import NetworkConfig, ReflectanceNetwork

SMALL: dict[str, Any] = {
    "size": 16,
    "in_channels": 9,
    "lights": 6,
    "widths": (6, 8, 8),
    "refinement": 1,
}
HEADS: dict[str, dict[str, Any]] = {
    "full": {},
    "full square": {"curve": "square"},
    "full signed": {"curve": "signed"},
    "factored": {"factored": True},
    "low rank": {"head": "low_rank", "rank": 3},
    "low rank square": {"head": "low_rank", "rank": 3, "curve": "square"},
    "low rank factored": {"head": "low_rank", "rank": 3, "factored": True},
    "low rank signed": {"head": "low_rank", "rank": 3, "curve": "signed"},
}
EXACT = [n for n in HEADS if n != "low rank signed"]


def network(**changes: Any) -> ReflectanceNetwork:
    torch.manual_seed(0)
    made = ReflectanceNetwork(NetworkConfig(**(SMALL | changes))).double()
    for parameter in made.light_head.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def maps(config: NetworkConfig, batch: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    shape = (batch, config.in_channels, config.size, config.size)
    return torch.rand(shape, generator=draw, dtype=torch.float64)


def test_the_default_is_the_papers_network() -> None:
    config = NetworkConfig()
    with torch.device("meta"):
        net = ReflectanceNetwork(config)
        plain = ReflectanceNetwork(config.replace(refinement=0))
    about = net.describe()
    assert [width for width, _ in about["encoder"]] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [side for _, side in about["encoder"]] == [256, 128, 64, 32, 16, 8, 4, 2]
    assert about["head_channels"] == 96 * 3 + 3 + 3
    # eight 4x4 convolutions of stride 2: one innermost value sees more than the whole picture
    assert about["receptive_field_px"] == 766
    # facts.md: 55 M without refinement convolutions
    assert plain.describe()["parameters"] == pytest.approx(55e6, rel=0.01)
    assert about["parameters"] == pytest.approx(70.1e6, rel=0.01)
    # dropout 0.5 in the innermost three stages alone
    rates = [up.dropout.p for up in net.decoder]
    assert rates == [0.5, 0.5, 0.5, 0, 0, 0, 0, 0]


def test_parameters_without_refinement_are_those_counted_by_hand() -> None:
    net = ReflectanceNetwork(
        NetworkConfig(size=16, in_channels=3, lights=2, widths=(4, 8), refinement=0, head_kernel=1)
    )
    down = (3 * 4 * 16 + 4) + (4 * 8 * 16 + 2 * 8)
    up = (8 * 4 * 16 + 2 * 4) + ((4 + 4) * 4 * 16 + 2 * 4)
    heads = 4 * (2 * 3 + 3 + 3) + 12
    assert net.describe()["parameters"] == down + up + heads


@settings(max_examples=12, deadline=None)
@given(
    size=st.sampled_from([16, 32, 64]),
    lights=st.integers(1, 12),
    depth=st.integers(1, 9),
    norm=st.sampled_from(["batch", "group", "none"]),
    refinement=st.integers(0, 2),
    batch=st.integers(1, 2),
    skip=st.integers(0, 5),
)
def test_any_size_lights_depth_and_batch_trains(
    size: int, lights: int, depth: int, norm: Any, refinement: int, batch: int, skip: int
) -> None:
    """Also with a batch of one, where the innermost stage is 1 x 1."""
    config = NetworkConfig(
        size=size, in_channels=5, lights=lights, widths=(4,) * depth, norm=norm,
        refinement=refinement, input_skip=skip,
    )  # fmt: skip
    net = ReflectanceNetwork(config).train()
    output = net(maps(config, batch).float())
    olat = output.olat()
    assert olat.shape == (batch, lights, 3, size, size)
    assert output.albedo.shape == output.normal.shape == (batch, 3, size, size)
    (olat.sum() + output.albedo.sum() + output.normal.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("head", sorted(HEADS))
def test_output_is_physical(head: str) -> None:
    net = network(**HEADS[head])
    with torch.inference_mode():
        output = net(maps(net.config))
    assert float(output.olat().min()) >= 0
    assert float(output.albedo.min()) >= 0 and float(output.albedo.max()) <= 1
    lengths = output.normal.square().sum(dim=1).sqrt()
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("head", sorted(HEADS))
def test_lights_in_parts_are_the_whole(head: str) -> None:
    net = network(**HEADS[head])
    output = net(maps(net.config))
    parts = torch.cat([output.lights(0, 1), output.lights(1, 4), output.lights(4, 6)], dim=1)
    torch.testing.assert_close(parts, output.olat())
    some = output.chosen_lights(torch.tensor([5, 0, 2]))
    torch.testing.assert_close(some, output.olat()[:, [5, 0, 2]])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("head", EXACT)
def test_relighting_is_the_weighted_sum_of_the_lights(head: str, batch: int) -> None:
    net = network(**HEADS[head])
    output = net(maps(net.config))
    weights = torch.rand(batch, 6, 3, dtype=torch.float64)
    expected = (output.olat() * weights[:, :, :, None, None]).sum(dim=1)
    torch.testing.assert_close(output.relight(weights), expected)
    torch.testing.assert_close(output.relight(weights, chunk=4), expected)
    several = torch.stack([weights, 2 * weights], dim=1)
    torch.testing.assert_close(output.relight_many(several)[:, 1], 2 * expected)
    chosen = torch.tensor([4, 1])
    some = output.relight_many(several[:, :, chosen], lights=chosen)
    expected = (output.olat()[:, chosen] * weights[:, chosen, :, None, None]).sum(dim=1)
    torch.testing.assert_close(some[:, 0], expected)


def test_a_signed_low_rank_head_relights_alike_where_nothing_is_cut() -> None:
    net = network(**HEADS["low rank signed"])
    output = net(maps(net.config))
    assert net.light_head.basis is not None
    with torch.no_grad():
        # all bases positive: no light is below 0 where no basis image is
        net.light_head.basis.abs_()
        net.light_head.convolution.weight.mul_(0.01)
        net.light_head.convolution.bias.fill_(1.0)
    output = net(maps(net.config))
    weights = torch.rand(1, 6, 3, dtype=torch.float64)
    expected = (output.olat() * weights[:, :, :, None, None]).sum(dim=1)
    torch.testing.assert_close(output.relight(weights), expected)


def test_a_factored_field_is_albedo_times_shading_plus_white_specular() -> None:
    net = network(factored=True)
    with torch.no_grad():
        assert net.light_head.tint is not None
        net.light_head.tint.zero_()
    output = net(maps(net.config))
    olat, albedo = output.olat(), output.albedo[:, None]
    # differences between colours are shading alone: (r - g) / (albedo_r - albedo_g) = (g - b) / …
    one = (olat[:, :, 0] - olat[:, :, 1]) / (albedo[:, :, 0] - albedo[:, :, 1])
    two = (olat[:, :, 1] - olat[:, :, 2]) / (albedo[:, :, 1] - albedo[:, :, 2])
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_albedo_and_normal_begin_as_the_maps_they_are_changes_of() -> None:
    from lightstage.colour import decode_srgb

    net = network(albedo_from=3, normal_from=6)
    with torch.no_grad():
        net.albedo_head.weight.zero_()
        net.normal_head.weight.zero_()
    given = maps(net.config) * 0.9 + 0.05
    given[:, 6:9] = torch.nn.functional.normalize(given[:, 6:9], dim=1)
    output = net(given)
    drawn = decode_srgb(given[:, 3:6].numpy())
    # the curve is a power of 2.2, within 0.01 of sRGB's
    np.testing.assert_allclose(output.albedo.detach().numpy(), drawn, atol=0.01)
    torch.testing.assert_close(output.normal, given[:, 6:9])


@pytest.mark.parametrize("head", ["full", "low rank factored"])
def test_forgetting_activations_changes_nothing(head: str) -> None:
    results = []
    for checkpoint in (False, True):
        net = network(checkpoint=checkpoint, dropout=0.5, **HEADS[head]).train()
        torch.manual_seed(4)
        output = net(maps(net.config))
        (output.olat().square().sum() + output.normal[:, 0].sum()).backward()
        found = [p.grad for p in net.parameters()]
        results.append(found + list(net.buffers()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_inferred_gives_lights_without_a_graph() -> None:
    net = network().eval()
    with torch.inference_mode():
        output = net(maps(net.config))
    assert not output.olat().requires_grad
    assert not output.relight(torch.ones(1, 6, 3, dtype=torch.float64)).requires_grad


def test_wrong_input_is_named() -> None:
    net = network()
    with pytest.raises(InputError, match=r"takes \(batch, 9, 16, 16\) conditioning, not"):
        net(torch.zeros(1, 8, 16, 16))
    output = net(maps(net.config))
    with pytest.raises(InputError, match="lights 4 to 6 were asked for"):
        output.lights(4, 7)
    with pytest.raises(InputError, match=r"must end in \(6, 3\)"):
        output.relight(torch.ones(1, 5, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 48}, "power of two"),
        ({"size": 8}, "size"),
        ({"input_skip": 10}, "input_skip is 10, there are 9"),
        ({"albedo_from": 7}, "albedo_from 7 needs channels 7 to 9"),
        ({"head": "low_rank", "rank": 7}, "rank 7 is more than the 6 lights"),
        ({"wdths": (4,)}, "wdths"),
    ],
)
def test_wrong_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NetworkConfig(**(SMALL | changes))


def test_a_stacks_layout_says_where_the_newest_maps_are() -> None:
    """Frame by frame, oldest first: the newest frame's maps are the last channels."""
    from relight_model.conditioning import StackLayout

    layout = StackLayout(("pncc", "diffuse", "mask", "normal"), frames=3)
    config = NetworkConfig.for_stack(layout, size=16, lights=4)
    assert config.in_channels == 30 and config.input_skip == 10
    assert config.albedo_from == 20 + 3 and config.normal_from == 20 + 7
    paper = NetworkConfig.for_stack(StackLayout(), use_maps=False)
    assert paper == NetworkConfig()
    maps_of_the_paper = NetworkConfig.for_stack(StackLayout(), lights=4, input_skip=0)
    assert maps_of_the_paper.albedo_from == 90 and maps_of_the_paper.normal_from is None
    assert maps_of_the_paper.input_skip == 0
