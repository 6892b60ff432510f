"""Stacks of one-light pictures from other stages, brought in as reflectance fields.

A stack is a folder with one picture per light and, for each, where the light stood: in a ``.lp``
file (RTI), in a JSON list, or in the pictures' names (see :mod:`lightstage.exchange.file_names`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.aligned_store import FieldsWriter
from lightstage.colour import luminance
from lightstage.dome import Dome, read_light_positions
from lightstage.errors import DomeError, InputError
from lightstage.exchange.file_names import NamePattern
from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES, Transfer, read_image

#: Full-lit pictures are scaled so that this percentile of luminance is at most display white.
FULL_LIT_PERCENTILE = 99.5
#: Words in a file's name that mark a picture without any of the stack's lights.
DARK_WORDS = re.compile(r"(?:^|[^a-z])(ambient|dark|black)(?:[^a-z]|$)", re.IGNORECASE)
#: Bytes of working memory for each byte of the stored stack (its float16, copy and compression).
_WORKING_COPIES = 4


@dataclass(frozen=True)
class ImportedStack:
    """What :func:`import_olat` made.

    Attributes:
        path: the store of reflectance fields.
        lights: how many one-light pictures it holds.
        width: image width in pixels.
        height: image height in pixels.
        pictures: the file names, in the order of the lights.
        dark: the file that was subtracted, if any.
        full_lit_scale: the full-lit picture is the sum over all lights times this.
        clipped: fraction of values at or above full scale in the brightest picture's channels.
        warnings: what a user should know, one sentence each.
    """

    path: Path
    lights: int
    width: int
    height: int
    pictures: tuple[str, ...]
    dark: str | None
    full_lit_scale: float
    clipped: float
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able values, for ``--json``."""
        return {**asdict(self), "path": str(self.path)}


def import_olat(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    lights: str | os.PathLike[str] | ArrayLike | None = None,
    pattern: str | None = None,
    dark: str | os.PathLike[str] | None = None,
    transfer: Transfer = "linear",
    scale: float = 1.0,
    size: int | None = None,
    radius_m: float = 1.3,
    name: str | None = None,
) -> ImportedStack:
    """Bring a stack of one-light pictures into a store of reflectance fields with one set.

    Args:
        folder: the pictures: PNG, TIFF, PGM/PPM, JPEG, BMP (8 or 16 bits), EXR, HDR, float TIFF;
            gray becomes three equal channels, a fourth channel is dropped.
        output: the store to write, usually ``aligned.zarr``; it is replaced only once all
            pictures have been read.
        lights: where the lights are. A ``.lp`` file, whose names are matched to the pictures
            without regard to case or folders, by name and then without the suffix; or a JSON list
            of ``[x, y, z]``, a saved dome, or an array ``(lights, 3)``, for the pictures in the
            natural order of their names (``2`` before ``10``).
        pattern: instead, how names tell directions: ``yale``, or a pattern such as
            ``A{azimuth}E{elevation}``; see :class:`~lightstage.exchange.file_names.NamePattern`.
        dark: a picture without any of the lights, of the same size, to be subtracted. Pictures
            whose names say ``ambient``, ``dark`` or ``black`` are never taken for lights, and not
            subtracted unless named here.
        transfer: ``linear`` or ``srgb``: what the numbers of integer files mean. Photographs that
            were not made by a raw converter's linear setting are ``srgb``.
        scale: factor on linear values. Integer files are 1.0 at full scale (255 or 65535); 12 bits
            stored low in 16 want ``65535 / 4095``.
        size: longer side of the images in pixels; larger pictures are scaled down by area.
        radius_m: how far the lights are, where only their directions are known.
        name: the dome's name; the folder's by default.

    Returns:
        The store's path and a summary with warnings. The full-lit picture is the sum over all
        lights (what a tracking frame shows), scaled down where it would be brighter than white.

    Raises:
        InputError: the folder or a picture cannot be used, sizes differ, or memory would not do.
        DomeError: lights and pictures do not match, or directions make no sense.
    """
    folder, output = Path(folder), Path(output)
    if (lights is None) == (pattern is None):
        raise InputError(
            "say where the lights are: either by a file of light positions (.lp, .json), or by a "
            "pattern for the pictures' names such as 'yale' or 'A{azimuth}E{elevation}'."
        )
    if transfer not in ("linear", "srgb"):
        raise InputError(f"transfer must be 'linear' or 'srgb', not {transfer!r}.")
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"the scale must be above 0, it is {scale}.")
    if size is not None and size < 1:
        raise InputError(f"the size must be at least 1 pixel, it is {size}.")
    warnings: list[str] = []
    pictures = _pictures_in(folder, None if dark is None else Path(dark), warnings)
    if pattern is not None:
        pictures, positions = _placed_by_name(pictures, NamePattern.parse(pattern), warnings)
    elif isinstance(lights, str | os.PathLike) and Path(lights).suffix.lower() == ".lp":
        pictures, positions = _placed_by_list(pictures, Path(lights), folder, warnings)
    else:
        positions = _placed_in_order(pictures, lights, folder, radius_m)
    dome = _dome_of(pictures, positions, radius_m, name or folder.resolve().name)
    unlit = None
    if dark is not None:
        unlit = _read(_found(Path(dark), folder), transfer, scale)
    olat, clipped = _read_stack(pictures, unlit, dark, transfer, scale, size, warnings)
    total = olat.sum(axis=0, dtype=np.float32)
    bright = float(np.percentile(luminance(total), FULL_LIT_PERCENTILE))
    full_lit_scale = min(1.0, 1.0 / bright) if bright > 0 else 1.0
    height, width = total.shape[:2]
    summary = ImportedStack(
        path=output,
        lights=len(pictures),
        width=width,
        height=height,
        pictures=tuple(picture.name for picture in pictures),
        dark=None if dark is None else Path(dark).name,
        full_lit_scale=full_lit_scale,
        clipped=clipped,
        warnings=tuple(warnings),
    )
    provenance = {**summary.as_dict(), "transfer": transfer, "scale": scale}
    del provenance["path"]
    writer = FieldsWriter.create(
        output,
        sets=1,
        height=height,
        width=width,
        dome=dome,
        rate_hz=None,
        attributes={"origin": "image stack", "image_stack": provenance},
    )
    full_lit = total * np.float32(full_lit_scale)
    writer.write_set(0, olat=olat, full_lit=full_lit, time_s=0.0, centre_frame=0)
    writer.finish()
    return summary


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a sorting key by which ``light_2`` stands before ``light_10``."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts if part]


def _pictures_in(folder: Path, dark: Path | None, warnings: list[str]) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of pictures.")
    known = FLOAT_SUFFIXES | INTEGER_SUFFIXES
    found = [path for path in folder.iterdir() if path.suffix.lower() in known and path.is_file()]
    found = [path for path in found if not path.name.startswith(".")]
    if dark is not None:
        shot = _found(dark, folder)
        found = [path for path in found if not path.samefile(shot)]
    unlit = sorted(path.name for path in found if DARK_WORDS.search(path.stem))
    if unlit:
        advice = "" if dark is not None else "; name it as the dark picture to have it subtracted"
        warnings.append(f"{_some(unlit)}: taken for a picture without lights, left out{advice}.")
    found = [path for path in found if path.name not in unlit]
    if not found:
        raise InputError(f"{folder}: holds no one-light pictures ({', '.join(sorted(known))}).")
    return sorted(found, key=natural_order)


def _found(picture: Path, folder: Path) -> Path:
    """Return where a picture is that may have been named relative to the stack's folder."""
    for place in (picture, folder / picture):
        if place.is_file():
            return place
    raise InputError(f"{picture}: there is no such picture, nor one in {folder}.")


def _placed_by_name(
    pictures: list[Path], pattern: NamePattern, warnings: list[str]
) -> tuple[list[Path], NDArray[np.float64]]:
    placed = [(picture, pattern.direction(picture.stem)) for picture in pictures]
    strange = [picture.name for picture, direction in placed if direction is None]
    known = [(picture, direction) for picture, direction in placed if direction is not None]
    if not known:
        raise DomeError(
            f"{pictures[0].parent}: no picture's name fits the pattern {pattern.text!r}; one is "
            f"called {pictures[0].name}."
        )
    if strange:
        warnings.append(f"{_some(strange)}: the name does not fit the pattern, left out.")
    return [picture for picture, _ in known], np.array([direction for _, direction in known])


def _placed_by_list(
    pictures: list[Path], listing: Path, folder: Path, warnings: list[str]
) -> tuple[list[Path], NDArray[np.float64]]:
    rows = read_light_positions(listing)
    by_name = _grouped((picture.name.casefold(), picture) for picture in pictures)
    by_stem = _grouped((picture.stem.casefold(), picture) for picture in pictures)
    chosen: list[Path] = []
    missing: list[str] = []
    for text, _ in rows:
        base = PureWindowsPath(text).name  # also takes / for a separator
        same = by_name.get(base.casefold()) or by_stem.get(Path(base).stem.casefold(), [])
        if len(same) > 1:
            raise DomeError(f"{listing}: {text} could be {_some([p.name for p in same])}.")
        if same:
            chosen.append(same[0])
        else:
            missing.append(text)
    if missing:
        raise DomeError(
            f"{listing}: lists {_some(missing)}, which {folder} does not hold "
            f"({len(missing)} of {len(rows)} pictures are missing)."
        )
    twice = sorted({path.name for path in chosen if chosen.count(path) > 1})
    if twice:
        raise DomeError(f"{listing}: lists {_some(twice)} more than once.")
    unlisted = [picture.name for picture in pictures if picture not in chosen]
    if unlisted:
        warnings.append(f"{_some(unlisted)}: not listed in {listing.name}, left out.")
    return chosen, np.array([position for _, position in rows])


def _grouped(pairs: Any) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for key, path in pairs:
        groups.setdefault(key, []).append(path)
    return groups


def _placed_in_order(
    pictures: list[Path], lights: Any, folder: Path, radius_m: float
) -> NDArray[np.float64]:
    if isinstance(lights, str | os.PathLike):
        positions, source = Dome.load(lights, radius_m).positions_m, str(lights)
    else:
        positions, source = np.asarray(lights, dtype=np.float64), "the light directions"
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise DomeError(f"light directions must be (lights, 3), these are {positions.shape}.")
    if len(positions) != len(pictures):
        raise DomeError(
            f"{source}: {len(positions)} lights, but {folder} holds {len(pictures)} pictures "
            f"({pictures[0].name} to {pictures[-1].name})."
        )
    return positions


def _dome_of(
    pictures: list[Path], positions: NDArray[np.float64], radius_m: float, name: str
) -> Dome:
    lengths = np.linalg.norm(positions, axis=1)
    bad = [pictures[i].name for i in np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-9)))]
    if bad:
        raise DomeError(f"{_some(bad)}: the light has no direction (zero, or not finite).")
    units = positions / lengths[:, None]
    cosines = units @ units.T - 2.0 * np.eye(len(units))
    if len(units) > 1 and cosines.max() > 1.0 - 1e-9:
        first, second = np.unravel_index(int(cosines.argmax()), cosines.shape)
        raise DomeError(
            f"{pictures[first].name} and {pictures[second].name} are lit from the same direction; "
            f"keep one of them."
        )
    known_distance = np.abs(lengths - 1.0).max() >= 1e-2
    places = positions if known_distance else units * radius_m
    leds = [{"position_m": [float(value) for value in place]} for place in places]
    return Dome.parse({"name": name, "leds": leds}, name)


def _read_stack(
    pictures: Sequence[Path],
    unlit: NDArray[np.float32] | None,
    dark: str | os.PathLike[str] | None,
    transfer: Transfer,
    scale: float,
    size: int | None,
    warnings: list[str],
) -> tuple[NDArray[np.float16], float]:
    """Read light by light into ``(lights, height, width, 3)`` float16, as the store keeps it."""
    first = _read(pictures[0], transfer, scale)
    whole = first.shape[:2]
    if unlit is not None and unlit.shape != first.shape:
        raise InputError(
            f"{dark}: the dark picture is {_extent(unlit)}, {pictures[0].name} is "
            f"{_extent(first)}; they must be of one size to be subtracted."
        )
    height, width = _fitted(whole, size)
    if size is not None and size > max(whole):
        warnings.append(f"the pictures are smaller than {size} pixels; kept as they are.")
    _check_memory(len(pictures), height, width)
    olat = np.empty((len(pictures), height, width, 3), dtype=np.float16)
    clipped, negative = 0.0, 0
    for index, path in enumerate(pictures):
        picture = first if index == 0 else _read(path, transfer, scale)
        if picture.shape[:2] != whole:
            raise InputError(
                f"{path}: is {_extent(picture)}, {pictures[0].name} is {whole[1]} x {whole[0]}; "
                f"all pictures of a stack must be of one size."
            )
        clipped = max(clipped, float((picture >= scale * (1 - 1e-6)).mean()))
        if unlit is not None:
            picture = picture - unlit
            negative += int((picture < 0).any())
            picture = np.maximum(picture, 0.0)
        if whole != (height, width):
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        olat[index] = np.minimum(picture, np.finfo(np.float16).max)
    if clipped > 0.01:
        warnings.append(f"up to {clipped:.1%} of a picture is at full scale: burnt out there.")
    if negative:
        warnings.append(f"in {negative} pictures the dark picture is brighter somewhere; 0 there.")
    return olat, clipped


def _read(path: Path, transfer: Transfer, scale: float) -> NDArray[np.float32]:
    picture = read_image(path, transfer)
    if not np.isfinite(picture).all():
        raise InputError(f"{path}: holds NaN or infinite values.")
    return picture * np.float32(scale)


def _fitted(shape: tuple[int, ...], size: int | None) -> tuple[int, int]:
    height, width = shape[:2]
    longer = max(height, width)
    if size is None or size >= longer:
        return height, width
    return max(1, round(height * size / longer)), max(1, round(width * size / longer))


def _check_memory(lights: int, height: int, width: int) -> None:
    import psutil

    needed = lights * height * width * 3 * 2 * _WORKING_COPIES
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise InputError(
            f"a set of {lights} images of {width} x {height} needs {needed / 1e9:.1f} GB of "
            f"memory, {free / 1e9:.1f} GB are free; ask for a smaller size."
        )


def _extent(picture: NDArray[np.float32]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _some(names: Sequence[str]) -> str:
    head = ", ".join(names[:4])
    return head if len(names) <= 4 else f"{head} and {len(names) - 4} more"
