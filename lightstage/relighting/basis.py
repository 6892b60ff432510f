"""A low-rank basis of a set: few images instead of one for each light, for interactive use.

Neighbouring lights give similar images, so that the 96 images of a set span hardly more than a few
dozen dimensions. For each colour the best basis of K images in the least-squares sense is that of
the singular value decomposition (Eckart and Young 1936): with ``A = (lights, pixels)`` and U the K
first eigenvectors of the small matrix ``A A^T``, the images are ``U^T A``, and the light ``w`` on
them is ``U^T w``. ``A A^T`` takes one pass over the set.

What is lost depends on the light: hard lights lose most. :meth:`LightBasis.psnr_db` measures it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import FieldsError, InputError
from lightstage.half_floats import to_float
from lightstage.relighting.combine import (
    Missing,
    checked_weights,
    exposure_for,
    relight_many,
)
from lightstage.relighting.frames import batches_of

if TYPE_CHECKING:  # Zarr takes a second to import
    from lightstage.fields import ReflectanceFields

#: Values of all lights that are worked on at a time.
_BLOCK_VALUES = 1 << 23


@dataclass(frozen=True)
class LightBasis:
    """K images and what each light is made of.

    Attributes:
        images: ``(K, height, width, 3)`` linear float32; they may be negative.
        matrix: ``(lights, K, 3)``: how much of each image is in a light's, per colour. Its columns
            are orthonormal.
        singular_values: of the whole set, ``(lights, 3)``, falling; those from K on are lost.
    """

    images: NDArray[np.float32]
    matrix: NDArray[np.float64]
    singular_values: NDArray[np.float64]

    @classmethod
    def from_olat(
        cls, olat: NDArray[np.floating], size: int, *, missing: Missing = "raise"
    ) -> Self:
        """Return the best basis of ``size`` images for a set.

        Args:
            olat: ``(lights, height, width, 3)``, linear.
            size: images, 1 to the number of lights; with all of them nothing is lost.
            missing: as in :func:`~lightstage.relighting.relight`; ``skip`` takes NaN as dark.

        Raises:
            InputError: the shapes are wrong, the size does not fit, or an image is missing.
        """
        olat = np.asarray(olat)
        if olat.ndim != 4 or olat.shape[3] != 3:
            raise InputError(
                f"OLAT images must be (lights, height, width, 3), these are {olat.shape}."
            )
        lights = len(olat)
        if not 1 <= size <= lights:
            raise InputError(
                f"a basis of {size} images does not fit a set of {lights} lights; it takes 1 to "
                f"{lights}."
            )
        inner = np.zeros((3, lights, lights))
        for _, values in _blocks(olat, missing):
            # double precision: these are squares, which would drown weak images otherwise
            block = values.astype(np.float64)
            inner += block @ block.transpose(0, 2, 1)
        if not np.isfinite(inner).all():
            raise InputError(
                "the OLAT images hold NaN or infinite values. Use missing='skip' to take what is "
                "missing as dark."
            )
        squares, vectors = np.linalg.eigh(inner)  # ascending
        chosen = vectors[:, :, ::-1][:, :, :size]
        onto = chosen.transpose(0, 2, 1).astype(np.float32)
        images = np.empty((size, *olat.shape[1:]), dtype=np.float32)
        for rows, values in _blocks(olat, missing):
            part = onto @ values  # (3, size, pixels)
            images[:, rows] = part.transpose(1, 2, 0).reshape(size, -1, *olat.shape[2:])
        return cls(
            images=images,
            matrix=np.ascontiguousarray(chosen.transpose(1, 2, 0)),
            singular_values=np.sqrt(np.maximum(squares[:, ::-1], 0)).T,
        )

    @classmethod
    def from_fields(
        cls, fields: ReflectanceFields, index: int, size: int, *, missing: Missing = "skip"
    ) -> Self:
        """Return the best basis for one set of reflectance fields."""
        return cls.from_olat(fields.read_stored(index), size, missing=missing)

    def relight(self, weights: ArrayLike, *, threads: int | None = None) -> NDArray[np.float32]:
        """Return the image ``(height, width, 3)`` under a light ``(lights, 3)``."""
        image: NDArray[np.float32] = self.relight_many(np.asarray(weights)[None], threads=threads)[
            0
        ]
        return image

    def relight_many(
        self, weights: ArrayLike, *, threads: int | None = None
    ) -> NDArray[np.float32]:
        """Return the images ``(n, height, width, 3)`` under lights ``(n, lights, 3)``.

        Raises:
            DomeError: the number of lights differs.
            InputError: a weight is not finite.
        """
        weight = checked_weights(weights, len(self.matrix), "raise").astype(np.float64)
        on_basis = np.einsum("nlc,lkc->nkc", weight, self.matrix)
        return relight_many(self.images, on_basis, threads=threads)

    @property
    def rms_error(self) -> float:
        """Root mean square error of a pixel's colour in the one-light images (Eckart-Young)."""
        lost = float((self.singular_values[len(self.images) :] ** 2).sum())
        values = len(self.matrix) * self.images[0].size
        return float(np.sqrt(lost / values)) if values else 0.0

    def psnr_db(
        self, olat: NDArray[np.floating], weights: ArrayLike, *, missing: Missing = "skip"
    ) -> NDArray[np.float64]:
        """Return how near the basis comes to the whole set under each light, ``(n,)`` in dB.

        In linear light; the peak is display white, where the exposure puts the 99th percentile of
        the true image's luminance at 0.8.

        Args:
            olat: the set that the basis was made of.
            weights: ``(n, lights, 3)``, such as :func:`random_lights`.
            missing: as when it was made.
        """
        exact = relight_many(olat, weights, missing=missing)
        return _psnr_db(self.relight_many(weights), exact)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the basis as an ``.npz`` file of plain arrays."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    images=self.images,
                    matrix=self.matrix,
                    singular_values=self.singular_values,
                )
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a basis that :meth:`save` wrote; no code in the file is ever run.

        Raises:
            InputError: there is no such file.
            FieldsError: it is not a basis, or it is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: there is no such file.")
        names = ("images", "matrix", "singular_values")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                images, matrix, values = (stored[name] for name in names)
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as reason:
            raise FieldsError(f"{path}: is not a light basis, or is damaged: {reason}.") from None
        basis = cls(images, matrix, values)
        lights, size = matrix.shape[:2] if matrix.ndim == 3 else (0, 0)
        if (
            images.ndim != 4
            or (images.shape[0], images.shape[3]) != (size, 3)
            or matrix.shape != (lights, size, 3)
            or values.shape != (lights, 3)
            or (images.dtype, matrix.dtype, values.dtype) != (np.float32, np.float64, np.float64)
        ):
            raise FieldsError(f"{path}: is not a light basis, its arrays do not fit together.")
        return basis


def random_lights(lights: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``count`` coloured lights with energy from everywhere, ``(count, lights, 3)``.

    Energies are exponentially distributed, as uneven as a map that is made of independent sources.
    """
    return rng.exponential(size=(count, lights, 1)) * rng.uniform(0.5, 1.0, (count, lights, 3))


def basis_frames(
    fields: ReflectanceFields,
    plan: Iterable[tuple[int, ArrayLike]],
    size: int,
    *,
    missing: Missing = "skip",
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Yield for each ``(set index, weights)`` its image by a basis, and its PSNR in dB.

    Each set is read once while the plan stays with it; it is relit from all lights too, to measure
    what the basis loses (:meth:`LightBasis.psnr_db`).
    """
    held, olat, basis = -1, np.empty(0, np.float16), None
    for index, weights in batches_of(fields, plan):
        if basis is None or index != held:
            olat, basis = np.empty(0, np.float16), None  # let the old set go before the next
            held, olat = index, fields.read_stored(index)
            basis = LightBasis.from_olat(olat, size, missing=missing)
        weight = np.stack([np.asarray(own, dtype=np.float64) for own in weights])
        images = basis.relight_many(weight)
        quality = _psnr_db(images, relight_many(olat, weight, missing=missing))
        yield from zip(images, quality.tolist(), strict=True)


def _psnr_db(images: NDArray[np.float32], exact: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ``(n,)``; infinite where the images are the same."""
    decibels = []
    for image, true in zip(images, exact, strict=True):
        error = float(np.mean((image - true) ** 2, dtype=np.float64)) * exposure_for(true) ** 2
        decibels.append(-10 * np.log10(error) if error > 0 else np.inf)
    return np.array(decibels)


def _blocks(
    olat: NDArray[np.floating], missing: Missing
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield rows and their values ``(3, lights, pixels)``, few enough for the memory."""
    lights, height, width = olat.shape[:3]
    rows = max(1, _BLOCK_VALUES // max(1, lights * width * 3))
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        values = to_float(np.ascontiguousarray(olat[:, part])).reshape(lights, -1, 3)
        block = np.ascontiguousarray(values.transpose(2, 0, 1))
        if missing == "skip":
            block[np.isnan(block)] = 0
        yield part, block
