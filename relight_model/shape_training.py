"""Training the shape regressor beta(image) before the network, for the context loss (equation 4).

It learns from renders of random heads in the performer's poses, whose shape is known, and from
relit frames of the takes, whose shape is the performer's. Then it is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightstage.colour import decode_srgb
from lightstage.errors import InputError
from lightstage.head import HeadFile
from relight_model.conditioning import ConditioningRenderer
from relight_model.conditioning.renderer import resized
from relight_model.dataset import PerformanceDataset
from relight_model.head.clip import HeadClip
from relight_model.networks import ShapeRegressor
from relight_model.training_config import RegressorConfig

_HEADS, _STEPS, _WEIGHTS, _CHECK = range(111, 115)
#: Heads that the regressor does not learn from, to judge it by, as a share of those it does.
_CHECK_SHARE = 0.25


class ShapeJudge(nn.Module):  # type: ignore[misc]
    """A shape regressor that looks at pictures of any size at the size it learnt at."""

    def __init__(self, regressor: ShapeRegressor, size: int) -> None:
        """Take a regressor and its size in pixels."""
        super().__init__()
        self.regressor, self.size = regressor, size

    def forward(self, picture_bchw: Tensor) -> Tensor:
        """Return coefficients ``(b, S)`` of linear pictures ``(b, 3, h, w)``."""
        if picture_bchw.shape[-1] != self.size:
            picture_bchw = _at(picture_bchw, self.size)
        found: Tensor = self.regressor(picture_bchw)
        return found


@dataclass(frozen=True, eq=False)
class RenderedHeads:
    """Heads of known shape, yet to be lit.

    Attributes:
        albedo: ``(n, 3, s, s)`` linear.
        normal: ``(n, 3, s, s)``.
        shape: ``(n, S)``.
    """

    albedo: Tensor
    normal: Tensor
    shape: Tensor


@dataclass(frozen=True)
class RegressorReport:
    """How good the regressor is on heads that it did not learn from.

    Attributes:
        error: mean absolute error per coefficient.
        constant_error: that of always answering the performer's mean: what it must be below.
        performer_error: of relit frames of the takes, against the performer's mean.
    """

    error: float
    constant_error: float
    performer_error: float


def rendered_heads(
    head: HeadFile,
    clip: HeadClip,
    beta_bar: ArrayLike,
    choice: RegressorConfig,
    seed: int,
    *,
    texture: NDArray[np.floating] | None = None,
    shapes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RenderedHeads:
    """Render random heads about the performer's, in frames of the clip.

    Args:
        head: the model.
        clip: poses, expressions and cameras.
        beta_bar: ``(S,)`` the performer's shape.
        choice: how many and how large.
        seed: of all randomness.
        texture: the performer's; the head's own without.
        shapes: instead of the choice's.
        progress: called with the number of shapes done and of all.
    """
    mean = np.asarray(beta_bar, np.float64)
    if len(mean) == 0:
        raise InputError(
            "the head's parameters have no shape coefficients, so there is no shape to hold the "
            "pictures to: set losses.context = 0."
        )
    count = choice.shapes if shapes is None else shapes
    rng = np.random.default_rng([seed, _HEADS])
    albedos, normals, betas = [], [], []
    for k in range(count):
        beta = mean + choice.spread * rng.normal(size=len(mean))
        renderer = ConditioningRenderer(head, beta, texture, supersampling=2)
        for index in rng.integers(len(clip), size=choice.poses):
            camera = resized(clip.frame_camera(int(index)), choice.size)
            maps = renderer.render(
                clip.expression[index],
                clip.pose[index],
                clip.translation_m[index],
                camera,
                ("diffuse", "normal"),
            )
            albedos.append(decode_srgb(maps.diffuse).transpose(2, 0, 1))
            normals.append(maps.normal.transpose(2, 0, 1))
            betas.append(beta)
        if progress:
            progress(k + 1, count)
    return RenderedHeads(*(_tensor(values) for values in (albedos, normals, betas)))


def train_shape_regressor(
    regressor: ShapeRegressor,
    heads: RenderedHeads,
    unseen: RenderedHeads,
    samples: PerformanceDataset,
    beta_bar: ArrayLike,
    choice: RegressorConfig,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> RegressorReport:
    """Teach the regressor, freeze it, and tell how good it is.

    Args:
        regressor: a fresh one.
        heads: what it learns from, beside the samples.
        unseen: what it is judged by.
        samples: the takes' sets.
        beta_bar: ``(S,)`` the performer's shape.
        choice: steps, rate, shares.
        seed: of all randomness.
        device: where.
        progress: called with the number of steps done and of all.
    """
    regressor.to(device).train()
    directions = _tensor(samples.dome.directions)
    target = _tensor(beta_bar)
    real = relit_frames(samples, choice.size, seed)
    optimiser = torch.optim.AdamW(regressor.parameters(), lr=choice.rate, weight_decay=1e-4)
    of_real = min(round(choice.batch_size * choice.real_share), choice.batch_size)
    for step in range(choice.steps):
        rng = np.random.default_rng([seed, _STEPS, step])
        which = rng.integers(len(heads.shape), size=choice.batch_size - of_real)
        lit = _lit(heads, which, directions, rng)
        shown = real[rng.integers(len(real), size=of_real)]
        pictures = _changed(torch.cat([lit, shown]), rng).to(device)
        shapes = torch.cat([heads.shape[which], target.expand(of_real, -1)]).to(device)
        for group in optimiser.param_groups:
            group["lr"] = choice.rate * 0.5 * (1.0 + np.cos(np.pi * step / choice.steps))
        optimiser.zero_grad(set_to_none=True)
        loss = F.smooth_l1_loss(regressor(pictures), shapes)
        loss.backward()
        optimiser.step()
        if progress:
            progress(step + 1, choice.steps)
    regressor.eval().requires_grad_(False)
    if not all(bool(torch.isfinite(p).all()) for p in regressor.parameters()):
        raise InputError("the shape regressor diverged: lower regressor.rate.")
    rng = np.random.default_rng([seed, _CHECK])
    with torch.no_grad():
        lit = _lit(unseen, np.arange(len(unseen.shape)), directions, rng)
        found = torch.cat([regressor(part.to(device)).cpu() for part in lit.split(16)])
        performer = torch.cat([regressor(part.to(device)).cpu() for part in real.split(16)])
    return RegressorReport(
        float((found - unseen.shape).abs().mean()),
        float((target - unseen.shape).abs().mean()),
        float((performer - target).abs().mean()),
    )


def unseen_shapes(choice: RegressorConfig) -> int:
    """Return how many shapes the regressor is judged by."""
    return max(2, round(choice.shapes * _CHECK_SHARE))


def relit_frames(samples: PerformanceDataset, size: int, seed: int, most: int = 64) -> Tensor:
    """Return relit frames of evenly spaced samples, ``(n, 3, size, size)``, linear.

    Each is there full-lit and once under random lights.
    """
    lights = len(samples.dome)
    found = []
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))
    for index in chosen:
        olat = torch.as_tensor(samples.sample(int(index), None, None)["olat"], dtype=torch.float32)
        rng = np.random.default_rng([seed, _WEIGHTS, int(index)])
        for weights in (np.ones(lights), _random_weights(lights, rng)):
            picture = torch.einsum("lchw,l->chw", olat, _tensor(weights))
            found.append(_at(picture[None], size)[0])
    return torch.stack(found)


def _lit(
    heads: RenderedHeads,
    which: NDArray[np.integer],
    directions: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Return matt heads lit from all sides, or by random lights, ``(n, 3, s, s)``."""
    lights = len(directions)
    rows = [np.ones(lights) if rng.random() < 0.5 else _random_weights(lights, rng) for _ in which]
    weights = _tensor(rows).reshape(len(which), lights)
    normal, albedo = heads.normal[which], heads.albedo[which]
    shading = torch.einsum("nchw,lc->nlhw", normal, directions).clamp_min(0.0)
    return albedo * torch.einsum("nlhw,nl->nhw", shading, weights).unsqueeze(1)


def _random_weights(lights: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.dirichlet(np.full(lights, 0.2)) * lights


def _changed(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Tint pictures a little: a head's colour is not its shape."""
    tint = np.exp(0.1 * rng.normal(size=(len(pictures), 3, 1, 1)))
    return pictures * _tensor(tint)


def _tensor(values: ArrayLike) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def _at(pictures: Tensor, size: int) -> Tensor:
    smaller = size <= pictures.shape[-1]
    mode = "area" if smaller else "bilinear"
    resized_to: Tensor = F.interpolate(pictures, size=(size, size), mode=mode)
    return resized_to
