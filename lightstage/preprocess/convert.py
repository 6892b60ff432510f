"""Convert: a virtual store's images made and stored, or a materialised store's images let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from lightstage.aligned_store import FieldsWriter, Kind, olat_shard, write_olat
from lightstage.errors import FieldsError
from lightstage.preprocess.costs import check_disk
from lightstage.preprocess.jobs import JobOptions, run_jobs
from lightstage.preprocess.store import MADE_FROM_FLOWS
from lightstage.preprocess.virtual import VirtualSets

Progress = Callable[[int, int], None]


def convert(
    path: Path,
    kind: Kind,
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> int:
    """Make a finished store virtual or materialised, in place; return how many sets were made.

    The images that a virtual store gives and those that it is materialised to are the same to the
    last bit. Interrupted, the store stays what it was and the next run goes on.

    Args:
        path: the store.
        kind: what it becomes; nothing is done where it is that already.
        options: how the job is run.
        progress: called after each set.

    Raises:
        FieldsError: the store was not made from a recording, or the recording is not there.
        InputError: the images do not fit on the disk.
    """
    group = zarr.open_group(str(path), mode="r+")
    attributes = dict(group.attrs)
    if not attributes.get("finished"):
        raise FieldsError(f"{path}: is unfinished; run 'lightstage preprocess' to its end first.")
    if attributes.get("kind", "materialised") == kind:
        return 0
    if any(name not in group for name in MADE_FROM_FLOWS):
        raise FieldsError(f"{path}: holds images alone, no flows; it stays as it is.")
    sets = VirtualSets(path)
    sets.check_recording()
    if kind == "virtual":
        # first what the store is: interrupted after this it is virtual, with some images left
        group.attrs["kind"] = "virtual"
        del group["olat"]
        return 0
    count, height, width, _ = group["full_lit"].shape
    lights = int(group["confidence"].shape[1])
    todo = [index for index in range(count) if not olat_shard(path, index).is_file()]
    check_disk(path, round(len(todo) * lights * height * width * 6 / 1.4))
    if "olat" not in group:
        FieldsWriter(path, group).create_olat(count, lights, height, width)
    if progress:
        progress(count - len(todo), count)
    work = _Materialise(str(path.absolute()), lights)
    global _sets
    for done, _ in enumerate(run_jobs(work, todo, options or JobOptions()), count - len(todo) + 1):
        if progress:
            progress(done, count)
    _sets = None
    group.attrs["kind"] = "materialised"
    return len(todo)


@dataclass(frozen=True)
class _Materialise:
    """Makes the images of one set of a virtual store; sent to worker processes."""

    path: str
    lights: int

    def __call__(self, index: int) -> dict[str, Any]:
        path = Path(self.path)
        write_olat(path, index, _sets_of_this_process(path).aligner(index).lights(), self.lights)
        return {}


_sets: VirtualSets | None = None


def _sets_of_this_process(path: Path) -> VirtualSets:
    global _sets
    if _sets is None or _sets.path != path:
        _sets = VirtualSets(path)
    return _sets
