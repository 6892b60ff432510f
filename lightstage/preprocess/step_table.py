"""Steps of a sequence as arrays: what kind each is and which light it shows."""

from __future__ import annotations

import numpy as np

from lightstage.preprocess.appearance import Ints
from lightstage.sequence import CaptureSequence, StepKind

#: Kinds of step as numbers: none (before the sequence), dark, tracking, OLAT.
NONE, DARK, TRACKING, OLAT = range(4)
_CODES = {StepKind.DARK: DARK, StepKind.TRACKING: TRACKING, StepKind.OLAT: OLAT}


class StepTable:
    """Kinds and lights of steps, looked up by whole arrays."""

    def __init__(self, sequence: CaptureSequence) -> None:
        self.preamble = len(sequence.preamble)
        self.cycle = sequence.cycle_frames
        self._kind = np.array([_CODES[step.kind] for step in sequence.cycle])
        self._light = np.array([step.light for step in sequence.cycle], dtype=np.int64)
        self._marks = np.array([_CODES[StepKind(kind)] for kind in sequence.preamble], dtype=int)

    def kind(self, step: Ints) -> Ints:
        """Return the kind of each step."""
        kind: Ints = self._kind[(step - self.preamble) % self.cycle].astype(np.int64)
        early = np.flatnonzero(step < self.preamble)
        for index in early.tolist():
            kind[index] = self._marks[step[index]] if step[index] >= 0 else NONE
        return kind

    def light(self, step: Ints) -> Ints:
        """Return the light of each step, -1 where no single light is on."""
        light = self._light[(step - self.preamble) % self.cycle]
        return np.asarray(np.where(step < self.preamble, -1, light))
