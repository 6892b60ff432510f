"""Virtual sets: images made from the recording and stored flows when they are read."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from lightstage.errors import FieldsError
from lightstage.half_floats import to_float
from lightstage.preprocess.align import SetAligner
from lightstage.preprocess.motion import SetMotion
from lightstage.preprocess.set_maker import MakerOptions, SetMaker
from lightstage.preprocess.source import FrameSource, open_path
from lightstage.preprocess.store import set_frames, settings_of

#: Developed frames that a reader remembers.
_REMEMBERED_BYTES = 512 << 20


class VirtualSets:
    """The images of a store that holds flows and a recipe.

    What comes out is what a materialised store of the same settings holds, to the last bit: both
    are made by the same functions from the same stored flows.

    Args:
        path: the store; the recording lies beside it in the take's folder.

    Raises:
        FieldsError: the recording is missing, or is not the one the store was made from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group = zarr.open_group(str(path), mode="r")
        self._attributes = dict(self._group.attrs)
        self._settings = settings_of(path, self._attributes)

    @cached_property
    def _source(self) -> FrameSource:
        name = self._attributes.get("recording")
        wanted = self._attributes.get("recording_identity")
        recorded = self.path.parent / str(name)
        # a take's two recordings, the .cine and the store of its frames, are the same one
        for candidate in (recorded, recorded.with_name("frames.zarr")):
            if candidate.exists():
                source = open_path(candidate)
                if source.identity() == wanted:
                    return source
        raise FieldsError(
            f"{self.path}: is virtual, its images are made from {name}, which is not there or "
            f"not the recording that it was made from; put the recording back, or keep stores "
            f"whose recording goes away materialised."
        )

    @cached_property
    def _maker(self) -> SetMaker:
        options = MakerOptions(frames_bytes=_REMEMBERED_BYTES)
        return SetMaker(self._source, self._settings, options)

    def check_recording(self) -> None:
        """Raise FieldsError unless the recording is there."""
        _ = self._source

    def motion(self, index: int) -> SetMotion:
        """Return the stored motion of a set."""
        count = int((np.asarray(self._group["tracking_frame"][index]) >= 0).sum())
        flow = np.asarray(self._group["flow"][index])[:count]
        trust = np.asarray(self._group["trust"][index])[:count]
        nothing = np.zeros(count, np.float32)
        unit = float(self._attributes["flow_unit_px"])
        return SetMotion(flow, unit, trust, nothing, nothing, nothing, nothing)

    def aligner(self, index: int) -> SetAligner:
        """Return what makes a set's images."""
        part: Any = tuple(float(value) for value in np.asarray(self._group["crop"][index]))
        return self._maker.aligner(set_frames(self._group, index), part, self.motion(index))

    def light(self, index: int, light: int) -> NDArray[np.float16]:
        """Return one light's image ``(height, width, 3)`` as it would be stored."""
        return self.aligner(index).light(light)

    def olat(self, index: int) -> NDArray[np.float32]:
        """Return a set's images ``(lights, height, width, 3)``, linear float32."""
        aligner = self.aligner(index)
        lights = int(self._group["confidence"].shape[1])
        height, width = self._group["full_lit"].shape[1:3]
        olat = np.empty((lights, height, width, 3), np.float32)
        for light in range(lights):
            olat[light] = to_float(aligner.light(light))
        return olat
