"""The head as one piece: a neck's rotation moved into the global one, where eyes are, gaze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile, shape_head
from relight_model.head.clip import EYE_LEFT, EYE_RIGHT, GLOBAL, NECK, HeadClip
from relight_model.head.rotations import compose, from_matrices, matrices, turn_of_gaze

Float = NDArray[np.float64]

#: Eyes turn no farther from straight ahead.
MOST_GAZE_DEG = 40.0


def neck_into_global(clip: HeadClip, head: HeadFile) -> HeadClip:
    """Return the clip with the neck straight and the head where it was.

    Face capture cannot tell neck from body and leaves the neck 0; a clip that moves it, as the
    simulated performer's does, is brought to the same form, so that statistics of both can be
    compared. All that follows the head (and not the body) stays in place to rounding.

    Args:
        clip: any clip.
        head: the model that its coefficients belong to.
    """
    joints = _joints(clip, head)
    global_turn = matrices(clip.pose[:, GLOBAL])
    whole = global_turn @ matrices(clip.pose[:, NECK])
    shift = np.einsum("nab,b->na", global_turn - whole, joints[1] - joints[0])
    pose = clip.pose.copy()
    pose[:, GLOBAL], pose[:, NECK] = from_matrices(whole), 0.0
    return clip.replace(pose=pose, translation_m=clip.translation_m + shift)


def eye_positions_m(clip: HeadClip, head: HeadFile) -> Float:
    """Return where the centres of both eyes are, ``(n, 2, 3)``, left first, world metres."""
    joints = _joints(clip, head)
    global_turn = matrices(clip.pose[:, GLOBAL])[:, None]
    neck_turn = matrices(clip.pose[:, NECK])[:, None]
    from_neck = (neck_turn @ (joints[3:5] - joints[1])[..., None])[..., 0]
    from_root = (global_turn @ (from_neck + joints[1] - joints[0])[..., None])[..., 0]
    return np.asarray(from_root + joints[0] + clip.translation_m[:, None])


def look_at_camera(clip: HeadClip, head: HeadFile) -> HeadClip:
    """Return the clip with both eyes turned so that they look into its camera.

    Where the head is turned too far away for that, they turn as far as eyes do.
    """
    direction = clip.camera.position_m - eye_positions_m(clip, head)
    head_turn = matrices(compose(clip.pose[:, GLOBAL], clip.pose[:, NECK]))
    local = np.einsum("nba,neb->nea", head_turn, direction)
    turn = turn_of_gaze(local)
    angle = np.linalg.norm(turn, axis=-1, keepdims=True)
    turn *= np.minimum(1.0, np.radians(MOST_GAZE_DEG) / np.maximum(angle, 1e-9))
    pose = clip.pose.copy()
    pose[:, EYE_LEFT], pose[:, EYE_RIGHT] = turn[:, 0], turn[:, 1]
    return clip.replace(pose=pose)


def _joints(clip: HeadClip, head: HeadFile) -> Float:
    return np.asarray(head.J_regressor @ shape_head(head, clip.shape, ()))
