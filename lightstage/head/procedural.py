"""The procedural head: sculpted, painted and given its bases by our code alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.head import bases, landmarks, paint
from lightstage.head.cache import cached
from lightstage.head.head_file import NO_PARENT, PARENTS, HeadFile
from lightstage.head.skin import sculpt


@lru_cache(maxsize=1)
def procedural_head() -> HeadFile:
    """Return the mean procedural head; the same one at each call.

    It takes 3 s the first time on a computer, then it is read from the user's cache folder.
    """
    stored = dict(cached("head", _arrays))
    names = tuple(str(name) for name in stored.pop("expression_names"))
    head = HeadFile(**stored, shape_count=len(bases.IDENTITY), expression_names=names)  # type: ignore[arg-type]
    for array in vars(head).values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return head


def _arrays() -> dict[str, NDArray[Any]]:
    """Make the head's arrays."""
    neutral = sculpt()
    template = neutral.vertices.astype(np.float64)
    regressor = bases.joint_regressor(neutral)
    vt, ft = paint.texture_coordinates(neutral)
    faces, barycentric = landmarks.embed(neutral)
    roughness, specular = paint.highlights(neutral)
    return {
        "v_template": template,
        "f": neutral.faces.astype(np.uint32),
        "shapedirs": np.concatenate(
            [bases.basis(neutral, bases.IDENTITY), bases.basis(neutral, bases.EXPRESSION)], axis=2
        ),
        "posedirs": bases.pose_correctives(neutral),
        "J_regressor": regressor,
        "kintree_table": np.array([(NO_PARENT, *PARENTS[1:]), range(5)], dtype=np.int64),
        "weights": bases.skinning_weights(neutral),
        "J": regressor @ template,
        "vt": vt,
        "ft": ft,
        "texture": paint.paint(neutral, vt, ft, paint.Colouring()),
        "landmark_faces": faces,
        "landmark_barycentric": barycentric,
        "expression_names": np.array(list(bases.EXPRESSION)),
        "roughness": roughness,
        "specular": specular,
    }
