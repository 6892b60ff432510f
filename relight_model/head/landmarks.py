"""The 68 facial landmarks (iBUG 300-W order): what a detector of them is, and where to get one.

Landmark 0 is at the subject's right ear, which is the image's left when they face the camera; 0 to
16 follow the face's contour, 17 to 26 the brows, 27 to 35 the nose, 36 to 47 the eyes, 48 to 67
the mouth. The default detector is dlib's (:mod:`relight_model.head.landmark_dlib`); another package
may offer one under the entry point group ``relight_model.landmarks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.head.landmark_embedding import detector_embedding

__all__ = [
    "CONTOUR",
    "ENTRY_POINT_GROUP",
    "INNER",
    "LANDMARK_COUNT",
    "MIRRORED",
    "Face",
    "LandmarkDetector",
    "detector_embedding",
    "faces_of_clip",
    "frames_told",
    "interocular_px",
    "landmark_detector",
    "mirrored",
    "require_face",
    "require_faces",
]

Float = NDArray[np.float64]

LANDMARK_COUNT = 68
CONTOUR = slice(0, 17)
#: Brows, nose, eyes and mouth: the 51 landmarks that are places of the skin in every view.
INNER = slice(17, 68)
OUTER_EYE_CORNERS = (36, 45)
#: Which landmark each becomes when the picture is mirrored.
MIRRORED: NDArray[np.int64] = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)

ENTRY_POINT_GROUP = "relight_model.landmarks"


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a picture.

    ``landmarks`` (68, 2): pixels (x, y), a pixel's middle at whole numbers. ``spread_px`` (68,):
    how far repeated predictions of each landmark lie from their mean, root mean square; a measure
    of how repeatable it is, not of how right. ``box``: left, top, right, bottom in pixels.
    ``confidence``: [0, 1], see the detector. ``since_detection``: frames since a detector that
    knows faces from other things last looked, 0 = at this one.
    """

    landmarks: Float
    spread_px: Float
    box: tuple[float, float, float, float]
    confidence: float
    since_detection: int = 0


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds the landmarks of the one face that a picture is about."""

    @property
    def name(self) -> str:
        """What the detector is called: :func:`detector_embedding` knows its landmarks by it."""

    def detect(self, image: NDArray[np.uint8]) -> Face | None:
        """Return the face of an RGB picture ``(height, width, 3)``, ``None`` = there is none."""

    def track(self, image: NDArray[np.uint8], previous: Face) -> Face | None:
        """Return the face, knowing where it was a frame ago; ``None`` = it is gone."""


def landmark_detector(name: str = "dlib", model: Path | None = None) -> LandmarkDetector:
    """Return a detector of landmarks by its name.

    Args:
        name: ``dlib``, or a name under the entry point group ``relight_model.landmarks``: a
            function from ``model`` to a :class:`LandmarkDetector`.
        model: the detector's weights; ``None`` = those that come with it.

    Raises:
        InputError: no such detector, or its weights are missing, damaged or of another kind.
    """
    if name == "dlib":
        from relight_model.head.landmark_dlib import DlibLandmarks

        return DlibLandmarks.load(model)
    offered = entry_points(group=ENTRY_POINT_GROUP)
    for point in offered:
        if point.name == name:
            detector = point.load()(model)
            if not isinstance(detector, LandmarkDetector):
                raise InputError(
                    f"the landmark detector {name!r} ({point.value}) gives a "
                    f"{type(detector).__name__}, which lacks name, detect or track. See "
                    f"docs/landmarks.md."
                )
            return detector
    known = ", ".join(["dlib", *sorted(point.name for point in offered)])
    raise InputError(
        f"there is no landmark detector {name!r}; known are: {known}. A package offers one as an "
        f"entry point of the group {ENTRY_POINT_GROUP}."
    )


def faces_of_clip(
    detector: LandmarkDetector, frames: Iterable[NDArray[np.uint8]]
) -> Iterator[Face | None]:
    """Yield each frame's face, tracked from the one before; ``None`` where there is none.

    One frame is held at a time, so memory does not grow with the clip.
    """
    previous: Face | None = None
    for frame in frames:
        previous = detector.track(frame, previous) if previous else detector.detect(frame)
        yield previous


def require_face(face: Face | None, source: str) -> Face:
    """Return the face of one picture.

    Raises:
        InputError: there is none; the text names ``source`` and says what helps.
    """
    if face is None:
        raise InputError(f"{source}: no face was found. {_WHAT_HELPS}")
    return face


def require_faces(faces: Sequence[Face | None], source: str) -> list[Face]:
    """Return the faces of a clip's frames, all of which must show one.

    Raises:
        InputError: some frames show none; the text says which.
    """
    missing = [index for index, face in enumerate(faces) if face is None]
    if missing or not faces:
        raise InputError(
            f"{source}: no face was found in {frames_told(missing, len(faces))}. {_WHAT_HELPS}"
        )
    return [face for face in faces if face is not None]


_WHAT_HELPS = (
    "The face should look roughly at the camera, be upright, lit from more than one side, and at "
    "least 60 pixels and a sixteenth of the picture wide."
)


def frames_told(indices: Sequence[int], count: int) -> str:
    """Return some of ``count`` frames as a person would tell them: ``3 of 72 frames (3-4, 9)``."""
    if count == 0:
        return "a clip of no frames"
    if len(indices) == count:
        return f"any of {count} frames" if count > 1 else "the one frame"
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    told = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:8]]
    more = ", ..." if len(runs) > 8 else ""
    return f"{len(indices)} of {count} frames ({', '.join(told)}{more}, counted from 0)"


def interocular_px(landmarks: Float) -> float:
    """Return the distance of the outer eye corners, which errors are given in shares of."""
    right, left = OUTER_EYE_CORNERS
    return float(np.linalg.norm(landmarks[left] - landmarks[right]))


def mirrored(landmarks: Float, width: int) -> Float:
    """Return where the landmarks ``(68, 2)`` are when a picture ``width`` wide is mirrored."""
    flipped = np.array(landmarks[MIRRORED])
    flipped[:, 0] = width - 1.0 - flipped[:, 0]
    return flipped
