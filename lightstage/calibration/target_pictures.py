"""Pictures of calibration targets, wherever they are: takes, .cine files, raws, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.calibration.flat_field import mean_frame
from lightstage.errors import InputError
from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES, Transfer, read_image
from lightstage.preprocess.coarse import coarse_pictures
from lightstage.preprocess.develop import develop
from lightstage.preprocess.field_correction import FieldCorrection
from lightstage.preprocess.identify import identify
from lightstage.preprocess.raw_sequence import RAW_SUFFIXES, RawSequence
from lightstage.preprocess.settings import DevelopSettings
from lightstage.preprocess.source import FrameSource, open_path, open_source
from lightstage.preprocess.view import Rectangle
from lightstage.sequence import StepKind
from lightstage.session import Session, Take
from lightstage.stage_calibration import StageCalibration

#: So many frames of one kind are averaged at most.
_MOST_FRAMES = 64
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TargetFrames:
    """Which frames of a take show what.

    Attributes:
        lights: frames of each light alone, in the order of the lights.
        tracking: frames with all lights on.
        dark: frames without any.
    """

    lights: tuple[tuple[int, ...], ...]
    tracking: tuple[int, ...]
    dark: tuple[int, ...]


def identified_frames(
    take: Take, source: FrameSource, progress: Progress | None = None
) -> TargetFrames:
    """Return which frames of a take show what.

    Raises:
        SequenceError: the take does not fit its sequence.
    """
    sequence = take.sequence
    pictures = coarse_pictures(source, progress)
    found = identify(pictures, source.time_ns, sequence, take.dome.directions)
    lights: list[list[int]] = [[] for _ in range(sequence.lights)]
    tracking: list[int] = []
    dark: list[int] = []
    for frame in np.flatnonzero(found.known).tolist():
        step = sequence.step(int(found.step_index[frame]))
        if step.kind is StepKind.OLAT:
            lights[step.light].append(frame)
        else:
            (tracking if step.kind is StepKind.TRACKING else dark).append(frame)
    return TargetFrames(
        lights=tuple(_some(frames) for frames in lights),
        tracking=_some(tracking),
        dark=_some(dark),
    )


def _some(frames: list[int]) -> tuple[int, ...]:
    """Return the frames, or as many as are averaged, spread over them."""
    if len(frames) <= _MOST_FRAMES:
        return tuple(frames)
    return tuple(frames[i * len(frames) // _MOST_FRAMES] for i in range(_MOST_FRAMES))


def mean_picture(
    source: FrameSource,
    frames: tuple[int, ...],
    calibration: StageCalibration,
    *,
    same_camera: bool = True,
) -> NDArray[np.float32]:
    """Return the mean of frames, ``(height, width, 3)`` linear camera RGB.

    Args:
        source: the frames.
        frames: which.
        calibration: whose dark frame and flat field are taken out.
        same_camera: whether the frames are of the camera that was calibrated.
    """
    gains = calibration.gains if same_camera else None
    settings = DevelopSettings(
        demosaic="bilinear",
        dark=gains.dark.file if gains is not None and gains.dark is not None else None,
        flat=gains.flat.file if gains is not None and gains.flat is not None else None,
    )
    whole = Rectangle(0, 0, source.width, source.height)
    correction = FieldCorrection.of(source, settings, calibration.folder)
    return develop(
        mean_frame(source, frames),
        cfa=source.cfa,
        black_level=source.black_level,
        white_level=source.white_level,
        settings=settings,
        dark=correction.dark(whole),
        flat=correction.flat(whole),
    )


def find_target(session: Session, name: str) -> Take | Path:
    """Return the session's take of a name, or the take or file at a path.

    Raises:
        InputError: there is neither.
    """
    for take in session.takes:
        if take.name == name:
            return take
    path = Path(name)
    if Take.is_at(path):
        return Take.open(path)
    if path.exists():
        return path
    names = ", ".join(take.name for take in session.takes) or "none"
    raise InputError(f"{name}: is neither a file nor a take of the session (it has: {names}).")


def open_file(path: Path) -> FrameSource:
    """Open a .cine file, a store of frames, a raw picture or a folder of them as frames."""
    if path.suffix.lower() == ".cine" or (path / "zarr.json").is_file():
        return open_path(path)
    return RawSequence.open([path])


def chart_picture(
    session: Session,
    name: str,
    *,
    frame: int | None = None,
    transfer: Transfer = "linear",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return a picture of a chart, ``(height, width, 3)`` linear camera RGB, 1.0 = full scale.

    Args:
        session: whose dark frame and flat field are taken out of takes and .cine files.
        name: a take (its full-lit frames are averaged), a .cine file (all or one of its frames), a
            camera raw or DNG, or a picture.
        frame: only this frame of a take or .cine file, counted from 0.
        transfer: what the numbers of a picture with integers mean.
        progress: called while a take's frames are looked at.

    Raises:
        InputError: it cannot be read, or has no such frame.
    """
    target = find_target(session, name)
    if isinstance(target, Path):
        suffix = target.suffix.lower()
        if suffix in FLOAT_SUFFIXES | INTEGER_SUFFIXES and suffix not in RAW_SUFFIXES:
            return read_image(target, transfer)
        with open_file(target) as source:
            frames = _one(source, frame) or _some(list(range(len(source))))
            of_camera = not isinstance(source, RawSequence)
            return mean_picture(source, frames, session.calibration, same_camera=of_camera)
    with open_source(target) as source:
        frames = _one(source, frame) or identified_frames(target, source, progress).tracking
        return mean_picture(source, frames, session.calibration)


def _one(source: FrameSource, frame: int | None) -> tuple[int, ...]:
    if frame is None:
        return ()
    if not 0 <= frame < len(source):
        raise InputError(f"--frame {frame}: {source.path} has the frames 0 to {len(source) - 1}.")
    return (frame,)
