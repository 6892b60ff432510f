"""One performer's head, made ready to be lit: identity, colours, horizons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile, paint, procedural_head, shape_head
from lightstage.head.skin import sculpt
from lightstage.simulation.horizon import Horizons, find_horizons

Array = NDArray[np.float32]

#: Skin, hair and iris of the performers, linear albedo, from light to dark.
_SKINS = ((0.60, 0.39, 0.29), (0.55, 0.33, 0.23), (0.45, 0.255, 0.165), (0.30, 0.155, 0.095),
          (0.16, 0.080, 0.050))  # fmt: skip
_HAIRS = ((0.28, 0.17, 0.075), (0.085, 0.048, 0.026), (0.16, 0.055, 0.022), (0.022, 0.016, 0.013),
          (0.26, 0.25, 0.24))  # fmt: skip
_IRISES = ((0.07, 0.13, 0.19), (0.10, 0.055, 0.025), (0.07, 0.11, 0.045), (0.045, 0.024, 0.012))


@dataclass(frozen=True, eq=False)
class PerformerModel:
    """What stays the same of a performer from frame to frame.

    ``head`` the mean head; ``shape`` (S,) identity; ``rest`` (V, 3) its neutral face; ``faces``
    (F, 3); ``texture`` (size, size, 3)
    linear albedo; ``texel`` (V, 2) texture places in texels, (0, 0) = the middle of the top left
    one; ``roughness``, ``specular`` (V,); ``horizons`` for cast shadows.
    """

    head: HeadFile
    shape: NDArray[np.float64]
    rest: NDArray[np.float64]
    faces: NDArray[np.int32]
    texture: Array
    texel: Array
    roughness: Array
    specular: Array
    horizons: Horizons

    @cached_property
    def colour_planes(self) -> Array:
        """The texture's colours one below the other, ``(3 (size + 2), size)``.

        Each has its first and last row twice, so that looking between rows never mixes colours.
        """
        planes = np.pad(self.texture.transpose(2, 0, 1), ((0, 0), (1, 1), (0, 0)), mode="edge")
        return np.ascontiguousarray(planes.reshape(-1, self.texture.shape[1]))

    @property
    def colour_rows(self) -> Array:
        """The row of ``colour_planes`` where each colour begins, ``(3,)``."""
        return np.arange(3, dtype=np.float32) * np.float32(self.texture.shape[0] + 2) + np.float32(
            1
        )


@lru_cache(maxsize=8)
def performer_model(seed: int) -> PerformerModel:
    """Return the performer ``seed``: 0 is the mean head; others differ in shape and colours."""
    head = procedural_head()
    neutral = sculpt()
    shape = identity(seed)
    rest = shape_head(head, shape, ())
    texture = head.texture if seed == 0 else paint.paint(neutral, head.vt, head.ft, colouring(seed))
    size = texture.shape[0]
    texel = np.column_stack([head.vt[:, 0] * size, (1.0 - head.vt[:, 1]) * size]) - 0.5
    return PerformerModel(
        head=head,
        shape=shape,
        rest=rest,
        faces=neutral.faces,
        texture=texture,
        texel=texel.astype(np.float32),
        roughness=head.roughness,
        specular=head.specular,
        horizons=find_horizons(neutral, rest),
    )


def identity(seed: int) -> NDArray[np.float64]:
    """Return a performer's shape coefficients ``(S,)``, within two standard deviations."""
    count = procedural_head().shape_count
    if seed == 0:
        return np.zeros(count)
    return np.clip(0.8 * np.random.default_rng([7, seed]).standard_normal(count), -1.8, 1.8)


def colouring(seed: int) -> paint.Colouring:
    """Return a performer's colours."""
    if seed == 0:
        return paint.Colouring()
    rng = np.random.default_rng([11, seed])
    tone = int(rng.integers(len(_SKINS)))
    dark = tone >= 3
    hair = _HAIRS[3] if dark else _HAIRS[int(rng.integers(len(_HAIRS)))]
    iris = _IRISES[int(rng.choice([1, 3]))] if dark else _IRISES[int(rng.integers(len(_IRISES)))]
    return paint.Colouring(
        skin=_SKINS[tone], hair=hair, iris=iris, stubble=float(rng.uniform(0.0, 0.8)),
        freckles=float(rng.uniform(0.0, 0.8)), seed=seed,
    )  # fmt: skip
