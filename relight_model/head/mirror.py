"""Mirrored clips and statistics: what a head would do in a mirror."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from relight_model.head.clip import EYE_LEFT, EYE_RIGHT, HeadClip
from relight_model.head.clip_statistics import ClipStatistics, Spread
from relight_model.head.expression_names import mirror_images

#: A reflection in x turns the rotation about an axis into one about (x, -y, -z).
_ROTATION = np.array([1.0, -1.0, -1.0])
_POINT = np.array([-1.0, 1.0, 1.0])


def mirror(clip: HeadClip) -> HeadClip:
    """Return the clip as a mirror shows it: left and right change places, in the picture too.

    The identity stays as it is: what a face does is mirrored, not the face.

    Raises:
        InputError: expressions without names, or a name without its other side.
    """
    order, sign = mirror_images(clip.expression_names)
    pose = (clip.pose.reshape(-1, 5, 3) * _ROTATION).reshape(-1, 15)
    pose[:, EYE_LEFT], pose[:, EYE_RIGHT] = pose[:, EYE_RIGHT].copy(), pose[:, EYE_LEFT].copy()
    x, y = clip.camera.centre
    camera = clip.camera
    if camera.centre_px is not None:
        camera = replace(camera, centre_px=(camera.width - 1 - x, y))
    view = None
    if clip.view is not None and clip.view_size is not None:
        view = clip.view.copy()
        view[:, 0] = camera.width - 1 - view[:, 0] - clip.view_size[0] / view[:, 2]
    return clip.replace(
        expression=sign * clip.expression[:, order],
        pose=pose,
        translation_m=clip.translation_m * _POINT,
        camera=camera,
        view=view,
    )


def mirror_statistics(statistics: ClipStatistics) -> ClipStatistics:
    """Return the statistics of mirrored clips.

    Raises:
        InputError: as :func:`mirror`.
    """
    order, sign = mirror_images(statistics.expression_names)
    expression = _signed(statistics.expression.taken(order), sign)
    joints = {name: _signed(spread, _ROTATION) for name, spread in statistics.joints.items()}
    joints["eye_left"], joints["eye_right"] = joints["eye_right"], joints["eye_left"]
    return statistics.model_copy(
        update={
            "expression": expression,
            "joints": joints,
            "translation_m": _signed(statistics.translation_m, _POINT),
        }
    )


def _signed(spread: Spread, sign: NDArray[np.float64]) -> Spread:
    low, high = (np.where(sign > 0, spread.array(a), -spread.array(b)) for a, b in _ENDS)
    return Spread(
        mean=tuple((sign * spread.array("mean")).tolist()),
        deviation=spread.deviation,
        rest=tuple((sign * spread.array("rest")).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


_ENDS = (("low", "high"), ("high", "low"))
