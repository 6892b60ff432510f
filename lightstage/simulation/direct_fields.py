"""Reflectance fields straight from the renderer: what a perfect capture and pipeline would make.

Seconds instead of the minutes that recording and preprocessing take; for tests, and to tell what a
model loses from what the capture loses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightstage.aligned_store import FieldsWriter, write_image, write_olat
from lightstage.half_floats import to_half
from lightstage.preprocess.jobs import JobOptions, run_jobs
from lightstage.sequence import StepKind
from lightstage.simulation.render import Scene, render_lights
from lightstage.simulation.take import SimulatedStage

#: Called with the number of sets done and the number of all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DirectSet:
    """Renders and stores one set; sent to worker processes."""

    path: str
    stage: SimulatedStage
    times_s: tuple[float, ...]

    def __call__(self, index: int) -> dict[str, Any]:
        """Make set ``index``."""
        stage, path = self.stage, Path(self.path)
        vertices = stage.performer.vertices(self.times_s[index])
        scene = Scene(stage.performer.model, stage.camera, vertices)
        pictures = render_lights(scene, stage.dome, range(len(stage.dome)))
        full_lit = np.float32(stage.light_share(StepKind.TRACKING)) * pictures.sum(axis=0)
        pictures *= np.float32(stage.light_share(StepKind.OLAT))
        maps = {
            "full_lit": full_lit,
            "normal": scene.normal,
            "albedo": scene.albedo,
            "matte": scene.matte,
        }
        for name, image in maps.items():
            write_image(path, name, index, image)
        write_olat(path, index, (to_half(image) for image in pictures), len(stage.dome))
        return {"set": index}


def write_direct_fields(
    path: Path,
    stage: SimulatedStage,
    times_s: Sequence[float],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write an ``aligned.zarr`` of the performer at given times, without noise or motion.

    Holds ``normal`` (unit, 0 off the performer), ``albedo`` (times the matte) and ``matte`` as they
    truly are.

    Args:
        path: the store; one that is there is replaced.
        stage: dome, sequence, performer and camera; the camera's picture is the sets'.
        times_s: when the performer is seen, rising; they become the sets' times.
        workers: processes that render.
        progress: called after each set.
    """
    rate = float(1.0 / np.median(np.diff(times_s))) if len(times_s) > 1 else None
    writer = FieldsWriter.create(
        path,
        sets=len(times_s),
        height=stage.camera.height,
        width=stage.camera.width,
        dome=stage.dome,
        rate_hz=rate,
        attributes={"origin": "simulated, straight from the renderer"},
        extra={"normal": 3, "albedo": 3, "matte": 1},
    )
    work = DirectSet(str(path.absolute()), stage, tuple(float(t) for t in times_s))
    with closing(run_jobs(work, list(range(len(times_s))), JobOptions(workers=workers))) as made:
        for done, _ in enumerate(made, 1):
            if progress:
                progress(done, len(times_s))
    writer.write_values(
        time_s=np.asarray(times_s, np.float64),
        centre_frame=np.arange(len(times_s)),
        confidence=np.ones((len(times_s), len(stage.dome)), np.float32),
    )
    writer.finish()
