"""Exporting a range of sets as files: numbered, resumable, never mixed with another export's.

``export.json`` beside the files says what they were made from and how. Each file gets its name when
it is whole, so one that is there need not be made again; files made otherwise are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lightstage import __version__
from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import COLOUR_SPACES, ColourSpace
from lightstage.exchange.field_pictures import (
    FieldPicture,
    read_picture,
)
from lightstage.exchange.film import FilmWriter
from lightstage.exchange.layered_exr import write_layered_exr
from lightstage.exchange.light_positions import write_light_positions
from lightstage.exchange.rti_stack import rti_pictures, write_rti_stack
from lightstage.exchange.tagged_stills import write_tagged_still
from lightstage.fields import ReflectanceFields
from lightstage.manifest import Manifest

Progress = Callable[[int, int], None]
SETTINGS_FILE = "export.json"
#: Working copies of a set beside what the file holds.
_SPARE_PICTURES = 6


class ExportSettings(Manifest):
    """How files are made; what ``export.json`` holds."""

    error: ClassVar = InputError

    format: Literal["exr", "png", "tiff", "rti"]
    source: Annotated[str, Field(description="identifies the sets that are exported")]
    name: Annotated[str, Field(description="what file names begin with")]
    pictures: tuple[str, ...]
    colour: Literal["rec709", "acescg"] = "rec709"
    transfer: Literal["linear", "srgb"] = "linear"
    layout: Literal["parts", "layers"] = "parts"
    depth: Literal["half", "float"] = "half"
    compression: str = "zip"
    picture_format: Literal["jpg", "png"] = "jpg"
    exposure_stops: float = 0.0
    even_lights: bool = False
    all_lights: Annotated[bool, Field(description="RTI: also those behind the performer")] = False
    white_luminance_nits: Annotated[float, Field(gt=0)] | None = None

    @property
    def space(self) -> ColourSpace:
        """The colour space of what is written."""
        return COLOUR_SPACES[self.colour]


def source_of(fields: ReflectanceFields) -> str:
    """Return what tells a store's sets from another's: its digest, or else its path."""
    return str(fields.attributes.get("digest") or fields.path.resolve())


def export_sets(
    fields: ReflectanceFields,
    folder: str | os.PathLike[str],
    settings: ExportSettings,
    pictures: Sequence[FieldPicture],
    sets: Sequence[int],
    *,
    overwrite: bool = False,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Write files for some sets; return how many sets were written now, and how many were there.

    Layout by format: ``NAME.0007.exr``; ``light_003/NAME.light_003.0007.png``; ``set_0007/`` with
    ``light_003.jpg`` and ``lights.lp``. The number is the set's. ``lights.json`` (as dome.json) and
    ``lights.lp`` with the pictures' names lie beside them.

    Args:
        fields: the store.
        folder: where; made if need be.
        settings: how.
        pictures: which pictures of each set.
        sets: which sets.
        overwrite: make files anew that are there; those of an export with other settings are
            removed, so that none is mixed with the new ones.
        threads: how many threads compress an EXR file; its bytes do not depend on it.
        progress: told sets done and in all.

    Raises:
        InputError: files of other settings are there, or memory does not suffice.
    """
    folder = Path(folder)
    _check_memory(fields, pictures, settings)
    _settle(folder, settings, overwrite)
    if settings.format != "rti":
        fields.dome.save(folder / "lights.json")
        lit = [picture for picture in pictures if picture.light is not None]
        if lit:
            directions = fields.directions[[picture.light or 0 for picture in lit]]
            write_light_positions(folder / "lights.lp", [p.name for p in lit], directions)
    if settings.format == "exr":
        import OpenEXR

        OpenEXR.set_global_thread_count(threads if threads > 1 else 0)  # 0: in this one
    written = there = 0
    if progress:
        progress(0, len(sets))
    for done, index in enumerate(sets, 1):
        made = _export_set(fields, folder, settings, pictures, index, overwrite)
        written += made
        there += not made
        if progress:
            progress(done, len(sets))
    return written, there


def export_film(
    fields: ReflectanceFields,
    path: str | os.PathLike[str],
    picture: FieldPicture,
    sets: Sequence[int],
    *,
    rate_hz: float,
    codec: str | None = None,
    alpha: bool = False,
    exposure_factor: float = 1.0,
    progress: Progress | None = None,
) -> None:
    """Write one picture of each set as a film; a film that stands there is replaced at the end.

    Args:
        fields: the store.
        path: the film's file.
        picture: which picture; normals are shown as ``(n + 1) / 2``.
        sets: which sets, a frame each.
        rate_hz: frames per second.
        codec: as :class:`FilmWriter` takes it.
        alpha: store the matte as alpha.
        exposure_factor: what light is multiplied by.
        progress: told frames done and in all.
    """
    from lightstage.colour import decode_srgb
    from lightstage.exchange.colour_spaces import REC709

    if alpha and not fields.has("matte"):
        raise InputError(f"{fields.path}: has no matte yet, which --alpha stores.")
    with FilmWriter(
        path, fields.width, fields.height, rate_hz, codec=codec, alpha=alpha, overwrite=True
    ) as film:
        for done, index in enumerate(sets, 1):
            image = read_picture(
                fields, index, picture, space=REC709, exposure_factor=exposure_factor
            )
            if picture.meaning == "direction":  # so that the numbers shown are (n + 1) / 2
                image = decode_srgb(np.clip((image + 1.0) / 2.0, 0.0, 1.0))
            elif picture.meaning == "coverage":
                image = decode_srgb(np.repeat(np.clip(image, 0.0, 1.0)[..., None], 3, axis=-1))
            film.write(image, fields.read("matte", index) if alpha else None)
            if progress:
                progress(done, len(sets))


def _export_set(
    fields: ReflectanceFields,
    folder: Path,
    settings: ExportSettings,
    pictures: Sequence[FieldPicture],
    index: int,
    overwrite: bool,
) -> bool:
    """Write a set unless it is there; return whether anything was written."""
    factor = 2.0**settings.exposure_stops
    if settings.format == "rti":
        stack = folder / f"set_{index:04d}"
        if (stack / "lights.lp").exists() and not overwrite:
            return False
        if overwrite and stack.is_dir():
            for old in [*stack.glob("light_*.*"), stack / "lights.lp"]:
                old.unlink(missing_ok=True)
        write_rti_stack(
            stack,
            fields,
            index,
            rti_pictures(fields, index, list(pictures), all_lights=settings.all_lights),
            suffix=f".{settings.picture_format}",
            exposure_factor=factor,
            even_lights=settings.even_lights,
        )
        return True

    def read(picture: FieldPicture) -> NDArray[np.float32]:
        return read_picture(
            fields,
            index,
            picture,
            space=settings.space,
            exposure_factor=factor,
            even_lights=settings.even_lights,
        )

    if settings.format == "exr":
        path = folder / f"{settings.name}.{index:04d}.exr"
        if path.exists() and not overwrite:
            return False
        write_layered_exr(
            path,
            ((picture, read(picture), _light_facts(fields, picture)) for picture in pictures),
            space=settings.space,
            layout=settings.layout,
            depth=settings.depth,
            compression=settings.compression,
            attributes=_set_facts(fields, index, settings),
        )
        return True
    suffix = ".png" if settings.format == "png" else ".tif"
    paths = {p: folder / p.name / f"{settings.name}.{p.name}.{index:04d}{suffix}" for p in pictures}
    wanted = {p: path for p, path in paths.items() if overwrite or not path.exists()}
    for picture, path in wanted.items():
        write_tagged_still(
            path,
            read(picture),
            picture.meaning,
            space=settings.space,
            transfer=settings.transfer,
        )
    return bool(wanted)


def _set_facts(fields: ReflectanceFields, index: int, settings: ExportSettings) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "software": f"lightstage {__version__}",
        "lightstage/set": index,
        "lightstage/time_s": float(fields.time_s[index]),
        "lightstage/centre_frame": int(fields.centre_frame[index]),
        "lightstage/exposure_stops": float(settings.exposure_stops),
    }
    missing = fields.missing_lights(index)
    if missing:
        facts["lightstage/missing_lights"] = " ".join(map(str, missing))
    if settings.white_luminance_nits is not None:
        facts["whiteLuminance"] = float(settings.white_luminance_nits)
    return facts


def _light_facts(fields: ReflectanceFields, picture: FieldPicture) -> Mapping[str, Any]:
    if picture.light is None:
        return {}
    return {
        "lightstage/light": picture.light,
        "lightstage/light_direction": fields.directions[picture.light].astype(np.float32),
        "lightstage/light_gain": fields.dome.gains[picture.light].astype(np.float32),
    }


def _settle(folder: Path, settings: ExportSettings, overwrite: bool) -> None:
    """Leave ``export.json`` in the folder, or refuse it where other files are there."""
    file = folder / SETTINGS_FILE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder.")
    if file.exists():
        earlier = ExportSettings.load(file)
        before, now = earlier.model_dump(), settings.model_dump()
        changed = [key for key, value in now.items() if value != before[key]]
        if changed and not overwrite:
            raise InputError(
                f"{folder}: holds an export that differs in {', '.join(changed)}; name another "
                f"folder, or make everything anew with --overwrite."
            )
        if changed:
            _remove(folder, earlier)
    elif folder.is_dir() and any(_files(folder)) and not overwrite:
        raise InputError(
            f"{folder}: is in use for something else; name another folder, or write into it with "
            f"--overwrite."
        )
    settings.save(file)


def _remove(folder: Path, earlier: ExportSettings) -> None:
    """Remove the files of an export, and nothing else."""
    name = escape(earlier.name)
    patterns = {
        "exr": [f"{name}.[0-9]*.exr"],
        "png": [f"{part}/{name}.{part}.[0-9]*.png" for part in earlier.pictures],
        "tiff": [f"{part}/{name}.{part}.[0-9]*.tif" for part in earlier.pictures],
        "rti": [f"set_[0-9]*/light_*.{earlier.picture_format}", "set_[0-9]*/lights.lp"],
    }
    for pattern in patterns[earlier.format]:
        for path in list(folder.glob(pattern)):
            path.unlink()
            if path.parent != folder and not any(path.parent.iterdir()):
                path.parent.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _check_memory(
    fields: ReflectanceFields, pictures: Sequence[FieldPicture], settings: ExportSettings
) -> None:
    import psutil

    picture_bytes = fields.height * fields.width * 3 * 4
    held = 1
    if settings.format == "exr":  # a file is encoded as a whole
        held = len(pictures) if settings.depth == "float" else (len(pictures) + 1) // 2
    needed = (held + _SPARE_PICTURES) * picture_bytes
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise InputError(
            f"a file of {len(pictures)} pictures of {fields.width} x {fields.height} needs "
            f"{needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; choose fewer with "
            f"--lights, or half floats."
        )
