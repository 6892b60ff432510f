"""Which network learns a performer fastest: the table in docs/networks.md.

    python benchmarks/network_variants.py [--size 64] [--minutes 4] [--only NAME …] [--json FILE]

A talking simulated performer is rendered straight from the simulator (no camera, no preprocessing,
true parameters): 160 sets over 16 s to train on, and 24 sets over 4 later seconds, in which the
expressions that the talking never uses are at work, to be judged by. Each variant trains for the
same processor time on one thread. Figures are of pictures relit from 24 evenly spread directions
(lobes of about 20 degrees), exposed so that the truth's 99th-percentile luminance inside the matte
is 0.8, sRGB-encoded, inside the matte.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lightstage.colour import LUMINANCE_REC709
from lightstage.dome import Dome
from lightstage.simulation import Performer, Scene, SimulatedCamera, procedural_head, render_lights
from relight_model.conditioning import ConditioningRenderer
from relight_model.networks import NetworkConfig, ReflectanceNetwork, fitted_light_basis

RATE_HZ, EVERY, TRAIN_S, HELD_OUT_S = 25, 3, 16.0, 4.0
MAPS = ("diffuse", "pncc", "landmarks", "normal")
DIRECTIONS = 24


@dataclass(frozen=True)
class Variant:
    """One row of the table: how it differs from the plain network."""

    network: dict[str, Any] = field(default_factory=dict)
    encoding: str = "sqrt"
    relit: float = 0.0
    maps: tuple[str, ...] = MAPS
    frames: int = 1
    pca: bool = False
    batch: int = 2
    rate: float = 2e-3


SKIP = {"input_skip": 12, "albedo_from": 0, "normal_from": 9}
LOW = {"head": "low_rank", "rank": 32, "curve": "signed"}
VARIANTS = {
    "plain": Variant(),
    "plain, linear loss": Variant(encoding="linear"),
    "plain, log loss": Variant(encoding="log"),
    "plain, square": Variant({"curve": "square"}),
    "plain, full-size skip": Variant(SKIP),
    "factored, skip": Variant({"factored": True} | SKIP),
    "factored, skip, square": Variant({"factored": True, "curve": "square"} | SKIP),
    "low rank 16, skip": Variant(LOW | {"rank": 16} | SKIP, pca=True),
    "low rank 32, skip": Variant(LOW | SKIP, pca=True),
    "low rank 32, smooth basis": Variant(LOW | SKIP),
    "low rank 32, positive": Variant({"head": "low_rank", "rank": 32} | SKIP),
    "factored low rank 32": Variant(LOW | {"factored": True} | SKIP),
    "factored, relit loss": Variant({"factored": True} | SKIP, relit=1.0),
    "factored low rank 32, relit": Variant(LOW | {"factored": True} | SKIP, relit=1.0),
    "factored, 3 maps": Variant(
        {"factored": True, "input_skip": 9, "albedo_from": 0}, maps=MAPS[:3]
    ),
    "factored, 11 frames": Variant({"factored": True} | SKIP, frames=11),
}


@dataclass(frozen=True, eq=False)
class Sets:
    """All frames' maps, and the sets that are trained on and judged."""

    maps: NDArray[np.float16]  # (frames, channels, h, w) at 25/s
    index: NDArray[np.int64]  # which frame each set is
    olat: NDArray[np.float16]  # (sets, lights, 3, h, w)
    albedo: NDArray[np.float16]
    normal: NDArray[np.float16]
    matte: NDArray[np.float16]
    train: int  # the first so many sets


def make_sets(size: int) -> Sets:
    """Render everything; a minute."""
    performer, dome = Performer(0, "talking"), Dome.evenly_spread(96)
    camera = SimulatedCamera(128, 128)
    head = procedural_head()
    frames = int((TRAIN_S + HELD_OUT_S) * RATE_HZ)
    cut = int(TRAIN_S * RATE_HZ)
    parameters = [performer.parameters(i / RATE_HZ) for i in range(frames)]
    spread = np.std([p.expression for p in parameters[:cut]], axis=0)
    unused = np.argsort(spread)[:4]
    renderer = ConditioningRenderer(head, performer.model.shape, performer.model.texture)
    maps, index, sets = [], [], []
    for i, p in enumerate(parameters):
        expression = p.expression.copy()
        if i >= cut:
            wave = 0.35 * (1 + np.sin(2 * np.pi * (i / RATE_HZ) * (0.4 + 0.17 * np.arange(4))))
            expression[unused] = np.maximum(expression[unused], wave)
        vertices = renderer.poser(expression[None], p.pose[None], p.translation_m[None])[0]
        drawn = renderer.render_vertices(vertices, camera.pinhole, MAPS)
        maps.append(shrink(drawn.channels(MAPS), size))
        if i % EVERY == 0 and i >= 10:
            scene = Scene(performer.model, camera, vertices)
            olat = render_lights(scene, dome, range(96)).transpose(0, 3, 1, 2)
            covered = scene.matte[None]
            albedo = scene.albedo.transpose(2, 0, 1)
            sets.append([shrink(a, size) for a in (
                olat, albedo, scene.normal.transpose(2, 0, 1), covered)])  # fmt: skip
            index.append(i)
    print("not used in talking:", [head.expression_names[k] for k in unused], flush=True)
    columns = [np.stack(c) for c in zip(*sets, strict=True)]
    train = int(np.sum(np.array(index) < cut))
    return Sets(np.stack(maps), np.array(index), *columns, train=train)


def shrink(images: NDArray[np.floating], size: int) -> NDArray[np.float16]:
    """Return ``(…, h, w)`` at size x size by area means."""
    flat = images.reshape(-1, *images.shape[-2:]).astype(np.float32)
    if flat.shape[-1] != size:
        flat = np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in flat])
    return flat.reshape(*images.shape[:-2], size, size).astype(np.float16)


def lobes(directions: NDArray[np.floating]) -> Tensor:
    """Return light weights ``(24, lights, 3)`` of evenly spread lobes, each summing to 1."""
    middles = Dome.evenly_spread(DIRECTIONS).directions
    weights = np.exp(16.0 * (middles @ directions.T - 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(np.repeat(weights[:, :, None], 3, axis=2).astype(np.float32))


def encode(light: Tensor, kind: str) -> Tensor:
    """Return light as the loss sees it."""
    if kind == "sqrt":
        return torch.sqrt(light + 1e-3)
    if kind == "log":
        return torch.log1p(50.0 * light) / np.log1p(50.0)
    return light


def srgb(x: Tensor) -> Tensor:
    """Return display values."""
    x = x.clamp(0.0, 1.0)
    curve = 1.055 * x.clamp_min(1e-8).pow(1 / 2.4) - 0.055
    return torch.where(x <= 0.0031308, 12.92 * x, curve)


def exposure(truth: Tensor, matte: Tensor) -> Tensor:
    """Return each picture's factor ``(b, 1, 1, 1)``."""
    luminance = torch.einsum("bchw,c->bhw", truth, torch.from_numpy(LUMINANCE_REC709))
    factors = [
        0.8 / torch.quantile(lit[inside > 0.5], 0.99).clamp_min(1e-5)
        for lit, inside in zip(luminance, matte[:, 0], strict=True)
    ]
    return torch.stack(factors)[:, None, None, None]


class Run:
    """One variant's training."""

    def __init__(self, name: str, sets: Sets, seed: int = 0) -> None:
        self.variant, self.sets = VARIANTS[name], sets
        torch.manual_seed(seed)
        size, lights = sets.olat.shape[-1], sets.olat.shape[1]
        per_frame = 3 * len(self.variant.maps)
        changes = dict(self.variant.network)
        last = per_frame * (self.variant.frames - 1)
        for key in ("albedo_from", "normal_from"):
            if key in changes:
                changes[key] += last
        self.config = NetworkConfig(
            size=size, lights=lights, in_channels=per_frame * self.variant.frames,
            widths=(32, 64, 128, 256, 256, 256), refinement=1, dropout=0.0, **changes,
        )  # fmt: skip
        self.network = ReflectanceNetwork(self.config).to(memory_format=torch.channels_last)
        if self.variant.pca:
            basis, held = fitted_light_basis(sets.olat[: sets.train : 16], self.config.rank)
            print(f"  basis of {self.config.rank} holds {held:.4%} of the energy")
            self.network.light_head.set_light_basis(basis)
        self.weights = lobes(Dome.evenly_spread(lights).directions)

    def batch(self, which: NDArray[np.int64]) -> tuple[Tensor, ...]:
        s, v = self.sets, self.variant
        channels = 3 * len(v.maps)
        frames = s.index[which][:, None] + np.arange(-v.frames + 1, 1)[None]
        maps = s.maps[frames][:, :, :channels]
        maps = maps.reshape(len(which), -1, *maps.shape[-2:])
        arrays = (maps, s.olat[which], s.albedo[which], s.normal[which], s.matte[which])
        return tuple(torch.from_numpy(a.astype(np.float32)) for a in arrays)

    def loss(self, batch: tuple[Tensor, ...], rng: np.random.Generator) -> Tensor:
        maps, olat, albedo, normal, matte = batch
        out = self.network(maps.contiguous(memory_format=torch.channels_last))
        v = self.variant
        total = F.mse_loss(encode(out.olat(), v.encoding), encode(olat, v.encoding))
        total = total + 0.5 * F.mse_loss(out.albedo * matte, albedo)
        total = total + 0.02 * ((1 - (out.normal * normal).sum(dim=1, keepdim=True)) * matte).mean()
        if v.relit:
            weights = torch.from_numpy(rng.dirichlet(np.full(96, 0.03), len(maps))).float()
            weights = weights[:, :, None].expand(-1, -1, 3)
            truth = torch.einsum("blchw,blc->bchw", olat, weights)
            factor = exposure(truth, matte)
            ours = torch.sqrt((out.relight(weights) * factor).clamp(0, 1.2) + 1e-3)
            total = total + v.relit * 0.1 * F.l1_loss(
                ours * matte, torch.sqrt((truth * factor).clamp(0, 1.2) + 1e-3) * matte
            )
        return total

    def train(self, seconds: float) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        v = self.variant
        optimiser = torch.optim.AdamW(
            self.network.parameters(), v.rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        start, steps = time.process_time(), 0
        self.network.train()
        while (gone := time.process_time() - start) < seconds:
            part = gone / seconds
            rise = min(1.0, (steps + 1) / 20)
            for group in optimiser.param_groups:
                group["lr"] = v.rate * rise * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * part)))
            which = rng.choice(self.sets.train, v.batch, replace=False)
            loss = self.loss(self.batch(which), rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
            steps += 1
        return {"steps": steps, "s/step": seconds / steps} | self.judge()

    @torch.inference_mode()
    def judge(self) -> dict[str, float]:
        self.network.eval()
        rows, olat_rows = [], []
        for i in range(self.sets.train, len(self.sets.index), 2):
            maps, olat, _, _, matte = self.batch(np.array([i]))
            out = self.network(maps)
            one = out.olat()
            inside = matte[0, 0].numpy() > 0.5
            olat_rows.append(float(((one - olat)[..., matte[0, 0] > 0.5] ** 2).mean()))
            truth = torch.einsum("lchw,dlc->dchw", olat[0], self.weights)
            ours = torch.einsum("lchw,dlc->dchw", one[0], self.weights)
            factor = exposure(truth, matte.expand(DIRECTIONS, -1, -1, -1))
            a = srgb(ours * factor).permute(0, 2, 3, 1).numpy()
            b = srgb(truth * factor).permute(0, 2, 3, 1).numpy()
            for x, y in zip(a, b, strict=True):
                similar = structural_similarity(
                    x, y, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False, full=True,
                )[1]  # fmt: skip
                error = (x - y)[inside]
                rows.append(
                    (10 * np.log10(1 / (error**2).mean()), similar[inside].mean(),
                     np.abs(error).mean())
                )  # fmt: skip
            if i == self.sets.train + 6:
                self.picture = np.concatenate([np.hstack(list(b[::3])), np.hstack(list(a[::3]))])
        psnr, ssim, mae = np.array(rows).mean(axis=0)
        return {
            "PSNR": float(psnr), "SSIM": float(ssim), "MAE": float(mae),
            "OLAT dB": float(-10 * np.log10(np.mean(olat_rows))),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cache", type=Path, help="keep the rendered sets in this .npz")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.cache and options.cache.exists():
        with np.load(options.cache) as kept:
            arrays = {name: kept[name] for name in kept.files}
        sets = Sets(**arrays | {"train": int(arrays["train"])})
    else:
        sets = make_sets(options.size)
        if options.cache:
            np.savez(options.cache, **vars(sets))
    print(f"{sets.train} sets to train on, {len(sets.index) - sets.train} held out", flush=True)
    print("| variant | steps | s/step | PSNR | SSIM | MAE | one light, linear dB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    results = {}
    for name in options.only or VARIANTS:
        run = Run(name, sets)
        got = results[name] = run.train(60.0 * options.minutes)
        print(
            f"| {name} | {got['steps']} | {got['s/step']:.2f} | {got['PSNR']:.2f} "
            f"| {got['SSIM']:.3f} | {got['MAE']:.4f} | {got['OLAT dB']:.1f} |",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            shown = (run.picture[:, :, ::-1] * 255 + 0.5).astype(np.uint8)
            cv2.imwrite(str(options.pictures / f"{name.replace(' ', '_')}.png"), shown)


if __name__ == "__main__":
    main()
