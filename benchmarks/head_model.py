"""What a frame of the head model costs, beside smplx's: the table in docs/formats/head_model.md.

    OMP_NUM_THREADS=1 python benchmarks/head_model.py [--frames 256]

One identity for all frames, as in fitting a clip; expressions and poses at random. One thread, the
quickest of several runs. smplx and the rows above it read a made-up file of FLAME's sizes.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightstage.head import HeadFile, procedural_head
from relight_model.head.model import HeadModel

Evaluate = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=256)
    frames = parser.parse_args().frames
    torch.set_num_threads(1)
    small = HeadModel(procedural_head())
    large = HeadModel(flame_sized())
    few, some = small.at_landmarks(), large.at_landmarks()
    print("| head | vertices | batch | forward, ms a frame | and backward |")
    print("|---|---|---|---|---|")
    rows: list[tuple[str, int, HeadModel, Callable[[int], Evaluate]]] = [
        ("procedural", len(small.head.v_template), small, lambda _: small),
        ("procedural, 68 landmarks", 68, small, lambda _: few),
        ("FLAME's sizes", len(large.head.v_template), large, lambda _: large),
        ("FLAME's sizes, 68 landmarks", 68, large, lambda _: some),
        ("FLAME's sizes, smplx", len(large.head.v_template), large, lambda n: smplx(large.head, n)),
    ]
    for name, points, model, made in rows:
        for batch in (1, 16, 64):
            forward, both = cost(made(batch), model, batch, frames)
            print(f"| {name} | {points} | {batch} | {forward:.3f} | {both:.3f} |", flush=True)


def cost(evaluate: Evaluate, model: HeadModel, batch: int, frames: int) -> tuple[float, float]:
    """Milliseconds a frame of a pass, and of a pass with its gradients."""
    torch.manual_seed(0)
    shape = torch.randn(1, model.shape_count)
    expression = torch.randn(batch, model.expression_count, requires_grad=True)
    pose = (0.3 * torch.randn(batch, 15)).requires_grad_(True)

    def both() -> None:
        evaluate(shape, expression, pose).sum().backward()

    def forward() -> None:
        with torch.no_grad():
            evaluate(shape, expression, pose)

    return tuple(1e3 * quickest(run, max(frames // batch, 5)) / batch for run in (forward, both))  # type: ignore[return-value]


def quickest(run: Callable[[], None], times: int) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def flame_sized() -> HeadFile:
    rng = np.random.default_rng(0)
    vertices, head = 5023, procedural_head()
    regressor = rng.dirichlet(np.ones(vertices), 5)
    template = head.v_template[:vertices]
    return replace(
        head,
        v_template=template,
        f=rng.integers(0, vertices, (9976, 3)).astype(np.uint32),
        shapedirs=1e-3 * rng.normal(size=(vertices, 3, 400)),
        posedirs=1e-3 * rng.normal(size=(vertices, 3, 36)),
        J_regressor=regressor,
        J=regressor @ template,
        weights=rng.dirichlet(np.ones(5), vertices),
        landmark_faces=rng.integers(0, 9976, 68),
        shape_count=300,
        expression_names=(),
    )


def smplx(head: HeadFile, batch: int) -> Evaluate:
    from smplx import FLAME

    with tempfile.TemporaryDirectory() as folder:
        names = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights")
        content = {name: getattr(head, name) for name in names}
        content["kintree_table"] = head.kintree_table
        (Path(folder) / "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(content))
        inner = {
            "lmk_face_idx": head.landmark_faces[17:],
            "lmk_b_coords": head.landmark_barycentric[17:],
        }
        (Path(folder) / "flame_static_embedding.pkl").write_bytes(pickle.dumps(inner))
        model = FLAME(folder, num_betas=300, num_expression_coeffs=100, batch_size=batch)

    def evaluate(shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        turn = [pose[:, 3 * k : 3 * k + 3] for k in range(5)]
        found = model(
            betas=shape.expand(batch, -1),
            expression=expression,
            global_orient=turn[0],
            neck_pose=turn[1],
            jaw_pose=turn[2],
            leye_pose=turn[3],
            reye_pose=turn[4],
        )
        return found.vertices  # type: ignore[no-any-return]

    return evaluate


if __name__ == "__main__":
    main()
