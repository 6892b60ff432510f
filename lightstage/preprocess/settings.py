"""What a user can choose about preprocessing; a hash of it keys the ledger."""

from __future__ import annotations

from typing import Annotated, Literal

import xxhash
from pydantic import Field

from lightstage.manifest import Manifest
from lightstage.warp import Interpolation


class DevelopSettings(Manifest):
    """From stored Bayer values to linear RGB."""

    demosaic: Literal["bilinear", "edge-aware"] = "edge-aware"


class FlowSettings(Manifest):
    """Motion between tracking frames, by OpenCV's dense inverse search (Kroeger et al. 2016)."""

    scale: Annotated[float, Field(gt=0, le=1, description="flow is found on images so scaled")] = (
        1.0
    )
    finest_scale: Annotated[int, Field(ge=0, le=5)] = 1
    gradient_descent_iterations: Annotated[int, Field(ge=1)] = 12
    variational_iterations: Annotated[int, Field(ge=0)] = 5


class AlignSettings(Manifest):
    """Warping each OLAT frame to its set's centre."""

    method: Literal["flow", "none"] = "flow"
    interpolation: Interpolation = "cubic"
    confident_within_px: Annotated[float, Field(gt=0)] = 1.0


class PreprocessSettings(Manifest):
    """All of the above, and the rate of the sets."""

    rate_hz: Annotated[float | None, Field(gt=0)] = 25.0
    develop: DevelopSettings = DevelopSettings()
    flow: FlowSettings = FlowSettings()
    align: AlignSettings = AlignSettings()

    def digest(self, *inputs: str) -> str:
        """Return a hash of the settings and of what else the result depends on."""
        text = "\n".join((self.model_dump_json(), *inputs))
        return str(xxhash.xxh3_128_hexdigest(text.encode()))
