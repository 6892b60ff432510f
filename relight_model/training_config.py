"""What a training does: one frozen, validated model, read from TOML or YAML; a RUN keeps it."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from lightstage.errors import InputError
from lightstage.manifest import Manifest
from relight_model.augmentation import AugmentationSettings
from relight_model.conditioning.maps import NETWORK_MAPS, channel_count, checked_maps
from relight_model.conditioning.stacks import StackLayout
from relight_model.losses import LOSSES, PAPER_WEIGHTS, LossConfig
from relight_model.networks.config import NetworkConfig, Norm

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_FOLDER = "configs"


class DataConfig(Manifest):
    """What of the takes is learnt from."""

    maps: Annotated[
        tuple[str, ...],
        Field(description="maps of each frame, of diffuse, pncc, landmarks, normal, mask"),
    ] = NETWORK_MAPS
    frames: Annotated[
        int, Field(ge=1, le=64, description="frames in a stack, the newest last; the paper's 11")
    ] = 11
    step: Annotated[int, Field(ge=1, description="frames of the clip from one to the next")] = 1
    held_out: Annotated[
        float,
        Field(ge=0, lt=1, description="share of each take's end that is not learnt from"),
    ] = 0.0
    gap_s: Annotated[
        float, Field(ge=0, description="time before the held-out part that is not used either")
    ] = 0.112
    supersampling: Annotated[
        int | None, Field(ge=1, le=16, description="samples along each side of a map's pixel")
    ] = None
    texture: Annotated[
        str | None, Field(description="picture: the performer's texture instead of the head's own")
    ] = None
    head: Annotated[
        str | None, Field(description="head model file (.npz); the procedural head without")
    ] = None
    relit_pictures: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="pictures beside the full-lit one that relit losses look at, each under "
            "one soft light from a random direction",
        ),
    ] = 0
    relit_radius_deg: Annotated[
        float, Field(ge=5, le=180, description="how large those lights are (1/e of their middle)")
    ] = 20.0
    augmentation: Annotated[
        AugmentationSettings, Field(description="how samples are changed; not at all by default")
    ] = AugmentationSettings()
    memory_gb: Annotated[
        float, Field(ge=0, description="sets and maps are kept in memory where they fit into this")
    ] = 4.0
    prefetch: Annotated[
        int, Field(ge=0, le=64, description="batches that are made ahead, by a thread")
    ] = 2

    @field_validator("maps")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return checked_maps(value)
        except InputError as reason:
            raise ValueError(str(reason)) from None

    @property
    def layout(self) -> StackLayout:
        """What the network's input channels are."""
        return StackLayout(self.maps, self.frames, self.step)


class OptimiserConfig(Manifest):
    """AdamW and its rate over the run."""

    rate: Annotated[float, Field(gt=0, le=1, description="highest learning rate")] = 2e-4
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(description="AdamW's two memories"),
    ] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0, description="steps in which the rate rises")] = 100
    schedule: Annotated[
        Literal["cosine", "constant"], Field(description="how the rate falls after the rise")
    ] = "cosine"
    final_share: Annotated[
        float, Field(ge=0, le=1, description="share of the rate that is left at the end")
    ] = 0.02
    clip_norm: Annotated[
        float | None, Field(gt=0, description="largest norm of all gradients; longer ones are cut")
    ] = 1.0


class DiscriminatorConfig(Manifest):
    """The PatchGAN; it is only there where the loss gan weighs something."""

    widths: tuple[Annotated[int, Field(ge=1)], ...] = (64, 128, 256, 512)
    norm: Norm = "batch"
    rate: Annotated[float, Field(gt=0, le=1, description="its learning rate")] = 2e-4


class RegressorConfig(Manifest):
    """The shape regressor; it is only there where the loss context weighs something."""

    steps: Annotated[int, Field(ge=1, description="taken before the network's")] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 16
    rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    shapes: Annotated[int, Field(ge=1, description="random heads that are rendered")] = 64
    poses: Annotated[int, Field(ge=1, description="pictures of each of them")] = 4
    spread: Annotated[
        float, Field(gt=0, description="standard deviation of their shape about the performer's")
    ] = 1.0
    real_share: Annotated[
        float, Field(ge=0, le=1, description="share of a batch that is relit frames of the takes")
    ] = 0.5
    size: Annotated[int, Field(ge=16, le=512, description="pictures are looked at so large")] = 64
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (32, 64, 128, 128)


class TrainingConfig(Manifest):
    """Everything that decides a training, but the takes and the folder it goes to."""

    network: Annotated[
        NetworkConfig,
        Field(
            description="the network; in_channels follows from data, lights from the takes unless "
            "it is given"
        ),
    ] = NetworkConfig()
    follow_maps: Annotated[
        bool,
        Field(
            description="give the newest frame's maps to the last stage as well, and predict "
            "albedo and normal as changes of its diffuse and normal maps"
        ),
    ] = False
    losses: Annotated[LossConfig, Field(description="weights by name, encoding, masked")] = (
        LossConfig()
    )
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    regressor: RegressorConfig = RegressorConfig()
    features: Annotated[
        str | None,
        Field(
            description="torchvision's vgg19-dcbb9e9d.pth, a path or URL, for the loss albedo_vgg; "
            "a stand-in of fixed random filters without"
        ),
    ] = None
    steps: Annotated[int | None, Field(ge=1, le=99_999_999, description="optimiser steps")] = None
    hours: Annotated[
        float | None,
        Field(gt=0, description="wall-clock time instead of steps, from start to last checkpoint"),
    ] = None
    batch_size: Annotated[int, Field(ge=1, description="samples at once, in each process")] = 1
    accumulate: Annotated[int, Field(ge=1, description="batches whose gradients make one step")] = 1
    lights_per_step: Annotated[
        int | None,
        Field(ge=1, description="lights drawn anew for each step, each as likely; all without"),
    ] = None
    light_chunk: Annotated[
        int | None,
        Field(ge=1, description="lights whose losses are computed at once; all without"),
    ] = 8
    light_basis_sets: Annotated[
        int,
        Field(
            ge=0,
            description="a low-rank signed head starts from the principal components of so many "
            "sets; 0: from smooth functions",
        ),
    ] = 0
    average: Annotated[
        float,
        Field(ge=0, lt=1, description="decay of the moving average of weights; 0: none"),
    ] = 0.999
    precision: Annotated[
        Precision,
        Field(description="of the network's trunk; auto: bf16 on a GPU that has it, else fp32"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"], Field(description="torch.compile; auto: on a GPU")
    ] = "auto"
    channels_last: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[
        int | None, Field(ge=1, le=1024, description="of this process; as torch chooses without")
    ] = None
    checkpoint_every: Annotated[int, Field(ge=1, description="steps")] = 500
    keep: Annotated[int, Field(ge=1, description="checkpoints")] = 3
    sample_every: Annotated[int, Field(ge=0, description="steps; 0: no sample pictures")] = 500
    sample_frames: Annotated[int, Field(ge=1, le=16, description="fixed frames shown")] = 2
    log_every: Annotated[int, Field(ge=1, description="steps")] = 10

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, given: Any) -> Any:
        """Put loss weights into their place, and fill in what follows from ``data``."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        if isinstance(filled.get("losses"), dict):
            filled["losses"] = with_loss_weights(filled["losses"])
        network = filled.get("network", {})
        try:
            data = DataConfig.model_validate(filled.get("data", {}))
        except ValidationError:
            return filled  # pydantic tells of it
        if isinstance(network, NetworkConfig):
            network = network.model_dump(exclude_unset=True)
        if isinstance(network, dict):
            network = {**network, "in_channels": data.layout.channels}
            if filled.get("follow_maps"):
                network |= _skips(data)
            filled["network"] = network
        return filled

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.steps is None) == (self.hours is None):
            raise ValueError("give either steps or hours, such as steps = 20000")
        lights = self.lights_per_step
        if lights is not None and lights > self.network.lights and self.gives_lights:
            raise ValueError(
                f"lights_per_step: is {lights}, the network has {self.network.lights} lights"
            )
        if not any(self.losses.weights.values()):
            raise ValueError("losses: no loss weighs anything: there is nothing to learn from")
        return self

    @property
    def gives_lights(self) -> bool:
        """Whether the number of lights was chosen, not left to the takes."""
        return "lights" in self.network.model_fields_set

    def with_lights(self, lights: int) -> Self:
        """Return the configuration for takes of ``lights`` lights.

        Raises:
            InputError: another number was chosen.
        """
        if self.network.lights == lights and self.gives_lights:
            return self
        if self.gives_lights:
            raise InputError(
                f"network.lights is {self.network.lights}, the takes have {lights} lights: leave "
                "it out of the configuration, and it follows from the takes."
            )
        given = self.model_dump(mode="json")
        given["network"]["lights"] = lights
        return type(self).parse(given, "the configuration")

    @classmethod
    def read(cls, source: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Self:
        """Return the configuration of a file, or of a name in ``relight_model/configs``.

        Args:
            source: a ``.toml``, ``.yaml``, ``.yml`` or ``.json`` file, or a name such as
                ``small_128``.
            overrides: ``field.field=value`` each, the value as TOML writes it; checked as the file
                is.

        Raises:
            InputError: naming the file, the field and what was expected.
        """
        path = find_config(source)
        given = _read(path)
        names = str(path)
        if isinstance(given.get("losses"), dict):
            given["losses"] = with_loss_weights(given["losses"])
        for override in overrides:
            _override(given, override)
            names += f" --set {override}"
        return cls.parse(given, names)

    @classmethod
    def parse(cls, data: Any, source: str) -> Self:
        """Return the configuration in parsed ``data``; ``source`` names it in errors."""
        try:
            return cls.model_validate(data)
        except ValidationError as reason:
            told = "; ".join(_told(item) for item in reason.errors())
            raise InputError(f"{source}: {told}.") from None


def shipped_configs() -> list[str]:
    """Return the names of the configurations that come with the package."""
    folder = resources.files("relight_model") / _FOLDER
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if ".toml" in entry.name
    )


def find_config(source: str | os.PathLike[str]) -> Path:
    """Return the file that a path or a shipped configuration's name means.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.is_file():
        return path
    names = shipped_configs()
    if str(source) in names:
        return Path(str(resources.files("relight_model") / _FOLDER / f"{source}.toml"))
    near = difflib.get_close_matches(str(source), names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"{source}: is neither a file nor a configuration that comes with relight_model "
        f"({', '.join(names)}){hint}"
    )


def with_loss_weights(losses: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``losses`` table with weights that stand in it by name moved into ``weights``.

    A table that names no weight has the paper's.
    """
    rest = {name: value for name, value in losses.items() if name not in LOSSES}
    named = {name: value for name, value in losses.items() if name in LOSSES}
    weights = rest.get("weights")
    if weights is None and not named:
        weights = dict(PAPER_WEIGHTS)
    if weights is None or isinstance(weights, Mapping):
        rest["weights"] = {**(weights or {}), **named}
    return rest


def _skips(data: DataConfig) -> dict[str, Any]:
    """Return what of the network's configuration makes it follow the newest frame's maps."""
    per_frame = channel_count(data.maps)
    first = per_frame * (data.frames - 1)
    found: dict[str, Any] = {"input_skip": per_frame}
    for field, name in (("albedo_from", "diffuse"), ("normal_from", "normal")):
        if name in data.maps:
            before = data.maps[: data.maps.index(name)]
            found[field] = first + (channel_count(before) if before else 0)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise InputError(f"{path}: cannot be read as text: {reason}.") from None
    kind = path.suffix.lower()
    try:
        if kind in (".yaml", ".yml"):
            import yaml

            try:
                found = yaml.safe_load(text)
            except yaml.YAMLError as reason:
                raise ValueError(" ".join(str(reason).split())) from None
        elif kind == ".json":
            found = json.loads(text)
        elif kind == ".toml":
            found = tomllib.loads(text)
        else:
            raise InputError(f"{path}: a configuration is a .toml, .yaml or .json file.")
    except (ValueError, RecursionError) as reason:
        raise InputError(f"{path}: is not valid {kind[1:].upper()}: {reason}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"{path}: a table of fields was expected, it holds {found!r:.60}.")
    return found


def _override(given: dict[str, Any], text: str) -> None:
    """Put one ``field.field=value`` into ``given``."""
    name, equals, value = text.partition("=")
    steps = name.strip().split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {text}: FIELD=VALUE was expected, such as losses.gan=0.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = None if value.strip() in ("none", "None", "null") else value.strip()
    if steps[0] == "losses":
        given["losses"] = with_loss_weights(given.get("losses", {}))
        if len(steps) == 2 and steps[1] in LOSSES:
            steps.insert(1, "weights")
    if steps in (["steps"], ["hours"]):
        given.pop("hours" if steps == ["steps"] else "steps", None)
    table = given
    for step in steps[:-1]:
        inner = table.get(step)
        table[step] = inner = dict(inner) if isinstance(inner, dict) else {}
        table = inner
    table[steps[-1]] = parsed


def _told(item: Any) -> str:
    """Return one of pydantic's errors as ``field: what was expected, what came``."""
    where = ".".join(str(step) for step in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        *parents, last = (str(step) for step in item["loc"])
        names = _fields(parents)
        near = difflib.get_close_matches(last, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        return f"{where}: there is no such field; {hint}"
    if item["type"] not in ("value_error", "missing"):
        message = f"{message[:1].lower()}{message[1:]}, not {item['input']!r:.60}"
    return f"{where}: {message}" if where else message


def _fields(parents: Iterable[str]) -> list[str]:
    model: Any = TrainingConfig
    for parent in parents:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        field = model.model_fields.get(parent)
        model = None if field is None else field.annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        extra = list(LOSSES) if model is LossConfig else []
        return [*model.model_fields, *extra]
    return []
