"""How near each way to demosaic comes to the truth, and what it costs.

Run ``python benchmarks/demosaic.py [--pictures FILE ...] [--half] [--guided]``. PSNR is in dB on
linear values, 1.0 = white, over all pixels and colours inside the matte; squared errors are
averaged over a column's frames before the logarithm, so bright lights count most. ``clean / noisy``
= the mosaic as it is / as the simulated 8-bit sensor stores it. Times are the
processor's, the best of several, one thread.

``--pictures`` adds a column for each file: photographs and films (every 20th frame) are taken as
sRGB, made linear and halved by area, which removes what their own demosaicing left; .hdr files are
linear already. ``--half`` judges half-size pictures against the mean over 2x2 true pixels.
``--guided`` (minutes) asks what the tracking frames could add; see ``docs/demosaic.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.demosaic import Balance, demosaic, demosaic_half, measure_balance
from lightstage.sequence import StepKind
from lightstage.simulation import SimulatedCamera, SimulatedStage
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import render_full_lit, render_lights
from lightstage.simulation.sensor import SimulatedSensor

Array = NDArray[np.float32]
Way = Callable[[Array], Array]
Frames = list[tuple[Array, NDArray[np.bool_]]]  # true colour, matte

SENSOR = SimulatedSensor()
CFA = SENSOR.cfa
#: Above, below, aside, behind (nearly no light), grazing: of the default dome's 96.
LIGHTS = (0, 12, 25, 37, 48, 60, 72, 85)


# The rivals


def opencv(code: int) -> Way:
    def way(mosaic: Array) -> Array:
        stored = np.clip(np.rint(mosaic * 32000 + 4000), 0, 65535).astype(np.uint16)
        return (cv2.cvtColor(stored, code).astype(np.float32) - 4000) / 32000

    return way


def along(plane: Array, kernel: list[float], axis: int) -> Array:
    """Filter along rows (1) or columns (0)."""
    weights, one = np.array(kernel, np.float32), np.ones(1, np.float32)
    x, y = (weights, one) if axis else (one, weights)
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_32F, x, y, borderType=cv2.BORDER_REFLECT_101))


def green_sites(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (y + x) % 2 == 0  # GBRG


def with_green(mosaic: Array, green: Array) -> Array:
    """Red and blue by bilinear colour differences, as both rivals have them."""
    colour = np.dstack([green] * 3)
    for k, (y, x) in ((0, (1, 0)), (2, (0, 1))):
        sites = np.zeros_like(mosaic)
        sites[y::2, x::2] = (mosaic - green)[y::2, x::2]
        colour[..., k] += along(along(sites, [0.5, 1, 0.5], 0), [0.5, 1, 0.5], 1)
    return colour


def hamilton_adams(mosaic: Array) -> Array:
    """Hamilton and Adams 1997."""
    found, uneven = [], []
    for axis in (1, 0):
        found.append(along(mosaic, [-0.25, 0.5, 0.5, 0.5, -0.25], axis))
        change = np.abs(along(mosaic, [-1, 0, 1], axis))
        uneven.append(change + np.abs(along(mosaic, [-1, 0, 2, 0, -1], axis)))
    across, down = found
    green = np.where(uneven[0] < uneven[1], across, down)
    green = np.where(uneven[0] == uneven[1], (across + down) / 2, green)
    return with_green(mosaic, np.where(green_sites(mosaic.shape), mosaic, green))


def zhang_wu(mosaic: Array) -> Array:
    """Directional linear minimum mean square-error estimation, Zhang and Wu 2005."""
    green = green_sites(mosaic.shape)
    sign = np.where(green, np.float32(1), np.float32(-1))
    smooth = (np.array([4, 9, 15, 23, 26, 23, 15, 9, 4]) / 128).tolist()
    nine = [1 / 9] * 9
    means, errors = [], []
    for axis in (1, 0):
        difference = sign * (mosaic - along(mosaic, [-0.25, 0.5, 0.5, 0.5, -0.25], axis))
        low = along(difference, smooth, axis)
        mean = along(low, nine, axis)
        power = np.maximum(along(low * low, nine, axis) - mean * mean, 0)
        noise = along((difference - low) ** 2, nine, axis) + np.float32(1e-9)
        share = power / (power + noise)
        means.append(mean + share * (difference - mean))
        errors.append(power * (1 - share) + np.float32(1e-9))
    joined = (means[0] * errors[1] + means[1] * errors[0]) / (errors[0] + errors[1])
    return with_green(mosaic, np.where(green, mosaic, mosaic + joined))


WAYS: dict[str, Way] = {
    "OpenCV bilinear": opencv(cv2.COLOR_BayerGBRG2RGB),
    "OpenCV edge-aware": opencv(cv2.COLOR_BayerGBRG2RGB_EA),
    "Hamilton-Adams": hamilton_adams,
    "Zhang-Wu LMMSE": zhang_wu,
    "bilinear": lambda mosaic: demosaic(mosaic, CFA, "bilinear"),
    "malvar": lambda mosaic: demosaic(mosaic, CFA, "malvar"),
    "malvar, balance 1": lambda mosaic: demosaic(mosaic, CFA, "malvar", balance=Balance(1, 1)),
    "residual": lambda mosaic: demosaic(mosaic, CFA, "residual"),
    "residual, balance 1": lambda mosaic: demosaic(mosaic, CFA, "residual", balance=Balance(1, 1)),
}


def opencv_half(mosaic: Array) -> Array:
    return halved(opencv(cv2.COLOR_BayerGBRG2RGB)(mosaic))


HALF_WAYS: dict[str, Way] = {
    "OpenCV bilinear, area": opencv_half,
    "demosaic_half": lambda mosaic: demosaic_half(mosaic, CFA),
    "residual, area": lambda mosaic: halved(demosaic(mosaic, CFA)),
}


# What is looked at


def halved(picture: Array) -> Array:
    size = (picture.shape[1] // 2, picture.shape[0] // 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def simulated(seed: int, width: int, height: int, lights: tuple[int, ...]) -> tuple[Frames, Frames]:
    """OLAT frames and the tracking frame of a performer who talks."""
    stage = SimulatedStage(performer=Performer(seed), camera=SimulatedCamera(width, height))
    scene = stage.scene(200)
    matte = scene.matte > 0.5
    olat = render_lights(scene, stage.dome, lights) * np.float32(stage.light_share(StepKind.OLAT))
    full = render_full_lit(scene, stage.dome)
    full *= np.float32(stage.light_share(StepKind.TRACKING))
    return [(np.minimum(one, 1), matte) for one in olat], [(np.minimum(full, 1), matte)]


def photographs(path: Path) -> Frames:
    if path.suffix == ".hdr":
        radiance = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert radiance is not None, path
        pictures = [radiance[..., ::-1] * np.float32(0.25 / np.median(radiance))]
    else:
        if path.suffix in (".mp4", ".mov"):
            import av

            with av.open(str(path)) as film:
                shown = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)][::20]
        else:
            read = cv2.imread(str(path), cv2.IMREAD_COLOR)
            assert read is not None, path
            shown = [read[..., ::-1]]
        scaled = [np.float32(one) / 255 for one in shown]
        encoded = [np.where(x < 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) for x in scaled]
        pictures = [halved(np.float32(one)) for one in encoded]
    frames = []
    for picture in pictures:
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        matte = np.zeros((height, width), bool)
        matte[4:-4, 4:-4] = True
        frames.append((np.clip(np.float32(picture[:height, :width]), 0, 1), matte))
    return frames


# Measuring


def decibels(squared: list[float]) -> str:
    return f"{-10 * np.log10(np.mean(squared)):.1f}"


def quality(way: Way, frames: Frames, half: bool) -> str:
    clean, noisy = [], []
    for index, (picture, matte) in enumerate(frames):
        inside = matte
        truth = picture
        if half:
            truth = halved(picture)
            inside = halved(matte.astype(np.float32)) > 0.5
        stored = SENSOR.expose(picture, np.random.default_rng(index))
        for mosaic, errors in ((SENSOR.mosaic(picture), clean), (SENSOR.develop(stored), noisy)):
            errors.append(float(np.mean(np.square((way(mosaic) - truth)[inside]))))
    return f"{decibels(clean)} / {decibels(noisy)}"


def milliseconds(work: Callable[[], object], rounds: int) -> str:
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return f"{1000 * min(taken):.1f}"


def table(ways: dict[str, Way], columns: dict[str, Frames], half: bool) -> None:
    sizes = {"512x384": (384, 512), "2048x1440": (1440, 2048)}
    names = ["way", *columns, *(f"ms {size}" for size in sizes)]
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for name, way in ways.items():
        row = [name, *(quality(way, frames, half) for frames in columns.values())]
        for shape in sizes.values():
            mosaic = np.random.default_rng(0).random(shape, np.float32)
            row.append(milliseconds(lambda m=mosaic, w=way: w(m), 30 if shape[0] < 500 else 8))
        print("| " + " | ".join(row) + " |", flush=True)


def half_speed() -> None:
    """Stored 8-bit frame of 2048 x 1440 to linear float32 at half size."""
    stored = np.random.default_rng(0).integers(0, 255, (1440, 2048), np.uint8)
    balance = Balance(1.6, 0.7)

    def by_opencv() -> Array:
        lifted = stored.astype(np.uint16) * np.uint16(128)
        colour = halved(cv2.cvtColor(lifted, cv2.COLOR_BayerGBRG2RGB))
        return colour * np.float32(1 / 128 / 250) - np.float32(4 / 250)

    def by_ours() -> Array:
        return demosaic_half(stored, CFA, black_level=4, white_level=254, balance=balance)

    print("\nfrom stored 8 bits to linear float32 at half of 2048x1440: ", end="")
    print(f"OpenCV bilinear and area {milliseconds(by_opencv, 20)} ms, ", end="")
    print(f"demosaic_half {milliseconds(by_ours, 20)} ms")


# What tracking frames could add


def guided(mosaic: Array, guide: Array, floor: float = 0.05) -> Array:
    """Demosaic the quotient of a frame and a full-colour guide, and multiply by the guide."""
    lit = np.maximum(guide, 0) + np.float32(floor)
    quotient = mosaic / SENSOR.mosaic(lit)
    return demosaic(quotient, CFA, balance=Balance(1, 1)) * lit


def seen_between(pictures: list[Array], flows: list[Array], otherwise: Array) -> Array:
    """Fuse full-colour pictures at one time; what a sensor's own sites saw counts most."""
    from lightstage.warp import warp

    sites = np.zeros_like(otherwise)
    for place, letter in enumerate(CFA):
        sites[place // 2 :: 2, place % 2 :: 2, "RGB".index(letter)] = 1
    total, weight = np.zeros_like(otherwise), np.zeros_like(otherwise)
    for picture, flow in zip(pictures, flows, strict=True):
        moved = warp(picture, flow, "cubic")
        good = ~np.isnan(moved).any(axis=2)
        good[good] = np.abs(moved - otherwise).max(axis=2)[good] < 0.15
        share = np.clip(warp(sites, flow), 0, 1) ** 2 + np.float32(0.02)
        total[good] += (share * moved)[good]
        weight[good] += share[good]
    return np.where(weight > 0, total / np.maximum(weight, 1e-6), otherwise)


def guidance(motion: str, seeds: tuple[int, ...] = (0, 1)) -> None:
    """Print what a guide from tracking frames gains on the bright OLAT frames of a window."""
    from lightstage.simulation.flow import true_flow_to_times

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(1)
    found: dict[str, list[float]] = {}
    for seed in seeds:
        stage = SimulatedStage(performer=Performer(seed, motion))
        tracking = [i for i in range(100, 400) if stage.sequence.step(i).kind is StepKind.TRACKING]
        centre = tracking[12 + 8 * seed]
        near = [i for i in tracking if abs(i - centre) <= 56]
        mosaics = {i: SENSOR.develop(stage.frame(i).frame) for i in near}
        balance = measure_balance(mosaics[centre], CFA)
        colour = {i: demosaic(mosaics[i], CFA, balance=balance) for i in near}
        gray = {i: np.uint8(255 * np.sqrt(np.clip(colour[i].mean(axis=2), 0, 1))) for i in near}
        olat = [i for i in range(centre - 20, centre + 21) if i not in near]
        brightest = sorted(olat, key=lambda i: -float(stage.picture(i).mean()))[:5]
        for index in brightest:
            truth = np.minimum(stage.picture(index), 1)
            scene = stage.scene(index)
            inside = scene.matte > 0.5
            mosaic = SENSOR.develop(stage.frame(index).frame)
            before, after = max(i for i in near if i < index), min(i for i in near if i > index)
            share = np.float32((index - before) / (after - before))
            blend = colour[before] * (1 - share) + colour[after] * share
            now = np.uint8(gray[before] * (1 - share) + gray[after] * share + 0.5)
            pictures = [colour[i] for i in near]
            flows = true_flow_to_times(
                stage.performer, stage.camera, stage.time_s(index), [stage.time_s(i) for i in near]
            )
            dis = [search.calc(now, gray[i], None) for i in near]
            full = render_full_lit(scene, stage.dome)
            full *= np.float32(stage.light_share(StepKind.TRACKING))
            for name, shown in {
                "unguided": demosaic(mosaic, CFA, balance=balance),
                "guide: the two neighbours": guided(mosaic, blend),
                "guide: the window, DIS flow": guided(mosaic, seen_between(pictures, dis, blend)),
                "guide: the window, true flow": guided(
                    mosaic, seen_between(pictures, list(flows), blend)
                ),
                "guide: the true picture": guided(mosaic, np.minimum(full, 1)),
            }.items():
                error = float(np.mean(np.square((shown - truth)[inside])))
                found.setdefault(name, []).append(error)
    for name, errors in found.items():
        print(f"| {motion} | {name} | {decibels(errors)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    parser.add_argument("--half", action="store_true", help="at half size")
    parser.add_argument("--guided", action="store_true", help="with tracking frames as guides")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.guided:
        print("| motion | way | noisy |\n|---|---|---|")
        guidance("talking")
        guidance("still")
        return
    columns: dict[str, Frames] = {"OLAT": [], "tracking": []}
    for seed in (0, 1, 2):
        olat, tracking = simulated(seed, 512, 384, LIGHTS)
        columns["OLAT"] += olat
        columns["tracking"] += tracking
    columns["OLAT 2048x1440"] = simulated(0, 2048, 1440, (0, 60, 85))[0]
    columns |= {path.stem: photographs(path) for path in given.pictures}
    table(HALF_WAYS if given.half else WAYS, columns, given.half)
    if given.half:
        half_speed()


if __name__ == "__main__":
    main()
