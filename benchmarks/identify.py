"""How right and how fast frames are identified, on random takes whose every frame is known.

Run ``python benchmarks/identify.py [SEQUENCES]``. For each condition as many random takes of 130 to
420 frames are made (``tests/preprocess/identify_takes.py``: motion from still to violent, drops,
repeats, swaps, false triggers, bursts of loss, garbage stamps) and identified. ``errors`` are
frames that are trusted to show what they do not, ``false alarms`` good frames that are not trusted
or said to be out of place; ``takes right`` are those without either. The last lines time takes of
25,000 frames.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lightstage.errors import SequenceError
from lightstage.preprocess.identify import identify
from tests.preprocess.identify_takes import (
    DOME,
    SEQUENCE,
    Mishaps,
    Performance,
    random_take,
    score,
)

OF_ONE_PERFORMER = 25
CONDITIONS: dict[str, dict[str, object]] = {
    "all mishaps": {},
    "all mishaps, preamble": {"preamble": True},
    "all mishaps, no preamble": {"preamble": False},
    "nothing wrong": {"mishaps": Mishaps()},
    "5 % drops": {"mishaps": Mishaps(drops=0.05)},
    "no stamps, nothing wrong": {"mishaps": Mishaps(), "stamped": False},
    "no stamps, 5 % drops": {"mishaps": Mishaps(drops=0.05), "stamped": False},
    "no stamps, all mishaps": {"stamped": False},
}


@dataclass
class Row:
    takes: int = 0
    frames: int = 0
    known: int = 0
    errors: int = 0
    false_alarms: int = 0
    right: int = 0
    refused: int = 0
    seconds: float = 0.0


def measure(options: dict[str, object], takes: int, most_seconds: float) -> Row:
    row, began = Row(), time.perf_counter()
    for performer in range(-(-takes // OF_ONE_PERFORMER)):
        rng = np.random.default_rng([4711, performer])
        performance = Performance(rng)
        for _ in range(min(OF_ONE_PERFORMER, takes - row.takes)):
            take = random_take(rng, performance, **options)
            started = time.perf_counter()
            row.takes, row.frames = row.takes + 1, row.frames + len(take.shows)
            try:
                found = identify(take.pictures, take.time_ns, SEQUENCE, DOME.directions)
            except SequenceError:
                row.refused += 1
                continue
            finally:
                row.seconds += time.perf_counter() - started
            scored = score(take, found, performance)
            row.known += int(found.known.sum())
            row.errors += len(scored.errors)
            row.false_alarms += len(scored.false_alarms)
            row.right += not scored.errors and not scored.false_alarms
        if time.perf_counter() - began > most_seconds:
            break
    return row


def time_long_take(stamped: bool) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    mishaps = Mishaps(drops=0.01, swaps=0.001, repeats=0.001, garbage_stamps=0.001)
    performance = Performance(rng, "talking")
    options = {"frames": 25_000, "mishaps": mishaps, "noise": 1e-3, "stamped": stamped}
    take = random_take(rng, performance, **options)
    started = time.perf_counter()
    found = identify(take.pictures, take.time_ns, SEQUENCE, DOME.directions)
    seconds = time.perf_counter() - started
    scored = score(take, found, performance)
    return seconds, (len(scored.errors) + len(scored.false_alarms)) / len(take.shows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequences", nargs="?", type=int, default=200, help="takes a condition")
    parser.add_argument("--most-seconds", type=float, default=120.0, help="for each condition")
    arguments = parser.parse_args()
    print(
        f"{'condition':26s} {'takes':>6s} {'frames':>8s} {'errors':>7s} {'of known':>9s} "
        f"{'false alarms':>12s} {'takes right':>11s} {'refused':>7s} {'ms each':>8s}"
    )
    for name, options in CONDITIONS.items():
        row = measure(options, arguments.sequences, arguments.most_seconds)
        print(
            f"{name:26s} {row.takes:6d} {row.frames:8d} {row.errors:7d} "
            f"{row.errors / max(row.known, 1):9.4%} {row.false_alarms:12d} "
            f"{row.right / row.takes:11.2%} {row.refused:7d} {1e3 * row.seconds / row.takes:8.1f}",
            flush=True,
        )
    for stamped in (True, False):
        seconds, wrong = time_long_take(stamped)
        named = "with" if stamped else "without"
        print(f"25,000 frames {named} stamps: {seconds:.1f} s, {wrong:.3%} of frames wrong")


if __name__ == "__main__":
    main()
