"""Recipes: a simulated session as data, in TOML, and the making of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightstage.dome import Dome
from lightstage.errors import LightstageError, SessionError
from lightstage.manifest import Manifest
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.grimaces import GrimacingPerformer
from lightstage.simulation.performer import Performer
from lightstage.simulation.sensor import SimulatedSensor
from lightstage.simulation.take import SimulatedStage, simulate_take, take_steps
from lightstage.simulation.take_faults import TakeFaults
from lightstage.simulation.take_steps import draw_steps, write_steps
from lightstage.simulation.truth import GroundTruth, ground_truth, write_truth

Progress = Callable[[str, int, int], None]
#: What each frame of a take truly shows, beside its recording.
STEPS_NAME = "truth_steps.zarr"


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
    """One take: who moves, how, how long, what goes wrong, and how much ground truth it has."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "talk"
    seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    motion: Literal["still", "slow", "talking", "violent", "grimacing"] = "talking"
    performer: Annotated[int, Field(ge=0, description="seed of the person")] = 0
    first_step: Annotated[
        int, Field(ge=0, le=10**9, description="step of the first frame; 0 = the preamble's first")
    ] = 0
    noise: Annotated[bool, Field(description="off: frames without noise, rounded to levels")] = True
    noise_seed: Annotated[int, Field(ge=0)] = 0
    full_well: Annotated[float, Field(gt=0, description="electrons at white level")] = 11000.0
    read_noise: Annotated[float, Field(ge=0, description="electrons of one reading")] = 18.0
    truth_sets: Annotated[int, Field(ge=0)] = 0
    truth_rate_hz: Annotated[float, Field(gt=0)] = 25.0
    truth_olat_flow: Annotated[
        bool, Field(description="also the true flow to each OLAT frame: 150 MB a set at 512x384")
    ] = False
    faults: TakeFaults = TakeFaults()

    @property
    def who(self) -> Performer:
        """The performer, as they move in this take."""
        if self.motion == "grimacing":
            return GrimacingPerformer(self.performer)
        return Performer(self.performer, self.motion)

    @property
    def sensor(self) -> SimulatedSensor:
        """The take's sensor."""
        if not self.noise:
            return SimulatedSensor(full_well=1e12, read_noise=0.0)
        return SimulatedSensor(full_well=self.full_well, read_noise=self.read_noise)

    @property
    def without_truth(self) -> TakeRecipe:
        """What decides the recording alone."""
        kept = {
            name: value for name, value in self.model_dump().items()
            if not name.startswith("truth_")
        }  # fmt: skip
        return TakeRecipe(**kept)


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
            performer=take.who,
            camera=SimulatedCamera(self.stage.width, self.stage.height),
            sensor=take.sensor,
            seed=take.noise_seed,
            faults=take.faults,
        )

    def frame_count(self, take: TakeRecipe) -> int:
        """Return how many steps a take runs through, preamble included; at least one whole window.

        Without dropped or extra frames each gives a frame.
        """
        sequence = self.capture_sequence
        recorded = round(take.seconds * sequence.frame_rate_hz)
        before = max(0, len(sequence.preamble) - take.first_step)
        return before + max(recorded, sequence.cycle_frames + sequence.period)

    @model_validator(mode="after")
    def _takes_can_be_made(self) -> Self:
        names = [take.name for take in self.takes]
        for take in self.takes:
            if names.count(take.name) > 1:
                raise ValueError(f"two takes are called {take.name!r}")
        try:
            dome, sequence = self.dome, self.capture_sequence
            for take in self.takes:
                take.faults.check_lights(len(dome))
                if take.faults != TakeFaults():
                    draw_steps(take.faults, self.frame_count(take), take.first_step)
                if take.truth_sets:
                    sequence.windows(take.truth_rate_hz, 1)
        except LightstageError as reason:
            raise ValueError(str(reason).rstrip(".")) from None
        return self


def simulate_session(
    path: Path, recipe: SessionRecipe, *, workers: int = 1, progress: Progress | None = None
) -> Session:
    """Make the session of a recipe, or add its takes to one that was made from it.

    Each take gets its .cine, ``truth_steps.zarr`` with what each frame truly shows and, where the
    recipe asks for it, ``truth.zarr`` with ground truth for sets spread over the take. A take that
    is there already is left as it is, and truth that it lacks is added.

    Args:
        path: the session's folder.
        recipe: what to simulate.
        workers: processes that render.
        progress: called with what is being made, how much is done, and how much there is.

    Raises:
        SessionError: the folder holds something else, a session of another stage, or a take of that
            name recorded from another recipe.
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
        take = _open_or_add(session, recipe, wanted)
        if not take.cine_path.is_file():
            _record(take, recipe, wanted, workers, progress)
        steps_path = take.path / STEPS_NAME
        if not steps_path.exists():
            stage = recipe.simulated_stage(wanted)
            steps = take_steps(stage, recipe.frame_count(wanted), wanted.first_step)
            write_steps(steps_path, steps, wanted.faults)
        if wanted.truth_sets and not take.truth_path.exists():
            _add_truth(take, recipe, wanted, progress)
    return session


def _open_or_add(session: Session, recipe: SessionRecipe, wanted: TakeRecipe) -> Take:
    """Return the take's folder: a new one, or the one that an earlier run has made."""
    folder = session.path / "takes" / wanted.name
    if not Take.is_at(folder):
        return session.add_take(
            wanted.name,
            origin="simulated",
            note=f"{wanted.motion} performer {wanted.performer}",
            details={"recipe": recipe.replace(takes=(wanted,)).model_dump(mode="json")},
        )
    take = Take.open(folder)
    made = take.manifest.details.get("recipe")
    if made is None:
        raise SessionError(f"{folder}: was not simulated; name another take.")
    before = SessionRecipe.parse(made, f"{folder}: the recipe in take.json")
    changed = _differences(before, recipe, before.takes[0], wanted)
    if changed:
        raise SessionError(
            f"{folder}: was recorded from another recipe (other are: {', '.join(changed)}); name "
            f"another take, or remove this one to record it anew."
        )
    return take


def _differences(
    before: SessionRecipe, now: SessionRecipe, take_before: TakeRecipe, take_now: TakeRecipe
) -> list[str]:
    pairs = (
        (before.stage, now.stage),
        (before.sequence, now.sequence),
        (take_before.without_truth, take_now.without_truth),
    )
    found: list[str] = []
    for old, new in pairs:
        old_values, new_values = old.model_dump(), new.model_dump()
        found += [name for name, value in new_values.items() if value != old_values[name]]
    return found


def _record(
    take: Take,
    recipe: SessionRecipe,
    wanted: TakeRecipe,
    workers: int,
    progress: Progress | None,
) -> None:
    simulate_take(
        take.cine_path,
        recipe.simulated_stage(wanted),
        recipe.frame_count(wanted),
        workers=workers,
        progress=_about(f"recording {wanted.name}", progress),
        first_step=wanted.first_step,
    )


def _add_truth(
    take: Take, recipe: SessionRecipe, wanted: TakeRecipe, progress: Progress | None
) -> None:
    stage = recipe.simulated_stage(wanted)
    end = wanted.first_step + recipe.frame_count(wanted)
    windows = recipe.capture_sequence.windows(wanted.truth_rate_hz, end, wanted.first_step)
    count = min(wanted.truth_sets, len(windows))
    chosen = [windows[round((k + 0.5) * len(windows) / count - 0.5)] for k in range(count)]
    report = _about(f"ground truth of {wanted.name}", progress)
    partial = take.truth_path.with_name("truth.partial.zarr")

    def truths() -> Iterator[GroundTruth]:
        for done, window in enumerate(chosen, 1):
            yield ground_truth(stage, window.centre, olat_flow=wanted.truth_olat_flow)
            if report:
                report(done, count)

    write_truth(partial, truths())
    partial.rename(take.truth_path)


def _about(what: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)
