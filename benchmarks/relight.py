"""What relighting costs beside one pass over the memory: the tables in docs/relight_speed.md.

    python benchmarks/relight.py [--take TAKE] [--size 512x512] [--rounds 9] [--basis]

All rows of a table are timed in turn, round after round, and the medians printed, so that what else
the machine does meets all alike. The floor is one pass that sums the same channel-first float32
bytes with ``numpy.sum``, in 64 parts shared by as many threads as there are cores; the pass by one
thread is a row of its own. The film's floor is decoding all images of the same sets by the
quickest way there is here, ``ReflectanceFields.read_stored`` into memory that is there already, by
as many threads.

Without ``--take`` the sets are synthetic, and their film is as noisy as an 8-bit sensor's. torch is
compared where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.relighting import (
    LightBasis,
    light_weights,
    load_environment,
    relight,
    relight_frames,
    relight_many,
)
from lightstage.relighting.basis import random_lights

LIGHTS = 96
DIRECTIONS = 36
THREADS = numba.get_num_threads()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--take", type=Path)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--sets", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--basis", action="store_true")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(THREADS) as pool:
        if options.take is None:
            fields = synthetic(Path(folder) / "aligned.zarr", options.sets, height, width)
        else:
            fields = ReflectanceFields.open(options.take)
        if options.basis:
            basis_table(fields)
            return
        sums_table(fields.read_olat(0), pool, options.rounds)
        film_table(fields, range(min(options.sets, len(fields))), pool, options.rounds)


def sums_table(olat: np.ndarray, pool: ThreadPoolExecutor, rounds: int) -> None:
    olat = np.nan_to_num(olat)
    lights = len(olat)
    half = olat.astype(np.float16)
    planes = np.ascontiguousarray(olat.transpose(0, 3, 1, 2))
    parts = np.array_split(planes.reshape(-1), 64)
    rng = np.random.default_rng(0)
    one = rng.random((lights, 3), dtype=np.float32)
    turn = rng.random((DIRECTIONS, lights, 3), dtype=np.float32)

    def tensordot() -> np.ndarray:
        return np.stack([np.tensordot(one[:, c], planes[:, c], axes=1) for c in range(3)], axis=-1)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        f"floor: sum, {THREADS} threads": (lambda: sum(pool.map(np.sum, parts)), 1),
        "sum, one thread": (lambda: planes.sum(), 1),
        "numpy.einsum": (lambda: np.einsum("lyxc,lc->yxc", olat, one), 1),
        "numpy.tensordot, colour by colour, channel-first": (tensordot, 1),
        "relight, float32": (lambda: relight(olat, one), 1),
        "relight, float16": (lambda: relight(half, one), 1),
        "relight, float32, one thread": (lambda: relight(olat, one, threads=1), 1),
        f"relight_many, {DIRECTIONS} lights, float32, each": (
            lambda: relight_many(olat, turn),
            DIRECTIONS,
        ),
        f"relight_many, {DIRECTIONS} lights, float16, each": (
            lambda: relight_many(half, turn),
            DIRECTIONS,
        ),
    }
    if importlib.util.find_spec("torch"):
        import torch

        colours = torch.from_numpy(np.ascontiguousarray(planes.transpose(1, 0, 2, 3))).flatten(2)
        weights = torch.from_numpy(np.ascontiguousarray(one.T))[:, None]
        ways["torch.bmm, colour-first"] = (lambda: torch.bmm(weights, colours), 1)
    else:
        print("torch is not installed here; its row is left out")
    times = interleaved({name: way for name, (way, _) in ways.items()}, rounds)
    floor = next(iter(times.values()))
    print(f"{lights}x{olat.shape[1]}x{olat.shape[2]}x3, {olat.nbytes / 1e6:.0f} MB as float32")
    print("| | ms | of the floor |")
    print("|---|---|---|")
    for name, seconds in times.items():
        count = ways[name][1]
        print(f"| {name} | {1e3 * seconds / count:.1f} | {seconds / count / floor:.2f} |")


def film_table(
    fields: ReflectanceFields, sets: range, pool: ThreadPoolExecutor, rounds: int
) -> None:
    image = (fields.height, fields.width, 3)
    buffers = [np.zeros((fields.lights, *image), np.float16) for _ in range(THREADS)]
    weights = np.random.default_rng(0).random((fields.lights, 3))
    plan = [(index, weights) for index in sets]

    def decode(thread: int) -> None:
        for index in sets[thread::THREADS]:
            fields.read_stored(index, out=buffers[thread])

    def film(workers: int) -> Callable[[], object]:
        return lambda: sum(1 for _ in relight_frames(fields, plan, missing="skip", workers=workers))

    group = fields._group["olat"]
    times = interleaved(
        {
            f"floor: decoding alone, {THREADS} threads": lambda: list(
                pool.map(decode, range(THREADS))
            ),
            "decoding alone by zarr and zarrs, a set at a time": lambda: [group[i] for i in sets],
            f"relight_frames, {THREADS} workers": film(THREADS),
            "relight_frames, 1 worker": film(1),
            "read_olat and relight, set after set": lambda: [
                relight(fields.read_olat(i), weights, missing="skip") for i in sets
            ],
        },
        rounds,
    )
    floor = next(iter(times.values()))
    print(f"\nfilm of {len(sets)} sets of {fields.lights}x{fields.height}x{fields.width}x3")
    print("| | ms a set | of the floor |")
    print("|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1e3 * seconds / len(sets):.1f} | {seconds / floor:.2f} |")


def basis_table(fields: ReflectanceFields) -> None:
    olat = fields.read_stored(0)
    maps = [load_environment(name) for name in ("studio", "overcast", "sunset")]
    mapped = np.stack([light_weights(light, fields.directions) for light in maps])
    held_out = random_lights(fields.lights, 16, np.random.default_rng(0))
    single = np.broadcast_to(np.eye(fields.lights)[::6, :, None], (16, fields.lights, 3))
    print(
        "| images | made in s | relight ms | studio, overcast, sunset dB | random dB | single dB |"
    )
    print("|---|---|---|---|---|---|")
    for size in (8, 16, 24, 32, 48, 96):
        started = time.perf_counter()
        basis = LightBasis.from_olat(olat, size, missing="skip")
        made = time.perf_counter() - started
        spent = interleaved({"relight": lambda basis=basis: basis.relight(mapped[0])}, 7)["relight"]
        found = [basis.psnr_db(olat, weights) for weights in (mapped, held_out, single)]
        print(
            f"| {size} | {made:.2f} | {1e3 * spent:.1f} | "
            f"{', '.join(f'{value:.1f}' for value in found[0])} | "
            f"{np.median(found[1]):.1f}, least {found[1].min():.1f} | "
            f"{np.median(found[2]):.1f}, least {found[2].min():.1f} |",
            flush=True,
        )


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return median seconds of each way; the first round, which compiles, is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def synthetic(path: Path, sets: int, height: int, width: int) -> ReflectanceFields:
    """Write sets of a shaded wavy surface with an 8-bit sensor's noise and steps."""
    dome = Dome.evenly_spread(LIGHTS)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    writer = FieldsWriter.create(
        path, sets=sets, height=height, width=width, dome=dome, rate_hz=25.0
    )
    for index in range(sets):
        slope = np.stack([np.sin(7 * x + index), np.cos(5 * y), np.full_like(x, 1.2)], axis=-1)
        slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
        shading = np.maximum(0, np.einsum("yxd,ld->lyx", slope, dome.directions))
        olat = shading[..., None] * np.array([0.5, 0.35, 0.25])
        olat = np.rint(255 * olat + rng.normal(0, 0.7, olat.shape)) / 256
        writer.write_set(
            index, olat=olat.astype(np.float32), full_lit=olat[0], time_s=index / 25,
            centre_frame=index,
        )  # fmt: skip
    writer.finish()
    return ReflectanceFields.open(path)


if __name__ == "__main__":
    main()
