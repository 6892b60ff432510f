"""The paper's losses, equations (1) to (5), each one function; and what a run weighs them by.

A loss is of one of three kinds:

* ``light``: a mean over lights. It decomposes: groups of lights can be done one after the other
  (:mod:`relight_model.light_chunks`).
* ``map``: of albedo and normal.
* ``relit``: of pictures that are sums over all lights, as a full-lit one; it needs all lights at
  once, but only three channels of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightstage.colour import LUMINANCE_REC709
from lightstage.errors import InputError
from lightstage.manifest import Manifest
from relight_model.ms_ssim import ms_ssim
from relight_model.networks.light_head import weighted_sum

Encoding = Literal["linear", "sqrt", "log"]
Kind = Literal["light", "map", "relit"]

#: Equation (5): 0.1 L_GAN + L_color + L_normal + L_albedo + 0.1 L_context.
PAPER_WEIGHTS: Mapping[str, float] = {
    "light_mse": 1.0,
    "light_ms_ssim": 1.0,
    "normal_cosine": 1.0,
    "albedo_vgg": 1.0,
    "albedo_ms_ssim": 1.0,
    "gan": 0.1,
    "context": 0.1,
}
_SQRT_FLOOR, _LOG_SCALE = 1e-3, 50.0


# --- the losses ---------------------------------------------------------------------------------


def encode_light(light: Tensor, encoding: Encoding) -> Tensor:
    """Return linear light as a loss compares it; about [0, 1] stays about [0, 1].

    ``linear``: as it is, the paper's. ``sqrt``: ``sqrt(x + 0.001) - sqrt(0.001)``. ``log``:
    ``log(1 + 50 x) / log(51)``. Most pixels of a one-light picture are dark, and display encoding
    shows their errors far larger than a linear difference counts them.
    """
    if encoding == "sqrt":
        return torch.sqrt(light.clamp_min(0.0) + _SQRT_FLOOR) - _SQRT_FLOOR**0.5
    if encoding == "log":
        return torch.log1p(_LOG_SCALE * light.clamp_min(0.0)) / float(np.log1p(_LOG_SCALE))
    return light


def encode_display(light: Tensor) -> Tensor:
    """Return linear light display-encoded (sRGB), clipped to [0, 1]."""
    x = light.clamp(0.0, 1.0)
    curve = 1.055 * x.clamp_min(1e-4).pow(1.0 / 2.4) - 0.055
    return torch.where(x <= 0.0031308, 12.92 * x, curve)


def squared_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return ``mean |Y - Y_hat|^2``, equation (1), over ``(…, h, w)``; weighted by ``mask``."""
    return _mean((predicted - truth).square(), mask)


def absolute_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return ``mean |Y - Y_hat|``; weighted by ``mask``."""
    return _mean((predicted - truth).abs(), mask)


def structural_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return ``1 - MS-SSIM``, equation (1)'s fmss, the mean over pictures ``(…, 3, h, w)``.

    A mask multiplies both pictures, so that they are equal outside.
    """
    if mask is not None:
        predicted, truth = predicted * mask, truth * mask
    shape = (-1, *predicted.shape[-3:])
    return 1.0 - ms_ssim(predicted.reshape(shape), truth.reshape(shape)).mean()


def normal_error(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return ``mean (1 - cos(N, N_hat))``, equation (2), where the truth has a normal.

    Args:
        predicted: ``(b, 3, h, w)``.
        truth: unit vectors, or 0 where there is none.
        mask: ``(b, 1, h, w)`` weights.
    """
    cosine = F.cosine_similarity(predicted, truth, dim=1, eps=1e-6).unsqueeze(1)
    known = (truth.square().sum(dim=1, keepdim=True) > 0.25).to(truth.dtype)
    return _mean(1.0 - cosine, known if mask is None else known * mask)


def feature_error(
    features: nn.Module, predicted: Tensor, truth: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return ``mean |f(A) - f(A_hat)|^2`` of VGG features f, equation (3)'s fvgg.

    Albedos ``(b, 3, h, w)`` are linear; they are display-encoded, as VGG's photographs were. A mask
    multiplies both.
    """
    if mask is not None:
        predicted, truth = predicted * mask, truth * mask
    with torch.no_grad():
        wanted = features(encode_display(truth))
    return F.mse_loss(features(encode_display(predicted)), wanted)


def adversarial_error(logits: Tensor) -> Tensor:
    """Return ``mean softplus(-D(F, Y_hat))``: the generator's part of the non-saturating GAN.

    The discriminator's is :func:`relight_model.networks.discriminator_loss`.
    """
    return F.softplus(-logits).mean()


def context_error(beta: Tensor, beta_bar: Tensor) -> Tensor:
    """Return ``mean |beta(relit(Y_hat)) - beta_bar|``, equation (4), per shape coefficient.

    Args:
        beta: ``(b, S)`` regressed from a relit prediction.
        beta_bar: ``(S,)`` the performer's mean.
    """
    return (beta - beta_bar).abs().mean()


def display_exposure(truth: Tensor, matte: Tensor) -> Tensor:
    """Return the factor that brings the 99th percentile of luminance inside the matte to 0.8.

    Args:
        truth: pictures ``(b, p, 3, h, w)``, linear.
        matte: ``(b, 1, h, w)``; inside is above 0.5, or everything where nothing is.

    Returns:
        ``(b, p, 1, 1, 1)``, at most 1000.
    """
    weights = torch.tensor(LUMINANCE_REC709, dtype=truth.dtype, device=truth.device)
    luminance = torch.einsum("bpchw,c->bphw", truth.detach(), weights)
    factors = []
    for lit, inside in zip(luminance, matte[:, 0] > 0.5, strict=True):
        values = lit[:, inside] if bool(inside.any()) else lit.flatten(1)
        factors.append(0.8 / torch.quantile(values, 0.99, dim=1).clamp_min(8e-4))
    return torch.stack(factors)[:, :, None, None, None]


def _full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Losses are taken in float32 whatever the network computes in: variances need the digits."""
    off: contextlib.AbstractContextManager[Any] = torch.autocast(tensor.device.type, enabled=False)
    return off


def _precise(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _mean(error: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return error.mean()
    weights = mask.expand_as(error)
    return (error * weights).sum() / weights.sum().clamp_min(1e-6)


# --- what a run weighs --------------------------------------------------------------------------


class LossConfig(Manifest):
    """Which losses a run has, by name, and how they look at light.

    Names are those of :data:`LOSSES`; one that is not named, or weighs 0, is not computed.
    """

    weights: dict[str, float] = Field(default_factory=lambda: dict(PAPER_WEIGHTS))
    encoding: Encoding = "linear"
    masked: bool = Field(default=False, description="count only what the matte covers")

    @field_validator("weights")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in LOSSES:
                raise ValueError(f"there is no loss {name!r}; there are {', '.join(LOSSES)}")
            if weight < 0:
                raise ValueError(f"{name} weighs {weight}, it must not be negative")
        return value

    def active(self, kind: Kind) -> dict[str, float]:
        """Return the losses of a kind that weigh something, with their weights."""
        return {n: w for n, w in self.weights.items() if w > 0 and LOSSES[n].kind == kind}

    @property
    def models_needed(self) -> frozenset[str]:
        """Which fields of :class:`LossModels` these losses need."""
        needs = (LOSSES[name].needs for name, weight in self.weights.items() if weight > 0)
        return frozenset(name for name in needs if name is not None)


@dataclass(frozen=True, eq=False)
class Supervision:
    """What a batch should have come out as.

    Attributes:
        olat: ``(b, n, 3, h, w)`` linear.
        albedo: ``(b, 3, h, w)`` linear.
        normal: ``(b, 3, h, w)`` unit, world axes; 0 where unknown.
        matte: ``(b, 1, h, w)``.
        lights: indices ``(n,)`` of ``olat`` among the network's lights; ``None``: all of them.
        relit_weights: ``(b or 1, p, n, 3)`` lights' weights of the pictures that ``relit`` losses
            look at, the full-lit one first; by default that alone, each light 1.
        conditioning: ``(b, c, h, w)`` maps for the discriminator.
    """

    olat: Tensor
    albedo: Tensor
    normal: Tensor
    matte: Tensor
    lights: Tensor | None = None
    relit_weights: Tensor | None = None
    conditioning: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """``relit_weights``, or those of one full-lit picture."""
        if self.relit_weights is not None:
            return self.relit_weights
        return self.olat.new_ones(1, 1, self.olat.shape[1], 3)

    def relit(self) -> Tensor:
        """Return the true pictures under :attr:`weights`, ``(b, p, 3, h, w)`` linear."""
        with torch.no_grad(), _full_precision(self.olat):
            return weighted_sum(_precise(self.olat), _precise(self.weights))


@dataclass(frozen=True, eq=False)
class LossModels:
    """The networks that losses need; all frozen while the generator learns.

    ``features`` (VGG), ``discriminator``, ``shape_regressor`` and the performer's mean shape
    ``beta_bar`` ``(S,)``.
    """

    features: nn.Module | None = None
    discriminator: nn.Module | None = None
    shape_regressor: nn.Module | None = None
    beta_bar: Tensor | None = None

    def need(self, name: str, loss: str) -> Any:
        """Return a model.

        Raises:
            InputError: it was not given.
        """
        model = getattr(self, name)
        if model is None:
            raise InputError(f"the loss {loss} needs a {name}; give one, or weigh {loss} 0.")
        return model


@dataclass(frozen=True)
class _Case:
    """What a loss may look at: a prediction and the truth, in the loss's own terms."""

    predicted: Tensor
    truth: Tensor
    mask: Tensor | None
    supervision: Supervision
    models: LossModels


@dataclass(frozen=True)
class Loss:
    """A named loss: its kind, what of a map it is about, how it is computed, which model it needs.

    ``needs`` is a field of :class:`LossModels`.
    """

    kind: Kind
    about: Literal["light", "albedo", "normal", "relit"]
    compute: Callable[[_Case], Tensor]
    needs: str | None = None


def _gan(case: _Case) -> Tensor:
    discriminator = case.models.need("discriminator", "gan")
    maps = case.supervision.conditioning
    if maps is None:
        raise InputError("the loss gan needs the conditioning maps; give them, or weigh gan 0.")
    picture = encode_display(case.predicted[:, 0])
    return adversarial_error(discriminator(maps, picture))


def _context(case: _Case) -> Tensor:
    beta = case.models.need("shape_regressor", "context")(case.predicted[:, 0])
    return context_error(beta, case.models.need("beta_bar", "context"))


def _shown(error: Callable[..., Tensor]) -> Callable[[_Case], Tensor]:
    def compute(case: _Case) -> Tensor:
        mask = None if case.mask is None else case.mask.unsqueeze(1)
        return error(_softly(case.predicted), _softly(case.truth), mask)

    return compute


def _softly(light: Tensor) -> Tensor:
    """Exposed light, encoded almost as a display does, with a slope everywhere below 1.2."""
    return encode_light(light.clamp(0.0, 1.2), "sqrt")


def _plain(error: Callable[..., Tensor]) -> Callable[[_Case], Tensor]:
    return lambda case: error(case.predicted, case.truth, case.mask)


#: Every loss by name. The last six are not the paper's.
LOSSES: Mapping[str, Loss] = {
    "light_mse": Loss("light", "light", _plain(squared_error)),
    "light_ms_ssim": Loss("light", "light", _plain(structural_error)),
    "normal_cosine": Loss("map", "normal", _plain(normal_error)),
    "albedo_vgg": Loss(
        "map",
        "albedo",
        lambda c: feature_error(
            c.models.need("features", "albedo_vgg"), c.predicted, c.truth, c.mask
        ),
        needs="features",
    ),
    "albedo_ms_ssim": Loss("map", "albedo", _plain(structural_error)),
    "gan": Loss("relit", "relit", _gan, needs="discriminator"),
    "context": Loss("relit", "relit", _context, needs="shape_regressor"),
    "light_l1": Loss("light", "light", _plain(absolute_error)),
    "albedo_mse": Loss("map", "albedo", _plain(squared_error)),
    "albedo_l1": Loss("map", "albedo", _plain(absolute_error)),
    "relit_mse": Loss("relit", "relit", _shown(squared_error)),
    "relit_l1": Loss("relit", "relit", _shown(absolute_error)),
    "relit_ms_ssim": Loss("relit", "relit", _shown(structural_error)),
}


def light_losses(
    predicted: Tensor, truth: Tensor, supervision: Supervision, config: LossConfig
) -> dict[str, Tensor]:
    """Return the ``light`` losses of some lights ``(b, n, 3, h, w)``, means over these lights."""
    active = config.active("light")
    if not active:
        return {}
    mask = supervision.matte.unsqueeze(1) if config.masked else None
    with _full_precision(predicted):
        images = (_precise(predicted), _precise(truth))
        pair = (encode_light(images[0], config.encoding), encode_light(images[1], config.encoding))
        case = _Case(*pair, mask, supervision, LossModels())
        return {name: LOSSES[name].compute(case) for name in active}


def map_losses(
    albedo: Tensor,
    normal: Tensor,
    supervision: Supervision,
    config: LossConfig,
    models: LossModels,
) -> dict[str, Tensor]:
    """Return the losses of albedo and normal.

    Normals always count inside the matte alone: elsewhere there are none.
    """
    results = {}
    for name in config.active("map"):
        loss = LOSSES[name]
        mask = supervision.matte if config.masked or loss.about == "normal" else None
        pair = (
            (normal, supervision.normal) if loss.about == "normal" else (albedo, supervision.albedo)
        )
        with _full_precision(albedo):
            case = _Case(_precise(pair[0]), _precise(pair[1]), mask, supervision, models)
            results[name] = loss.compute(case)
    return results


def relit_losses(
    relit: Tensor, supervision: Supervision, config: LossConfig, models: LossModels
) -> dict[str, Tensor]:
    """Return the losses of relit pictures ``(b, p, 3, h, w)``, exposed as the truth's display is.

    ``gan`` and ``context`` look at the first picture, the full-lit one; the others at all.
    """
    active = config.active("relit")
    if not active:
        return {}
    truth = supervision.relit()
    factor = display_exposure(truth, supervision.matte)
    mask = supervision.matte if config.masked else None
    with _full_precision(relit):
        shown = (_precise(relit) * factor, truth * factor)
        case = _Case(*shown, mask, supervision, models)
        return {name: LOSSES[name].compute(case) for name in active}


def compute_losses(
    output: Any,
    supervision: Supervision,
    config: LossConfig,
    models: LossModels | None = None,
) -> dict[str, Tensor]:
    """Return every active loss of a prediction, unweighted, all lights at once.

    :func:`relight_model.light_chunks.backward_by_chunks` gives the same values and gradients with
    far less memory.

    Args:
        output: a :class:`~relight_model.networks.ReflectanceOutput`.
        supervision: the truth.
        config: which losses.
        models: what they need.

    Raises:
        InputError: a model that a loss needs is missing.
    """
    models = models or LossModels()
    lights = supervision.lights
    results: dict[str, Tensor] = {}
    images: Tensor | None = None
    if config.active("light"):
        images = output.olat() if lights is None else output.chosen_lights(lights)
        results |= light_losses(images, supervision.olat, supervision, config)
    results |= map_losses(output.albedo, output.normal, supervision, config, models)
    if config.active("relit"):
        if images is None or output.is_low_rank:
            relit = output.relight_many(supervision.weights, lights=lights)
        else:
            relit = weighted_sum(images, supervision.weights)
        results |= relit_losses(relit, supervision, config, models)
    return results


def weighted_total(losses: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """Return ``sum_i w_i L_i``, equation (5).

    Raises:
        InputError: no loss at all.
    """
    if not losses:
        raise InputError("no loss weighs anything: there is nothing to learn from.")
    return torch.stack([config.weights[name] * value for name, value in losses.items()]).sum()
