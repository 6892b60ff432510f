"""Pictures of one OLAT set: its lights, and what alignment did to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.fields import ReflectanceFields
from lightstage.half_floats import to_float
from lightstage.preprocess.set_maker import MakerOptions, SetMaker
from lightstage.preprocess.settings import AlignSettings
from lightstage.preprocess.source import FrameSource
from lightstage.preprocess.store import set_frames, settings_of
from lightstage.preprocess.virtual import VirtualSets
from lightstage.relighting.combine import exposure_for
from lightstage.report.inline_picture import scaled_to_width

Picture = NDArray[np.float32]
Progress = Callable[[int, int], None]

#: Widths of pictures on the page, in pixels.
LIGHT_WIDTH, PICTURE_WIDTH = 112, 480
#: A crop's sides are this share of the picture's.
_CROP_SHARE = 0.3
#: Differences are blurred by this before they are measured.
_NOISE_SIGMA_PX = 1.0
#: Differences are shown this many times as large, around middle gray.
DIFFERENCE_TIMES = 4.0


class LightPicture(NamedTuple):
    """A light's small picture, exposed for display; ``None`` where its frame is missing."""

    light: int
    picture: Picture | None


@dataclass(frozen=True)
class SetPictures:
    """One set's pictures, linear and exposed for display.

    Attributes:
        index: the set.
        lights: one small picture for each light, all at one exposure.
        full_lit: the centre tracking frame.
        mean: mean of all lights' pictures, full size, not exposed.
    """

    index: int
    lights: list[LightPicture]
    full_lit: Picture
    mean: Picture


@dataclass(frozen=True)
class BeforeAfter:
    """A set before alignment and after, exposed for display.

    ``before`` and ``after`` are means of all lights; edges of what moved are double before.
    ``*_crop`` is where both differ most, ``*_difference`` how far each is from the centre
    tracking frame, matched in brightness, times :data:`DIFFERENCE_TIMES` around middle gray.
    ``*_error`` is the mean absolute difference, blurred by a pixel against noise, as a share of the
    picture's mean.
    """

    before: Picture
    after: Picture
    before_crop: Picture
    after_crop: Picture
    before_difference: Picture
    after_difference: Picture
    before_error: float
    after_error: float


def set_pictures(
    fields: ReflectanceFields, index: int, progress: Progress | None = None
) -> SetPictures:
    """Return a set's pictures; one light is in memory at a time.

    Raises:
        FieldsError: the set is damaged, or the recording of a virtual store is not there.
    """
    small: list[Picture | None] = []
    total = np.zeros((fields.height, fields.width, 3), np.float32)
    full_lit = fields.read("full_lit", index)
    for light in range(fields.lights):
        picture = fields.read_light(index, light)
        there = not np.isnan(picture).all()
        small.append(scaled_to_width(picture, LIGHT_WIDTH) if there else None)
        if there:
            total += np.nan_to_num(picture)
        if progress:
            progress(light + 1, fields.lights)
    shown = [picture for picture in small if picture is not None]
    factor = exposure_for(np.stack(shown), percentile=99.8, target=0.9) if shown else 1.0
    return SetPictures(
        index=index,
        lights=[LightPicture(i, None if p is None else p * factor) for i, p in enumerate(small)],
        full_lit=exposed(scaled_to_width(full_lit, PICTURE_WIDTH)),
        mean=total * np.float32(1.0 / max(1, len(shown))),
    )


def before_and_after(
    fields: ReflectanceFields, shown: SetPictures, source: FrameSource,
    progress: Progress | None = None,
) -> BeforeAfter:  # fmt: skip
    """Return what alignment did to a set, made again from its recording without it.

    Raises:
        FieldsError: the store was not made from a recording.
    """
    aligned, index = shown.mean, shown.index
    unaligned = _unaligned_mean(fields, index, source, progress)
    full_lit = fields.read("full_lit", index)
    factor = exposure_for(aligned)
    rows, columns = _where_they_differ(unaligned, aligned)
    errors, differences = [], []
    for mean in (unaligned, aligned):
        matched = full_lit * (float((mean * full_lit).sum()) / float((full_lit**2).sum() or 1.0))
        apart = (mean - matched) * factor
        # a little blurred: a single tracking frame's noise is larger than most residuals
        smooth = np.abs(cv2.GaussianBlur(mean - matched, (0, 0), _NOISE_SIGMA_PX))
        errors.append(float(smooth.mean() / max(float(mean.mean()), 1e-9)))
        differences.append(scaled_to_width(apart, PICTURE_WIDTH) * DIFFERENCE_TIMES + 0.2)
    before, after = (mean * np.float32(factor) for mean in (unaligned, aligned))
    return BeforeAfter(
        before=scaled_to_width(before, PICTURE_WIDTH),
        after=scaled_to_width(after, PICTURE_WIDTH),
        before_crop=np.ascontiguousarray(before[rows, columns]),
        after_crop=np.ascontiguousarray(after[rows, columns]),
        before_difference=differences[0],
        after_difference=differences[1],
        before_error=errors[0],
        after_error=errors[1],
    )


def exposed(picture: Picture) -> Picture:
    """Return a picture with its bright parts near display white."""
    return np.asarray(picture * np.float32(exposure_for(picture)))


def flow_picture(fields: ReflectanceFields, index: int) -> tuple[Picture, Picture, float] | None:
    """Return how far points move to the farthest tracking frame, and how far that is trusted.

    Both are gray pictures ``(rows, columns)`` of display values 0 to 1, and the third value is
    the motion that is white, in pixels of the recording; ``None`` where no flows are stored.
    """
    if not (fields.has("flow") and fields.has("trust")):
        return None
    group = zarr.open_group(str(fields.path), mode="r")
    unit = float(fields.attributes["flow_unit_px"])
    flow = np.asarray(group["flow"][index], np.float32) * unit
    length = np.hypot(flow[..., 0], flow[..., 1])
    farthest = int(length.mean(axis=(1, 2)).argmax())
    white = max(float(length[farthest].max()), 1e-6)
    trust = np.asarray(group["trust"][index][farthest], np.float32) / 255.0
    return length[farthest] / white, trust, white


def _unaligned_mean(
    fields: ReflectanceFields, index: int, source: FrameSource, progress: Progress | None
) -> Picture:
    """Return the mean of a set's lights as they were recorded, in the set's view."""
    settings = settings_of(fields.path, fields.attributes)
    plain = settings.replace(align=AlignSettings(method="none", fuse_cycles=0))
    group = zarr.open_group(str(fields.path), mode="r")
    frames = set_frames(group, index)
    # only the set's own frame of each light: those of other cycles would blur it by more
    first = np.argmax(frames.light_frames >= 0, axis=1)[:, None]
    frames = replace(
        frames,
        light_frames=np.take_along_axis(frames.light_frames, first, axis=1),
        light_times_s=np.take_along_axis(frames.light_times_s, first, axis=1),
    )
    left, top, width, height = (float(value) for value in np.asarray(group["crop"][index]))
    maker = SetMaker(source, plain, MakerOptions(frames_bytes=0))
    motion = VirtualSets(fields.path).motion(index)
    aligner = maker.aligner(frames, (left, top, width, height), motion)
    total = np.zeros((fields.height, fields.width, 3), np.float32)
    there = np.flatnonzero(~frames.missing).tolist()
    for done, light in enumerate(there, 1):
        total += to_float(aligner.light(light))
        if progress:
            progress(done, len(there))
    return total * np.float32(1.0 / max(1, len(there)))


def _where_they_differ(a: Picture, b: Picture) -> tuple[slice, slice]:
    """Return the part, of the picture's own shape, in which two pictures differ most."""
    rows, columns = (min(size, max(12, round(_CROP_SHARE * size))) for size in a.shape[:2])
    apart = np.abs(luminance(a) - luminance(b))
    held = cv2.boxFilter(apart, -1, (columns, rows), borderType=cv2.BORDER_CONSTANT)
    first, second = rows // 2, columns // 2
    inner = held[first : len(a) - rows + first + 1, second : a.shape[1] - columns + second + 1]
    top, left = (int(place) for place in np.unravel_index(int(inner.argmax()), inner.shape))
    return slice(top, top + rows), slice(left, left + columns)
