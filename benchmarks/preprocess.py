"""Preprocessing against the straightforward script: wall time, accuracy, workers, stages, floor.

    python benchmarks/preprocess.py FOLDER [--sets 32] [--size 512] [--crop 512,208,1024,1024]

Both run in turn on the same simulated 2048x1440 take, as whole commands, start-up included, free to
use all cores; at full size, where each set is a gigabyte, on a shorter take. The takes (4.1 GB and
2.2 GB, each with one set of ground truth, 1.7 GB) are made in FOLDER the first time, which takes
some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import zarr

from lightstage import ReflectanceFields
from lightstage.preprocess.plan import plan_take
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import open_source
from lightstage.simulation.recipe import SessionRecipe, simulate_session
from lightstage.simulation.truth import read_truth

HERE = Path(__file__).parent


def made_take(folder: Path, sets: int):
    """The take, and each set's frames as the straightforward script wants them."""
    recipe = SessionRecipe.parse(
        {
            "stage": {"width": 2048, "height": 1440},
            "takes": [
                {"name": "talk", "seconds": (113 + 40 * sets) / 1000, "performer": 2,
                 "truth_sets": 1}
            ],
        },
        "benchmark",
    )  # fmt: skip
    session = simulate_session(folder / f"session_{sets}", recipe, workers=os.cpu_count() or 1)
    take = session.take("talk")
    with open_source(take) as source:
        plan = plan_take(take, source, PreprocessSettings())
    windows = [
        {
            "frames": item.frames.light_frames[:, 0].tolist(),
            "tracking": item.frames.tracking_frames.tolist(),
            "centre": item.frames.centre,
        }
        for item in plan.sets
    ]
    path = folder / f"windows_{sets}.json"
    path.write_text(json.dumps(windows))
    return take, path, len(windows), plan


def run(arguments: list[str]) -> tuple[float, str]:
    os.sync()  # what the run before wrote is its own affair
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started, done.stdout


def psnr(olat: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    error = np.concatenate(
        [(o[inside].astype(np.float32) - np.clip(t[inside], 0, 1)).ravel()
         for o, t in zip(olat, truth, strict=True)]
    )  # fmt: skip
    return float(-10 * np.log10(np.mean(error**2)))


class Truth:
    """One set's truth at a crop and a size."""

    def __init__(self, take, plan, crop, size) -> None:
        truth = read_truth(take.truth_path, 0)
        number = plan.sets[0].centre_frame_number - int(
            plan.sets[0].frames.tracking_frames[plan.sets[0].frames.centre]
        )
        self.index = next(
            i
            for i, item in enumerate(plan.sets)
            if item.centre_frame_number == number + truth.centre_frame
        )
        left, top, width, height = crop
        cut = (slice(top, top + height), slice(left, left + width))

        def fitted(image):
            part = np.ascontiguousarray(image[cut])
            return cv2.resize(part, size, interpolation=cv2.INTER_AREA)

        self.olat = np.stack([fitted(image) for image in truth.olat])
        self.inside = fitted(truth.matte) > 0.99


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", type=int, default=32)
    parser.add_argument("--full-sets", type=int, default=16, help="of the take at full size")
    parser.add_argument("--their-full-sets", type=int, default=2, help="that the script makes")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--crop", default="512,208,1024,1024")
    parser.add_argument("--skip-full", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    take, windows, count, plan = made_take(options.folder, options.sets)
    crop = tuple(int(v) for v in options.crop.split(","))
    cropped = ["--crop", options.crop, "--size", str(options.size)]
    out = options.folder / "out.zarr"
    command = ["-m", "lightstage.cli", "preprocess", str(take.path), "--output", str(out), "--json"]
    script = [str(HERE / "straightforward.py"), str(take.cine_path), str(out)]
    script += ["--windows", str(windows)]

    def ours(*more: str) -> tuple[float, dict]:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(take.ledger_path, ignore_errors=True)
        seconds, text = run([*command, *more])
        return seconds, json.loads(text)["takes"]["talk"]

    def theirs(sets: int, *more: str) -> tuple[float, dict]:
        shutil.rmtree(out, ignore_errors=True)
        seconds, text = run([*script, "--sets", str(sets), *more])
        return seconds, json.loads(text)

    def fields_psnr(truth: Truth) -> float:
        return psnr(ReflectanceFields.open(out)[truth.index].olat, truth.olat, truth.inside)

    print(f"{len(plan.identification.step_index)} frames 2048x1440, {count} sets")
    truth = Truth(take, plan, crop, (options.size, options.size))
    them, they = theirs(count, *cropped)
    their_psnr = psnr(zarr.open_array(str(out))[truth.index], truth.olat, truth.inside)
    us, our = ours(*cropped)
    our_psnr = fields_psnr(truth)
    one, _ = ours(*cropped, "--workers", "1")
    print(f"crop to {options.size}: straightforward {them:.1f} s, {their_psnr:.2f} dB; ours "
          f"{us:.1f} s, {our_psnr:.2f} dB; ratio {them / us:.1f}; "
          f"one worker {one:.1f} s, a second adds {one / us - 1:.2f} of it")  # fmt: skip
    print("  their stages, s a set:", {k: round(v / count, 2) for k, v in they["spent"].items()})
    print("  our stages, s a set:  ", {k: round(v / count, 2)
                                      for k, v in our["worker_seconds"].items()})  # fmt: skip
    floor(take, out, count)
    if options.skip_full:
        return
    take, windows, count, plan = made_take(options.folder, options.full_sets)
    command[3] = str(take.path)
    script[1], script[4] = str(take.cine_path), str(windows)
    sets = min(options.their_full_sets, count)
    them, they = theirs(sets)
    per_set = them / sets
    print(f"full size: straightforward {per_set:.1f} s a set ({sets} sets)")
    print("  their stages, s a set:", {k: round(v / sets, 2) for k, v in they["spent"].items()})
    for name, more in (("virtual", ["--store", "virtual"]), ("materialised", [])):
        us, our = ours(*more)
        print(f"full size, {name}: ours {us / count:.2f} s a set, ratio {per_set * count / us:.1f}")
        print("  our stages, s a set:  ", {k: round(v / count, 2)
                                          for k, v in our["worker_seconds"].items()})  # fmt: skip


def floor(take, out: Path, count: int) -> None:
    """Reading what is read and writing what was written, with nothing between."""
    started = time.perf_counter()
    with open_source(take) as source:
        for index in range(len(source)):
            source[index]
    read = time.perf_counter() - started
    files = [p for p in out.rglob("*") if p.is_file()]
    data = [p.read_bytes() for p in files]
    copy = out.with_name("floor.bin")
    started = time.perf_counter()
    for item in data:
        with copy.open("wb") as file:
            file.write(item)
            file.flush()
            os.fsync(file.fileno())
    write = time.perf_counter() - started
    copy.unlink()
    size = sum(len(item) for item in data)
    print(f"  floor, s a set: reading {read / count:.3f}, writing with fsync {write / count:.3f} "
          f"({size / count / 1e6:.0f} MB a set)")  # fmt: skip


if __name__ == "__main__":
    main()
