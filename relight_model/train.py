"""Setting up a training: takes, networks, the shape regressor, and the folder that it goes to."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.errors import InputError
from lightstage.images import read_image, write_image
from relight_model.checkpoint import (
    checkpoints,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from relight_model.conditioning import ConditioningRenderer
from relight_model.dataset import PerformanceDataset, mean_shape
from relight_model.head.clip import HeadClip
from relight_model.head.clip_statistics import ClipStatistics
from relight_model.head.model import HeadModel
from relight_model.losses import LossModels
from relight_model.networks import (
    ReflectanceNetwork,
    ShapeRegressor,
    VggFeatures,
    fitted_light_basis,
    smooth_light_basis,
)
from relight_model.run import CONFIG, DATA, PERFORMER, TEXTURE, RunData, TakenTake, is_run
from relight_model.sample_pictures import sample_picture
from relight_model.shape_training import (
    ShapeJudge,
    rendered_heads,
    train_shape_regressor,
    unseen_shapes,
)
from relight_model.trainer import (
    Learner,
    Trainer,
    Watchers,
    learn_only_what_is_judged,
    new_discriminator,
)
from relight_model.training_batches import StepBatches, seed_of
from relight_model.training_config import TrainingConfig
from relight_model.training_log import TrainingLog
from relight_model.training_process import TrainingProcess
from relight_model.training_take import TrainingTake

_REGRESSOR = "shape_regressor.safetensors"
_SAMPLES, _MAPS = "samples", "maps"
_NETWORK, _DISCRIMINATOR, _SHAPE = range(3)


@dataclass(frozen=True)
class TakeChoice:
    """A take to learn from, and its file of head parameters; ``None``: the one beside it."""

    path: Path
    parameters: Path | None = None

    @classmethod
    def parse(cls, text: str) -> TakeChoice:
        """Return ``TAKE`` or ``TAKE=PARAMETERS.npz``."""
        take, _, parameters = text.partition("=")
        return cls(Path(take), Path(parameters) if parameters else None)


@dataclass(frozen=True)
class Outcome:
    """How a training ended: at which step, and whether it was stopped early, by which signal."""

    step: int
    signal: int | None
    losses: dict[str, float]


def train(
    config: TrainingConfig,
    takes: Sequence[TakeChoice],
    run: Path,
    process: TrainingProcess,
    *,
    resume: bool = False,
    quiet: bool = False,
    command: str = "",
) -> Outcome:
    """Train a performer's network into the folder ``run``.

    Args:
        config: what is done.
        takes: what is learnt from.
        run: the folder; made if it is not there.
        process: this one.
        resume: go on from the last checkpoint in ``run``.
        quiet: say nothing.
        command: kept as provenance.

    Raises:
        InputError: ``run`` is there and ``resume`` was not asked for, or the other way round; takes
            that do not fit the configuration; a training that diverged.
    """
    import time

    began = time.monotonic()
    check_folder(run, resume)
    process.wait()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet = quiet or not process.writes
    opened = [TrainingTake.open(take.path, take.parameters) for take in takes]
    config = config.with_lights(opened[0].fields.lights if opened else 0)
    if resume:
        _check_same(config, TrainingConfig.read(run / CONFIG), run)
    head = HeadModel.load(Path(config.data.head) if config.data.head else None)
    texture = _texture(config)
    beta_bar = mean_shape(opened)
    renderer = ConditioningRenderer(
        head, beta_bar, texture, supersampling=config.data.supersampling
    )
    for take in opened:
        renderer.check_clip(take.clip)
    if process.writes:
        # first of all: a folder with it is a run, which --resume can go on with
        run.mkdir(parents=True, exist_ok=True)
        config.save(run / CONFIG)
        # one process draws the maps, the others find them
        dataset = open_dataset(config, opened, renderer, run)
        _write_run(run, config, dataset, takes, head.fingerprint, texture, command)
    process.wait()
    if not process.writes:
        dataset = open_dataset(config, opened, renderer, run)
    batches = StepBatches(dataset, config, process)
    with contextlib.ExitStack() as stack:
        done = 0
        last = latest_checkpoint(run) if resume and checkpoints(run) else None
        if last is not None:
            done = int(last.name)
        log = (
            stack.enter_context(TrainingLog(run, config, done, quiet=quiet))
            if (process.writes)
            else None
        )
        if log and dataset.left_out:
            log.say(f"{dataset.left_out} sets lack lights and are left out.")
        learner = _learner(config, dataset, opened[0].clip, renderer, run, process, log, texture)
        writer = _Writer(run, config, learner, batches, process, log)
        trainer = Trainer(learner, batches, writer.watchers(), time.monotonic() - began)
        writer.trainer = trainer
        if last is not None:
            done, about = load_checkpoint(last, learner.kept())
            trainer.restore(about)
            if log:
                log.say(f"{run}: goes on after step {done}.")
        process.alike(list(learner.kept().networks.values()))
        stopped = stack.enter_context(_signals())
        step = trainer.train(done, stopped.asked)
    return Outcome(step, stopped.signal, writer.losses)


def check_folder(run: Path, resume: bool) -> None:
    """Refuse a run that is there when a new one is wanted, and the other way round."""
    if resume:
        if not is_run(run):
            raise InputError(f"{run}: is no RUN to go on with; leave --resume out.")
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        if is_run(run):
            raise InputError(
                f"{run}: holds a training; go on with it by --resume, or name another folder."
            )
        raise InputError(f"{run}: is there and is no training; name another folder.")


def open_dataset(
    config: TrainingConfig,
    takes: Sequence[TrainingTake],
    renderer: ConditioningRenderer,
    run: Path,
) -> PerformanceDataset:
    """Return the samples that are learnt from."""
    data = config.data
    return PerformanceDataset(
        takes,
        data.layout,
        config.network.size,
        renderer=renderer,
        part="train" if data.held_out else "all",
        held_out_share=data.held_out or 0.2,
        gap_s=data.gap_s,
        memory_bytes=int(data.memory_gb * 1e9),
        maps_folder=run / _MAPS,
    )


def _check_same(config: TrainingConfig, before: TrainingConfig, run: Path) -> None:
    """Refuse to go on with other settings than those that only say how long and how often."""
    free = {"steps", "hours", "checkpoint_every", "keep", "sample_every", "sample_frames",
            "log_every", "threads", "compile"}  # fmt: skip
    now, then = (c.model_dump(mode="json") for c in (config, before))
    for name in now:
        if name not in free and now[name] != then[name]:
            told = _first_difference(name, now[name], then[name])
            raise InputError(
                f"{run}: was trained with another {told}; go on with its own {CONFIG}: "
                f"relight_model train {run / CONFIG} … --resume"
            )


def _first_difference(name: str, now: Any, then: Any) -> str:
    if isinstance(now, dict) and isinstance(then, dict):
        for key in now:
            if now[key] != then.get(key):
                return _first_difference(f"{name}.{key}", now[key], then.get(key))
    return f"{name} ({then}, now {now})"


def _texture(config: TrainingConfig) -> NDArray[np.float32] | None:
    if config.data.texture is None:
        return None
    path = Path(config.data.texture)
    if path.suffix == ".npy":
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as reason:
            raise InputError(f"{path}: is no texture: {reason}.") from None
        return np.asarray(found, np.float32)
    return read_image(path, transfer="srgb")


def _learner(
    config: TrainingConfig,
    dataset: PerformanceDataset,
    clip: HeadClip,
    renderer: ConditioningRenderer,
    run: Path,
    process: TrainingProcess,
    log: TrainingLog | None,
    texture: NDArray[np.float32] | None,
) -> Learner:
    """Return the networks, those that losses need among them."""
    torch.manual_seed(seed_of(config.seed, _NETWORK))
    network = ReflectanceNetwork(config.network)
    if config.network.head == "low_rank":
        _start_basis(network, config, dataset)
    learn_only_what_is_judged(network, config)
    network = process.synced(network)
    needs = config.losses.models_needed
    features = discriminator = judge = beta_bar = None
    if "features" in needs:
        if config.features is None:
            features = VggFeatures.stand_in()
            if log:
                log.say("the albedo loss uses fixed random filters: no VGG-19 weights were named "
                        "(features).")  # fmt: skip
        else:
            features = VggFeatures.load(config.features)
    if "discriminator" in needs:
        torch.manual_seed(seed_of(config.seed, _DISCRIMINATOR))
        discriminator = process.synced(new_discriminator(config))
    if "shape_regressor" in needs:
        judge = _shape_judge(config, dataset, clip, renderer, run, process, log, texture)
        beta_bar = torch.from_numpy(np.float32(dataset.beta_bar))
    return Learner(network, config, process, LossModels(features, discriminator, judge, beta_bar))


def _start_basis(
    network: ReflectanceNetwork, config: TrainingConfig, dataset: PerformanceDataset
) -> None:
    choice = config.network
    if config.light_basis_sets and choice.curve == "signed" and not choice.factored:
        count = min(config.light_basis_sets, len(dataset))
        chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
        basis, _ = fitted_light_basis((dataset.sample(int(k))["olat"] for k in chosen), choice.rank)
    else:
        directions = dataset.dome.directions
        basis = smooth_light_basis(choice.lights, choice.rank, choice.curve, directions)
    network.light_head.set_light_basis(basis)


def _shape_judge(
    config: TrainingConfig,
    dataset: PerformanceDataset,
    clip: HeadClip,
    renderer: ConditioningRenderer,
    run: Path,
    process: TrainingProcess,
    log: TrainingLog | None,
    texture: NDArray[np.float32] | None,
) -> ShapeJudge:
    """Return the frozen shape regressor; it is trained unless the run has it."""
    choice = config.regressor
    torch.manual_seed(seed_of(config.seed, _SHAPE))
    regressor = ShapeRegressor(len(dataset.beta_bar), choice.widths)
    path = run / _REGRESSOR
    if process.writes and not path.is_file():
        if log:
            log.say("training the shape regressor …")
        heads, unseen = (
            rendered_heads(
                renderer.head, clip, dataset.beta_bar, choice, seed, texture=texture, shapes=count
            )
            for seed, count in (
                (config.seed, choice.shapes),
                (seed_of(config.seed, _SHAPE, 1), unseen_shapes(choice)),
            )
        )
        report = train_shape_regressor(
            regressor, heads, unseen, dataset, dataset.beta_bar, choice, config.seed,
            process.device,
        )  # fmt: skip
        save_weights(regressor, path)
        if log:
            log.write({"shape_regressor": vars(report)})
            log.say(
                f"shape regressor: error {report.error:.3f} per coefficient on unseen heads (the "
                f"performer's mean has {report.constant_error:.3f}), {report.performer_error:.3f} "
                "on the takes."
            )
            if report.error > 0.9 * report.constant_error:
                log.say(
                    "note: the shape regressor is hardly better than the mean, so the context loss "
                    "says little: more regressor.steps and regressor.shapes, or losses.context=0."
                )
    process.wait()
    load_weights(regressor, path)
    return ShapeJudge(regressor.eval().requires_grad_(False), choice.size)


class _Writer:
    """Writes checkpoints, sample pictures and the log as the loop goes."""

    def __init__(
        self,
        run: Path,
        config: TrainingConfig,
        learner: Learner,
        batches: StepBatches,
        process: TrainingProcess,
        log: TrainingLog | None,
    ) -> None:
        self._run, self._config, self._learner = run, config, learner
        self._batches, self._process, self._log = batches, process, log
        self.trainer: Trainer | None = None
        self.losses: dict[str, float] = {}
        count = min(config.sample_frames, len(batches.dataset))
        places = (np.arange(count) + 0.5) * len(batches.dataset) / count
        self._shown = [int(k) for k in places]

    def watchers(self) -> Watchers:
        """Return what the loop calls."""
        return Watchers(self._stepped, self._sampled, self._saved)

    def _stepped(self, report: Any) -> None:
        self.losses = report.losses
        if self._log:
            self._log.stepped(report)

    def _saved(self, step: int) -> None:
        assert self.trainer is not None
        if self._process.writes:
            save_checkpoint(
                self._run, step, self._learner.kept(), self.trainer.state(), self._config.keep
            )
        self._process.wait()

    def _sampled(self, step: int) -> None:
        if self._process.writes and self._log:
            from lightstage.colour import encode_srgb

            folder = self._run / _SAMPLES
            folder.mkdir(exist_ok=True)
            with self._learner.at_its_best() as network:
                for index in self._shown:
                    batch = self._batches.fixed(index).to(self._process.device)
                    moment = self._batches.dataset.moments[index]
                    caption = f"step {step}, take {moment.take}, set {moment.set}"
                    picture = sample_picture(network, batch, self._batches.directions, caption)
                    name = f"take_{moment.take}_set_{moment.set:05d}"
                    write_image(folder / f"step_{step:08d}_{name}.png", picture)
                    self._log.pictured(step, f"samples/{name}", encode_srgb(picture))
        self._process.wait()


class _Signals:
    """Whether the training was told to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def asked(self) -> bool:
        """Return whether a signal came."""
        return self.signal is not None

    def __call__(self, number: int, frame: Any) -> None:
        if self.signal is not None:  # the second time people mean it
            raise KeyboardInterrupt
        self.signal = number
        print("\nstopping after this step …", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Let Ctrl-C and SIGTERM end the training after the step that is going on."""
    found = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, found)
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_run(
    run: Path,
    config: TrainingConfig,
    dataset: PerformanceDataset,
    takes: Sequence[TakeChoice],
    fingerprint: str,
    texture: NDArray[np.float32] | None,
    command: str,
) -> None:
    made_by = _provenance(command, dataset)
    if (run / DATA).is_file():
        before = RunData.load(run / DATA)
        if before.made_by.get("data_sha256") != made_by["data_sha256"]:
            raise InputError(
                f"{run}: was trained on other takes or parameters; go on with its own (see "
                f"{run / DATA}), or name another folder."
            )
        return
    learnt = np.bincount([m.take for m in dataset.moments], minlength=len(dataset.takes))
    described = []
    for number, (take, choice) in enumerate(zip(dataset.takes, takes, strict=True)):
        times = take.fields.time_s
        last = max((m.set for m in dataset.moments if m.take == number), default=-1)
        held_out = config.data.held_out and last + 1 < len(times)
        described.append(
            TakenTake(
                path=str(take.fields.path),
                parameters=str(choice.parameters or ""),
                sets=len(take.fields),
                learnt=int(learnt[number]),
                held_out_from_s=(
                    float(times[-1] - (times[-1] - times[0]) * config.data.held_out)
                    if held_out
                    else None
                ),
            )
        )
    statistics = ClipStatistics.of([take.clip for take in dataset.takes])
    statistics.replace(shape=tuple(dataset.beta_bar.tolist())).save(run / PERFORMER)
    if texture is not None:
        np.save(run / TEXTURE, texture, allow_pickle=False)
    periods = [t.clip.period_s for t in dataset.takes if len(t.clip) > 1]
    RunData(
        dome=dataset.dome,
        head=fingerprint,
        period_s=float(np.median(periods)) if periods else 0.0,
        takes=tuple(described),
        made_by=made_by,
    ).save(run / DATA)


def _provenance(command: str, dataset: PerformanceDataset) -> dict[str, Any]:
    from datetime import UTC, datetime

    digest = hashlib.sha256()
    for take in dataset.takes:
        digest.update(str(take.fields.attributes.get("digest", "")).encode())
        digest.update(take.fields.time_s.tobytes())
        for part in (take.clip.expression, take.clip.pose, take.clip.translation_m):
            digest.update(part.tobytes())
    return {
        "lightstage": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "data_sha256": digest.hexdigest(),
    }
