"""The paper's losses against closed forms and another implementation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.colour import encode_srgb, luminance
from lightstage.errors import InputError
from relight_model.losses import (
    LOSSES,
    PAPER_WEIGHTS,
    LossConfig,
    LossModels,
    Supervision,
    absolute_error,
    adversarial_error,
    compute_losses,
    context_error,
    display_exposure,
    encode_display,
    encode_light,
    feature_error,
    normal_error,
    relit_losses,
    squared_error,
    structural_error,
    weighted_total,
)
from relight_model.ms_ssim import SCALE_WEIGHTS, ms_ssim, scale_count
from relight_model.networks import NetworkConfig, ReflectanceNetwork, VggFeatures
from tests.relight_model.reference_metrics import multiscale_structural_similarity_index_measure


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(size: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    coarse = random(3, 3, 8, 8, seed=1)
    truth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return (truth + noise * (random(3, 3, size, size, seed=2) - 0.5)).clamp(0, 1), truth


@pytest.mark.parametrize("size", [176, 192])
@pytest.mark.parametrize("noise", [0.05, 0.6])
def test_ms_ssim_is_torchmetrics_where_five_scales_fit(size: int, noise: float) -> None:
    predicted, truth = pictures(size, noise)
    theirs = multiscale_structural_similarity_index_measure(
        predicted, truth, data_range=1.0, betas=SCALE_WEIGHTS, reduction="none"
    )
    torch.testing.assert_close(ms_ssim(predicted, truth), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (22, 2), (44, 3), (64, 3), (128, 4)])
def test_ms_ssim_of_small_pictures_is_torchmetrics_with_fewer_scales(
    size: int, scales: int
) -> None:
    assert scale_count(size, size) == scales
    predicted, truth = pictures(size, 0.2)
    first = np.array(SCALE_WEIGHTS[:scales])
    betas = tuple(first * sum(SCALE_WEIGHTS) / first.sum())
    theirs = multiscale_structural_similarity_index_measure(
        predicted, truth, data_range=1.0, betas=betas, reduction="none"
    )
    torch.testing.assert_close(ms_ssim(predicted, truth), theirs, rtol=1e-5, atol=1e-6)


def test_ms_ssim_of_even_pictures_is_the_luminance_term() -> None:
    """No structure: cs is 1, and l = (2 a b + c) / (a a + b b + c) at the coarsest scale."""
    a, b, c = 0.3, 0.5, 0.01**2
    one, other = (torch.full((1, 3, 176, 176), v, dtype=torch.float64) for v in (a, b))
    expected = ((2 * a * b + c) / (a * a + b * b + c)) ** SCALE_WEIGHTS[-1]
    assert float(ms_ssim(one, other)) == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_is_one_for_equal_pictures_and_has_a_finite_slope_everywhere() -> None:
    predicted, truth = pictures(64, 0.3)
    assert ms_ssim(truth, truth).tolist() == pytest.approx([1.0] * 3)
    opposite = (1.0 - truth).requires_grad_()
    (1 - ms_ssim(opposite, truth)).sum().backward()
    assert opposite.grad is not None and torch.isfinite(opposite.grad).all()
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: ms_ssim(p, truth[:1, :, :24, :24]),
        predicted[:1, :, :24, :24].detach().requires_grad_(),
        fast_mode=True,
    )


def test_ms_ssim_refuses_what_has_no_window() -> None:
    with pytest.raises(InputError, match="11 pixels a side"):
        ms_ssim(random(1, 3, 10, 30), random(1, 3, 10, 30))
    with pytest.raises(InputError, match="alike"):
        ms_ssim(random(1, 3, 20, 30), random(1, 3, 30, 20))


def test_squared_and_absolute_error_count_what_the_mask_covers() -> None:
    truth = random(2, 4, 3, 8, 8)
    mask = torch.zeros(2, 1, 1, 8, 8, dtype=torch.float64)
    mask[..., :4] = 1.0
    predicted = truth + 0.5 * mask + 9.0 * (1 - mask)
    assert float(squared_error(predicted, truth, mask)) == pytest.approx(0.25)
    assert float(absolute_error(predicted, truth, mask)) == pytest.approx(0.5)
    assert float(squared_error(predicted, truth)) == pytest.approx((0.25 + 81) / 2)


def test_structural_error_sees_nothing_outside_the_mask() -> None:
    predicted, truth = pictures(32, 0.5)
    mask = torch.zeros(3, 1, 32, 32, dtype=torch.float64)
    mask[..., 16:] = 1.0
    changed = predicted + (1 - mask) * 7.0
    one, other = (float(structural_error(p, truth, mask)) for p in (predicted, changed))
    assert one == pytest.approx(other) and one > 0.01
    assert float(structural_error(truth, truth, mask)) == pytest.approx(0.0, abs=1e-12)


@given(degrees=st.floats(0, 180))
@settings(max_examples=20, deadline=None)
def test_normal_error_is_one_less_the_cosine(degrees: float) -> None:
    angle = math.radians(degrees)
    truth = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    truth[:, 2] = 1.0
    truth[:, :, :2] = 0.0  # no normal there
    turned = torch.zeros_like(truth)
    turned[:, 2], turned[:, 0] = math.cos(angle), math.sin(angle)
    found = float(normal_error(turned, truth))
    assert found == pytest.approx(1 - math.cos(angle), abs=1e-9)


def test_adversarial_error_and_context_error_in_closed_form() -> None:
    logits = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    expected = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert float(adversarial_error(logits)) == pytest.approx(expected)
    beta = torch.tensor([[1.0, -1.0], [0.0, 3.0]])
    assert float(context_error(beta, torch.tensor([0.0, 1.0]))) == pytest.approx(
        (1 + 2 + 0 + 2) / 4
    )


def test_encodings_keep_black_and_order_and_lift_what_is_dark() -> None:
    light = torch.linspace(0, 1, 101, dtype=torch.float64)
    for encoding in ("linear", "sqrt", "log"):
        shown = encode_light(light, encoding)  # type: ignore[arg-type]
        assert float(shown[0]) == pytest.approx(0.0) and (shown.diff() > 0).all()
        assert float(shown[-1]) == pytest.approx(1.0, abs=0.04)
        if encoding != "linear":
            assert float(shown[1] - shown[0]) > 5 * float(shown[-1] - shown[-2])
    np.testing.assert_allclose(encode_display(light.float()).numpy(), encode_srgb(light), atol=1e-5)


@given(brightness=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_exposure_brings_the_99th_percentile_inside_the_matte_to_0_8(brightness: float) -> None:
    truth = brightness * random(2, 3, 3, 16, 16)
    matte = torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    matte[:, :, 4:] = 1.0
    shown = (truth * display_exposure(truth, matte)).numpy()
    for picture in shown.reshape(-1, 3, 16, 16):
        lit = luminance(picture[:, 4:].transpose(1, 2, 0))
        assert np.percentile(lit, 99) == pytest.approx(0.8, rel=1e-4)


# --- VGG ----------------------------------------------------------------------------------------


def vgg_weights(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    state: dict[str, Any] = {}
    for index, inputs, outputs in ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128)):
        state[f"features.{index}.weight"] = random(outputs, inputs, 3, 3, seed=index).float() - 0.5
        state[f"features.{index}.bias"] = random(outputs, seed=index + 50).float()
    if change is not None:
        change(state)
    path = folder / "vgg19-test.pth"
    torch.save(state, path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_vgg_is_torchvisions_third_convolution(tmp_path: Path) -> None:
    """Against the layers written out: conv, ReLU, conv, ReLU, pool, conv, ReLU."""
    path = vgg_weights(tmp_path)
    state = torch.load(path, weights_only=True)
    features = VggFeatures.load(path, digest(path)[:8])
    assert not features.is_stand_in
    picture = random(2, 3, 20, 20).float()
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    x = (picture - mean) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    for index in (0, 2, "pool", 5):
        if index == "pool":
            x = torch.nn.functional.max_pool2d(x, 2, 2)
            continue
        layer = [state[f"features.{index}.{n}"] for n in ("weight", "bias")]
        x = torch.relu(torch.nn.functional.conv2d(x, *layer, padding=1))
    torch.testing.assert_close(features(picture), x)
    assert not any(p.requires_grad for p in features.parameters())


def test_vgg_is_loaded_from_a_url_and_kept(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = vgg_weights(tmp_path)
    url, begins = path.as_uri(), digest(path)[:8]
    with pytest.raises(InputError, match="not 00000000"):
        VggFeatures.load(url, "00000000")
    assert not list((tmp_path / "cache").rglob("*.p*"))
    first = VggFeatures.load(url, begins)
    path.unlink()
    again = VggFeatures.load(url, begins)
    torch.testing.assert_close(first.state_dict(), again.state_dict())
    with pytest.raises(InputError, match="could not be downloaded"):
        VggFeatures.load(url + "x", begins)


def test_wrong_weight_files_are_refused(tmp_path: Path) -> None:
    path = vgg_weights(tmp_path)
    with pytest.raises(InputError, match=r"begins with [0-9a-f]{8}, not dcbb9e9d"):
        VggFeatures.load(path)
    with pytest.raises(InputError, match="there is no such file"):
        VggFeatures.load(tmp_path / "none.pth")

    def no_third(state: dict[str, Any]) -> None:
        del state["features.5.weight"]

    with pytest.raises(InputError, match=r"features.5.weight should be \(128, 64, 3, 3\)"):
        VggFeatures.load(vgg_weights(tmp_path, no_third), None)
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"\x80\x02junk")
    with pytest.raises(InputError, match="no file of weights"):
        VggFeatures.load(junk, None)


def test_a_weight_file_cannot_run_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "evil.pth"
    with path.open("wb") as file:
        pickle.dump({"features.0.weight": Evil()}, file)
    with pytest.raises(InputError):
        VggFeatures.load(path, None)
    assert not (tmp_path / "ran").exists()


def test_the_stand_in_is_always_the_same_and_orders_blur_and_noise() -> None:
    features = VggFeatures.stand_in()
    other = VggFeatures.stand_in()
    torch.testing.assert_close(features.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert features.is_stand_in
    _, truth = pictures(32, 0.0)
    truth = truth.float()
    noise = random(3, 3, 32, 32, seed=9).float() - 0.5
    errors = [
        float(feature_error(features, (truth + s * noise).clamp(0, 1), truth))
        for s in (0, 0.1, 0.4)
    ]
    assert errors[0] == 0 and errors[1] > 0 and errors[2] > 3 * errors[1]


# --- configuration ------------------------------------------------------------------------------


def case() -> tuple[Any, Supervision]:
    torch.manual_seed(0)
    net = ReflectanceNetwork(NetworkConfig(size=16, in_channels=3, lights=4, widths=(4, 4)))
    truth = Supervision(
        olat=random(1, 4, 3, 16, 16).float(),
        albedo=random(1, 3, 16, 16).float(),
        normal=torch.nn.functional.normalize(random(1, 3, 16, 16).float(), dim=1),
        matte=torch.ones(1, 1, 16, 16),
        conditioning=random(1, 3, 16, 16).float(),
    )
    return net(truth.conditioning), truth


def test_the_default_weighs_losses_as_equation_5() -> None:
    config = LossConfig()
    assert config.weights == PAPER_WEIGHTS
    assert config.encoding == "linear" and not config.masked
    values = {name: torch.tensor(float(k + 1)) for k, name in enumerate(PAPER_WEIGHTS)}
    expected = 1 + 2 + 3 + 4 + 5 + 0.1 * 6 + 0.1 * 7
    assert float(weighted_total(values, config)) == pytest.approx(expected)


def test_each_loss_can_be_the_only_one() -> None:
    from relight_model.networks import PatchDiscriminator, ShapeRegressor

    output, truth = case()
    models = LossModels(
        VggFeatures.stand_in(), PatchDiscriminator(3, 3, 16), ShapeRegressor(4), torch.zeros(4)
    )
    for name in LOSSES:
        config = LossConfig(weights={"gan": 0.0} | {name: 2.0})
        found = compute_losses(output, truth, config, models)
        assert list(found) == [name] and float(found[name].detach()) > 0


def test_a_perfect_prediction_costs_nothing() -> None:
    _, truth = case()

    class Perfect:
        albedo, normal, is_low_rank = truth.albedo, truth.normal, False

        def olat(self) -> torch.Tensor:
            return truth.olat

    names = [n for n in LOSSES if n not in ("gan", "context")]
    config = LossConfig(weights=dict.fromkeys(names, 1.0), masked=True, encoding="log")
    found = compute_losses(Perfect(), truth, config, LossModels(VggFeatures.stand_in()))
    for name, value in found.items():
        assert float(value) == pytest.approx(0.0, abs=1e-5), name


def test_relit_losses_do_not_depend_on_how_bright_the_lights_are() -> None:
    _, truth = case()
    config = LossConfig(weights={"relit_l1": 1.0, "relit_ms_ssim": 1.0})
    weights = random(1, 2, 4, 3).float()
    values = []
    for brightness in (1.0, 7.0):
        asked = Supervision(
            truth.olat, truth.albedo, truth.normal, truth.matte, relit_weights=brightness * weights
        )
        values.append(relit_losses(0.8 * asked.relit(), asked, config, LossModels()))
    for name, value in values[0].items():
        assert float(values[1][name]) == pytest.approx(float(value), rel=1e-4)


def test_what_a_loss_needs_is_asked_for() -> None:
    output, truth = case()
    for name, needed in (
        ("albedo_vgg", "features"), ("gan", "discriminator"), ("context", "shape_regressor"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"the loss {name} needs a {needed}"):
            compute_losses(output, truth, LossConfig(weights={name: 1.0}))


def test_unknown_losses_and_negative_weights_are_refused() -> None:
    with pytest.raises(InputError, match="there is no loss 'light_mae'"):
        LossConfig(weights={"light_mae": 1.0})
    with pytest.raises(InputError, match="must not be negative"):
        LossConfig(weights={"light_mse": -1.0})
