"""What a user can choose about preprocessing; a hash of it keys the ledger."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import xxhash
from pydantic import Field, model_validator

from lightstage.manifest import Manifest
from lightstage.warp import Interpolation

#: To be raised whenever the same settings come to make other pictures: stores are then made anew.
RESULTS_VERSION = 2
Demosaic = Literal["bilinear", "malvar", "residual"]
Quality = Literal["fast", "best"]
Positive = Annotated[float, Field(gt=0, le=100)]


class DevelopSettings(Manifest):
    """From stored Bayer values to linear RGB.

    Colour is balanced and then mixed by the matrix, row by row: ``rgb = matrix @ (balance * raw)``.
    A light's own gain is not taken out here: relighting divides its weights by it.
    """

    demosaic: Demosaic = "malvar"
    balance: Annotated[
        tuple[Positive, Positive] | None,
        Field(description="red and blue of the scene against green; None: measured, once a take"),
    ] = None
    white_balance: Annotated[
        tuple[Positive, Positive, Positive] | None,
        Field(description="None: as the session's calibration found, else 1"),
    ] = None
    colour_matrix: Annotated[
        tuple[float, ...] | None,
        Field(description="camera RGB to linear Rec.709, row by row; None: as for white_balance"),
    ] = None
    dark: Annotated[
        str | None, Field(description="dark frame in the session's calibration; None: its own")
    ] = None
    flat: Annotated[str | None, Field(description="flat field; as dark")] = None
    use_calibration: Annotated[
        bool, Field(description="what is None is filled in from the session's calibration")
    ] = True

    @model_validator(mode="after")
    def _nine(self) -> Self:
        if self.colour_matrix is not None and len(self.colour_matrix) != 9:
            raise ValueError(f"colour_matrix has 9 numbers, these are {len(self.colour_matrix)}")
        return self


class FlowSettings(Manifest):
    """Motion between tracking frames.

    ``dis`` is OpenCV's dense inverse search (Kroeger et al. 2016); ``deepflow`` (Weinzaepfel et
    al. 2013) is better and ten times slower; any other name is a method that an installed package
    offers as an entry point of the group ``lightstage.flow``.
    """

    method: Annotated[str, Field(min_length=1)] = "dis"
    scale: Annotated[
        float | None,
        Field(gt=0, le=1, description="flow pixels per source pixel; None: as the output needs"),
    ] = None
    finest_scale: Annotated[int, Field(ge=0, le=5)] = 1
    patch_stride: Annotated[int, Field(ge=1, le=8)] = 4
    gradient_descent_iterations: Annotated[int, Field(ge=1)] = 8
    variational_iterations: Annotated[int, Field(ge=0)] = 2
    every: Annotated[
        int,
        Field(ge=1, le=4, description="flow is found to every n-th tracking frame, and between"),
    ] = 3
    warm_start: Annotated[
        bool, Field(description="each flow starts from that to the tracking frame before")
    ] = False
    smoothing: Annotated[
        float, Field(ge=0, description="of each pixel's path over time (Whittaker, 3rd order)")
    ] = 0.0
    still_below_px: Annotated[
        float, Field(ge=0, description="motion below this is taken for noise, in flow pixels")
    ] = 0.06


class AlignSettings(Manifest):
    """Warping each OLAT frame to its set's time."""

    method: Literal["flow", "none"] = "flow"
    interpolation: Annotated[
        Interpolation | None,
        Field(description="None: cubic, or linear where the images are smaller than the frames"),
    ] = None
    confident_within_px: Annotated[
        float, Field(gt=0, description="flow there and back agrees within this, in flow pixels")
    ] = 1.0
    fuse_cycles: Annotated[
        int,
        Field(ge=0, le=1, description="1: also use each light's frames one cycle before and after"),
    ] = 0
    fill_missing: Annotated[
        bool, Field(description="a missing light is taken from the neighbouring cycle")
    ] = False


class CropSettings(Manifest):
    """Which part of the frame is kept, and how large it comes out."""

    mode: Literal["full", "face", "rectangle"] = "full"
    rectangle: Annotated[
        tuple[int, int, int, int] | None, Field(description="left, top, width, height in pixels")
    ] = None
    size: Annotated[
        tuple[int, int] | None, Field(description="output width and height; None: not resized")
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mode == "rectangle") != (self.rectangle is not None):
            raise ValueError("a rectangle goes with the mode 'rectangle', and only with it")
        if self.rectangle is not None and (min(self.rectangle) < 0 or min(self.rectangle[2:]) < 16):
            raise ValueError("a crop lies inside the frame and is at least 16 pixels wide and high")
        if self.size is not None and not 16 <= min(self.size) <= max(self.size) <= 16384:
            raise ValueError("an output size is 16 to 16384 pixels wide and high")
        return self


class PreprocessSettings(Manifest):
    """All of the above, and when the sets are."""

    rate_hz: Annotated[float | None, Field(gt=0)] = 25.0
    exact_times: Annotated[
        bool, Field(description="sets lie at their exact output time, not at a tracking frame")
    ] = False
    crop: CropSettings = CropSettings()
    develop: DevelopSettings = DevelopSettings()
    flow: FlowSettings = FlowSettings()
    align: AlignSettings = AlignSettings()

    @classmethod
    def of_quality(cls, quality: Quality) -> Self:
        """Return the settings for ``fast``, the default, or ``best``, some ten times slower."""
        if quality == "fast":
            return cls()
        return cls(
            develop=DevelopSettings(demosaic="residual"),
            flow=FlowSettings(
                finest_scale=0,
                patch_stride=3,
                gradient_descent_iterations=12,
                variational_iterations=10,
                every=2,
            ),
            align=AlignSettings(fuse_cycles=1),
        )

    def digest(self, *inputs: str) -> str:
        """Return a hash of the settings and of what else the result depends on."""
        text = "\n".join((self.model_dump_json(), str(RESULTS_VERSION), *inputs))
        return str(xxhash.xxh3_128_hexdigest(text.encode()))
