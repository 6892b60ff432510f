"""Where a low-rank head's light basis starts: smooth functions of direction, or training fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lightstage.dome import Dome
from lightstage.errors import InputError

if TYPE_CHECKING:
    from relight_model.networks.config import Curve


def smooth_light_basis(
    lights: int, rank: int, curve: Curve, directions: ArrayLike | None = None
) -> Tensor:
    """Return a light basis ``(lights, rank)`` of smooth functions of the lights' directions.

    For ``signed`` planes: the smoothest ``rank`` functions on these lights, orthogonal and of mean
    square 1 (eigenvectors of a kernel on the sphere; the counterpart of spherical harmonics for any
    arrangement). Else: ``rank`` lobes, evenly spread over the sphere, that sum to 1 at each light.

    Args:
        lights: how many there are.
        rank: how many functions.
        curve: the head's.
        directions: ``(lights, 3)`` unit vectors; by default those of an evenly spread dome.

    Raises:
        InputError: other than ``lights`` directions.
    """
    if directions is None:
        directions = Dome.evenly_spread(lights).directions
    towards = np.asarray(directions, np.float64)
    if towards.shape != (lights, 3):
        raise InputError(f"directions must be ({lights}, 3), they are {towards.shape}.")
    if curve == "signed":
        kernel = np.exp(2.0 * (towards @ towards.T - 1.0))
        _, vectors = np.linalg.eigh(kernel)
        smooth = vectors[:, ::-1][:, :rank] * np.sqrt(lights)
        signs = np.sign(smooth.sum(axis=0))
        return torch.from_numpy((smooth * np.where(signs == 0, 1, signs)).astype(np.float32))
    middles = np.asarray(Dome.evenly_spread(rank).directions) if rank > 1 else np.eye(3)[2:]
    # a lobe falls to 1/e half way to the next
    sharpness = 2.0 / (4.0 * np.pi / rank) * np.pi
    lobes = np.exp(sharpness * (towards @ middles.T - 1.0))
    return torch.from_numpy((lobes / lobes.sum(axis=1, keepdims=True)).astype(np.float32))


def fitted_light_basis(fields: Iterable[ArrayLike], rank: int) -> tuple[Tensor, float]:
    """Return the best light basis of some training fields, for a ``signed`` head.

    The eigenvectors of the lights' second moments, largest first: no other ``rank`` basis images
    with a fixed mixing come nearer to these fields in the mean square. Fields are taken one by one.

    Args:
        fields: OLAT sets ``(lights, 3, h, w)`` or ``(lights, h, w, 3)``, linear.
        rank: K.

    Returns:
        The basis ``(lights, rank)`` of mean square 1 in each column, and the share of the fields'
        energy that it holds.

    Raises:
        InputError: no fields, fields of different lights, or fewer lights than ``rank``.
    """
    moments: np.ndarray | None = None
    for field in fields:
        flat = np.asarray(field, np.float64)
        flat = flat.reshape(len(flat), -1)
        moment = flat @ flat.T
        if moments is not None and moments.shape != moment.shape:
            raise InputError(
                f"all fields must have the same lights: {len(moments)} and {len(flat)} were given."
            )
        moments = moment if moments is None else moments + moment
    if moments is None:
        raise InputError("a light basis needs at least one field.")
    if rank > len(moments):
        raise InputError(f"{len(moments)} lights have no basis of {rank}.")
    values, vectors = np.linalg.eigh(moments)
    best = vectors[:, ::-1][:, :rank] * np.sqrt(len(moments))
    best = best * np.where(best.sum(axis=0) < 0, -1.0, 1.0)
    held = float(values[::-1][:rank].sum() / max(values.sum(), 1e-30))
    return torch.from_numpy(best.astype(np.float32)), held
