"""Landmarks by dlib: its frontal face detector and its regression trees (Kazemi and Sullivan 2014).

One prediction of the trees is whole pixels and jumps with the box that it starts from. Here the
face is first brought upright to one size, then predicted from several boxes, as it is and mirrored,
and the mean is taken; what the predictions differ by tells how far to trust them. A network may
predict in place of the trees (:mod:`relight_model.head.landmark_network`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.head.dlib_file import mean_shape
from relight_model.head.landmarks import INNER, LANDMARK_COUNT, MIRRORED, Face, interocular_px

Float = NDArray[np.float64]
Image = NDArray[np.uint8]

#: Files that hold a network; all others are read as dlib's.
NETWORK_SUFFIXES = (".onnx", ".pt", ".pth", ".ts", ".torchscript")
MODEL_NAME = "shape_predictor_68_face_landmarks.dat"
#: SHA-256 of that file in the package ``face_recognition_models`` 0.3.0.
MODEL_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"

#: Repeatability, in shares of the distance of the outer eye corners, at which confidence is one
#: half: faces in good light have 0.5 %, simulated or hard-lit ones 1 to 2.3 %, other things 3 %
#: and more (docs/landmarks.md).
HALF_CONFIDENCE = 0.028
#: A tracked face of less confidence, that the detector does not confirm, is lost.
LOST_BELOW = 0.5
#: What the detector, asked anew, does not see must be this sure to be followed on: heads turn.
KEPT_ABOVE = 0.8
#: Frames after which the detector looks at a tracked face again.
DETECT_EVERY = 10

#: A face that the detector finds must be at least so sure, and so many are tried.
SEEN_ABOVE, _CANDIDATES = 0.1, 3

#: The upright face's box has this side, and this much of it around it, when it is predicted.
_SIDE_PX, _MARGIN = 300, 0.5
_FULL_PX = round(_SIDE_PX * (1.0 + 2.0 * _MARGIN))
#: Starting boxes: shifts along x and y and changes of size, in shares of the side.
_STARTS = 0.03 * np.array(
    [
        [0.4, -0.9, 0.5],
        [-0.8, 0.5, 0.8],
        [0.9, 0.6, -0.3],
        [-0.5, -0.4, -0.9],
        [0.0, 0.2, -0.1],
    ]
)
#: The detector sees faces of 80 pixels and more. First it looks at a copy this long, then, where
#: it found none, at one of up to twice the picture, no longer than the second.
_FIRST_LOOK_PX, _SECOND_LOOK_PX = 640, 1600
#: Where nothing upright is found, heads on their side by this angle are sought.
_LEAN_RAD = math.radians(35.0)
#: A face that is looked at again is seen with this side, in a window of so many of its sides.
_AGAIN_PX, _AGAIN_WINDOW = 110.0, 2.0
#: Brightest skin of a dark face is raised to this, by at most so much.
_BRIGHT, _MOST_GAIN = 190.0, 12.0


class Box(NamedTuple):
    """A square about a face: centre in pixels, side in pixels, roll in radians (clockwise)."""

    x: float
    y: float
    side: float
    roll: float = 0.0


class Predictor(Protocol):
    """Says where the landmarks of a face are, whose box is known."""

    @property
    def name(self) -> str:
        """Whose idea of the landmarks it is."""

    def __call__(self, image: Image, box: Box, starts: Float) -> Float:
        """Return predictions ``(2 n, 68, 2)`` in pixels: from each start, as it is and mirrored.

        Args:
            image: the picture, RGB.
            box: the face's.
            starts: ``(n, 3)`` shifts along x and y and growth of the box, in shares of its side.
        """


@dataclass(frozen=True, eq=False)
class DlibLandmarks:
    """dlib's detector and a predictor, its own trees or a network, as a ``LandmarkDetector``.

    Of several faces the largest is taken, one at the picture's corner counting half its size.
    ``mean`` (68, 2) is where the mean face's landmarks lie in the detector's box, the box [0, 1]².
    ``predictions``: from how many boxes each face is predicted, each also mirrored, 1 to 5.

    **Confidence** is ``1 / (1 + (r / 2.8 %)^4)``, where r is the root mean square spread of the
    inner 51 landmarks over the predictions, in shares of the distance of the outer eye corners.
    """

    detector: Any
    predict: Predictor
    mean: Float
    predictions: int = len(_STARTS)

    @property
    def name(self) -> str:
        """The predictor's: ``dlib`` of the trees."""
        return self.predict.name

    @staticmethod
    def load(model: Path | None = None, predictions: int = len(_STARTS)) -> DlibLandmarks:
        """Return the detector with the packaged weights, or those of the file ``model``.

        Args:
            model: a shape predictor (``.dat``), or a network (``.onnx``, TorchScript).
            predictions: 1 to 5.

        Raises:
            InputError: dlib or its weights are not installed; the file is damaged or of another
                kind; ``predictions`` out of its range.
        """
        if not 1 <= predictions <= len(_STARTS):
            raise InputError(f"predictions must be 1 to {len(_STARTS)}, it is {predictions}.")
        try:
            import dlib
        except ImportError:
            raise InputError(
                "landmarks need dlib: pip install 'lightstage[model]' (the wheels of dlib-bin "
                "need no compiler)."
            ) from None
        predict: Predictor
        if model is not None and model.suffix.lower() in NETWORK_SUFFIXES:
            from relight_model.head.landmark_network import NetworkPredictor

            predict, path = NetworkPredictor.load(model), packaged_model()
        else:
            path = packaged_model() if model is None else model
            predict = TreePredictor.load(path)
        return DlibLandmarks(
            dlib.get_frontal_face_detector(), predict, mean_shape(path), predictions
        )

    def detect(self, image: Image) -> Face | None:
        """Return the largest face of an RGB picture; see :class:`LandmarkDetector`."""
        _check(image)
        return self._seek(image)

    def track(self, image: Image, previous: Face) -> Face | None:
        """Return the face near where it was; the detector looks only now and then, or when lost."""
        _check(image)
        face = self._face(image, self.box_of(previous.landmarks), previous.since_detection + 1)
        if face is None or face.confidence < LOST_BELOW:
            return self.detect(image)
        if face.since_detection < DETECT_EVERY:
            return face
        confirmed = replace(face, since_detection=0)
        if self._seen_again(image, face):
            return confirmed
        elsewhere = self._seek(image)
        if elsewhere is None and face.confidence >= KEPT_ABOVE:
            return confirmed
        return elsewhere

    def box_of(self, landmarks: Float) -> Box:
        """Return the box, with roll, in which the mean shape lies nearest to the inner landmarks.

        Source: the similarity of least squares (Umeyama 1991).
        """
        mean, found = self.mean[INNER] - 0.5, landmarks[INNER]
        middle, centre = mean.mean(axis=0), found.mean(axis=0)
        a, b = mean - middle, found - centre
        power = float((a**2).sum())
        along = float((a * b).sum()) / power
        across = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
        x, y = centre - np.array([[along, -across], [across, along]]) @ middle
        return Box(float(x), float(y), math.hypot(along, across), math.atan2(across, along))

    def _face(self, image: Image, box: Box, since: int) -> Face | None:
        """Predict once, move the box to where that says, and predict from all boxes there."""
        height, width = image.shape[:2]
        around = _STARTS[: self.predictions] - _STARTS[: self.predictions].mean(axis=0)
        for starts in (np.zeros((1, 3)), around):
            inside = -0.5 * box.side < box.x < width + 0.5 * box.side
            inside = inside and -0.5 * box.side < box.y < height + 0.5 * box.side
            if not (inside and 8.0 < box.side < 4.0 * max(height, width)):
                return None
            found = self.predict(image, box, starts)
            landmarks = found.mean(axis=0)
            box = self.box_of(landmarks)
        spread = np.sqrt(((found - landmarks) ** 2).sum(axis=2).mean(axis=0))
        apart = max(interocular_px(landmarks), 1e-6)
        repeatability = float(np.sqrt((spread[INNER] ** 2).mean())) / apart
        confidence = 1.0 / (1.0 + (repeatability / HALF_CONFIDENCE) ** 4)
        half = 0.5 * box.side
        corners = (box.x - half, box.y - half, box.x + half, box.y + half)
        return Face(landmarks, spread, corners, confidence, since)

    def _seek(self, image: Image) -> Face | None:
        """Return the chosen face: on a small copy, else on a large one, else leaning.

        What the trees cannot agree on is no face, though the detector takes it for one; of less
        sure ones the surest is taken when all looks are done.
        """
        longest = max(image.shape[:2])
        first = min(1.0, _FIRST_LOOK_PX / longest)
        second = min(2.0, _SECOND_LOOK_PX / longest)
        looks = [(first, 0.0), (second, 0.0), (first, -_LEAN_RAD), (first, _LEAN_RAD)]
        best: Face | None = None
        for scale, lean in looks:
            if scale == second and second < 1.2 * first:
                continue
            for box in self._boxes(_resized(image, scale), lean)[:_CANDIDATES]:
                x, y = ((v + 0.5) / scale - 0.5 for v in (box.x, box.y))
                face = self._face(image, Box(x, y, box.side / scale, lean), 0)
                if face is not None and face.confidence >= LOST_BELOW:
                    return face
                if face is not None and face.confidence > (best.confidence if best else SEEN_ABOVE):
                    best = face
        return best

    def _boxes(self, image: Image, lean: float) -> list[Box]:
        """Return faces that lean by ``lean`` radians, the largest and most central first."""
        height, width = image.shape[:2]
        middle = np.array([0.5 * (width - 1), 0.5 * (height - 1)])
        turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
        if lean:
            towards = np.column_stack([turn, middle - turn @ middle])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            image = np.asarray(cv2.warpAffine(image, towards, (width, height), flags=flags))
        boxes = []
        for found in self.detector(image, 0):
            twice = (found.left() + found.right(), found.top() + found.bottom())
            x, y = turn @ (0.5 * np.array(twice) - middle) + middle
            boxes.append(Box(float(x), float(y), float(found.right() - found.left() + 1), lean))
        half_diagonal = max(float(np.hypot(*middle)), 1.0)

        def weight(box: Box) -> float:
            off = math.hypot(box.x - middle[0], box.y - middle[1]) / half_diagonal
            return box.side * (1.0 - 0.5 * min(off, 1.0))

        return sorted(boxes, key=weight, reverse=True)

    def _seen_again(self, image: Image, face: Face) -> bool:
        """Return whether the detector, too, finds a face where ``face`` is."""
        box = self.box_of(face.landmarks)
        size = round(_AGAIN_PX * _AGAIN_WINDOW)
        seen, matrix, offset = upright_window(image, box, size, _AGAIN_PX / box.side)
        centre = matrix @ np.array([box.x, box.y]) + offset
        return any(
            0.6 < found.side / _AGAIN_PX < 1.7
            and math.hypot(found.x - centre[0], found.y - centre[1]) < 0.3 * _AGAIN_PX
            for found in self._boxes(seen, 0.0)
        )


@dataclass(frozen=True, eq=False)
class TreePredictor:
    """dlib's regression trees on an upright grey copy of the face."""

    trees: Any

    @property
    def name(self) -> str:
        """``dlib``."""
        return "dlib"

    @staticmethod
    def load(path: Path) -> TreePredictor:
        """Return the trees of a shape predictor's file.

        Raises:
            InputError: it is none, is damaged, or predicts other landmarks.
        """
        import dlib

        mean_shape(path)
        try:
            trees = dlib.shape_predictor(str(path))
            blank = trees(np.zeros((64, 64), np.uint8), dlib.rectangle(8, 8, 55, 55))
        except (RuntimeError, ValueError, MemoryError) as reason:
            raise InputError(
                f"{path}: dlib cannot read this shape predictor ({reason}). Download it again."
            ) from None
        if blank.num_parts != LANDMARK_COUNT:
            raise InputError(
                f"{path}: predicts {blank.num_parts} landmarks; {LANDMARK_COUNT} in the iBUG order "
                f"are needed, as of {MODEL_NAME}."
            )
        return TreePredictor(trees)

    def __call__(self, image: Image, box: Box, starts: Float) -> Float:
        """Return the predictions; see :class:`Predictor`."""
        import dlib

        upright, matrix, offset = _upright(image, box)
        seen = (upright, np.ascontiguousarray(upright[:, ::-1]))
        found = np.empty((2, len(starts), LANDMARK_COUNT, 2))
        for number, (dx, dy, grown) in enumerate(starts):
            side = _SIDE_PX * (1.0 + grown)
            left, top = (0.5 * _FULL_PX + d * _SIDE_PX - 0.5 * side for d in (dx, dy))
            start = dlib.rectangle(
                round(left), round(top), round(left + side) - 1, round(top + side) - 1
            )
            for mirror in range(2):
                parts = self.trees(seen[mirror], start).parts()
                found[mirror, number] = [(part.x, part.y) for part in parts]
        found[1, :, :, 0] = _FULL_PX - 1.0 - found[1, :, :, 0]
        found[1] = found[1][:, MIRRORED]
        places = found.reshape(-1, LANDMARK_COUNT, 2) - offset
        return np.asarray(places @ np.linalg.inv(matrix).T)


def packaged_model() -> Path:
    """Return the weights inside the installed package ``face_recognition_models``.

    The package is not imported: it needs ``pkg_resources``, which newer Pythons lack.

    Raises:
        InputError: it is not installed, or the file is not the one that is known.
    """
    spec = find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0]) / "models" / MODEL_NAME if folders else None
    if path is None or not path.is_file():
        raise InputError(
            f"the landmark weights {MODEL_NAME} are not installed: pip install "
            f"'lightstage[model]' (they come in the package face_recognition_models), or name a "
            f"file with --landmark-model."
        )
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != MODEL_SHA256:
        raise InputError(
            f"{path}: is not the file that is known (SHA-256 {digest[:16]}..., expected "
            f"{MODEL_SHA256[:16]}...). Reinstall: pip install --force-reinstall "
            f"face_recognition_models==0.3.0; or name it with --landmark-model if you trust it."
        )
    return path


def _check(image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"landmarks are found in 8-bit RGB pictures (height, width, 3), not in an array "
            f"{image.shape} of {image.dtype}."
        )


def _resized(image: Image, scale: float) -> Image:
    if scale == 1.0:
        return np.ascontiguousarray(image)
    kind = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)


def _upright(image: Image, box: Box) -> tuple[Image, Float, Float]:
    """Return the grey face upright at its one size and bright, and the map there: A x + b."""
    seen, matrix, offset = upright_window(image, box, _FULL_PX, _SIDE_PX / box.side)
    edge = round(_SIDE_PX * _MARGIN)
    bright = float(np.percentile(seen[edge:-edge:4, edge:-edge:4], 95))
    gain = min(max(_BRIGHT / max(bright, 1.0), 1.0), _MOST_GAIN)
    if gain > 1.0:
        seen = np.asarray(cv2.convertScaleAbs(seen, alpha=gain), np.uint8)
    return seen, matrix, offset


def upright_window(
    image: Image, box: Box, size: int, scale: float, grey: bool = True
) -> tuple[Image, Float, Float]:
    """Return the picture ``(size, size[, 3])`` about the box, turned upright and scaled.

    Also the map ``A x + b`` (2, 2), (2,) from the picture's pixels to its own.
    """
    turn = np.array(
        [[math.cos(box.roll), math.sin(box.roll)], [-math.sin(box.roll), math.cos(box.roll)]]
    )
    centre = np.array([box.x, box.y])
    matrix = scale * turn
    offset = 0.5 * (size - 1) - matrix @ centre
    # only what is needed is worked on; a large face is first averaged down, so that none aliases
    reach = 0.5 * size / scale * (abs(turn[0, 0]) + abs(turn[0, 1])) + 2.0
    height, width = image.shape[:2]
    left, right = (int(np.clip(v, 0, width - 1)) for v in (box.x - reach, box.x + reach))
    top, bottom = (int(np.clip(v, 0, height - 1)) for v in (box.y - reach, box.y + reach))
    part = image[top : bottom + 1, left : right + 1]
    part = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)) if grey else part
    smaller = np.ones(2)
    if scale < 0.67:
        size_of_part = [max(1, round(n * scale * 1.2)) for n in part.shape[::-1]]
        smaller = np.array(size_of_part) / part.shape[::-1]
        part = np.asarray(cv2.resize(part, size_of_part, interpolation=cv2.INTER_AREA))
    # part's pixel p shows the picture's pixel (p + 1/2) / smaller - 1/2 + (left, top)
    to_picture = np.array([left, top]) + 0.5 / smaller - 0.5
    affine = np.column_stack([matrix / smaller, matrix @ to_picture + offset])
    seen = cv2.warpAffine(
        part, affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(seen, np.uint8), matrix, offset
