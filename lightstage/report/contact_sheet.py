"""Contact sheets: several pictures on one page, each with a line under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb, encode_srgb

_PAPER = 0.16
_INK = 0.92
_MARGIN_PX = 12


class Panel(NamedTuple):
    """A picture ``(height, width, 3)``, linear and exposed for display, and the line under it."""

    caption: str
    picture: NDArray[np.floating]


def contact_sheet(
    rows: Sequence[Sequence[Panel]], title: str = "", panel_width: int = 384
) -> NDArray[np.float32]:
    """Return one linear picture of all panels, row by row, each ``panel_width`` pixels wide.

    Args:
        rows: the panels; rows may have different lengths.
        title: a line on top.
        panel_width: pictures are scaled to it, keeping their shape.
    """
    bands = [_band([_drawn(panel, panel_width) for panel in row]) for row in rows if row]
    width = max(band.shape[1] for band in bands)
    page = [_padded(band, width) for band in bands]
    if title:
        page.insert(0, _line(title, width, scale=0.8))
    sheet = np.concatenate(page, axis=0)
    return decode_srgb(sheet)


def _drawn(panel: Panel, width: int) -> NDArray[np.float32]:
    picture = np.nan_to_num(np.asarray(panel.picture, dtype=np.float32))
    height = round(picture.shape[0] * width / picture.shape[1])
    smaller = width < picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    # scaled in linear light, as a lens would
    scaled = cv2.resize(np.clip(picture, 0.0, 1.0), (width, height), interpolation=how)
    return np.concatenate([encode_srgb(scaled), _line(panel.caption, width)], axis=0)


def _line(text: str, width: int, scale: float = 0.5) -> NDArray[np.float32]:
    height = round(52 * scale)
    strip = np.full((height, width, 3), _PAPER, dtype=np.float32)
    face, weight = cv2.FONT_HERSHEY_SIMPLEX, 1
    (length, _), _ = cv2.getTextSize(text, face, scale, weight)
    if length > width - 8:
        scale *= (width - 8) / length
    ink = (strip * 255).astype(np.uint8)
    at = (4, round(height * 0.68))
    cv2.putText(ink, text, at, face, scale, (_INK * 255,) * 3, weight, cv2.LINE_AA)
    return np.asarray(ink / np.float32(255.0), dtype=np.float32)


def _band(pictures: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    height = max(picture.shape[0] for picture in pictures)
    columns: list[NDArray[np.float32]] = []
    for picture in pictures:
        tall = np.full((height + _MARGIN_PX, picture.shape[1] + _MARGIN_PX, 3), _PAPER, np.float32)
        tall[: picture.shape[0], : picture.shape[1]] = picture
        columns.append(tall)
    return np.concatenate(columns, axis=1)


def _padded(band: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    page = np.full((band.shape[0], width, 3), _PAPER, dtype=np.float32)
    page[:, : band.shape[1]] = band
    return page
