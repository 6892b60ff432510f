"""Views: which part of the frame a set shows, at which size, and where its flow lives.

All rectangles are in source pixels, a pixel's middle at whole numbers: pixel 0 reaches from -0.5
to 0.5, so a rectangle ``(left, top, width, height)`` starts at ``left - 0.5``. Four grids lie over
the source: the output picture; the flow grid, coarser, over exactly the same part; and over a
region with a margin, from which moving things come in, what is developed and what flow is found
on. Each is laid on another by an affine map without rotation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Margin around the output from which motion may come, as a share of its longer side, and the
#: least margin in source pixels.
_MARGIN_SHARE = 0.04
_MARGIN_PX = 32
#: Flow images have about this many pixels at most unless a scale is asked for: a head that is
#: larger than this shows it moves no less surely; and so many to one output pixel along a side.
_MOST_FLOW_PIXELS = 700_000
_MOST_FLOW_PER_OUTPUT = 1.5
#: Developed regions start and end at multiples of this: whole colour cells at every level.
_ALIGNED_PX = 16
#: The level at which one developed pixel is as large as that.
_MOST_LEVEL = 4
#: At least this many pixels around a region are developed with it, so that its own do not feel the
#: border.
GUARD_PX = 8


class Rectangle(NamedTuple):
    """Whole source pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column that is no more inside."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row that is no more inside."""
        return self.top + self.height

    def contains(self, other: Rectangle) -> bool:
        """Whether ``other`` lies inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def grown(self, margin: int, width: int, height: int) -> Rectangle:
        """Return the rectangle with a margin, on whole cells, inside ``width`` x ``height``."""
        step = _ALIGNED_PX
        left = max(0, (self.left - margin) // step * step)
        top = max(0, (self.top - margin) // step * step)
        right = min(width, -(-(self.right + margin) // step) * step)
        bottom = min(height, -(-(self.bottom + margin) // step) * step)
        return Rectangle(left, top, right - left, bottom - top)


class View(NamedTuple):
    """What one set shows.

    Attributes:
        left, top, width, height: the part of the frame that becomes the output, source pixels;
            may lie between pixels.
        out_width, out_height: the output picture.
        grid_width, grid_height: the flow grid over the same part, as flows are stored.
        region: what is developed and where flow is found: the part and a margin.
        level: the region is developed at ``1 / 2**level`` of the source's size.
        flow_width, flow_height: the flow image over ``region``.
    """

    left: float
    top: float
    width: float
    height: float
    out_width: int
    out_height: int
    grid_width: int
    grid_height: int
    region: Rectangle
    level: int
    flow_width: int
    flow_height: int

    @classmethod
    def of(
        cls,
        part: tuple[float, float, float, float],
        size: tuple[int, int] | None,
        frame: tuple[int, int],
        *,
        flow_scale: float | None = None,
        finest_scale: int = 1,
    ) -> View:
        """Return the view of ``part`` of a frame at ``size``.

        Args:
            part: left, top, width, height in source pixels.
            size: output width and height; ``None`` = the part's own.
            frame: the frame's width and height.
            flow_scale: flow pixels per source pixel; ``None`` = as the output needs.
            finest_scale: DIS finds flow on ``1 / 2**finest_scale`` of the flow image.
        """
        left, top, width, height = part
        out_width, out_height = size or (round(width), round(height))
        shrink = min(width / out_width, height / out_height)
        level = min(_MOST_LEVEL, round(math.log2(max(shrink, 1.0))))
        margin = max(_MARGIN_PX, round(_MARGIN_SHARE * max(width, height)))
        inner = Rectangle(
            math.floor(left), math.floor(top), math.ceil(width) + 1, math.ceil(height) + 1
        )
        region = inner.grown(margin, *frame)
        if flow_scale is None:
            pixels = region.width * region.height
            flow_scale = min(
                1.0, math.sqrt(_MOST_FLOW_PIXELS / pixels), _MOST_FLOW_PER_OUTPUT / max(shrink, 1.0)
            )
        # a cell of the grid is as large as DIS's own finest cell, and at least two output pixels
        cell = max((1 << max(1, finest_scale)) / flow_scale, 2.0 * max(shrink, 1.0))
        return cls(
            left=left,
            top=top,
            width=width,
            height=height,
            out_width=out_width,
            out_height=out_height,
            grid_width=max(4, min(out_width, math.ceil(width / cell))),
            grid_height=max(4, min(out_height, math.ceil(height / cell))),
            region=region,
            level=level,
            flow_width=max(16, round(region.width * flow_scale)),
            flow_height=max(16, round(region.height * flow_scale)),
        )

    @property
    def flow_px(self) -> tuple[float, float]:
        """Source pixels per flow pixel, along x and y."""
        return self.region.width / self.flow_width, self.region.height / self.flow_height

    @property
    def developed_px(self) -> float:
        """Source pixels per developed pixel."""
        return float(1 << self.level)

    def grid_to_flow_image(self) -> NDArray[np.float64]:
        """Return the ``(2, 3)`` affine matrix from the flow grid's cells to the flow image."""
        return self._to_region(self.grid_width, self.grid_height, *self.flow_px)

    def grid_to_developed(self) -> NDArray[np.float64]:
        """Return the ``(2, 3)`` affine matrix from the flow grid's cells to developed pixels."""
        step = self.developed_px
        return self._to_region(self.grid_width, self.grid_height, step, step)

    def output_to_developed(self) -> NDArray[np.float64]:
        """Return the ``(2, 3)`` affine matrix from output pixels to the developed region's."""
        step = self.developed_px
        return self._to_region(self.out_width, self.out_height, step, step)

    def _to_region(
        self, columns: int, rows: int, step_x: float, step_y: float
    ) -> NDArray[np.float64]:
        scale_x, scale_y = self.width / columns / step_x, self.height / rows / step_y
        shift_x = (self.left - self.region.left) / step_x + 0.5 * scale_x - 0.5
        shift_y = (self.top - self.region.top) / step_y + 0.5 * scale_y - 0.5
        return np.array([[scale_x, 0.0, shift_x], [0.0, scale_y, shift_y]])


def resample(
    image: NDArray[np.float32], affine: NDArray[np.float64], width: int, height: int
) -> NDArray[np.float32]:
    """Return ``image`` at the places ``affine`` gives for each output pixel, bilinearly.

    Places outside take the nearest edge's value. ``affine`` has no rotation or shear.
    """
    import cv2

    drawn = cv2.warpAffine(
        image,
        affine,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(drawn)
