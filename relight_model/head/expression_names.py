"""What the names of expression components tell: lids, mirror images, the same in another model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.head.clip import HeadClip

#: Of two models that name their components, this share of the target's must be in the source.
LEAST_SHARED_NAMES = 0.5
_OTHER_SIDE = {"left": "right", "right": "left"}


def is_blink(names: tuple[str, ...], count: int) -> NDArray[np.bool_]:
    """Return which of ``count`` components close the eyes, ``(count,)``: their name says blink."""
    if not names:
        return np.zeros(count, dtype=bool)
    return np.array(["blink" in name.lower() for name in names], dtype=bool)


def mirror_images(names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each component the one that does the same on the other side, and its sign.

    ``blink left`` and ``blink right`` change places; what names no side is its own mirror image,
    and changes its sign if it goes ``aside``.

    Returns:
        ``(E,)`` indices and ``(E,)`` signs: ``mirrored = sign * coefficients[index]``.

    Raises:
        InputError: a model that names no components, or a component without its other side.
    """
    if not names:
        raise InputError(
            "this head model does not name its expressions, so they cannot be mirrored: which one "
            "is the other's mirror image is not known."
        )
    order = []
    for name in names:
        other = " ".join(_OTHER_SIDE.get(word, word) for word in name.split(" "))
        if other not in names:
            raise InputError(f"the expression {name!r} cannot be mirrored: there is no {other!r}.")
        order.append(names.index(other))
    aside = np.array(["aside" in name.split(" ") for name in names], dtype=bool)
    return np.array(order, dtype=np.int64), np.where(aside, -1.0, 1.0)


def expression_for(
    source: HeadClip, target: HeadClip
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return which of ``source``'s components drives each of ``target``'s.

    Returns:
        ``(E,)`` indices into the source's components, and ``(E,)`` whether there is one; the target
        keeps its mean where there is none.

    Raises:
        InputError: the heads are different models and their names do not tell, or name too little
            in common.
    """
    count, there = target.expression.shape[1], source.expression.shape[1]
    same = not source.head or not target.head or source.head == target.head
    if same and source.expression_names == target.expression_names:
        # one model: it may have been fitted with fewer of its components
        if there != count and not (source.head and source.head == target.head):
            raise InputError(
                f"the source has {there} expressions, the target {count}, and neither tells that "
                "they are of the same head model."
            )
        index = np.arange(count)
        return np.minimum(index, there - 1), index < there
    if not source.expression_names or not target.expression_names:
        raise InputError(
            f"source and target were fitted with different head models ({source.head or 'unnamed'} "
            f"and {target.head or 'unnamed'}) that do not name their expressions: fit both with "
            "the same model."
        )
    place = {name: k for k, name in enumerate(source.expression_names)}
    known = np.array([name in place for name in target.expression_names], dtype=bool)
    if known.mean() < LEAST_SHARED_NAMES:
        raise InputError(
            f"source and target have different head models, and only {known.sum()} of the target's "
            f"{count} expressions are in the source by name: fit both with the same model."
        )
    return np.array([place.get(name, 0) for name in target.expression_names], np.int64), known
