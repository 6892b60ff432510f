"""What a reflectance network is built from: a frozen, validated model that checkpoints keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lightstage.manifest import Manifest

if TYPE_CHECKING:
    from relight_model.conditioning import StackLayout

#: Encoder widths of the paper (section 8, Fig. 15).
PAPER_WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)

Norm = Literal["batch", "group", "none"]
Head = Literal["full", "low_rank"]
Curve = Literal["softplus", "square", "signed"]


class NetworkConfig(Manifest):
    """The shape of a :class:`~relight_model.networks.ReflectanceNetwork`.

    The defaults, with 99 input channels (11 frames of nine), are the paper's network.
    """

    size: Annotated[int, Field(ge=16, le=4096, description="pictures are size x size")] = 512
    in_channels: Annotated[int, Field(ge=1, description="channels of the stacked maps")] = 99
    lights: Annotated[int, Field(ge=1)] = 96
    widths: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        Field(min_length=1, description="encoder channels; those beyond log2(size) are left out"),
    ] = PAPER_WIDTHS
    refinement: Annotated[
        int, Field(ge=0, le=4, description="3x3 convolutions after each decoder stage")
    ] = 2
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    dropout_stages: Annotated[int, Field(ge=0, description="innermost decoder stages")] = 3
    norm: Norm = "batch"
    head: Head = "full"
    rank: Annotated[int, Field(ge=1, description="basis images of a low-rank head")] = 32
    head_kernel: Annotated[Literal[1, 3], Field(description="side of the heads' convolutions")] = 3
    factored: Annotated[
        bool,
        Field(description="light = albedo x shading + specular, instead of three free colours"),
    ] = False
    curve: Annotated[
        Curve,
        Field(
            description="how planes become light: softplus, square (both never negative), or "
            "signed (as they are; light is cut at 0 after mixing)"
        ),
    ] = "softplus"
    light_scale: Annotated[
        float, Field(gt=0, description="linear light that 1 at the head's output stands for")
    ] = 1.0
    input_skip: Annotated[
        int,
        Field(
            ge=0,
            description="this many of the last input channels (the newest frame's maps) are also "
            "given to the last stage at full size; the paper gives none",
        ),
    ] = 0
    albedo_from: Annotated[
        int | None,
        Field(
            ge=0,
            description="first of three input channels with an sRGB-encoded diffuse map; the "
            "albedo is then predicted as a change of it",
        ),
    ] = None
    normal_from: Annotated[
        int | None,
        Field(
            ge=0,
            description="first of three input channels with a normal map; the normal is then "
            "predicted as a change of it",
        ),
    ] = None
    checkpoint: Annotated[
        bool,
        Field(
            description="forget the decoder's activations and compute them again in the backward "
            "pass; the result is the same"
        ),
    ] = False

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"must be a power of two (16, 32, … 512, …), not {value}")
        return value

    @model_validator(mode="after")
    def _within_the_input(self) -> Self:
        if self.input_skip > self.in_channels:
            raise ValueError(
                f"input_skip is {self.input_skip}, there are {self.in_channels} input channels"
            )
        for name in ("albedo_from", "normal_from"):
            first = getattr(self, name)
            if first is not None and first + 3 > self.in_channels:
                raise ValueError(
                    f"{name} {first} needs channels {first} to {first + 2}, there are "
                    f"{self.in_channels}"
                )
        if self.head == "low_rank" and self.rank > self.lights:
            raise ValueError(f"rank {self.rank} is more than the {self.lights} lights")
        return self

    @classmethod
    def for_stack(cls, layout: StackLayout, *, use_maps: bool = True, **fields: Any) -> Self:
        """Return the configuration for stacks of conditioning maps.

        Args:
            layout: what the input's channels are.
            use_maps: also give the newest frame's maps to the last stage at full size, and predict
                albedo and normal as changes of the diffuse and the normal map where there are such;
                ``False``: the paper's network.
            fields: anything else, as the constructor takes it; it has the last word.
        """
        names = layout.channel_names()
        found: dict[str, Any] = {"in_channels": layout.channels}
        if use_maps:
            found["input_skip"] = layout.channels // layout.frames
            for name, channel in (("albedo_from", "diffuse.red@0"), ("normal_from", "normal.x@0")):
                if channel in names:
                    found[name] = names.index(channel)
        return cls(**found | fields)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """The widths in use: as many stages as halve ``size`` down to 1 x 1 at most."""
        return self.widths[: self.size.bit_length() - 1]

    @property
    def planes(self) -> int:
        """How many images the head makes: one for each light, or one for each of the basis."""
        return self.lights if self.head == "full" else self.rank

    @property
    def plane_channels(self) -> int:
        """Channels of one plane: red, green, blue; or shading and specular."""
        return 2 if self.factored else 3

    @property
    def receptive_field(self) -> int:
        """Pixels along a side of the input that one innermost encoder value depends on."""
        return 1 + 3 * ((1 << len(self.encoder_widths)) - 1)
