"""Simulated takes of a matt white ball: ray by ray, by Lambert's law and the inverse square."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightstage.cine import CineWriter
from lightstage.dome import Dome
from lightstage.sequence import CaptureSequence, StepKind
from lightstage.session import Session, Take
from lightstage.simulation.sensor import SimulatedSensor, frame_generator

BALL_RADIUS_M = 0.06
CAMERA_DISTANCE_M = 1.5
FOCAL_PX = 900.0
ALBEDO = 0.35
#: Light that comes from elsewhere, as a share of a nominal light on a facing surface.
STRAY = 0.01


def ball_pictures(dome: Dome, width: int, height: int) -> np.ndarray:
    """Linear pictures ``(lights, height, width, 3)`` of a white ball, 2 x 2 rays a pixel."""
    offsets = np.array([-0.25, 0.25])
    y, x = np.mgrid[0:height, 0:width]
    total = np.zeros((len(dome), height, width))
    for dy in offsets:
        for dx in offsets:
            ray = np.stack(
                [
                    (x + dx - (width - 1) / 2) / FOCAL_PX,
                    -(y + dy - (height - 1) / 2) / FOCAL_PX,
                    -np.ones(x.shape),
                ],
                axis=-1,
            )
            ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
            along = -CAMERA_DISTANCE_M * ray[..., 2]
            depth = along**2 - CAMERA_DISTANCE_M**2 + BALL_RADIUS_M**2
            met = depth > 0
            point = (along - np.sqrt(np.maximum(depth, 0)))[..., None] * ray
            point[..., 2] += CAMERA_DISTANCE_M
            normal = point / BALL_RADIUS_M
            for light, position in enumerate(dome.positions_m):
                to_light = position - point
                far = np.linalg.norm(to_light, axis=-1)
                cosine = np.maximum((normal * to_light).sum(axis=-1) / far, 0.0)
                seen = ALBEDO * (cosine * (np.linalg.norm(position) / far) ** 2 + STRAY)
                total[light] += np.where(met, seen, 0.0) / 4
    return (total[..., None] * dome.gains[:, None, None, :]).astype(np.float32)


def record_ball(
    session: Session,
    true_dome: Dome,
    *,
    name: str = "ball",
    size: tuple[int, int] = (112, 96),
    cycles: int = 2,
    camera: np.ndarray | None = None,
    brightness: float = 1.0,
) -> Take:
    """Record a take of the ball under ``true_dome`` into a session that knows the nominal one."""
    sequence: CaptureSequence = session.sequence
    sensor = SimulatedSensor()
    width, height = size
    lit = ball_pictures(true_dome, width, height) * brightness
    if camera is not None:
        lit = lit @ camera.T.astype(np.float32)
    full = lit.sum(axis=0)
    full *= 0.7 / full.max()
    take = session.add_take(name, origin="simulated white ball")
    frames = len(sequence.preamble) + cycles * sequence.cycle_frames + 1
    with CineWriter(
        take.cine_path,
        width=width,
        height=height,
        frame_count=frames,
        frame_rate_hz=sequence.frame_rate_hz,
        exposure_us=sequence.exposure_us,
        bit_depth=8,
        cfa=sensor.cfa,
        black_level=sensor.black_level,
        white_level=sensor.white_level,
        trigger_time_ns=1_704_110_400_000_000_000,
    ) as writer:
        for index in range(frames):
            step = sequence.step(index)
            picture = np.zeros((height, width, 3), np.float32)
            if step.kind is StepKind.OLAT:
                picture = lit[step.light]
            elif step.kind is StepKind.TRACKING:
                picture = full
            stored = sensor.expose(picture, frame_generator(7, index))
            at = 1_704_110_400_000_000_000 + round(index * 1e9 / sequence.frame_rate_hz)
            writer.write(stored, at, round(1000 * sequence.exposure_us))
    return take


def uneven_dome(lights: int, seed: int = 3) -> Dome:
    """An evenly spread dome whose lights are off by up to 20 %, and each has a cast of its own."""
    rng = np.random.default_rng(seed)
    nominal = Dome.evenly_spread(lights)
    gain = rng.uniform(0.8, 1.2, (lights, 1)) * rng.uniform(0.9, 1.1, (lights, 3))
    leds = tuple(
        led.replace(gain=tuple(values.tolist()))
        for led, values in zip(nominal.leds, gain, strict=True)
    )
    return nominal.replace(leds=leds)


def new_session(path: Path, lights: int) -> Session:
    """A session of a dome that takes all its lights for equal."""
    dome, sequence = Dome.evenly_spread(lights), CaptureSequence(lights=lights)
    return Session.create(path, dome=dome, sequence=sequence)
