"""How fast ``lightstage ingest`` copies and verifies a take, against Zarr's default and ``cp``.

Run ``python benchmarks/ingest.py [FRAMES]``. A .cine file of 2048 x 1440 8-bit frames (a smooth
picture behind a Bayer filter, with noise that grows with the light) is copied in turn:

- **ours**: ``ingest_take`` with as many workers as there are cores: compressed, flushed to the
  disk, read back from it and compared frame by frame. The start of the workers counts.
- **Zarr's default**: ``array[i] = cine[i]`` for each frame: no zarrs, the default codec (zstd), a
  chunk a frame; once without shards and once as whole shards of the size that ours have. Neither
  flushed nor compared, and on the first shard's frames only: it is slow.
- **zarrs**: whole shards through the zarrs pipeline with our codec; neither flushed nor compared.
- **cp**: ``cp`` of the same file, then fsync.

Also printed: the processor's time for each frame, which other programs' load hardly changes.

The source is in the system's memory for all. Speeds count the frames' bytes before compression; the
median of the rounds is printed, and the median of the ratios of each round. The goals are 6 times
Zarr's default and 0.3 of cp.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from lightstage.cine import CineFile, CineWriter
from lightstage.dome import Dome
from lightstage.preprocess.ingest import ingest_take
from lightstage.preprocess.source import CineSource
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from lightstage.terminal import usable_cores

WIDTH, HEIGHT = 2048, 1440
DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
ZARRS = "zarrs.ZarrsCodecPipeline"


def write_recording(path: Path, frames: int) -> None:
    import cv2  # here, for worker processes import this file too

    rng = np.random.default_rng(0)
    bayer = np.ones((HEIGHT, WIDTH), np.float32)
    bayer[::2, ::2], bayer[1::2, 1::2] = 0.6, 0.45
    pictures = [
        np.clip(cv2.resize(rng.random((6, 8), np.float32), (WIDTH, HEIGHT), interpolation=2), 0, 1)
        * bayer
        for _ in range(4)
    ]
    with CineWriter(
        path,
        width=WIDTH,
        height=HEIGHT,
        frame_count=frames,
        frame_rate_hz=1000,
        exposure_us=700,
        cfa="GBRG",
    ) as writer:
        made = []
        for index in range(28):
            light = pictures[index % 4] * (100 if index % 7 == 6 else 14)
            noise = rng.standard_normal((HEIGHT, WIDTH), np.float32)
            values = 4 + light + noise * np.sqrt(0.06 * light + 0.18)
            made.append(np.clip(values, 0, 255).round().astype(np.uint8))
        for index in range(frames):  # each is compressed on its own, so repeats gain nothing
            writer.write(made[index % len(made)], index * 1_000_000)


def cpu_s() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


@contextmanager
def largest_child_mb() -> Iterator[list[float]]:
    """Yield a list that holds, afterwards, the memory of each process started, looked at often."""
    sizes: list[float] = [0.0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            for child in psutil.Process().children():
                with suppress(psutil.Error):
                    sizes.append(child.memory_info().rss / 1e6)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield sizes
    finally:
        done.set()
        looking.join()


def ours(folder: Path, take: Take) -> tuple[float, float]:
    shutil.rmtree(take.frames_path, ignore_errors=True)
    started = time.perf_counter()
    with CineSource(take.cine_path) as recording:
        result = ingest_take(take, recording, workers=usable_cores())
        seconds = time.perf_counter() - started
    assert result.shards_made == result.shards
    frame_bytes = result.frames * WIDTH * HEIGHT
    return frame_bytes / seconds, frame_bytes / result.stored_bytes


def by_zarr(folder: Path, take: Take, frames: int, pipeline: str, shards: bool) -> float:
    import zarr

    path = folder / "zarr.zarr"
    shutil.rmtree(path, ignore_errors=True)
    cycle = take.sequence.cycle_frames
    options: dict = {"shards": (cycle, HEIGHT, WIDTH)} if shards else {}
    if pipeline == ZARRS:
        codec = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 2}
        options["compressors"] = [{"name": "blosc", "configuration": {**codec, "blocksize": 0}}]
    started = time.perf_counter()
    with CineFile(take.cine_path) as cine, zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.create_array(
            str(path),
            shape=(frames, HEIGHT, WIDTH),
            chunks=(1, HEIGHT, WIDTH),
            dtype="uint8",
            **options,
        )
        if shards:
            for first in range(0, frames, cycle):
                indices = range(first, min(frames, first + cycle))
                array[first : first + cycle] = np.stack([cine[index] for index in indices])
        else:
            for index in range(frames):
                array[index] = cine[index]
    return frames * WIDTH * HEIGHT / (time.perf_counter() - started)


def by_cp(folder: Path, take: Take) -> float:
    copy = folder / "copy.cine"
    copy.unlink(missing_ok=True)
    started = time.perf_counter()
    subprocess.run(["cp", take.cine_path, copy], check=True)
    descriptor = os.open(copy, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    speed = copy.stat().st_size / (time.perf_counter() - started)
    copy.unlink()
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast lightstage ingest is.")
    parser.add_argument("frames", nargs="?", type=int, default=1344)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where to write; a temporary folder if not.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        sequence = CaptureSequence()
        session = Session.create(folder / "s", dome=Dome.evenly_spread(), sequence=sequence)
        take = session.add_take("talk", origin="written for a benchmark")
        write_recording(take.cine_path, given.frames)
        few = min(given.frames, sequence.cycle_frames)
        rivals = {
            "Zarr's default, a chunk a frame": lambda: by_zarr(folder, take, few, DEFAULT, False),
            "Zarr's default, whole shards": lambda: by_zarr(folder, take, few, DEFAULT, True),
            "zarrs, whole shards, our codec": lambda: by_zarr(folder, take, few, ZARRS, True),
            "cp and fsync": lambda: by_cp(folder, take),
        }
        by_cp(folder, take)  # brings the source into memory
        names = ["ours, verified", *rivals]
        speeds: dict[str, list[float]] = {name: [] for name in names}
        cpu_ms: dict[str, list[float]] = {name: [] for name in names}
        smaller = 0.0
        worker_mb = 0.0
        for _ in range(given.rounds):
            for way in names:
                before = cpu_s()
                if way in rivals:
                    speeds[way].append(rivals[way]())
                else:
                    with largest_child_mb() as largest:
                        speed, smaller = ours(folder, take)
                    speeds[way].append(speed)
                    worker_mb = max(worker_mb, *largest)
                count = few if "arr" in way.lower() else given.frames
                cpu_ms[way].append((cpu_s() - before) * 1e3 / count)
        print(
            f"{given.frames} frames of {WIDTH} x {HEIGHT}, {given.rounds} rounds, "
            f"{usable_cores()} cores, stored {smaller:.2f} times smaller, a worker took at most "
            f"{worker_mb:.0f} MB"
        )
        own = speeds[names[0]]
        for way in names:
            ratio = statistics.median(a / b for a, b in zip(own, speeds[way], strict=True))
            speed, cpu = statistics.median(speeds[way]) / 1e9, statistics.median(cpu_ms[way])
            print(f"{way:34} {speed:6.3f} GB/s, {cpu:5.1f} ms a frame   ours / this {ratio:5.2f}")


if __name__ == "__main__":
    main()
