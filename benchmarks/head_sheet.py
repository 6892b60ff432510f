"""The procedural head in pictures and figures.

``python benchmarks/head_sheet.py [-o docs/pictures/head.jpg]`` renders identities and expressions
and prints the size of the model, how well its components are told apart (condition numbers, columns
at length 1), and whether dlib's detector finds every performer (where dlib is installed).
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from lightstage.dome import Dome
from lightstage.head import pose_head, procedural_head
from lightstage.head.bases import IDENTITY
from lightstage.simulation import Performer, SimulatedCamera
from lightstage.simulation.model import performer_model
from lightstage.simulation.render import Scene, render_full_lit, render_sum

SURPRISE = {f"{name} {side}": 1.0 for name in ("brow inner up", "brow outer up", "eye wide")
            for side in ("left", "right")}  # fmt: skip
SMILE = {f"{name} {side}": 1.0 for name in ("smile", "cheek raise") for side in ("left", "right")}
SULK = {f"{name} {side}": 1.0 for name in ("frown", "corner down") for side in ("left", "right")}
#: Performer, pose (place among the 15 numbers: radians), expression, the one light's direction.
TILES: list[tuple[int, dict[int, float], dict[str, float], tuple[float, ...] | None]] = [
    *((seed, {}, {}, None) for seed in (0, 1, 3, 4, 5, 6)),
    (0, {}, SMILE, None),
    (3, {6: 0.22}, SURPRISE, None),
    (7, {4: 0.35, 10: 0.2, 13: 0.2}, SULK, None),
    (4, {4: -0.45}, {"pucker": 1.0}, None),
    (9, {}, {"blink left": 1.0, "smile left": 1.0}, None),
    (8, {}, {}, (-1.0, 0.4, 0.6)),
]


def tile(
    seed: int, joints: dict[int, float], actions: dict[str, float], light: tuple[float, ...] | None
) -> np.ndarray:
    """Return one picture, BGR, 8 bits."""
    head, dome = procedural_head(), Dome.evenly_spread(96, 1.3)
    expression, pose = np.zeros(head.expression_count), np.zeros(15)
    for name, value in actions.items():
        expression[head.expression_names.index(name)] = value
    for place, value in joints.items():
        pose[place] = value
    model = performer_model(seed)
    vertices = pose_head(head, model.shape, expression, pose).astype(np.float32)
    scene = Scene(model, SimulatedCamera(700, 700), vertices)
    d = dome.positions_m / 1.3
    gain = 0.12 * np.clip(d[:, 2], 0, 1) * np.clip(0.4 + 0.6 * d[:, 1] + 0.3 * d[:, 0], 0, None)
    if light is not None:
        gain = np.where(np.arange(96) == np.argmax(d @ np.array(light)), 1.2, 0.0)
    picture = render_sum(scene, dome, range(96), np.repeat(gain[:, None], 3, 1).astype(np.float32))
    shown = (np.clip(picture, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)[20:660, 95:605, ::-1]
    return cv2.resize(shown, (230, 289), interpolation=cv2.INTER_AREA)


def condition(columns: np.ndarray) -> float:
    """Return the condition number of columns brought to length 1; those of no length left out."""
    length = np.linalg.norm(columns, axis=0)
    kept = columns[:, length > 3e-4]
    return float(np.linalg.cond(kept / np.linalg.norm(kept, axis=0)))


def detected() -> str:
    """Return how many full-lit frames of performers dlib's detector finds a face in."""
    if find_spec("dlib") is None:
        return "dlib is not installed"
    import dlib

    detector = dlib.get_frontal_face_detector()
    dome, camera, found, total = Dome.evenly_spread(96, 1.3), SimulatedCamera(512, 384), 0, 0
    for seed in range(10):
        for time_s in (0.0, 0.7, 1.9, 3.1):
            performer = Performer(seed)
            scene = Scene(performer.model, camera, performer.vertices(time_s))
            picture = render_full_lit(scene, dome)
            picture = np.clip(picture / np.percentile(picture, 99.5), 0, 1) ** (1 / 2.2)
            found += len(detector((picture * 255).astype(np.uint8), 0)) == 1
            total += 1
    return f"{found} of {total} frames of 512x384, ten performers talking"


def main() -> None:
    """Render and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    output = parser.parse_args().output
    head = procedural_head()
    count = head.shape_count
    print(f"{len(head.v_template)} vertices, {len(head.f)} triangles")
    print(f"{count} shape components, {head.expression_count} expressions")
    at = np.einsum("kc,kcdj->kdj", head.landmark_barycentric, head.shapedirs[
        head.f[head.landmark_faces].astype(np.int64)])  # fmt: skip
    for name, all_columns in (
        ("all vertices", head.shapedirs.reshape(-1, head.shapedirs.shape[2])),
        ("68 landmarks", at.reshape(-1, at.shape[2])),
    ):
        parts = (all_columns[:, :count], all_columns[:, count:], all_columns)
        shape, expression, both = (condition(columns) for columns in parts)
        print(f"{name}: shape {shape:.0f}, expression {expression:.0f}, both {both:.0f}")
    unseen = np.linalg.norm(at.reshape(-1, at.shape[2])[:, :count], axis=0) < 3e-4
    print("not seen at the landmarks:", ", ".join(np.array(list(IDENTITY))[unseen]))
    print("dlib's detector:", detected())
    if output:
        tiles = [tile(*entry) for entry in TILES]
        sheet = np.vstack([np.hstack(tiles[:6]), np.hstack(tiles[6:])])
        cv2.imwrite(str(output), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
