"""Phantom .cine recordings: read with :class:`CineFile`, written with :class:`CineWriter`.

``lightstage.cine.describe`` tells a technician what a file holds; ``docs/formats/cine.md`` tells
what is read, what is written and what is inferred.
"""

from lightstage.cine.camera_setup import CameraSetup
from lightstage.cine.header import CineHeader
from lightstage.cine.reader import CineFile
from lightstage.cine.writer import CineWriter

__all__ = ["CameraSetup", "CineFile", "CineHeader", "CineWriter"]
