"""Landmarks by a network of the user's: an ONNX or TorchScript file in place of dlib's trees.

The file takes ``(1, 3, 256, 256)``, the upright face in RGB, [0, 1], in a square of twice the
detector's box, and gives as its last output either the landmarks ``(1, 68, 2)`` or ``(1, 136)`` as
shares of that square's sides (x, y; 0 = its left and upper edge), or heat maps
``(1, 68, height, width)`` of them, as FAN does (Bulat and Tzimiropoulos 2017). They are predicted
from several boxes and mirrored, as the trees' are, and as much is to be known of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.relighting.matte_network import Network, open_network
from relight_model.head.landmark_dlib import Box, Image, upright_window
from relight_model.head.landmarks import LANDMARK_COUNT, MIRRORED

Float = NDArray[np.float64]

SIDE_PX = 256
#: Cells about a heat map's highest whose mean place is taken.
_REACH = 2


@dataclass(frozen=True, eq=False)
class NetworkPredictor:
    """A network that predicts the 68 landmarks; see the module for what it takes and gives."""

    network: Network
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its ending, after ``network:``."""
        return f"network:{self.path.stem}"

    @staticmethod
    def load(path: Path) -> NetworkPredictor:
        """Return the predictor of a file, tried on a black picture.

        Raises:
            InputError: the file is missing or damaged, or gives something else.
        """
        if not path.is_file():
            raise InputError(f"{path}: there is no such landmark network.")
        predictor = NetworkPredictor(open_network(path), path)
        predictor._shares(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8))
        return predictor

    def __call__(self, image: Image, box: Box, starts: Float) -> Float:
        """Return the predictions; see :class:`relight_model.head.landmark_dlib.Predictor`."""
        found = []
        cos, sin = np.cos(box.roll), np.sin(box.roll)
        for dx, dy, grown in starts:
            x = box.x + box.side * (cos * dx - sin * dy)
            y = box.y + box.side * (sin * dx + cos * dy)
            moved = Box(float(x), float(y), box.side * (1.0 + float(grown)), box.roll)
            scale = 0.5 * SIDE_PX / moved.side
            seen, matrix, offset = upright_window(image, moved, SIDE_PX, scale, grey=False)
            straight = self._shares(seen) * SIDE_PX - 0.5
            other = self._shares(np.ascontiguousarray(seen[:, ::-1])) * SIDE_PX - 0.5
            other[:, 0] = SIDE_PX - 1.0 - other[:, 0]
            back = np.linalg.inv(matrix).T
            found += [(places - offset) @ back for places in (straight, other[MIRRORED])]
        return np.array(found)

    def _shares(self, seen: Image) -> Float:
        """Return the landmarks ``(68, 2)`` as shares of the window's sides."""
        batch = np.ascontiguousarray(np.moveaxis(seen, -1, 0)[None], np.float32) / 255.0
        given = np.asarray(self.network(batch), np.float64)
        found: Float = given[0] if given.ndim > 2 else given
        if found.size == 2 * LANDMARK_COUNT:
            found = found.reshape(LANDMARK_COUNT, 2)
        elif found.ndim == 3 and len(found) == LANDMARK_COUNT and min(found.shape) > 2 * _REACH:
            found = _peaks(found)
        else:
            found = np.full(1, np.nan)
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.path}: gives {given.shape}, or numbers that are not finite; a landmark "
                f"network gives (1, {LANDMARK_COUNT}, 2) or {LANDMARK_COUNT} heat maps. See "
                f"docs/landmarks.md."
            )
        return found


def _peaks(maps: Float) -> Float:
    """Return where heat maps ``(68, h, w)`` are highest, as shares: the mean place about there."""
    count, height, width = maps.shape
    top = maps.reshape(count, -1).argmax(axis=1)
    peaks = np.empty((count, 2))
    for k, (row, column) in enumerate(zip(*np.divmod(top, width), strict=True)):
        rows = np.arange(max(0, row - _REACH), min(height, row + _REACH + 1))
        columns = np.arange(max(0, column - _REACH), min(width, column + _REACH + 1))
        part = maps[k][np.ix_(rows, columns)]
        heat = np.maximum(part - min(part.min(), 0.0), 0.0) + 1e-12
        share = heat / heat.sum()
        peaks[k] = share.sum(axis=0) @ (columns + 0.5), share.sum(axis=1) @ (rows + 0.5)
    return np.asarray(peaks / [width, height])
