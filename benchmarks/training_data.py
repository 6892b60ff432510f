"""What training data costs: conditioning maps drawn now or once, and batches a second.

    python benchmarks/training_data.py SESSION/takes/talk [--size 128] [--batch 2] [--lights 24]

One thread draws and one reads. "drawn for each stack" is what a sample would take without maps that
are drawn once: eleven frames.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch

from relight_model.augmentation import AugmentationSettings
from relight_model.batches import TrainingBatches
from relight_model.conditioning import ConditioningRenderer, StackLayout, stack
from relight_model.dataset import PerformanceDataset, mean_shape
from relight_model.rendered_maps import rendered_maps
from relight_model.training_take import TrainingTake


def seconds(function, repeats: int) -> float:
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("take", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lights", type=int, default=24)
    parser.add_argument("--batches", type=int, default=60)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    take = TrainingTake.open(given.take)
    layout = StackLayout(("diffuse", "pncc", "landmarks"), 11)
    renderer = ConditioningRenderer(None, mean_shape([take]))
    size = (given.size, given.size)
    print(f"{len(take.fields)} sets of {take.fields.lights} lights at {given.size} px\n")
    print("| conditioning maps | ms |\n|---|---|")
    few = take.clip.frames(slice(0, 22))

    def drawn() -> None:
        renderer.render_channels(few, range(11), size, layout.maps)

    print(f"| a stack of 11 frames, drawn for each sample | {1e3 * seconds(drawn, 4):.1f} |")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        filed = rendered_maps(renderer, take.clip, layout.maps, size, folder=Path(folder))
        once = time.perf_counter() - start
        print(
            f"| all {len(take.clip)} frames, once (a frame) | {1e3 * once / len(take.clip):.1f} |"
        )
        places = itertools.cycle(range(11, len(take.clip), 7))
        read = seconds(lambda: stack(filed, next(places)), 100)
        print(f"| a stack out of the file | {1e3 * read:.2f} |")
        memory = rendered_maps(renderer, few, layout.maps, size)
        read = seconds(lambda: stack(memory, 15), 100)
        print(f"| a stack out of memory | {1e3 * read:.2f} |\n")
        changes = AugmentationSettings(exposure_stops=0.3, shift_px=4, zoom=0.05)
        print("| batches | ms a batch | MB kept |\n|---|---|---|")
        for name, kept, lights, change in (
            ("all lights, nothing kept", 0, None, None),
            ("some lights, nothing kept", 0, given.lights, None),
            ("some lights, targets kept", 1, given.lights, None),
            ("some lights, all kept", 1 << 40, given.lights, None),
            ("some lights, all kept, changed", 1 << 40, given.lights, changes),
            ("all lights, all kept", 1 << 40, None, None),
        ):
            data = PerformanceDataset([take], layout, given.size, maps_folder=Path(folder))
            limit = data.memory.wanted - 1 if kept == 1 else kept
            data = PerformanceDataset(
                [take], layout, given.size, maps_folder=Path(folder), memory_bytes=limit
            )
            for index in range(len(data)) if kept else ():
                data.sample(index, [0])
            batches = TrainingBatches(
                data, given.batch, lights_per_step=lights, augmentation=change, prefetch=0
            )
            with closing(iter(batches)) as stream:
                next(stream)
                start = time.perf_counter()
                for _ in range(given.batches):
                    next(stream)
                each = (time.perf_counter() - start) / given.batches
            held = data.memory.maps + data.memory.targets + data.memory.images
            print(f"| {name} | {1e3 * each:.1f} | {held / 1e6:.0f} |")


if __name__ == "__main__":
    main()
