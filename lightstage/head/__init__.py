"""The head: its model in the FLAME file format, and the procedural head that is shipped.

A performer of the simulated stage is one; ``relight_model`` fits it to faces and drives a network
by it.
"""

from __future__ import annotations

from lightstage.head.head_file import (
    NO_PARENT,
    PARENTS,
    HeadFile,
    TextureBasis,
    express_head,
    pose_head,
    rotation_matrices,
    shape_head,
    skin_head,
)
from lightstage.head.procedural import procedural_head

__all__ = [
    "NO_PARENT",
    "PARENTS",
    "HeadFile",
    "TextureBasis",
    "express_head",
    "pose_head",
    "procedural_head",
    "rotation_matrices",
    "shape_head",
    "skin_head",
]
