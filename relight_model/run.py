"""A RUN: what a training left behind, opened to predict with."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lightstage.dome import Dome
from lightstage.errors import InputError
from lightstage.fields import ReflectanceFields
from lightstage.manifest import Manifest
from relight_model.checkpoint import FOLDER, latest_checkpoint, load_weights, read_state
from relight_model.conditioning import ConditioningRenderer
from relight_model.conditioning.stacks import StackLayout
from relight_model.dataset import resized_picture
from relight_model.head.clip import HeadClip
from relight_model.head.clip_statistics import ClipStatistics
from relight_model.head.model import HeadModel
from relight_model.networks import ReflectanceNetwork, ReflectanceOutput
from relight_model.render_fields import FieldsPlan, RenderedSet
from relight_model.training_config import TrainingConfig

Array = NDArray[np.float32]

#: The files of a run; ``checkpoints/``, ``log.jsonl``, ``tensorboard/`` and ``samples/`` beside.
CONFIG, DATA, PERFORMER, TEXTURE = "config.json", "data.json", "performer.json", "texture.npy"
#: How far a clip's rate may be from a multiple of the network's.
_RATE_TOLERANCE = 0.02


class TakenTake(Manifest):
    """A take that a run learnt from.

    Attributes:
        path: its store.
        parameters: the file of head parameters.
        sets: how many sets it has.
        learnt: how many of them were learnt from.
        held_out_from_s: time of the first that was held out; ``None``: none was.
    """

    path: str
    parameters: str
    sets: int
    learnt: int
    held_out_from_s: float | None = None


class RunData(Manifest):
    """What a run learnt from.

    Attributes:
        format: the file's version.
        dome: the lights, in the order of the network's.
        head: fingerprint of the head model.
        period_s: from a set to the next.
        takes: the takes.
        made_by: versions, host and command.
    """

    format: Literal["lightstage run 1"] = "lightstage run 1"
    dome: Dome
    head: str
    period_s: float
    takes: tuple[TakenTake, ...] = ()
    made_by: Annotated[dict[str, Any], Field(default_factory=dict)]


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A performer's trained network and all that drives it.

    Attributes:
        path: the run's folder.
        checkpoint: the folder of the weights.
        step: steps they were trained.
        config: the training's configuration, with the network's in ``config.network``.
        data: what was learnt from; ``data.dome`` are the lights.
        statistics: the performer's head parameters, for equation (6); ``beta_bar`` is their shape.
        network: with the averaged weights, set to evaluation.
        device: where it computes.
    """

    path: Path
    checkpoint: Path
    step: int
    config: TrainingConfig
    data: RunData
    statistics: ClipStatistics
    network: ReflectanceNetwork
    device: torch.device

    @classmethod
    def open(
        cls,
        path: Path,
        checkpoint: int | None = None,
        *,
        average: bool = True,
        device: str | None = None,
    ) -> Self:
        """Open a run.

        Args:
            path: its folder.
            checkpoint: of which step; the last unless given.
            average: the moving average of the weights, where there is one, instead of the last.
            device: where to compute; a GPU where there is one unless given.

        Raises:
            InputError: no run, no such checkpoint, or a damaged one.
        """
        if not is_run(path):
            raise InputError(
                f"{path}: is no RUN: {CONFIG} is missing; `relight_model train … --out {path}` "
                "makes one."
            )
        config = TrainingConfig.read(path / CONFIG)
        if checkpoint is None:
            folder = latest_checkpoint(path)
        else:
            folder = path / FOLDER / f"{checkpoint:08d}"
            if not folder.is_dir():
                raise InputError(f"{path}: has no checkpoint of step {checkpoint}.")
        state = read_state(folder)
        data = RunData.load(path / DATA)
        network = ReflectanceNetwork(config.network)
        averaged = folder / "generator.average.safetensors"
        used = averaged if average and averaged.is_file() else folder / "generator.safetensors"
        load_weights(network, used)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network.to(where).eval().requires_grad_(False)
        statistics = ClipStatistics.load(path / PERFORMER)
        return cls(path, folder, int(state["step"]), config, data, statistics, network, where)

    @property
    def dome(self) -> Dome:
        """The lights, in the order of the network's."""
        return self.data.dome

    @property
    def beta_bar(self) -> NDArray[np.float64]:
        """The performer's mean shape ``(S,)``."""
        return np.array(self.statistics.shape, np.float64)

    @property
    def layout(self) -> StackLayout:
        """The network's input channels."""
        return self.config.data.layout

    @property
    def size(self) -> int:
        """Width and height of the pictures."""
        return self.config.network.size

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """What tells these weights from all others, as JSON holds it."""
        files = read_state(self.checkpoint)["files"]
        return {"run": self.path.name, "step": self.step, "weights": files}

    def renderer(self, head: Path | None = None) -> ConditioningRenderer:
        """Return the renderer of the performer's maps.

        Args:
            head: the head model's file, where it is not where it was at training.

        Raises:
            InputError: another head than the run was trained with.
        """
        chosen = head or (Path(self.config.data.head) if self.config.data.head else None)
        model = HeadModel.load(chosen)
        if model.fingerprint != self.data.head:
            raise InputError(
                f"{self.path}: was trained with the head {self.data.head}, "
                f"{chosen or 'the procedural head'} is {model.fingerprint}; give its own (--head)."
            )
        texture = None
        if (self.path / TEXTURE).is_file():
            texture = np.load(self.path / TEXTURE, allow_pickle=False)
        return ConditioningRenderer(
            model, self.beta_bar, texture, supersampling=self.config.data.supersampling
        )

    def predictor(self, clip: HeadClip, head: Path | None = None) -> Predictor:
        """Return what predicts the frames of a clip; see :class:`Predictor`."""
        return Predictor(self, clip, self.renderer(head))


def is_run(path: Path) -> bool:
    """Whether a folder is that of a training."""
    return (path / CONFIG).is_file()


class Predictor:
    """The sets that a run predicts for a clip of head parameters; maps are rendered when needed.

    A sequence as :mod:`relight_model.evaluate` takes it: ``len()``, and ``[i]`` with ``.olat`` and
    ``.time_s``.
    """

    def __init__(self, run: TrainedRun, clip: HeadClip, renderer: ConditioningRenderer) -> None:
        """Check that the clip can drive the run.

        Raises:
            InputError: of another head, of pictures that are not square, or at a rate that is no
                multiple of the network's.
        """
        renderer.check_clip(clip)
        if clip.view is None and clip.camera.width != clip.camera.height:
            from relight_model.head_crop import crop_clip

            clip = crop_clip(clip, renderer.head, run.size)
        self.run, self.clip = run, clip
        self._renderer = renderer
        self._layout = _layout_at(run, clip)
        self._maps: OrderedDict[int, NDArray[np.float16]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.clip)

    def __getitem__(self, index: int) -> PredictedSet:
        """Return the prediction for a frame."""
        return PredictedSet(self, range(len(self))[index])

    def output(self, index: int) -> ReflectanceOutput:
        """Return what the network says of a frame; lights are made when they are asked for."""
        with torch.inference_mode():
            output: ReflectanceOutput = self.run.network(self.conditioning(index))
        return output

    def conditioning(self, index: int) -> Tensor:
        """Return the stack of a frame's maps, ``(1, c, s, s)``."""
        frames = self._layout.indices(index)
        stacked = np.concatenate([self._rendered(int(k)) for k in frames])
        return torch.from_numpy(stacked.astype(np.float32))[None].to(self.run.device)

    def rendered(self, indices: Iterable[int], chunk: int = 8) -> Iterator[RenderedSet]:
        """Yield frames as :func:`relight_model.render_fields.render_fields` takes them."""
        for index in indices:
            output = self.output(int(index))
            yield RenderedSet(
                olat=self._lights(output, chunk),
                normal=_picture(output.normal[0]),
                albedo=_picture(output.albedo[0]),
            )

    def _lights(self, output: ReflectanceOutput, chunk: int) -> Iterator[Array]:
        for start in range(0, output.light_count, chunk):
            with torch.inference_mode():
                lights = output.lights(start, min(start + chunk, output.light_count))[0]
            yield from (_picture(light) for light in lights)

    def _rendered(self, index: int) -> NDArray[np.float16]:
        if index not in self._maps:
            maps = self._layout.maps
            (drawn,) = self._renderer.render_channels(
                self.clip, [index], (self.run.size, self.run.size), maps
            )
            self._maps[index] = drawn
            while len(self._maps) > self._layout.history + 8:
                self._maps.popitem(last=False)
        self._maps.move_to_end(index)
        return self._maps[index]


@dataclass(frozen=True, eq=False)
class PredictedSet:
    """One frame's prediction, made when it is asked for."""

    predictor: Predictor
    index: int

    @property
    def time_s(self) -> float:
        """The frame's time."""
        return float(self.predictor.clip.time_s[self.index])

    @cached_property
    def olat(self) -> Array:
        """All lights, ``(lights, h, w, 3)`` linear."""
        (one,) = self.predictor.rendered([self.index])
        return np.stack(list(one.olat))


class SizedFields:
    """The sets of a store at the size that a network predicts, each pixel a mean."""

    def __init__(self, fields: ReflectanceFields, size: int) -> None:
        """Take square sets.

        Raises:
            InputError: they are not square.
        """
        if fields.width != fields.height:
            raise InputError(
                f"{fields.path}: the sets are {fields.width} x {fields.height}, a network predicts "
                "squares; preprocess with --crop face."
            )
        self.fields, self.size = fields, size

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.fields)

    def __getitem__(self, index: int) -> SizedSet:
        """Return a set."""
        return SizedSet(self, index)

    def matte(self, index: int) -> Array:
        """Return a set's matte ``(size, size)``."""
        return resized_picture(self.fields.read("matte", index), self.size)


@dataclass(frozen=True, eq=False)
class SizedSet:
    """One set of :class:`SizedFields`."""

    fields: SizedFields
    index: int

    @property
    def time_s(self) -> float:
        """The set's time."""
        return float(self.fields.fields.time_s[self.index])

    @cached_property
    def olat(self) -> Array:
        """All lights, ``(lights, size, size, 3)`` linear."""
        images = self.fields.fields.read_olat(self.index)
        return np.stack([resized_picture(image, self.fields.size) for image in images])


def fields_plan(predictor: Predictor, frames: list[int]) -> FieldsPlan:
    """Return the plan of a store of these frames' predictions."""
    run, clip = predictor.run, predictor.clip
    crop = None
    if clip.view is not None and clip.view_size is not None:
        # crops count from the first pixel's edge, cameras from its middle
        view = clip.view[frames]
        sides = np.array(clip.view_size) / view[:, 2:]
        crop = np.concatenate([view[:, :2] + 0.5, sides], axis=1)
    digest = hashlib.sha256()
    for part in (clip.shape, clip.expression, clip.pose, clip.translation_m, clip.view):
        digest.update(b"-" if part is None else part.tobytes())
    digest.update(repr(clip.camera).encode())
    return FieldsPlan(
        dome=run.dome,
        width=run.size,
        height=run.size,
        time_s=clip.time_s[frames],
        made_from={**run.made_from, "parameters": digest.hexdigest(), "head": run.data.head},
        maps=("normal", "albedo"),
        centre_frame=np.asarray(frames, np.int64),
        crop=crop,
    )


def _picture(channels: Tensor) -> Array:
    """Return ``(h, w, 3)`` of a tensor ``(3, h, w)``."""
    found: Array = channels.permute(1, 2, 0).float().cpu().numpy()
    return found


def _layout_at(run: TrainedRun, clip: HeadClip) -> StackLayout:
    """Return the stack's layout at the clip's own rate."""
    layout = run.layout
    if layout.frames == 1 or len(clip) < 2 or run.data.period_s <= 0:
        return layout
    ratio = layout.step * run.data.period_s / clip.period_s
    step = max(1, round(ratio))
    if abs(ratio / step - 1.0) > _RATE_TOLERANCE:
        rate = 1.0 / run.data.period_s
        raise InputError(
            f"the clip has {1.0 / clip.period_s:.4g} frames/s, the network was trained at "
            f"{rate:.4g} sets/s: bring the clip to {rate:.4g} frames/s, or a whole multiple, with "
            "`relight_model resample` first."
        )
    return StackLayout(layout.maps, layout.frames, step)
