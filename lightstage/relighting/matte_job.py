"""Mattes of a whole take: found set by set by worker processes, then steadied along the flow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.aligned_store import add_image_array, write_image
from lightstage.errors import FieldsError, LightstageError
from lightstage.fields import ReflectanceFields
from lightstage.preprocess.jobs import JobOptions, local_workers, run_jobs
from lightstage.preprocess.ledger import Ledger
from lightstage.relighting.matte import (
    Matte,
    MatteSettings,
    find_matte,
    foreground_colour,
    guide_picture,
)
from lightstage.relighting.matte_network import network_matte, open_network
from lightstage.relighting.matte_smoothing import flow_between, steadied
from lightstage.relighting.trimap import lit_sums

Array = NDArray[np.float32]
#: Called with the number of steps done and the number of all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class NetworkFile:
    """A matting network on disk.

    Attributes:
        path: an ONNX or TorchScript file.
        sha256: its hash: a file that changed makes other mattes.
        shorter_side: what the picture's shorter side is resized to for it, pixels.
    """

    path: Path
    sha256: str
    shorter_side: int = 512


@dataclass(frozen=True)
class MatteResult:
    """What :func:`matte_take` did: the store, how many sets it has, how many were made now."""

    path: Path
    sets: int
    made: int


def matte_of_set(
    fields: ReflectanceFields,
    index: int,
    settings: MatteSettings | None = None,
    network: NetworkFile | None = None,
) -> Matte:
    """Return one set's matte, not steadied by its neighbours.

    Raises:
        InputError: the performer does not stand out, or the network fails.
    """
    settings = settings or MatteSettings()
    sums = lit_sums(_images(fields, index), fields.directions, rim_light=settings.rim_light)
    if network is None:
        return find_matte(sums, settings)
    guide = guide_picture(sums)
    alpha = network_matte(open_network(network.path), guide, network.shorter_side)
    return Matte(alpha, np.full_like(alpha, 0.5), guide)


def matte_take(
    fields: ReflectanceFields,
    settings: MatteSettings | None = None,
    *,
    network: NetworkFile | None = None,
    foreground: bool = False,
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> MatteResult:
    """Write the array ``matte`` into a store, and ``foreground`` where asked for.

    Each set's matte is found first and kept in the take's ledger; then each is steadied along the
    stored flow and written. Sets that were done with the same settings are not done again.

    Args:
        fields: an open store.
        settings: how mattes are found.
        network: use this network instead of the built-in matting.
        foreground: also write the performer's own colour under all lights.
        options: how the job is run.
        progress: called after each step; there are two to a set.

    Raises:
        LightstageError: a set has no performer, or the network fails.
    """
    settings = settings or MatteSettings()
    options = options or JobOptions()
    path, sets = fields.path, len(fields)
    digest = _digest(fields, settings, network, foreground)
    folder = path.parent / "ledger" / f"{path.stem}_matte"
    ledger = Ledger(folder, digest)
    names = ["matte", "foreground"] if foreground else ["matte"]
    fresh = [add_image_array(path, name, 3 if name == "foreground" else 1) for name in names]
    if any(fresh) or dict(fields.attributes).get("matte", {}).get("digest") != digest:
        _note(path, digest, settings, network, finished=False)
    if any(fresh):
        ledger.forget_all()
    work = MatteWork(path, folder, digest, settings, network, foreground)
    todo = [index for index in range(sets) if not ledger.is_done(_unit(index))]
    if not todo:
        _finish(path, folder, digest, settings, network, ledger, sets)
        return MatteResult(path, sets, 0)
    needed = sorted({k for i in todo for k in (i - 1, i, i + 1) if 0 <= k < sets})
    first = [index for index in needed if not work.found_path(index).is_file()]
    done, total = 2 * sets - len(first) - len(todo), 2 * sets
    with ExitStack() as stack:
        workers = None
        if options.scheduler is None and options.workers > 1 and max(len(first), len(todo)) > 1:
            both = local_workers(options, max(len(first), len(todo)))  # one start for both
            workers = stack.enter_context(closing(both))
        for phase, units in ((work.find, first), (work.steady, todo)):
            # closed before the workers are: it drains them
            with closing(run_jobs(phase, units, options, workers)) as made:
                for _ in made:
                    done += 1
                    if progress:
                        progress(done, total)
    _finish(path, folder, digest, settings, network, ledger, sets)
    return MatteResult(path, sets, len(todo))


@dataclass(frozen=True)
class MatteWork:
    """What worker processes do; sent to them by pickle."""

    path: Path
    folder: Path
    digest: str
    settings: MatteSettings
    network: NetworkFile | None
    foreground: bool

    def found_path(self, index: int) -> Path:
        """Return where a set's matte waits to be steadied."""
        return self.folder / f"found_{index:06d}.{self.digest}.npy"

    def find(self, index: int) -> dict[str, Any]:
        """Find a set's matte and keep it."""
        try:
            alpha = matte_of_set(_open(self.path), index, self.settings, self.network).alpha
        except LightstageError as reason:
            raise type(reason)(f"{self.path}: set {index}: {reason}") from None
        path = self.found_path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.save(file, alpha.astype(np.float16), allow_pickle=False)
        partial.replace(path)
        return {"set": index}

    def steady(self, index: int) -> dict[str, Any]:
        """Draw a set's matte towards its neighbours' and write it into the store."""
        fields = _open(self.path)
        alpha = self._found(index)
        neighbours = []
        for other in (index - 1, index + 1):
            if self.settings.smoothing > 0 and 0 <= other < len(fields):
                flow = flow_between(fields, index, other)
                if flow is not None:
                    neighbours.append((self._found(other), *flow))
        alpha = steadied(alpha, neighbours, self.settings.smoothing)
        write_image(self.path, "matte", index, alpha)
        if self.foreground:
            colour = foreground_colour(fields[index].full_lit, alpha)
            write_image(self.path, "foreground", index, colour)
        Ledger(self.folder, self.digest).finish(_unit(index), neighbours=len(neighbours))
        return {"set": index}

    def _found(self, index: int) -> Array:
        try:
            found = np.load(self.found_path(index), allow_pickle=False)
        except (OSError, ValueError) as reason:
            raise FieldsError(
                f"{self.found_path(index)}: is damaged ({reason}); delete it and run again."
            ) from None
        return np.asarray(found, np.float32)


@lru_cache(maxsize=1)
def _open(path: Path) -> ReflectanceFields:
    return ReflectanceFields.open(path)


def _images(fields: ReflectanceFields, index: int) -> Iterator[Array]:
    """Yield a set's one-light images: one at a time in memory where they are stored."""
    if fields.is_virtual:
        yield from fields.read_olat(index)
    else:
        for light in range(fields.lights):
            yield fields.read_light(index, light)


def _unit(index: int) -> str:
    return f"set_{index:06d}"


def _digest(
    fields: ReflectanceFields,
    settings: MatteSettings,
    network: NetworkFile | None,
    foreground: bool,
) -> str:
    """Return a hash of all that the mattes depend on."""
    made_from = {
        "store": fields.attributes.get("digest"),
        "shape": [len(fields), fields.lights, fields.height, fields.width],
        "settings": asdict(settings),
        "network": network and [network.sha256, network.shorter_side],
        "foreground": foreground,
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def _note(
    path: Path,
    digest: str,
    settings: MatteSettings,
    network: NetworkFile | None,
    *,
    finished: bool,
) -> None:
    """Say in the store's attributes how its mattes are made, and whether all are."""
    zarr.open_group(str(path), mode="r+").attrs["matte"] = {
        "digest": digest,
        "finished": finished,
        "method": "closed form" if network is None else "network",
        "network_sha256": network and network.sha256,
        **asdict(settings),
    }


def _finish(
    path: Path,
    folder: Path,
    digest: str,
    settings: MatteSettings,
    network: NetworkFile | None,
    ledger: Ledger,
    sets: int,
) -> None:
    lost = [index for index in range(sets) if not ledger.is_done(_unit(index))]
    if lost:
        raise LightstageError(f"{path}: sets {lost} have no matte; run the command again.")
    _note(path, digest, settings, network, finished=True)
    for left in folder.glob("found_*"):
        left.unlink()
    for other in folder.glob("*.json"):  # records of mattes that were replaced
        if f".{digest}." not in other.name:
            other.unlink()
