"""What can be wrong with a simulated LED controller, its lights and its line."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import Field

from lightstage.manifest import Manifest

Rate = Annotated[float, Field(ge=0, le=1)]
StageTime = Annotated[int, Field(ge=0)]


class LedFaults(Manifest):
    """Faults of the LED controller; the defaults are a sound one. ``*_at_ns`` count from power-on.

    Steps are numbered from 0 at each start; channels are what the LED is wired to, after swaps.
    """

    clock_drift_ppm: Annotated[
        float, Field(ge=-1e5, le=1e5, description="how much too fast its clock runs")
    ] = 0.0
    pulse_jitter_ns: Annotated[
        float, Field(ge=0, description="standard deviation of a pulse's start")
    ] = 0.0
    stuck_on: tuple[int, ...] = ()
    stuck_dark: tuple[int, ...] = ()
    dim: dict[int, Rate] = Field(
        default_factory=dict, description="channel -> share of its light; its pulse is shortened"
    )
    swapped: Annotated[
        tuple[tuple[int, int], ...], Field(description="pairs wired the wrong way round")
    ] = ()
    droop_per_channel: Annotated[
        float, Field(ge=0, le=1, description="share of the supply that each lit channel costs")
    ] = 0.0
    reset_at_ns: StageTime | None = None
    missed_sync_edges: Annotated[
        tuple[int, ...],
        Field(description="steps whose edge is lost: F-Sync out, or the camera's strobe in"),
    ] = ()
    extra_sync_edges: Annotated[
        tuple[int, ...], Field(description="steps after whose edge a false one comes")
    ] = ()
    byte_loss_rate: Rate = 0.0
    byte_flip_rate: Rate = 0.0
    byte_duplicate_rate: Rate = 0.0
    interlock_open: bool = False
    interlock_opens_at_ns: StageTime | None = None
    temperature_c: float = 35.0
    overheats_at_ns: StageTime | None = None
    supply_v: Annotated[float, Field(ge=0, le=100)] = 24.0
    seed: int = 0


class LineNoise:
    """Loses, flips and doubles bytes of a serial line at the faults' rates."""

    def __init__(self, faults: LedFaults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)
        rates = (faults.byte_loss_rate, faults.byte_flip_rate, faults.byte_duplicate_rate)
        self._quiet = not any(rates)

    def spoil(self, data: bytes) -> bytes:
        """Return what of ``data`` arrives at the other end."""
        if self._quiet:
            return data
        arrived = bytearray()
        for byte in data:
            if self._random.random() < self._faults.byte_loss_rate:
                continue
            if self._random.random() < self._faults.byte_flip_rate:
                byte ^= 1 << self._random.randrange(8)
            arrived.append(byte)
            if self._random.random() < self._faults.byte_duplicate_rate:
                arrived.append(byte)
        return bytes(arrived)
