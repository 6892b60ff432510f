"""From the LED's wire to the relit film frame: the light stage's toolkit.

World: origin at the dome's centre, metres, +X image right, +Y up, +Z from the performer to the
camera. Images are ``(height, width, 3)`` RGB, linear light, float32, 1.0 = the sensor's white
level. See ``docs/architecture.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightstage.dome import Dome, Led
    from lightstage.fields import ReflectanceFields
    from lightstage.sequence import CaptureSequence
    from lightstage.session import Session, Take

__version__ = "0.1.0"

_HOMES = {
    "Dome": "lightstage.dome",
    "Led": "lightstage.dome",
    "CaptureSequence": "lightstage.sequence",
    "Session": "lightstage.session",
    "Take": "lightstage.session",
    "ReflectanceFields": "lightstage.fields",
}

__all__ = ["CaptureSequence", "Dome", "Led", "ReflectanceFields", "Session", "Take", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public class on first use, so that ``lightstage --help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lightstage' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
