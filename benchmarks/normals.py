"""Normals and albedo against the simulator's truth: the tables in docs/normals.md.

    lightstage simulate-take s_talk --seconds 0.26 --truth 3
    lightstage preprocess s_talk --rate all
    python benchmarks/normals.py s_talk [--pixel-size 0.926]

Angles in degrees inside the matte (above 0.99), pooled over the sets that have a truth; a pixel
that is not known counts as 90. ``frozen`` are the truth's own noise-free images, ``aligned`` those
of the store: 8 bits, noise, demosaicing, motion. ``shaded``: what gets less than 85 % of its light
for other parts' shadows; ``glossy``: what sends back a tenth more than its diffuse light.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from lightstage import ReflectanceFields, Session
from lightstage.dome import Dome
from lightstage.relighting.photometric_stereo import surface_maps
from lightstage.relighting.surface_store import Placement
from lightstage.simulation.truth import GroundTruth, read_truth, truth_sets


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("session", type=Path)
    parser.add_argument("--pixel-size", type=float, default=0.926, help="millimetres")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    take = Session.open(options.session).only_take()
    fields = ReflectanceFields.open(take.path)
    truths = [
        read_truth(take.path / "truth.zarr", index)
        for index in range(truth_sets(take.path / "truth.zarr"))
    ]
    placement = Placement(pixel_size_m=1e-3 * options.pixel_size)
    print(f"{'images':8} {'method':14} {'mean':>6} {'median':>6} {'90 %':>6} {'shaded':>6} "
          f"{'glossy':>6} {'albedo':>7} {'sure':>6} {'unsure':>6} {'s/set':>6}")  # fmt: skip
    for images in ("frozen", "aligned"):
        for method in ("least squares", "robust", "robust, near"):
            report(images, method, fields, truths, placement)


def report(
    images: str,
    method: str,
    fields: ReflectanceFields,
    truths: list[GroundTruth],
    placement: Placement,
) -> None:
    """Print the errors of one method on one kind of images, pooled over the truths."""
    errors, shaded, glossy, albedos, confidences, seconds = [], [], [], [], [], []
    for truth in truths:
        inside = truth.matte > 0.99
        olat = truth.olat if images == "frozen" else fields[nearest(fields, truth)].olat
        started = time.process_time()
        normal, albedo, confidence = solve(method, olat, fields.dome, placement)
        seconds.append(time.process_time() - started)
        cosine = np.clip((normal * truth.normal).sum(axis=-1), -1, 1)
        error = np.nan_to_num(np.degrees(np.arccos(cosine)), nan=90.0)
        errors.append(error[inside])
        parts = shaded_and_glossy(truth, fields.dome)
        shaded.append(error[inside & parts[0]])
        glossy.append(error[inside & parts[1]])
        relative = np.abs(albedo / np.maximum(truth.albedo, 1e-6) - 1).mean(axis=-1)
        albedos.append(np.nan_to_num(relative[inside], nan=1.0))
        confidences.append(confidence[inside])
    error, sure = np.concatenate(errors), np.concatenate(confidences) > 0.8
    both = (error[sure].mean(), error[~sure].mean()) if sure.any() else (np.nan, np.nan)
    print(
        f"{images:8} {method:14} {error.mean():6.2f} {np.median(error):6.2f} "
        f"{np.percentile(error, 90):6.2f} {np.concatenate(shaded).mean():6.2f} "
        f"{np.concatenate(glossy).mean():6.2f} {100 * np.median(np.concatenate(albedos)):6.1f}% "
        f"{both[0]:6.2f} {both[1]:6.2f} {np.mean(seconds):6.2f}"
    )


def nearest(fields: ReflectanceFields, truth: GroundTruth) -> int:
    """Return the set of the truth's time; ends the run where there is none within 1 ms."""
    gap = np.abs(fields.time_s - truth.time_s)
    if gap.min() > 1e-3:
        raise SystemExit(f"no set at {truth.time_s} s; preprocess with --rate all")
    return int(gap.argmin())


def solve(
    method: str, olat: np.ndarray, dome: Dome, placement: Placement
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return normals, albedo and confidence (0 for plain least squares)."""
    height, width = olat.shape[1:3]
    if method != "least squares":
        near = "near" in method
        maps = surface_maps(
            olat, dome.directions, dome.gains,
            positions_m=dome.positions_m if near else None,
            points_m=placement.points_m(height, width) if near else None,
        )  # fmt: skip
        return maps.normal, maps.albedo, maps.normal_confidence
    # Woodham's over all lights; under a whole sphere of them it finds half the albedo
    flat = olat.reshape(len(olat), -1)
    scaled = np.linalg.lstsq(dome.directions, flat, rcond=None)[0].reshape(3, height, width, 3)
    mean = np.moveaxis(scaled.mean(axis=-1), 0, -1)
    normal = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)
    return normal, 2 * np.linalg.norm(scaled, axis=0), np.zeros((height, width))


def shaded_and_glossy(truth: GroundTruth, dome: Dome) -> tuple[np.ndarray, np.ndarray]:
    """Return where the truth's light is much less or more than the diffuse of its normal."""
    cosine = np.maximum(np.einsum("yxk,lk->lyx", truth.normal, dome.directions), 0)
    matt = cosine * truth.albedo.mean(axis=-1)
    gray = truth.olat.mean(axis=-1)
    whole = np.maximum(matt.sum(axis=0), 1e-9)
    return np.minimum(gray, matt).sum(axis=0) < 0.85 * whole, gray.sum(axis=0) > 1.1 * whole


if __name__ == "__main__":
    main()
