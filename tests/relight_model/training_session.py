"""The simulated training session of the examples, for tests: straight from the renderer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from lightstage import Session

EXAMPLE = Path(__file__).parents[2] / "examples/make_training_session.py"
CLIP_NAME = "truth_head.npz"


def example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("make_training_session", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_session(path: Path, *, shortcut: bool = True) -> Session:
    """Make a session of a few sets of 48x48 under 24 lights: takes ``talk`` and ``held_out``."""
    return example().make_training_session(
        path, small=True, shortcut=shortcut, workers=1, tell=lambda text: None
    )
