"""Pictures of a face from wherever they come: a film, a take, or single pictures.

All give 8-bit pictures as a display shows them, one at a time, with their times. A source can be
gone through as often as wanted, and holds no more than a picture in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.pinhole import PinholeCamera

if TYPE_CHECKING:
    from lightstage.fields import ReflectanceFields
    from lightstage.session import Take

#: What a picture file may end in.
PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".tga", ".exr", ".hdr"}
)
#: Pictures that come without times are so many to a second.
PICTURE_RATE_HZ = 25.0


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame: ``rgb`` (height, width, 3) uint8, sRGB; ``time_s`` from the first frame."""

    index: int
    time_s: float
    rgb: NDArray[np.uint8]


class FrameSource(Protocol):
    """What face capture and driving read.

    Attributes:
        name: for messages.
        count: how many frames there are; ``None`` where only reading tells.
        rate_hz: frames per second, on average.
        size: width and height of every picture.
        whole: width and height of the camera's whole picture.
        view: ``(count, 3)`` how each picture was cut from the whole: left, top, scale, as
            :meth:`PinholeCamera.viewed` takes them; ``None`` where pictures are whole.
    """

    name: str
    count: int | None
    rate_hz: float
    size: tuple[int, int]
    whole: tuple[int, int]
    view: NDArray[np.float64] | None

    def __iter__(self) -> Iterator[Picture]:
        """Yield the frames in order of time, from the first."""
        ...


def open_frames(paths: Sequence[Path]) -> FrameSource:
    """Return the frames of a film, a take, a folder of pictures, or of several pictures.

    Raises:
        InputError: there is nothing there that has frames.
    """
    if not paths:
        raise InputError("no film, take or picture was given.")
    first = paths[0]
    if not first.exists():
        raise InputError(f"{first}: there is no such file or folder.")
    if len(paths) > 1 or (first.suffix.lower() in PICTURE_SUFFIXES and first.is_file()):
        return PictureFrames(paths)
    if first.is_file():
        return FilmFrames(first)
    pictures = sorted(p for p in first.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if pictures:
        return PictureFrames(pictures, str(first))
    return _take_frames(first)


def camera_of(source: FrameSource, fov_deg: float, distance_m: float = 1.0) -> PinholeCamera:
    """Return the whole picture's camera, whose longer side's fellow spans ``fov_deg``.

    The angle is the vertical one of a picture that is wider than high; of an upright picture it is
    the horizontal one, as turning a camera does not change its lens.
    """
    width, height = source.whole
    focal = 0.5 * min(width, height) / np.tan(0.5 * np.deg2rad(fov_deg))
    return PinholeCamera(width, height, float(focal), distance_m)


class FilmFrames:
    """A film file, turned as its metadata says, with the times it was recorded at."""

    def __init__(self, path: Path) -> None:
        import av

        self.name = str(path)
        self._path = path
        self.view: NDArray[np.float64] | None = None
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise InputError(f"{path}: has no picture, only sound or data.")
                stream = container.streams.video[0]
                self.rate_hz = float(stream.average_rate or stream.guessed_rate or 25.0)
                self.count = int(stream.frames) or None
            first = next(iter(self), None)
        except av.FFmpegError as reason:
            raise InputError(f"{path}: cannot be read as a film: {reason.strerror}.") from None
        if first is None:
            raise InputError(f"{path}: holds no frame that can be decoded.")
        height, width = first.rgb.shape[:2]
        self.size = self.whole = (width, height)

    def __iter__(self) -> Iterator[Picture]:
        """Yield the frames; times rise even where the file's do not."""
        import av

        index, start, last = 0, None, -np.inf
        interval = 1.0 / self.rate_hz
        size: tuple[int, ...] | None = None
        try:
            with av.open(str(self._path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"
                for frame in container.decode(stream):
                    rgb = _turned(frame)
                    if size is not None and rgb.shape != size:
                        raise InputError(
                            f"{self._path}: frame {index} is {rgb.shape[1]} x {rgb.shape[0]}, the "
                            f"first {size[1]} x {size[0]}; a film must keep its size."
                        )
                    size = rgb.shape
                    time = frame.time
                    start = time if start is None else start
                    at = index * interval if time is None or start is None else time - start
                    if at <= last:  # time stamps that stand still or jump back
                        at = last + interval
                    last = at
                    yield Picture(index, float(at), rgb)
                    index += 1
        except av.FFmpegError as reason:
            if index == 0:
                raise InputError(
                    f"{self._path}: cannot be read as a film: {reason.strerror}."
                ) from None
            # a film that was cut off: what came before is good


class PictureFrames:
    """Single pictures of one size, in the order given, upright as their EXIF data says."""

    def __init__(self, paths: Sequence[Path], name: str | None = None) -> None:
        self._paths = [Path(p) for p in paths]
        self.name = name or (str(paths[0]) if len(paths) == 1 else f"{paths[0]} …")
        self.count: int | None = len(self._paths)
        self.rate_hz = PICTURE_RATE_HZ
        self.view: NDArray[np.float64] | None = None
        height, width = _read_picture(self._paths[0]).shape[:2]
        self.size = self.whole = (width, height)

    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures."""
        for index, path in enumerate(self._paths):
            rgb = _read_picture(path)
            if rgb.shape[1::-1] != self.size:
                raise InputError(
                    f"{path}: is {rgb.shape[1]} x {rgb.shape[0]}, the first picture is "
                    f"{self.size[0]} x {self.size[1]}; fit pictures of different cameras apart."
                )
            yield Picture(index, index / PICTURE_RATE_HZ, rgb)


class FieldFrames:
    """The full-lit pictures of a take's reflectance fields, each with its own crop."""

    def __init__(self, fields: ReflectanceFields) -> None:
        self._fields = fields
        self.name = str(fields.path)
        self.count: int | None = len(fields)
        self.rate_hz = fields.rate_hz or PICTURE_RATE_HZ
        self.size = self.whole = (fields.width, fields.height)
        self.view: NDArray[np.float64] | None = None
        if fields.has("crop"):
            crop = np.asarray(fields.read_values("crop"), np.float64)
            self.whole = _recorded_size(fields) or (
                int(np.ceil((crop[:, 0] + crop[:, 2]).max())),
                int(np.ceil((crop[:, 1] + crop[:, 3]).max())),
            )
            scale = self.size[0] / crop[:, 2]
            # `viewed` counts from the first pixel's middle, crops from its edge
            self.view = np.column_stack([crop[:, 0] - 0.5, crop[:, 1] - 0.5, scale])

    def __iter__(self) -> Iterator[Picture]:
        """Yield the sets' full-lit pictures, exposed alike."""
        from lightstage.colour import to_8bit

        exposure, start = 0.0, float(self._fields.time_s[0])
        for index, field in enumerate(self._fields):
            linear = np.nan_to_num(field.full_lit)
            exposure = exposure or _exposure(linear)
            yield Picture(index, field.time_s - start, to_8bit(linear * exposure))


class TrackingFrames:
    """The full-lit tracking frames of a take that has no reflectance fields yet.

    They are told by their brightness: all lights at once are far brighter than one.
    """

    def __init__(self, take: Take) -> None:
        from lightstage.preprocess.source import open_source

        self._take = take
        self.name = str(take.path)
        with open_source(take) as source:
            self.size = self.whole = (source.width, source.height)
            rows = np.linspace(0.2, 0.8, 6) * source.height
            bright = np.array(
                [source.read_rows(k, rows.astype(np.int64)).mean() for k in range(len(source))]
            )
            usual, most = np.quantile(bright, [0.5, 0.995])
            self._frames = np.flatnonzero(bright > 0.5 * (usual + most))
            stamps = source.time_ns
            if len(self._frames) == 0:
                raise InputError(
                    f"{self.name}: no tracking frames stand out; run 'lightstage preprocess' first."
                )
            if stamps is not None:
                times = np.asarray(stamps[self._frames] * 1e-9, np.float64)
            else:
                times = self._frames / take.sequence.frame_rate_hz
        # stamps that do not rise are no times
        self._times = np.maximum.accumulate(times - times[0])
        self._times += np.arange(len(times)) * 1e-9
        self.count: int | None = len(self._frames)
        span = float(self._times[-1])
        self.rate_hz = (len(times) - 1) / span if span > 1e-6 else PICTURE_RATE_HZ
        self.view: NDArray[np.float64] | None = None

    def __iter__(self) -> Iterator[Picture]:
        """Yield the developed tracking frames, exposed alike."""
        from lightstage.colour import to_8bit
        from lightstage.preprocess.develop import develop
        from lightstage.preprocess.source import open_source

        exposure = 0.0
        with open_source(self._take) as source:
            for k, frame in enumerate(self._frames):
                linear = develop(
                    source[int(frame)], cfa=source.cfa, black_level=source.black_level,
                    white_level=source.white_level,
                )  # fmt: skip
                exposure = exposure or _exposure(linear)
                yield Picture(k, float(self._times[k]), to_8bit(linear * exposure))


def _turned(frame: Any) -> NDArray[np.uint8]:
    """Return a decoded frame's RGB, turned upright as its metadata says."""
    rgb = frame.to_ndarray(format="rgb24")
    quarters = round(float(getattr(frame, "rotation", 0) or 0) / 90.0) % 4
    # the metadata's angle is counter-clockwise, as np.rot90's is
    return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else np.asarray(rgb)


def _read_picture(path: Path) -> NDArray[np.uint8]:
    import cv2

    from lightstage.colour import to_8bit
    from lightstage.images import FLOAT_SUFFIXES, read_image

    if not path.is_file():
        raise InputError(f"{path}: there is no such picture file.")
    if path.suffix.lower() in FLOAT_SUFFIXES:
        linear = np.nan_to_num(read_image(path))
        return to_8bit(linear * _exposure(linear))
    if path.suffix.lower() == ".tga":
        return to_8bit(read_image(path, transfer="srgb"))
    # turned upright by EXIF, made 8 bits and three channels
    bgr = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path}: is damaged, or not a picture of a kind that can be read.")
    return np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, :, ::-1])


def _exposure(linear: NDArray[np.floating]) -> float:
    """Return the factor that puts the brightest hundredth of a picture just below white."""
    bright = float(np.quantile(linear[::4, ::4].max(axis=2), 0.99))
    return 0.85 / bright if bright > 1e-6 else 1.0


def _recorded_size(fields: ReflectanceFields) -> tuple[int, int] | None:
    """Return the whole recording's width and height, where it still stands beside the fields."""
    from lightstage.errors import LightstageError
    from lightstage.preprocess.source import open_path

    recording = fields.path.parent / str(fields.attributes.get("recording", ""))
    if not recording.is_file():
        return None
    try:
        with open_path(recording) as source:
            return source.width, source.height
    except LightstageError:
        return None


def _take_frames(path: Path) -> FrameSource:
    from lightstage.fields import ReflectanceFields
    from lightstage.session import Session, Take

    take = None
    if Session.is_at(path):
        take = Session.open(path).only_take()
    elif Take.is_at(path):
        take = Take.open(path)
    if take is not None and not (take.path / "aligned.zarr" / "zarr.json").is_file():
        return TrackingFrames(take)
    return FieldFrames(ReflectanceFields.open(path))
