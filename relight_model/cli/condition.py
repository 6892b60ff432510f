"""``relight_model condition``: the maps that drive the network, to look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.terminal import (
    PATH,
    json_option,
    print_json,
    progress_bar,
    quiet_option,
    say,
    usable_cores,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relight_model.conditioning import ConditioningMaps

    Array = NDArray[np.float32]

_SHEET_FRAMES = 8
_SHEET_GAP = 4


@click.command("condition")
@click.argument("clip", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FOLDER|FILM",
    help="A folder, which gets one of numbered pictures for each map, or a film (.mp4, .mov, .mkv) "
    "of the maps side by side.",
)
@click.option("--size", type=click.IntRange(8, 8192), metavar="PIXELS", help="The maps' width.")
@click.option("--head", "head_file", type=PATH, metavar="FILE", help="The head model (.npz).")
@click.option(
    "--texture",
    "texture_file",
    type=PATH,
    metavar="PICTURE",
    help="The performer's own diffuse texture, instead of the head's mean.",
)
@click.option(
    "--maps",
    "map_names",
    default="diffuse,pncc,landmarks",
    show_default=True,
    metavar="NAME,…",
    help="Some of diffuse, pncc, landmarks, normal, mask.",
)
@click.option("--frames", "frame_range", metavar="A:B", help="Only frames A to B - 1.")
@click.option(
    "--follow-head", is_flag=True, help="Cut a square that follows the head, where none is cut."
)
@click.option(
    "--format",
    "picture_format",
    type=click.Choice(["png", "png16", "exr"]),
    default="png",
    show_default=True,
    help="The pictures in a folder. EXR holds a map's own numbers, and diffuse as linear light.",
)
@click.option(
    "--contact-sheet", "sheet", type=PATH, metavar="PICTURE", help="Some frames in one picture."
)
@click.option("--overwrite", is_flag=True, help="Replace pictures of an earlier run.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N", help="Threads; one for each core."
)
@quiet_option
@json_option
def command(
    clip: Path,
    output: Path | None,
    size: int | None,
    head_file: Path | None,
    texture_file: Path | None,
    map_names: str,
    frame_range: str | None,
    follow_head: bool,
    picture_format: str,
    sheet: Path | None,
    overwrite: bool,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Render the conditioning maps of a CLIP's head parameters: what the network is driven by.

    Normals are shown as half of them plus a half.

    Example: [bold]relight_model condition parameters.npz -o maps.mp4 --size 512[/bold]
    """
    from lightstage.errors import InputError
    from lightstage.images import read_image
    from relight_model.conditioning import ConditioningRenderer
    from relight_model.conditioning.maps import checked_maps
    from relight_model.head.clip import HeadClip
    from relight_model.head.model import HeadModel

    if output is None and sheet is None:
        raise InputError("say where the maps shall go: -o FOLDER, -o film.mp4, or --contact-sheet.")
    maps = checked_maps([name.strip() for name in map_names.split(",") if name.strip()])
    parameters = HeadClip.load(clip)
    chosen = _frames(frame_range, len(parameters))
    texture = None if texture_file is None else read_image(texture_file, transfer="srgb")
    renderer = ConditioningRenderer(HeadModel.load(head_file), parameters.shape, texture)
    renderer.check_clip(parameters)
    if follow_head and parameters.view is None:
        from relight_model.head_crop import crop_clip

        parameters = crop_clip(parameters, renderer.head, size or 512)
    rate_hz = _rate(parameters.time_s)
    sinks: list[_Sink] = []
    if output is not None:
        from lightstage.exchange.film import FILM_SUFFIXES

        if output.suffix.lower() in FILM_SUFFIXES:
            sinks.append(_Film(output, rate_hz, maps))
        elif output.suffix:
            raise InputError(
                f"{output}: maps go into a folder (a name without a suffix) or a film "
                f"({', '.join(FILM_SUFFIXES)})."
            )
        else:
            sinks.append(_Folder(output, maps, picture_format, overwrite))
    if sheet is not None:
        sinks.append(_Sheet(sheet, maps, chosen))
    threads = workers or usable_cores()
    say(f"{len(chosen)} frames of {', '.join(maps)}", quiet=quiet or as_json)
    began = time.perf_counter()
    shape = (0, 0)
    frames = renderer.render_clip(parameters, chosen, size, maps, workers=threads)
    try:
        with progress_bar("maps", "frames", quiet=quiet or as_json) as update:
            for k, rendered in enumerate(frames):
                shape = rendered[maps[0]].shape[:2]
                for sink in sinks:
                    sink.write(k, rendered)
                update(k + 1, len(chosen))
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.abandon()
        raise
    finally:
        frames.close()
    seconds = time.perf_counter() - began
    report = {
        "clip": str(clip),
        "frames": len(chosen),
        "first_frame": chosen[0],
        "maps": list(maps),
        "width": shape[1],
        "height": shape[0],
        "output": None if output is None else str(output),
        "contact_sheet": None if sheet is None else str(sheet),
        "seconds": round(seconds, 3),
    }
    if as_json:
        print_json(report)
    else:
        where = ", ".join(str(path) for path in (output, sheet) if path is not None)
        say(f"{where}: {shape[1]} x {shape[0]}, {len(chosen) / seconds:.1f} frames/s", quiet=quiet)


def _frames(text: str | None, count: int) -> list[int]:
    """Return the frames that ``A:B`` names."""
    from lightstage.errors import InputError

    first, _, last = (text or ":").partition(":")
    try:
        chosen = list(range(count))[slice(int(first or 0), int(last) if last else None)]
        fits = ":" in (text or ":")
    except ValueError:
        chosen, fits = [], False
    if not fits or not chosen:
        raise InputError(
            f"--frames must be A:B with frames out of 0 to {count - 1}, such as 0:{count}, "
            f"not {text!r}."
        )
    return chosen


def _rate(times: NDArray[np.float64]) -> float:
    """Return the clip's frames per second; 25 of a single frame."""
    import numpy as np

    return 25.0 if len(times) < 2 else float(np.clip(1.0 / np.median(np.diff(times)), 0.1, 1000.0))


def shown(rendered: ConditioningMaps, name: str) -> Array:
    """Return a map as a picture ``(h, w, 3)`` of display values in [0, 1]."""
    import numpy as np

    values = rendered[name]
    if name == "normal":
        covered = (values != 0).any(axis=2, keepdims=True)
        values = np.where(covered, 0.5 + 0.5 * values, 0.0).astype(np.float32)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)


class _Sink:
    """What takes the frames' maps."""

    def write(self, index: int, rendered: ConditioningMaps) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Finish."""

    def abandon(self) -> None:
        """Drop what is half done."""


class _Film(_Sink):
    def __init__(self, path: Path, rate_hz: float, maps: Sequence[str]) -> None:
        self._path, self._rate, self._maps = path, rate_hz, maps
        self._writer: Any = None

    def write(self, index: int, rendered: ConditioningMaps) -> None:
        import numpy as np

        from lightstage.colour import decode_srgb
        from lightstage.exchange.film import FilmWriter

        strip = np.concatenate([shown(rendered, name) for name in self._maps], axis=1)
        if self._writer is None:
            height, width = strip.shape[:2]
            self._writer = FilmWriter(self._path, width, height, self._rate)
        self._writer.write(decode_srgb(strip))

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


class _Folder(_Sink):
    def __init__(self, path: Path, maps: Sequence[str], kind: str, overwrite: bool) -> None:
        from lightstage.errors import InputError

        self._path, self._maps, self._kind = path, maps, kind
        self._suffix = ".exr" if kind == "exr" else ".png"
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; maps go into a folder.")
        earlier = [p for m in maps for p in sorted((path / m).glob("frame_*"))]
        if earlier and not overwrite:
            raise InputError(
                f"{path}: {len(earlier)} pictures of an earlier run stand here "
                f"({earlier[0].name}, …); name another folder, or give --overwrite."
            )
        for picture in earlier:
            picture.unlink()
        for name in maps:
            (path / name).mkdir(parents=True, exist_ok=True)

    def write(self, index: int, rendered: ConditioningMaps) -> None:
        for name in self._maps:
            final = self._path / name / f"frame_{index:04d}{self._suffix}"
            partial = final.with_name(f".partial-{final.name}")
            self._save(partial, name, rendered)
            partial.replace(final)

    def _save(self, path: Path, name: str, rendered: ConditioningMaps) -> None:
        from lightstage.colour import decode_srgb
        from lightstage.images import write_image, write_stored

        if self._kind == "exr":
            values = rendered[name]
            write_image(path, decode_srgb(values) if name == "diffuse" else values)
            return
        most = 255 if self._kind == "png" else 65535
        write_stored(path, _integers(shown(rendered, name), most))


class _Sheet(_Sink):
    """Evenly spaced frames beside each other, a row for each map."""

    def __init__(self, path: Path, maps: Sequence[str], frames: Sequence[int]) -> None:
        from lightstage.errors import InputError
        from lightstage.images import INTEGER_SUFFIXES

        if path.suffix.lower() not in INTEGER_SUFFIXES:
            raise InputError(f"{path}: a contact sheet is a picture, such as sheet.png.")
        self._path, self._maps = path, maps
        count = min(_SHEET_FRAMES, len(frames))
        last = len(frames) - 1
        self._wanted = {round(k * last / max(count - 1, 1)) for k in range(count)}
        self._columns: list[Array] = []

    def write(self, index: int, rendered: ConditioningMaps) -> None:
        import numpy as np

        if index in self._wanted:
            rows = [_framed(shown(rendered, name)) for name in self._maps]
            self._columns.append(np.concatenate(rows, axis=0))

    def close(self) -> None:
        import numpy as np

        from lightstage.images import write_stored

        self._path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.concatenate(self._columns, axis=1)[:-_SHEET_GAP, :-_SHEET_GAP]
        write_stored(self._path, _integers(picture, 255))


def _framed(picture: Array) -> Array:
    import numpy as np

    gap = ((0, _SHEET_GAP), (0, _SHEET_GAP), (0, 0))
    return np.pad(picture, gap, constant_values=0.25)


def _integers(display: Array, most: int) -> NDArray[np.unsignedinteger[Any]]:
    import numpy as np

    scaled = np.clip(display, 0.0, 1.0) * most + 0.5
    if most == 255:
        return scaled.astype(np.uint8)
    return scaled.astype(np.uint16)
