"""How fast simulated frames are made, against another copy of the code if one is given.

Run ``python benchmarks/simulate_take.py [--against FOLDER] [--rounds N]``. Each round records a
take of each size with each number of workers into a temporary folder, here and, with
``--against``, with the ``lightstage`` package in FOLDER (an older checkout, say, made by
``git worktree add FOLDER REVISION``). The two take turns, so that a machine that others share is
slow for both; medians of the rounds are printed, in frames per second from the first frame written
to the last: starting the processes and making the head, about 5 s once a take, are left out.
With one worker, the processor's time for a frame is told too: it hardly depends on what else runs.

``--motion`` tells instead how far the performers move, by their true flow inside the matte at
512x384: over windows of 113 frames at 1000 frames/s, from the centre to the two ends (56 frames)
and from end to end (112 frames).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

SIZES = {(512, 384): 84, (2048, 1440): 21}

# run by a process of its own; knows only what every version of the package has
RECORD = """
import sys, tempfile, time
from pathlib import Path
from lightstage.simulation import SimulatedCamera, SimulatedStage, simulate_take

if __name__ == "__main__":
    width, height, frames, workers = map(int, sys.argv[1:5])
    # after the preamble, whose dark frames cost nothing
    stage = SimulatedStage(camera=SimulatedCamera(width, height))
    begun = 10 + 4 * workers
    times, cpu = {}, {}

    def progress(done, total):
        times[done], cpu[done] = time.perf_counter(), time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        simulate_take(Path(folder) / "take.cine", stage, begun + frames, workers=workers,
                      progress=progress)
    end = begun + frames
    print(frames / (times[end] - times[begun]), 1e3 * (cpu[end] - cpu[begun]) / frames)
"""


def speed(package: Path, size: tuple[int, int], workers: int, script: Path) -> tuple[float, float]:
    """Return frames a second, and milliseconds of the processor for a frame in this process."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **one_thread, "PYTHONPATH": str(package)}
    arguments = [*size, SIZES[size], workers]
    ran = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    frames_per_s, cpu_ms = map(float, ran.stdout.split())
    return frames_per_s, cpu_ms


def print_motion(performers: int = 4, windows: int = 8) -> None:
    import numpy as np

    from lightstage.simulation import Performer, SimulatedCamera, true_flow_to_times

    print(f"{performers} performers, {windows} windows each, pixels: mean, 95th percentile")
    for motion in ("still", "slow", "talking", "violent"):
        found: dict[str, list[list[float]]] = {"centre to ends": [], "end to end": []}
        for seed in range(performers):
            performer, camera = Performer(seed, motion), SimulatedCamera(512, 384)
            for centre_s in np.arange(windows) + 0.1:
                for name, start_s, ends_s in (
                    ("centre to ends", centre_s, [centre_s - 0.056, centre_s + 0.056]),
                    ("end to end", centre_s - 0.056, [centre_s + 0.056]),
                ):
                    flow = true_flow_to_times(performer, camera, start_s, ends_s)
                    moved = np.linalg.norm(flow, axis=-1)
                    moved = moved[np.isfinite(moved)]
                    found[name].append([moved.mean(), np.percentile(moved, 95)])
        told = []
        for name, values in found.items():
            (mean, p95), (most_mean, most_p95) = np.mean(values, axis=0), np.max(values, axis=0)
            told.append(
                f"{name} {mean:.1f}, {p95:.1f} (worst window {most_mean:.1f}, {most_p95:.1f})"
            )
        print(f"{motion}: {'; '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, help="folder that holds another lightstage")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--motion", action="store_true", help="tell how far performers move")
    given = parser.parse_args()
    if given.motion:
        print_motion()
        return
    import tempfile

    packages = {"here": Path(__file__).resolve().parents[1]}
    if given.against is not None:
        packages["against"] = given.against.resolve()
    with tempfile.TemporaryDirectory() as folder:
        # worker processes import their main module anew, so it must be a file
        script = Path(folder) / "record.py"
        script.write_text(RECORD)
        for size in SIZES:
            for workers in given.workers:
                found: dict[str, list[tuple[float, float]]] = {name: [] for name in packages}
                for _ in range(given.rounds):
                    for name, package in packages.items():
                        found[name].append(speed(package, size, workers, script))
                told = []
                for name, values in found.items():
                    rates = [rate for rate, _ in values]
                    text = (
                        f"{name} {statistics.median(rates):.1f} frames/s "
                        f"({min(rates):.1f} to {max(rates):.1f})"
                    )
                    if workers == 1:
                        text += f", {statistics.median(cpu for _, cpu in values):.0f} ms CPU/frame"
                    told.append(text)
                shown = "; ".join(told)
                print(f"{size[0]}x{size[1]}, {workers} workers: {shown}", flush=True)


if __name__ == "__main__":
    main()
