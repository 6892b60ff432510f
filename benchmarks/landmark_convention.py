"""Where on the procedural head the detector's landmarks lie, and how far that is from the head's.

A detector learnt from people's clicks where "landmark k" is. From renders of many performers,
turned and talking, each landmark's place on the surface is found that best explains where the
detector sees it: least squares over the views, by identity; the mean over identities, shrunk by how
much they differ, is the offset. The contour's 17 stay where the head has them: they slide over the
skin as a head turns, and offsets brought those of others hardly nearer (by a sixteenth).

    python benchmarks/landmark_convention.py
        --write relight_model/head/dlib_convention.json [--identities 20] [--views 8]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.face_renders import FaceRender, render_face
from lightstage.head import HeadFile, procedural_head
from relight_model.head.landmark_embedding import embed_near, landmark_places
from relight_model.head.landmarks import (
    CONTOUR,
    INNER,
    LANDMARK_COUNT,
    MIRRORED,
    interocular_px,
    landmark_detector,
)

Float = NDArray[np.float64]
Embedding = tuple[NDArray[np.int64], Float]
#: Real faces differ from procedural ones: no offset is longer.
MOST_M = 0.006
#: How much a view that says nothing pulls to no offset: along the line of sight little is known.
RIDGE = 0.15
#: Table and check use other performers.
FIRST_SEED, CHECK_SEED = 200, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="the table, JSON")
    parser.add_argument("--identities", type=int, default=20)
    parser.add_argument("--views", type=int, default=8, help="of each identity")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    head = procedural_head()
    own = (head.landmark_faces, head.landmark_barycentric)
    seeds = range(FIRST_SEED, FIRST_SEED + options.identities)
    offsets, noise = find_offsets(head, own, [views(s, options.views) for s in seeds])
    places = landmark_places(head, own)
    corrected = embed_near(head, own, places + offsets)
    print("landmark  offset mm (x, y, z)        length  differs between identities by")
    for k in range(LANDMARK_COUNT):
        x, y, z = 1e3 * offsets[k]
        length = 1e3 * np.linalg.norm(offsets[k])
        print(f"{k:8d}  {x:6.2f} {y:6.2f} {z:6.2f}       {length:6.2f}  {1e3 * noise[k]:6.2f}")
    check = range(CHECK_SEED, CHECK_SEED + max(2, options.identities // 2))
    unseen = [view for s in check for view in views(s, options.views)]
    print(
        f"distance to the detector's, {len(check)} other identities, % of the outer eye distance:"
    )
    for name, where in (("inner 51", INNER), ("contour", CONTOUR)):
        before, after = (distance(unseen, e, where) for e in (own, corrected))
        print(f"  {name}: {before:.2f} with the head's own places, {after:.2f} with the table")
    if options.write:
        table = {
            "made_by": "benchmarks/landmark_convention.py",
            "identities": options.identities,
            "views": options.views,
            "own_places_mm": np.round(1e3 * places, 3).tolist(),
            "offsets_mm": np.round(1e3 * offsets, 3).tolist(),
        }
        # one landmark a line
        text = json.dumps(table).replace("]], ", "]],\n").replace("], [", "],\n[")
        options.write.write_text(text.replace(": [[", ":\n[[") + "\n", "utf-8")
        print(f"{options.write}: written")


def views(seed: int, count: int) -> list[tuple[FaceRender, Float]]:
    """Return renders of a performer, and where the detector sees the landmarks."""
    detector = landmark_detector()
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        # stratified, so that every performer looks both ways; every second one talks
        yaw = 40.0 * (number + rng.uniform()) / count - 20.0
        turn = (float(rng.uniform(-12.0, 12.0)), float(yaw), float(rng.uniform(-8.0, 8.0)))
        time_s = float(rng.uniform(0.0, 30.0)) if number % 2 else None
        render = render_face(seed, turn, time_s, (768, 576))
        face = detector.detect(render.picture(seed))
        if face is not None and face.confidence > 0.5:
            found.append((render, face.landmarks))
    return found


def find_offsets(
    head: HeadFile, own: Embedding, people: list[list[tuple[FaceRender, Float]]]
) -> tuple[Float, Float]:
    """Return the offsets ``(68, 3)`` metres, symmetric, and how identities differ, ``(68,)``."""
    places = landmark_places(head, own)
    embedding, offsets = own, np.zeros((LANDMARK_COUNT, 3))
    for _ in range(4):
        steps = np.array([_steps(head, embedding, person) for person in people if person])
        now = landmark_places(head, embedding)
        each = now + steps - places
        mean = each.mean(axis=0)
        across = mean[MIRRORED] * [-1.0, 1.0, 1.0]
        offsets = 0.5 * (mean + across)
        noise = np.sqrt(((each - mean) ** 2).sum(axis=2).mean(axis=0))
        noise = np.sqrt(0.5 * (noise**2 + noise[MIRRORED] ** 2))
        embedding = embed_near(head, own, places + _short(offsets))
    offsets = landmark_places(head, embedding) - places
    power = (offsets**2).sum(axis=1)
    return _short(offsets * (power / np.maximum(power + noise**2, 1e-12))[:, None]), noise


def _short(offsets: Float) -> Float:
    length = np.linalg.norm(offsets, axis=1, keepdims=True)
    return np.asarray(offsets * np.minimum(1.0, MOST_M / np.maximum(length, 1e-9)))


def _steps(head: HeadFile, embedding: Embedding, person: list[tuple[FaceRender, Float]]) -> Float:
    """Return by how much each landmark should move in its triangle's plane, ``(68, 3)`` at rest.

    A step ``(s, t)`` along the triangle's edges at rest is the same step along its posed edges.
    """
    faces, weights = embedding
    corners = head.f[faces].astype(np.int64)
    rest = head.v_template[corners]
    edges = np.stack([rest[:, 1] - rest[:, 0], rest[:, 2] - rest[:, 0]], axis=2)
    # orthonormal directions in the plane, and the steps along the edges that they are
    plane, upper = np.linalg.qr(edges)
    along = np.linalg.inv(upper)
    normal = RIDGE * len(person) * np.tile(np.eye(2), (LANDMARK_COUNT, 1, 1))
    right = np.zeros((LANDMARK_COUNT, 2))
    for render, seen in person:
        posed = render.vertices[corners]
        posed_edges = np.stack([posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0]], axis=2)
        point = np.einsum("kc,kcd->kd", weights, posed)
        ahead = render.camera.distance_m - point[:, 2]
        moved = posed_edges @ along
        # a pinhole's projection, in metres at the landmark's own distance
        offaxis = point[:, :2] / ahead[:, None]
        jacobian = moved[:, :2] + offaxis[:, :, None] * moved[:, 2:3]
        scale = (ahead / render.camera.focal_px)[:, None]
        missing = (seen - render.camera.project(point)) * [1.0, -1.0] * scale
        normal += np.einsum("kda,kdb->kab", jacobian, jacobian)
        right += np.einsum("kda,kd->ka", jacobian, missing)
    step = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    step[CONTOUR] = 0.0
    return np.asarray(np.einsum("kda,ka->kd", plane, step))


def distance(found: list[tuple[FaceRender, Float]], embedding: Embedding, where: slice) -> float:
    """Return the mean distance of an embedding's landmarks to the detector's, % of the eyes'."""
    errors = []
    for render, seen in found:
        at = render.pixels(*embedding)
        errors.append(np.linalg.norm(at - seen, axis=1)[where].mean() / interocular_px(seen))
    return 100.0 * float(np.mean(errors))


if __name__ == "__main__":
    main()
