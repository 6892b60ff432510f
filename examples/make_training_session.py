"""Make a session that a performer's model can be trained and judged on, simulated.

python examples/make_training_session.py SESSION [--small] [--shortcut] [--workers N]

Two takes: ``talk`` to train on, and ``held_out``, whose expressions talk does not have. The whole
chain runs: recording, preprocessing to face crops of 128x128 at 25 sets a second, mattes, normals
and albedo; beside each take ``truth_head.npz`` holds the true head parameters of its sets.
``--shortcut`` leaves recording and preprocessing out: sets, mattes and normals come straight from
the renderer. ``--small`` makes a few sets of 48x48 under 24 lights. Run again, what is there is
kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from lightstage import ReflectanceFields, Session
from lightstage.preprocess.jobs import JobOptions, preprocess_take
from lightstage.preprocess.settings import CropSettings, PreprocessSettings
from lightstage.relighting.matte_job import matte_take
from lightstage.relighting.surface_store import Placement, make_surface_maps
from lightstage.session import Take
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.direct_fields import write_direct_fields
from lightstage.simulation.recipe import SessionRecipe, StageRecipe, TakeRecipe, simulate_session
from lightstage.simulation.take import SimulatedStage
from relight_model.head.clip import HeadClip
from relight_model.head.model import HeadModel

RECIPE = Path(__file__).parents[1] / "sample_sessions/recipes/training.toml"
RATE_HZ = 25.0
CLIP_NAME = "truth_head.npz"


def training_recipe(small: bool) -> SessionRecipe:
    """Return what is recorded."""
    recipe = SessionRecipe.load_toml(RECIPE)
    if not small:
        return recipe
    seconds = {"talk": 1.2, "held_out": 0.6}
    takes = tuple(take.replace(seconds=seconds[take.name]) for take in recipe.takes)
    return recipe.replace(stage=StageRecipe(lights=24, width=96, height=72), takes=takes)


def make_training_session(
    path: Path, *, small: bool = False, shortcut: bool = False, workers: int = 1, tell=print
) -> Session:
    """Make the session, or what of it is missing."""
    recipe = training_recipe(small)
    size = 48 if small else 128
    if shortcut:
        return _shortcut(path, recipe, size, workers, tell)
    session = simulate_session(
        path, recipe, workers=workers, progress=_every(tell, "recording", 2000)
    )
    options = JobOptions(workers=workers)
    settings = PreprocessSettings(
        rate_hz=RATE_HZ, crop=CropSettings(mode="face", size=(size, size))
    )
    for wanted in recipe.takes:
        take, stage = session.take(wanted.name), recipe.simulated_stage(wanted)
        preprocess_take(take, settings, options=options, progress=_counted(tell, "preprocessing"))
        fields = ReflectanceFields.open(take.path)
        crop = fields.read_values("crop")
        matte_take(fields, options=options, progress=_counted(tell, "mattes"))
        # the middle of a crop that follows the head is near the dome's centre
        pixel_m = crop[0, 2] / size * stage.camera.distance_m / stage.camera.focal_px
        placement = Placement(pixel_size_m=float(pixel_m))
        make_surface_maps(
            take.path, placement=placement, options=options, progress=_counted(tell, "normals")
        )
        # a set is seen in the middle of its tracking frame's exposure
        seen_s = fields.time_s + stage.time_s(wanted.first_step)
        # crops count from the first pixel's edge, cameras from its middle
        view = np.column_stack([crop[:, :2] - 0.5, size / crop[:, 2]])
        _save_clip(take, stage, seen_s, fields.time_s, view, size)
    return session


def _shortcut(path: Path, recipe: SessionRecipe, size: int, workers: int, tell) -> Session:
    """Make the sets straight from the renderer; the face fills them as a crop would."""
    if Session.is_at(path):
        session = Session.open(path)
    else:
        session = Session.create(
            path, dome=recipe.dome, sequence=recipe.capture_sequence, performer=recipe.performer,
            stage="simulated",
        )  # fmt: skip
    for wanted in recipe.takes:
        stage = _direct_stage(recipe, wanted, size)
        if wanted.name not in [take.name for take in session.takes]:
            session.add_take(wanted.name, origin="simulated", note="straight from the renderer")
        take = session.take(wanted.name)
        times_s = np.arange(round(wanted.seconds * RATE_HZ)) / RATE_HZ
        if not (take.path / CLIP_NAME).is_file():
            write_direct_fields(
                take.aligned_path, stage, times_s.tolist(), workers=workers,
                progress=_counted(tell, f"rendering {take.name}"),
            )  # fmt: skip
            _save_clip(take, stage, times_s, times_s, None, size)
    return session


def _direct_stage(recipe: SessionRecipe, wanted: TakeRecipe, size: int) -> SimulatedStage:
    stage = recipe.simulated_stage(wanted)
    camera = SimulatedCamera(size, size, head_fill=0.72)
    return SimulatedStage(
        sequence=stage.sequence, dome=stage.dome, performer=stage.performer, camera=camera
    )


def _save_clip(
    take: Take,
    stage: SimulatedStage,
    seen_s: np.ndarray,
    time_s: np.ndarray,
    view: np.ndarray | None,
    size: int,
) -> None:
    """Write the performer's true parameters at the sets' times."""
    moments = [stage.performer.parameters(float(t)) for t in seen_s]
    HeadClip(
        shape=moments[0].shape,
        expression=np.array([m.expression for m in moments]),
        pose=np.array([m.pose for m in moments]),
        translation_m=np.array([m.translation_m for m in moments]),
        time_s=time_s,
        camera=stage.camera.pinhole,
        view=view,
        view_size=None if view is None else (size, size),
        expression_names=stage.performer.model.head.expression_names,
        head=HeadModel.procedural().fingerprint,
        details={"source": "the simulated performer's own parameters"},
    ).save(take.path / CLIP_NAME)


def _every(tell, what: str, step: int):
    return lambda name, done, total: done % step == 0 and tell(f"{name}: {done} of {total}")


def _counted(tell, what: str):
    return lambda done, total: done % 100 == 0 and tell(f"{what}: {done} of {total}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path, help="the folder to make")
    parser.add_argument("--small", action="store_true", help="a few tiny sets, in seconds")
    parser.add_argument("--shortcut", action="store_true", help="straight from the renderer")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    session = make_training_session(
        given.session, small=given.small, shortcut=given.shortcut, workers=given.workers,
        tell=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    for take in session.takes:
        fields = ReflectanceFields.open(take.path)
        print(
            f"{take.path}: {len(fields)} sets of {fields.lights} lights, "
            f"{fields.width}x{fields.height}, with {CLIP_NAME}"
        )


if __name__ == "__main__":
    main()
