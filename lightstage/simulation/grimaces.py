"""A performer who pulls faces: expressions that the talking performer never makes.

A model that was trained on talk is judged on these: they are not more of the same, but components
of the face that stood still all the time, and others far beyond what talking needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightstage.head import procedural_head
from lightstage.simulation.performer import HeadParameters, Performer

Float = NDArray[np.float64]

#: Grimaces: how far components are drawn, and ``jaw``, how far it is open in radians. Components
#: without a side are set on both.
GRIMACES: dict[str, dict[str, float]] = {
    "disgust": {"nose wrinkle": 0.9, "upper lip up": 0.5, "frown": 0.6, "squint": 0.5},
    "surprise": {"eye wide": 0.9, "brow inner up": 0.9, "brow outer up": 0.9, "jaw": 0.26,
                 "lips apart": 0.5},
    "sulk": {"corner down": 0.9, "chin up": 0.8, "brow inner up": 0.5, "lips pressed": 0.3},
    "wink": {"blink left": 1.0, "smile left": 0.9, "cheek raise left": 0.8, "mouth aside": 0.5},
    "puffed cheeks": {"cheek puff": 0.9, "eye wide": 0.5, "lips pressed": 0.5},
    "lips rolled in": {"upper lip in": 0.9, "lower lip in": 0.9, "chin up": 0.4},
}  # fmt: skip
#: Components that no talking performer uses: what a held-out take has and talk has not.
UNSEEN_COMPONENTS = (
    "nose wrinkle", "eye wide left", "eye wide right", "corner down left", "corner down right",
    "chin up", "upper lip in", "lower lip in",
)  # fmt: skip
#: How long one grimace lasts, and how long the face takes to come to it and to leave it.
_LASTS_S, _COMES_S = 0.66, 0.2
#: Between grimaces the performer talks on from here: where no talking take reaches, so that heads
#: move in other ways too.
_TALKS_FROM_S = 1000.0


@dataclass(frozen=True)
class GrimacingPerformer(Performer):
    """Moves the head as a talking performer does, but pulls one face after the other.

    Each of :data:`GRIMACES` comes, stays and goes within 0.66 s, in an order that ``seed`` chooses;
    all have been there after 4 s. It depends on the time alone, as all performers do.
    """

    def parameters(self, time_s: float) -> HeadParameters:
        """Return the head model's parameters at ``time_s`` seconds."""
        talking = super().parameters(_TALKS_FROM_S + time_s)
        slot = int(np.floor(time_s / _LASTS_S))
        since = time_s - slot * _LASTS_S
        near = min(since, _LASTS_S - since) / _COMES_S
        share = 1.0 if near >= 1.0 else near * near * (3.0 - 2.0 * near)
        target, jaw = _grimace(list(GRIMACES)[self._order[slot % len(GRIMACES)]])
        expression = (1.0 - share) * talking.expression + share * target
        pose = talking.pose.copy()
        pose[6:9] = (1.0 - share) * pose[6:9]
        pose[6] += share * jaw
        return replace(talking, expression=expression, pose=pose)

    @property
    def _order(self) -> list[int]:
        shuffled = np.random.default_rng([self.seed, 17]).permutation(len(GRIMACES))
        return [int(place) for place in shuffled]


def _grimace(name: str) -> tuple[Float, float]:
    """Return a grimace's coefficients ``(E,)`` and how far its jaw is open."""
    head = procedural_head()
    target = np.zeros(head.expression_count)
    for component, value in GRIMACES[name].items():
        for side in ("", " left", " right"):
            if component + side in head.expression_names:
                target[head.expression_names.index(component + side)] = value
    return target, GRIMACES[name].get("jaw", 0.0)
