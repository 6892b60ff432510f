"""Recipes: a simulated session as data, in TOML, and the making of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lightstage.dome import Dome
from lightstage.errors import SessionError
from lightstage.manifest import Manifest
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer
from lightstage.simulation.take import SimulatedStage, simulate_take
from lightstage.simulation.truth import GroundTruth, ground_truth, write_truth

Progress = Callable[[str, int, int], None]


class StageRecipe(Manifest):
    """The dome and the camera."""

    lights: Annotated[int, Field(ge=1, le=1024)] = 96
    radius_m: Annotated[float, Field(gt=0.3, le=20)] = 1.3
    width: Annotated[int, Field(ge=16, le=8192)] = 512
    height: Annotated[int, Field(ge=16, le=8192)] = 384


class SequenceRecipe(Manifest):
    """What the lights do; the rest of the sequence is as ``CaptureSequence`` has it."""

    olat_per_tracking: Annotated[int, Field(ge=1)] = 6
    frame_rate_hz: Annotated[float, Field(gt=0)] = 1000.0
    exposure_us: Annotated[float, Field(gt=0)] = 700.0


class TakeRecipe(Manifest):
    """One take: who moves, how, how long, and how many sets of ground truth go with it."""

    name: str = "talk"
    seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    motion: Literal["still", "slow", "talking", "violent"] = "talking"
    performer: Annotated[int, Field(ge=0, description="seed of the person")] = 0
    noise_seed: Annotated[int, Field(ge=0)] = 0
    truth_sets: Annotated[int, Field(ge=0)] = 0
    truth_rate_hz: Annotated[float, Field(gt=0)] = 25.0


class SessionRecipe(Manifest):
    """A simulated session."""

    performer: str = "simulated performer"
    stage: StageRecipe = StageRecipe()
    sequence: SequenceRecipe = SequenceRecipe()
    takes: Annotated[tuple[TakeRecipe, ...], Field(min_length=1)] = (TakeRecipe(),)

    @property
    def dome(self) -> Dome:
        """The dome of the recipe."""
        return Dome.evenly_spread(self.stage.lights, self.stage.radius_m, name="simulated dome")

    @property
    def capture_sequence(self) -> CaptureSequence:
        """The sequence of the recipe."""
        return CaptureSequence(lights=self.stage.lights, **self.sequence.model_dump())

    def simulated_stage(self, take: TakeRecipe) -> SimulatedStage:
        """Return the stage as it is while ``take`` is recorded."""
        return SimulatedStage(
            sequence=self.capture_sequence,
            dome=self.dome,
            performer=Performer(seed=take.performer, motion=take.motion),
            camera=SimulatedCamera(self.stage.width, self.stage.height),
            seed=take.noise_seed,
        )

    def frame_count(self, take: TakeRecipe) -> int:
        """Return how many frames a take has, preamble included; at least one whole window."""
        sequence = self.capture_sequence
        recorded = round(take.seconds * sequence.frame_rate_hz)
        return len(sequence.preamble) + max(recorded, sequence.cycle_frames + sequence.period)


def simulate_session(
    path: Path, recipe: SessionRecipe, *, workers: int = 1, progress: Progress | None = None
) -> Session:
    """Make the session of a recipe, or add its takes to one that was made from it.

    Each take gets its .cine and, where the recipe asks for it, ``truth.zarr`` with ground truth for
    sets spread over the take. A take that is there already is left as it is.

    Args:
        path: the session's folder.
        recipe: what to simulate.
        workers: processes that render.
        progress: called with what is being made, how much is done, and how much there is.

    Raises:
        SessionError: the folder holds something else, or a session of another stage.
    """
    if Session.is_at(path):
        session = Session.open(path)
        if session.dome != recipe.dome or session.sequence != recipe.capture_sequence:
            raise SessionError(f"{path}: is a session with another dome or sequence.")
    else:
        session = Session.create(
            path,
            dome=recipe.dome,
            sequence=recipe.capture_sequence,
            performer=recipe.performer,
            stage="simulated stage",
        )
    for wanted in recipe.takes:
        made = session.path / "takes" / wanted.name
        if Take.is_at(made) and (made / "take.cine").is_file():
            take = Take.open(made)
        else:
            take = _record(session, recipe, wanted, workers, progress)
        if wanted.truth_sets and not take.truth_path.exists():
            _add_truth(take, recipe, wanted, progress)
    return session


def _record(
    session: Session,
    recipe: SessionRecipe,
    wanted: TakeRecipe,
    workers: int,
    progress: Progress | None,
) -> Take:
    stage = recipe.simulated_stage(wanted)
    folder = session.path / "takes" / wanted.name
    if Take.is_at(folder):  # an earlier run was interrupted while it recorded
        take = Take.open(folder)
    else:
        take = session.add_take(
            wanted.name,
            origin="simulated",
            note=f"{wanted.motion} performer {wanted.performer}",
            details={"recipe": recipe.replace(takes=(wanted,)).model_dump(mode="json")},
        )
    simulate_take(
        take.cine_path,
        stage,
        recipe.frame_count(wanted),
        workers=workers,
        progress=_about(f"recording {wanted.name}", progress),
    )
    return take


def _add_truth(
    take: Take, recipe: SessionRecipe, wanted: TakeRecipe, progress: Progress | None
) -> None:
    stage = recipe.simulated_stage(wanted)
    windows = recipe.capture_sequence.windows(wanted.truth_rate_hz, recipe.frame_count(wanted))
    count = min(wanted.truth_sets, len(windows))
    chosen = [windows[round((k + 0.5) * len(windows) / count - 0.5)] for k in range(count)]
    report = _about(f"ground truth of {wanted.name}", progress)
    partial = take.truth_path.with_name("truth.partial.zarr")

    def truths() -> Iterator[GroundTruth]:
        for done, window in enumerate(chosen, 1):
            yield ground_truth(stage, window.centre)
            if report:
                report(done, count)

    write_truth(partial, truths())
    partial.rename(take.truth_path)


def _about(what: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)
