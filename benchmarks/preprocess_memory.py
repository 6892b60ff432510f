"""Peak memory of ``lightstage preprocess`` for a short take and a long one: it must not grow.

Run ``python benchmarks/preprocess_memory.py [--frames 200 4000]``. Takes of 256 x 192 pixels under
96 lights are written and preprocessed by the command with two workers, a set for each tracking
frame: so of the short take, too, each worker makes several, and what it remembers of the frames is
full after its third. All of its processes are looked at some twenty times a second. PSS counts
memory that processes share once in all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lightstage import CaptureSequence, Dome  # noqa: E402
from lightstage.preprocess.import_take import import_take  # noqa: E402
from tests.preprocess.moving_ball import MovingBall, record  # noqa: E402

WIDTH, HEIGHT, LIGHTS = 256, 192, 96
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Peaks:
    """The most memory seen, in bytes: of the command, of any one worker, of all together."""

    client: int
    worker: int
    total: int


def write_take(folder: Path, frames: int, width: int, height: int, lights: int) -> Path:
    """Write a session with one take of a moving ball."""
    dome, sequence = Dome.evenly_spread(lights), CaptureSequence(lights=lights)
    # as far in all, however long the take: the ball stays within the frame
    speed = 0.1 * width * sequence.frame_rate_hz / frames
    ball = MovingBall(
        dome, sequence, frames, width=width, height=height, speed_px_per_s=(speed, -speed / 2)
    )
    recording = folder / "ball.cine"
    record(ball, recording)
    import_take(folder / "session", recording, name="ball", dome=dome, sequence=sequence)
    return folder / "session"


def peaks_of(session: Path, workers: int, within_s: float, *options: str) -> Peaks:
    """Run the command on a session and return the most memory that its processes had."""
    command = [sys.executable, "-m", "lightstage.cli", "preprocess", str(session), "-q"]
    command += ["--rate", "all"]
    client = worker = total = 0
    deadline = time.monotonic() + within_s
    with subprocess.Popen([*command, "--workers", str(workers), *options], cwd=ROOT) as process:
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{session}: was not preprocessed within {within_s:g} s")
                own, others = _pss(process.pid)
                client, worker = max(client, own), max(worker, *others, 0)
                total = max(total, own + sum(others))
                time.sleep(LOOK_EVERY_S)
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{session}: ended with {process.returncode}")
    return Peaks(client, worker, total)


def _pss(pid: int) -> tuple[int, list[int]]:
    """Return the PSS of a process, and of each of its children's."""
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, []
    sizes = []
    for process in processes:
        try:
            sizes.append(int(process.memory_full_info().pss))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            sizes.append(0)
    return sizes[0], sizes[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs=2, default=(200, 4000))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    found = []
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            session = write_take(Path(folder), frames, WIDTH, HEIGHT, LIGHTS)
            found.append(peaks_of(session, arguments.workers, 1800))
        in_mb = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in vars(found[-1]).items())
        print(f"{frames} frames: {in_mb}", flush=True)
    short, long = found
    for name in ("client", "worker", "total"):
        print(f"{name}: x {getattr(long, name) / getattr(short, name):.3f}")


if __name__ == "__main__":
    main()
