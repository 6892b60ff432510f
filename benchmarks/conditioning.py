"""Conditioning maps: time of each part, the straightforward way, threads, and shimmer.

    python benchmarks/conditioning.py [--frames 20] [--picture docs/pictures/conditioning.jpg]

The tables of docs/conditioning.md. ``straightforward`` makes the same network maps with what is at
hand: ``lightstage.head.pose_head``, ``lightstage.raster`` (OpenCV's rasteriser), a sparse matrix
product for each vertex map, ``cv2.remap`` for the texture, ``cv2.polylines`` for the landmarks.
Both have one thread and the same samples; they take turns, and the best of each is told. Times are
the processor's, so that other work on the machine counts less; only those of threads are by the
clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lightstage.colour import encode_srgb
from lightstage.head import pose_head, procedural_head
from lightstage.images import write_stored
from lightstage.pinhole import PinholeCamera
from lightstage.raster import rasterise
from lightstage.simulation.performer import Performer
from relight_model.conditioning import ConditioningRenderer, FrameStack, StackLayout
from relight_model.conditioning import renderer as parts
from relight_model.conditioning.landmark_lines import LINES
from relight_model.conditioning.renderer import pncc_colours, resized, usual_supersampling
from relight_model.head.clip import HeadClip
from relight_model.head_crop import crop_clip, crop_image

SIZES = (128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    clip = talking(options.frames)
    part_times(clip)
    print()
    side_by_side(clip)
    print()
    threads(clip)
    print()
    shimmer()
    if options.picture is not None:
        picture_strip(options.picture)


def talking(frames: int, seed: int = 1) -> HeadClip:
    """A simulated performer who talks, cut to a square that follows the head."""
    performer = Performer(seed, "talking")
    times = np.arange(frames) / 25.0
    moments = [performer.parameters(t) for t in times]
    clip = HeadClip(
        shape=moments[0].shape,
        expression=np.array([m.expression for m in moments]),
        pose=np.array([m.pose for m in moments]),
        translation_m=np.array([m.translation_m for m in moments]),
        time_s=times,
        camera=PinholeCamera(1024, 768, 3200.0, 1.5),
    )
    return crop_clip(clip, procedural_head(), 512)


def part_times(clip: HeadClip) -> None:
    """Print the milliseconds of each part of a frame, all maps, one thread."""
    renderer = ConditioningRenderer(None, clip.shape)
    names = ("place_vertices", "draw_faces", "add_face_normals", "shade_pixels", "draw_landmarks")
    spent = dict.fromkeys(names, 0.0)
    originals = {name: getattr(parts, name) for name in names}

    def timed(name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            began = time.process_time()
            result = originals[name](*arguments)
            spent[name] += time.process_time() - began
            return result

        return call

    print(f"{'ms a frame':10}{'pose':>7}{'place':>7}{'draw':>7}{'normals':>9}{'shade':>7}"
          f"{'lines':>7}{'rest':>7}{'five':>7}{'network':>9}{'stack':>7}{'crop':>7}")  # fmt: skip
    every = ("diffuse", "pncc", "landmarks", "normal", "mask")
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3)).astype(np.uint8)
    for size in SIZES:
        list(renderer.render_clip(clip, [0], size, every))
        pose = best(lambda: renderer.poser(clip.expression, clip.pose, clip.translation_m))
        for name in names:
            spent[name] = 0.0
            setattr(parts, name, timed(name))
        began = time.process_time()
        list(renderer.render_clip(clip, None, size, every))
        total = time.process_time() - began
        for name in names:
            setattr(parts, name, originals[name])
        network = best(lambda size=size: list(renderer.render_clip(clip, None, size)))
        frames = renderer.render_channels(clip, None, size)
        stream = FrameStack(StackLayout(), np.float16)
        pushing = best(lambda frames=frames, stream=stream: [stream.push(f) for f in frames])
        cut = best(lambda size=size: crop_image(image, (400.0, 20.0, size / 900.0), size))
        n = len(clip)
        row = [pose / n, *(spent[name] / n for name in names)]
        rest = total / n - sum(row)
        row += [rest, total / n, network / n, pushing / n, cut]
        widths = (7, 7, 7, 9, 7, 7, 7, 7, 9, 7, 7)
        text = "".join(f"{1e3 * v:{w}.2f}" for v, w in zip(row, widths, strict=True))
        print(f"{size:4} px   {text}")


def side_by_side(clip: HeadClip) -> None:
    """Print milliseconds a frame of the network's maps: the straightforward way, and ours."""
    renderer = ConditioningRenderer(None, clip.shape)
    print(f"{'ms a frame':10}{'straightforward':>17}{'ours':>8}{'ratio':>7}{'frames/s':>10}")
    for size in SIZES:
        plain, ours = [], []
        for _ in range(3):
            began = time.process_time()
            for index in range(len(clip)):
                straightforward(clip, index, size)
            plain.append((time.process_time() - began) / len(clip))
            began = time.process_time()
            for _ in renderer.render_clip(clip, None, size):
                pass
            ours.append((time.process_time() - began) / len(clip))
        print(
            f"{size:4} px   {1e3 * min(plain):17.1f}{1e3 * min(ours):8.1f}"
            f"{min(plain) / min(ours):7.1f}{1 / min(ours):10.0f}"
        )


def threads(clip: HeadClip) -> None:
    """Print frames a second by the clock with one thread and with two, in turns."""
    renderer = ConditioningRenderer(None, clip.shape)
    print(f"{'frames/s':10}{'one thread':>12}{'two':>8}")
    for size in SIZES:
        rates: dict[int, float] = {1: 0.0, 2: 0.0}
        for _ in range(3):
            for count in rates:
                began = time.perf_counter()
                for _ in renderer.render_clip(clip, None, size, workers=count):
                    pass
                rates[count] = max(rates[count], len(clip) / (time.perf_counter() - began))
        print(f"{size:4} px   {rates[1]:12.1f}{rates[2]:8.1f}")


def straightforward(clip: HeadClip, index: int, size: int) -> dict[str, np.ndarray]:
    """The network's maps of a frame with what is at hand."""
    head = procedural_head()
    camera = resized(clip.frame_camera(index), size)
    posed = pose_head(head, clip.shape, clip.expression[index], clip.pose[index])
    vertices = (posed + clip.translation_m[index]).astype(np.float32)
    n = usual_supersampling(size, size)
    shown = rasterise(vertices, head.f.astype(np.int32), camera, n)
    texel = head.vt * [1, -1] * len(head.texture) + [0, len(head.texture)] - 0.5
    values = np.concatenate([pncc_colours(head), texel.astype(np.float32)], axis=1)
    samples = shown.gather(values)
    width = 4096
    rows = -(-len(samples) // width)
    places = np.zeros((2, rows * width), np.float32)
    places[:, : len(samples)] = samples[:, 3:].T
    x, y = places.reshape(2, rows, width)
    colour = cv2.remap(head.texture, x, y, cv2.INTER_LINEAR).reshape(-1, 3)[: len(samples)]
    picture = np.zeros((size, size, 7), np.float32)
    fine = np.zeros((shown.height * shown.width, 7), np.float32)
    fine[shown.pixel, :3], fine[shown.pixel, 3:6], fine[shown.pixel, 6] = colour, samples[:, :3], 1
    reduced = fine.reshape(shown.height // n, n, shown.width // n, n, 7).mean(axis=(1, 3))
    top, left = shown.top // n, shown.left // n
    picture[top : top + reduced.shape[0], left : left + reduced.shape[1]] = reduced
    mask = picture[..., 6:]
    pncc = np.where(mask >= 0.5, picture[..., 3:6] / np.maximum(mask, 1e-6), 0)
    lines = np.zeros((size, size, 3), np.uint8)
    corners = vertices[head.f[head.landmark_faces].astype(int)]
    marks = camera.project(np.einsum("lcx,lc->lx", corners, head.landmark_barycentric))
    fixed = np.rint(marks * 16).astype(np.int32)
    for channel, first, last, closed in LINES:
        ink = [0, 0, 0]
        ink[channel] = 255
        points = fixed[first : last + 1].reshape(1, -1, 2)
        cv2.polylines(lines, points, closed, ink, max(1, size // 200), cv2.LINE_AA, 4)
    return {
        "diffuse": encode_srgb(picture[..., :3]),
        "pncc": pncc,
        "landmarks": lines / np.float32(255),
    }


def shimmer() -> None:
    """Print how much a slowly turning head's texture flickers, against 16 x 16 samples.

    The change from frame to frame, less that of the reference, inside the mask; and how far each
    frame is from the reference. Display values times 255.
    """
    frames = 12
    yaw = np.radians(np.linspace(0.0, 6.0, frames))
    pose = np.zeros((frames, 15))
    pose[:, 1] = yaw
    base = talking(frames)
    clip = replace(
        base, pose=pose, expression=0 * base.expression, translation_m=0 * base.translation_m,
        view=np.repeat(base.view[:1], frames, axis=0),
    )  # fmt: skip
    exact = ConditioningRenderer(None, clip.shape, supersampling=16)
    print(f"{'times 255':10}{'samples':>9}{'flicker':>9}{'no mip levels':>15}{'error':>8}"
          f"{'no mip levels':>15}")  # fmt: skip
    for size in (64, 128, 256):
        truth = [m.diffuse for m in exact.render_clip(clip, None, size, ["diffuse"])]
        inside = [m.mask == 1 for m in exact.render_clip(clip, None, size, ["mask"])]
        for samples in (1, 2, usual_supersampling(size, size)):
            found = []
            for flat in (False, True):
                renderer = ConditioningRenderer(None, clip.shape, supersampling=samples)
                if flat:
                    renderer._mip_sizes = renderer._mip_sizes[:1]
                ours = [m.diffuse for m in renderer.render_clip(clip, None, size, ["diffuse"])]
                off = [
                    np.where(i[..., None], a - b, 0)
                    for a, b, i in zip(ours, truth, inside, strict=True)
                ]
                flicker = np.sqrt(
                    np.mean([(b - a) ** 2 for a, b in pairwise(off)]) / np.mean(inside)
                )
                error = np.sqrt(np.mean(np.square(off)) / np.mean(inside))
                found.append((255 * flicker, 255 * error))
            print(f"{size:4} px   {samples:6}^2 {found[0][0]:8.2f}{found[1][0]:15.2f}"
                  f"{found[0][1]:8.2f}{found[1][1]:15.2f}")  # fmt: skip


def picture_strip(path: Path) -> None:
    """Write the picture of the documentation: five maps of three frames."""
    clip = talking(60)
    renderer = ConditioningRenderer(None, clip.shape)
    every = ("diffuse", "pncc", "landmarks", "normal", "mask")
    rows = []
    for maps in renderer.render_clip(clip, [4, 24, 45], 224, every):
        normal = np.where((maps.normal != 0).any(axis=2, keepdims=True), 0.5 + 0.5 * maps.normal, 0)
        mask = np.repeat(maps.mask[..., None], 3, axis=2)
        shown = [maps.diffuse, maps.pncc, maps.landmarks, normal, mask]
        rows.append(np.concatenate(shown, axis=1))
    picture = np.concatenate(rows)
    write_stored(path, np.asarray(picture * 255 + 0.5, np.uint8))


def best(work: Callable[[], object], turns: int = 4) -> float:
    """The shortest time of a few, in seconds."""
    times = []
    for _ in range(turns):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
