"""What can be wrong with a simulated Phantom camera and its connections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lightstage.manifest import Manifest

Count = Annotated[int, Field(ge=0)]


class CameraFaults(Manifest):
    """Faults of the camera; the defaults are a sound one.

    Edges are numbered from 0 at each arming; stamps by their place in the recording, from 0, or
    from its end if negative.
    """

    missed_edges: Annotated[
        tuple[int, ...], Field(description="edges (or beats of its own) that give no frame")
    ] = ()
    extra_edges: Annotated[
        tuple[int, ...],
        Field(description="edges after whose exposure a false frame comes, before the next edge"),
    ] = ()
    extra_first_frame: Annotated[
        bool, Field(description="a false frame one period before the first edge")
    ] = False
    busy_commands: Annotated[
        int, Field(ge=0, description="del, rec and img commands refused: an operation is going on")
    ] = 0
    memory_full_after: Annotated[
        int | None, Field(ge=1, description="the recording ends after so many frames")
    ] = None
    data_fault: Annotated[
        Literal["stall", "break", "short"] | None,
        Field(description="stop sending; reset the connection; close it as if all were sent"),
    ] = None
    data_fault_at_byte: Annotated[
        int, Field(ge=0, description="after so many bytes of a data connection")
    ] = 0
    data_fault_times: Annotated[int, Field(ge=0, description="on so many data connections")] = 1
    refuse_startdata: Annotated[bool, Field(description="as behind a firewall")] = False
    garbage_stamps: tuple[int, ...] = ()
    clock_drift_ppm: Annotated[
        float, Field(ge=-1e5, le=1e5, description="how much too fast its clock runs")
    ] = 0.0
    data_mb_per_s: Annotated[float | None, Field(gt=0, description="a slow network")] = None
    hangs_at: Annotated[
        str | None, Field(description="command after which control connections answer no more")
    ] = None
    hang_times: Annotated[int, Field(ge=0, description="so often")] = 1
    notify_inside_replies: Annotated[
        bool, Field(description="hold notifications until they can cut a long reply in two")
    ] = False
