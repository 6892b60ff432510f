"""Spherical Voronoi cells of the lights, laid over a latitude-longitude picture.

The picture is taken as constant within each pixel, and integrated over each light's cell. A
quadtree finds which blocks of pixels lie wholly within a cell; only the blocks that a cell's edge
crosses are split, down to pixels (and further where pixels are coarse). A leaf that an edge still
crosses is divided along the great circle between its two nearest lights, in closed form. So every
steradian goes to some light, once: the weights add up to the integral over the sphere whatever the
layout, and the work grows with the length of the cells' edges and not with the picture.

Nearest light and spherical Voronoi cell are the same thing, so this needs no diagram: one light,
two, lights on one circle and a half dome all work. Where lights are missing on one side, the
outermost lights' cells reach around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.relighting.points import PointLights, point_lights
from lightstage.relighting.sphere import row_solid_angles

#: Leaves that one edge crosses are at most this high, in radians, and never larger than a pixel.
LEAF_RAD = 0.0063
#: Leaves where edges meet are at most this high, in radians.
CORNER_LEAF_RAD = 0.0032
#: About how many blocks high the coarsest level of the tree is.
_COARSEST_ROWS = 16
#: A block with more candidates than this is one where unusually many cells meet.
_FEW = 8


def coarsest_block(height: int) -> int:
    """Return the side in pixels, a power of two, of the tree's first blocks."""
    return 1 << max(0, (height // _COARSEST_ROWS).bit_length() - 1)


class EnergyPyramid:
    """A picture's light, summed over blocks of 1, 2, 4 … pixels a side.

    Holds for each block the integral of radiance over solid angle; beyond the picture's edge,
    where blocks overhang, there is no light.
    """

    def __init__(self, radiance: NDArray[np.floating]) -> None:
        height, width = radiance.shape[:2]
        self.shape = (height, width)
        self.radiance = radiance
        self.solid_angles = row_solid_angles(height, width)
        self.blocks: dict[int, NDArray[np.float64]] = {}
        side, level = 2, None
        while side <= coarsest_block(height):
            level = self._first_level() if level is None else _halved(level)
            self.blocks[side] = level
            side *= 2

    def _first_level(self) -> NDArray[np.float64]:
        height, width = self.shape
        sums = np.empty(((height + 1) // 2, (width + 1) // 2, 3))
        for top in range(0, height, 128):  # in strips, or a large map would need its size again
            rows = slice(top, min(top + 128, height))
            strip = self.radiance[rows] * self.solid_angles[rows, None, None]
            sums[top // 2 : (rows.stop + 1) // 2] = _halved(strip)
        return sums

    @cached_property
    def points(self) -> PointLights:
        """The picture's light as a few thousand points, for smooth kernels."""
        return point_lights(self.radiance)

    def integral(self) -> NDArray[np.float64]:
        """Return the integral over the sphere, ``(3,)``."""
        if self.blocks:
            return np.asarray(self.blocks[max(self.blocks)].sum(axis=(0, 1)))
        return np.asarray(np.einsum("yxc,y->c", self.radiance, self.solid_angles, dtype=np.float64))


def _halved(level: NDArray[np.floating]) -> NDArray[np.float64]:
    rows, columns = level.shape[:2]
    padded = np.pad(level, ((0, rows % 2), (0, columns % 2), (0, 0)))
    pairs = padded[0::2] + padded[1::2]
    return np.asarray(pairs[:, 0::2] + pairs[:, 1::2], dtype=np.float64)


@dataclass(frozen=True)
class _Pieces:
    """Blocks of one side length, each a light's: ``share`` of a block goes to its light."""

    side: float
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    light: NDArray[np.int64]
    #: Solid angle of the piece where blocks are parts of pixels; else the fraction of the block.
    share: NDArray[np.float64]


class LightCells:
    """The Voronoi cells of ``lights`` distinct directions over pictures of one size."""

    def __init__(self, height: int, width: int, directions: NDArray[np.float64]) -> None:
        self.shape = (height, width)
        self.lights = len(directions)
        self._pieces = list(_divide(height, width, directions))

    def integrate(self, energy: EnergyPyramid) -> NDArray[np.float64]:
        """Return the light that falls into each cell, ``(lights, 3)``."""
        sums = np.zeros((self.lights, 3))
        for pieces in self._pieces:
            if pieces.side > 1:
                light = energy.blocks[int(pieces.side)][pieces.row, pieces.column]
            else:
                light = energy.radiance[pieces.row, pieces.column].astype(np.float64)
            for channel in range(3):
                sums[:, channel] += np.bincount(
                    pieces.light, light[:, channel] * pieces.share, minlength=self.lights
                )
        return sums


@lru_cache(maxsize=16)
def cells_for(height: int, width: int, directions: bytes) -> LightCells:
    """Return the cells for ``(lights, 3)`` float64 unit vectors given as bytes, from a cache."""
    vectors = np.frombuffer(directions, dtype=np.float64).reshape(-1, 3)
    return LightCells(height, width, vectors)


def _divide(height: int, width: int, directions: NDArray[np.float64]) -> Iterator[_Pieces]:
    apart = np.linalg.norm(directions[:, None] - directions[None], axis=2)
    np.fill_diagonal(apart, 1.0)
    side = coarsest_block(height)
    grid = np.mgrid[0 : -(-height // side), 0 : -(-width // side)].reshape(2, -1)
    everyone = np.broadcast_to(np.arange(len(directions)), (grid.shape[1], len(directions)))
    row, column = grid.astype(np.int64)
    corners = [_Corners(row, column, everyone, np.ones(everyone.shape, dtype=bool))]
    nothing = np.zeros(0, dtype=np.int64)
    edges = none = _Edges(nothing, nothing, nothing, nothing, np.zeros((0, 3)))
    level = _Level(height, width, float(side))
    while True:
        edges_met = none
        rest: list[_Corners] = []
        for group in corners:
            settled, met, left = group.sort_out(level, directions, apart)
            yield settled
            edges_met = edges_met.joined(met)
            rest += left
        if level.angle <= LEAF_RAD and level.side <= 1:
            yield from edges.joined(edges_met).cut(level)
            edges = none
        else:
            settled, edges = edges.sort_out(level)
            yield settled
            edges = edges.joined(edges_met).quartered(level)
        corners = [group.quartered(level) for group in rest]
        if not corners and not len(edges.row):
            return
        level = _Level(height, width, level.side / 2)


@dataclass(frozen=True)
class _Corners:
    """Blocks in which more than two lights may be nearest somewhere."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    #: ``(blocks, candidates)`` lights; those that are not ``valid`` pad the list.
    light: NDArray[np.int64]
    valid: NDArray[np.bool_]

    def sort_out(
        self, level: _Level, directions: NDArray[np.float64], apart: NDArray[np.float64]
    ) -> tuple[_Pieces, _Edges, list[_Corners]]:
        """Return the blocks that are one light's, those that two share, and the rest.

        The rest comes as two groups, so that the few blocks where very many cells meet (the poles
        of a ring of lights) do not make everybody's list of candidates long.
        """
        cosines = np.einsum(
            "nd,nkd->nk", level.centres(self.row, self.column), directions[self.light]
        )
        cosines[~self.valid] = -2.0
        here = np.arange(len(self.row))
        place = cosines.argmax(axis=1)
        first = self.light[here, place]
        # sine of the angle from the centre to the great circle between the nearest and each other
        gap = (cosines[here, place][:, None] - cosines) / apart[first[:, None], self.light]
        rival = (gap <= level.reach[self.row][:, None] + 1e-12) & self.valid
        rivals = rival.sum(axis=1)
        one = rivals == 1
        settled = level.pieces(self.row[one], self.column[one], first[one])
        finest = level.side <= 1 and level.angle <= CORNER_LEAF_RAD
        two = (rivals > 1) if finest else (rivals == 2)
        gap[here, place] = np.inf
        gap[~self.valid] = np.inf
        second = self.light[here, gap.argmin(axis=1)][two]
        first = first[two]
        normal = (directions[first] - directions[second]) / apart[first, second][:, None]
        met = _Edges(self.row[two], self.column[two], first, second, normal)
        rest = ~(one | two)
        groups = [rest & (rivals <= _FEW), rest & (rivals > _FEW)]
        return settled, met, [self._kept(group, rival) for group in groups if group.any()]

    def _kept(self, chosen: NDArray[np.bool_], rival: NDArray[np.bool_]) -> _Corners:
        rival = rival[chosen]
        most = int(rival.sum(axis=1).max())
        order = np.argsort(~rival, axis=1, kind="stable")[:, :most]
        return _Corners(
            self.row[chosen],
            self.column[chosen],
            np.take_along_axis(self.light[chosen], order, axis=1),
            np.take_along_axis(rival, order, axis=1),
        )

    def quartered(self, level: _Level) -> _Corners:
        row, column, kept = level.quarters(self.row, self.column)
        light, valid = np.repeat(self.light, 4, axis=0), np.repeat(self.valid, 4, axis=0)
        return _Corners(row[kept], column[kept], light[kept], valid[kept])


@dataclass(frozen=True)
class _Edges:
    """Blocks that the edge between two lights' cells may cross, and no other edge."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    #: Unit vector of the great circle between the two, on the side of ``first``.
    normal: NDArray[np.float64]

    def sort_out(self, level: _Level) -> tuple[_Pieces, _Edges]:
        """Return the blocks on one side of the edge and those that it crosses."""
        distance = np.einsum("nd,nd->n", level.centres(self.row, self.column), self.normal)
        crossed = np.abs(distance) <= level.reach[self.row] + 1e-12
        clear = ~crossed
        light = np.where(distance > 0, self.first, self.second)[clear]
        settled = level.pieces(self.row[clear], self.column[clear], light)
        return settled, _Edges(
            self.row[crossed],
            self.column[crossed],
            self.first[crossed],
            self.second[crossed],
            self.normal[crossed],
        )

    def joined(self, other: _Edges) -> _Edges:
        return _Edges(
            np.concatenate([self.row, other.row]),
            np.concatenate([self.column, other.column]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.normal, other.normal]),
        )

    def quartered(self, level: _Level) -> _Edges:
        row, column, kept = level.quarters(self.row, self.column)
        first, second = np.repeat(self.first, 4), np.repeat(self.second, 4)
        normal = np.repeat(self.normal, 4, axis=0)
        return _Edges(row[kept], column[kept], first[kept], second[kept], normal[kept])

    def cut(self, level: _Level) -> Iterator[_Pieces]:
        """Yield both lights' parts of each block."""
        beyond = level.fraction_beyond(self.row, self.column, self.normal)
        for light, fraction in ((self.first, 1.0 - beyond), (self.second, beyond)):
            part = fraction > 0
            yield level.pieces(self.row[part], self.column[part], light[part], fraction[part])


class _Level:
    """The blocks of one size: where they look, how far they reach, what they cover."""

    def __init__(self, height: int, width: int, side: float) -> None:
        self.side = side
        self.angle = side * np.pi / height
        self._shape = (height, width)
        rows, columns = np.arange(-(-height // side)), np.arange(-(-width // side))
        top = np.pi * rows * side / height
        bottom = np.minimum(np.pi * (rows + 1) * side / height, np.pi)
        theta = (top + bottom) / 2.0
        phi = 2.0 * np.pi * ((columns + 0.5) * side / width - 0.5)
        self._half_phi = np.pi * side / width
        self._half_theta = (bottom - top) / 2.0
        self._sin_theta, self._cos_theta = np.sin(theta), np.cos(theta)
        self._sin_phi, self._cos_phi = np.sin(phi), np.cos(phi)
        # the farthest point of a latitude-longitude block from its centre is a corner
        corners = [
            np.cos(edge) * self._cos_theta + np.sin(edge) * self._sin_theta * np.cos(self._half_phi)
            for edge in (top, bottom)
        ]
        farthest = np.minimum(*corners)
        #: Sine of the angle from a block's centre to its farthest point, by row.
        self.reach = np.where(farthest > 0, np.sqrt(np.clip(1.0 - farthest**2, 0.0, 1.0)), 1.0)
        self._solid_angle = (np.cos(top) - np.cos(bottom)) * 2.0 * self._half_phi

    def centres(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
        centre = np.empty((len(row), 3))
        sin_theta = self._sin_theta[row]
        centre[:, 0] = sin_theta * self._sin_phi[column]
        centre[:, 1] = self._cos_theta[row]
        centre[:, 2] = -sin_theta * self._cos_phi[column]
        return centre

    def quarters(
        self, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_] | slice]:
        """Return the quarters of blocks, and which of them are not wholly outside the picture."""
        rows = (2 * row[:, None] + np.array([0, 0, 1, 1])).ravel()
        columns = (2 * column[:, None] + np.array([0, 1, 0, 1])).ravel()
        height, width = self._shape
        if self.side <= 1:
            return rows, columns, slice(None)
        half = self.side / 2
        return rows, columns, (rows * half < height) & (columns * half < width)

    def pieces(
        self,
        row: NDArray[np.int64],
        column: NDArray[np.int64],
        light: NDArray[np.int64],
        fraction: NDArray[np.float64] | None = None,
    ) -> _Pieces:
        share = np.ones(len(row)) if fraction is None else fraction
        if self.side <= 1:  # parts of pixels; larger blocks have their light in the pyramid
            share = share * self._solid_angle[row]
        if self.side < 1:
            parts = round(1.0 / self.side)
            row, column = row // parts, column // parts
        return _Pieces(self.side, row, column, light, share)

    def fraction_beyond(
        self, row: NDArray[np.int64], column: NDArray[np.int64], normal: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what part of each block is on the far side of the great circle of ``normal``.

        The circle is taken as straight and the block as a rectangle, which at the size of a leaf
        is exact to a few parts in a thousand of the leaf.
        """
        x, y, z = normal.T
        sin_theta, cos_theta = self._sin_theta[row], self._cos_theta[row]
        sin_phi, cos_phi = self._sin_phi[column], self._cos_phi[column]
        away = sin_phi * x - cos_phi * z
        distance = sin_theta * away + cos_theta * y
        a = np.abs(cos_theta * away - sin_theta * y) * self._half_theta[row]
        b = np.abs(cos_phi * x + sin_phi * z) * sin_theta * self._half_phi
        long, short = np.maximum(np.maximum(a, b), 1e-300), np.minimum(a, b)
        # of a rectangle cut by a line at this distance: a triangle off a corner, or a trapezium
        near = np.abs(distance)
        triangle = (long + short - near) ** 2 / np.maximum(8.0 * long * short, 1e-300)
        smaller = np.where(near >= long - short, triangle, 0.5 - near / (2.0 * long))
        smaller = np.where(near >= long + short, 0.0, np.clip(smaller, 0.0, 0.5))
        return np.where(distance >= 0, smaller, 1.0 - smaller)
