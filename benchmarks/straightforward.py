"""The work of ``lightstage preprocess`` as one writes it with OpenCV and Zarr in an afternoon.

Every frame is read with cinereader and developed whole; dense inverse search with its medium preset
finds the flow at full size from the centre to each of the window's tracking frames; each light's
flow lies between those of its two tracking frames; float maps, ``remap``; where a crop and a size
are asked for, the result is cut and resized; Zarr's defaults store it, one light a chunk.

    python benchmarks/straightforward.py TAKE.cine OUT.zarr --windows windows.json --sets 4 \\
        [--crop x,y,w,h --size N]

``benchmarks/preprocess.py`` writes the windows and runs it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cinereader
import cv2
import numpy as np
import zarr

BLACK, WHITE = 4, 254


def developed(mosaic: np.ndarray) -> np.ndarray:
    """Linear RGB of a frame whose top left 2x2 is G B / R G."""
    return cv2.cvtColor(mosaic, cv2.COLOR_BayerGBRG2RGB)


def linear(rgb: np.ndarray) -> np.ndarray:
    return (rgb.astype(np.float32) - BLACK) / (WHITE - BLACK)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cine", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--windows", type=Path, required=True, help="JSON: frames of each set")
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--crop", default=None)
    parser.add_argument("--size", type=int, default=None)
    options = parser.parse_args()
    windows = json.loads(options.windows.read_text())[: options.sets]

    metadata = cinereader.read_metadata(options.cine)
    height, width = metadata.ImHeight, metadata.ImWidth
    crop = tuple(int(v) for v in options.crop.split(",")) if options.crop else None
    size = (options.size, options.size) if options.size else (crop[2:] if crop else (width, height))
    lights = len(windows[0]["frames"])
    zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"})
    store = zarr.create_array(
        str(options.output),
        shape=(len(windows), lights, size[1], size[0], 3),
        chunks=(1, 1, size[1], size[0], 3),
        dtype="float16",
        overwrite=True,
    )
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    spent = dict.fromkeys(("read", "develop", "flow", "maps and remap", "resize", "store"), 0.0)
    started = time.perf_counter()

    def timed(name, function, *arguments, **named):
        begin = time.perf_counter()
        result = function(*arguments, **named)
        spent[name] += time.perf_counter() - begin
        return result

    for index, window in enumerate(windows):
        first, last = window["tracking"][0], window["tracking"][-1]
        frames = timed("read", cinereader.read, options.cine, first, last - first + 1)[1]

        def read(frame: int, frames=frames, first=first) -> np.ndarray:
            return np.asarray(frames[frame - first])

        tracking = []
        for frame in window["tracking"]:
            rgb = timed("develop", developed, timed("read", read, frame))
            tracking.append(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        centre = window["centre"]
        flows = [
            timed("flow", dis.calc, tracking[centre], gray, None)
            if k != centre
            else np.zeros((height, width, 2), np.float32)
            for k, gray in enumerate(tracking)
        ]
        aligned = np.empty((lights, size[1], size[0], 3), np.float16)
        for light, frame in enumerate(window["frames"]):
            rgb = timed("develop", developed, timed("read", read, frame))
            before = int(np.searchsorted(window["tracking"], frame)) - 1
            share = (frame - window["tracking"][before]) / (
                window["tracking"][before + 1] - window["tracking"][before]
            )

            def warped(rgb=rgb, before=before, share=share, flows=flows) -> np.ndarray:
                flow = (1 - share) * flows[before] + share * flows[before + 1]
                return cv2.remap(
                    linear(rgb), x + flow[..., 0].astype(np.float32),
                    y + flow[..., 1].astype(np.float32), cv2.INTER_LINEAR,
                )  # fmt: skip

            image = timed("maps and remap", warped)
            if crop:
                left, top, w, h = crop
                image = image[top : top + h, left : left + w]
            if image.shape[1::-1] != size:
                image = timed("resize", cv2.resize, image, size, interpolation=cv2.INTER_AREA)
            aligned[light] = image
        timed("store", store.__setitem__, index, aligned)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "sets": len(windows), "spent": spent}))


if __name__ == "__main__":
    main()
