"""The least-squares problem of face capture and its solution.

Unknown are one shape for all frames and, for each frame, the head's rotation and place, the jaw and
the expression. Observations are where points of the head were seen. The normal equations have an
arrow's shape: a band for the frames (bound to their neighbours by the temporal prior) and a border
for the shape, so that a step costs no more than a few matrix products for each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lightstage.head import rotation_matrices
from relight_model.head.capture_points import HeadPoints, cross_matrices

Float = NDArray[np.float64]

#: Numbers before a frame's expression: rotation, place, jaw.
RIGID, JAW = 6, 3


@dataclass(frozen=True, eq=False)
class Views:
    """The frames' pictures as pinholes: ``focal_px`` (n,), ``centre_px`` (n, 2), one distance."""

    focal_px: Float
    centre_px: Float
    distance_m: float

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> Views:
        """Return some of the frames' views."""
        return Views(self.focal_px[chosen], self.centre_px[chosen], self.distance_m)


@dataclass(frozen=True, eq=False)
class State:
    """What is fitted, for ``n`` frames.

    ``shape`` (S,); ``expression`` (n, E); ``jaw`` (n, 3) axis-angle; ``eyes`` (n, 6) axis-angles,
    held; ``rotation`` (n, 3, 3) of the whole head about ``pivot`` (3,), a point inside the face;
    ``place_m`` (n, 3) where the pivot stands.
    """

    shape: Float
    expression: Float
    jaw: Float
    eyes: Float
    rotation: Float
    place_m: Float
    pivot: Float

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.expression)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> State:
        """Return some of the frames."""
        return State(
            self.shape, self.expression[chosen], self.jaw[chosen], self.eyes[chosen],
            self.rotation[chosen], self.place_m[chosen], self.pivot,
        )  # fmt: skip

    def put(self, chosen: slice | NDArray[np.integer], part: State) -> State:
        """Return the state with some frames replaced by those of ``part``, and its shape."""
        fields = {}
        for name in ("expression", "jaw", "eyes", "rotation", "place_m"):
            values = getattr(self, name).copy()
            values[chosen] = getattr(part, name)
            fields[name] = values
        return replace(self, shape=part.shape, **fields)

    @property
    def coefficients(self) -> Float:
        """Identity and expression of each frame, ``(n, S + E)``."""
        shape = np.broadcast_to(self.shape, (len(self), len(self.shape)))
        return np.concatenate([shape, self.expression], axis=1)


@dataclass(frozen=True, eq=False)
class Observations:
    """Where points of the head were seen in each frame.

    ``target_px`` (n, L, 2); ``whitening`` (n, L, 2, 2) takes an error in pixels to one of unit
    variance (0: not seen); errors of more than about ``robust`` of these units count less and
    less (Geman and McClure).
    """

    points: HeadPoints
    target_px: Float
    whitening: Float
    robust: float = 3.0

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> Observations:
        """Return some of the frames."""
        return replace(self, target_px=self.target_px[chosen], whitening=self.whitening[chosen])


@dataclass(frozen=True, eq=False)
class Priors:
    """What is known before anything is seen.

    Attributes:
        expression_mean: ``(E,)``.
        expression_deviation: ``(E,)``.
        lowest: ``(E,)`` bounds of the expression; -inf where there is none.
        highest: ``(E,)``.
        expression_change: ``(E,)`` power of the second derivative in time, per s^3.
        pairs: components of the expression that are each other's mirror image.
        pair_deviation: how much the two of a pair differ.
        shape_deviation: of every identity coefficient.
        jaw_mean: ``(3,)`` radians.
        jaw_deviation: ``(3,)`` radians.
        jaw_change: ``(3,)`` rad^2 / s^3.
        rotation_change: rad^2 / s^3.
        place_change: ``(3,)`` m^2 / s^3.
        shape_held: the shape is known.
        coupled: neighbouring frames are bound to each other.
    """

    expression_mean: Float
    expression_deviation: Float
    lowest: Float
    highest: Float
    expression_change: Float
    pairs: tuple[tuple[int, int], ...] = ()
    pair_deviation: float = 0.12
    shape_deviation: float = 1.0
    jaw_mean: Float = field(default_factory=lambda: np.array([0.03, 0.0, 0.0]))
    jaw_deviation: Float = field(default_factory=lambda: np.array([0.12, 0.025, 0.012]))
    jaw_change: Float = field(default_factory=lambda: np.array([60.0, 2.0, 1.0]))
    rotation_change: float = 40.0
    place_change: Float = field(default_factory=lambda: np.array([0.2, 0.2, 0.2]))
    shape_held: bool = False
    coupled: bool = True


_BOUND = 0.02
_LOWEST_JAW = -0.02


def project(points_m: Float, state: State, views: Views) -> Float:
    """Return the pixels ``(n, L, 2)`` of canonical points ``(n, L, 3)``."""
    world = np.einsum("nab,nlb->nla", state.rotation, points_m - state.pivot)
    world += state.place_m[:, None]
    scale = views.focal_px[:, None] / (views.distance_m - world[..., 2])
    x = views.centre_px[:, None, 0] + scale * world[..., 0]
    y = views.centre_px[:, None, 1] - scale * world[..., 1]
    return np.stack([x, y], axis=-1)


def predict(points: HeadPoints, state: State, views: Views) -> Float:
    """Return where the points of the head are seen, ``(n, L, 2)`` pixels."""
    return project(points.evaluate(state.coefficients, state.jaw, state.eyes), state, views)


def solve(
    state: State,
    views: Views,
    seen: Sequence[Observations],
    priors: Priors,
    time_s: Float,
    iterations: int = 10,
    rigid_only: bool = False,
) -> State:
    """Return the state that explains what was seen best (Levenberg and Marquardt).

    Args:
        state: the first guess.
        views: the frames' cameras.
        seen: observations of one or more sets of points in all frames.
        priors: of everything.
        time_s: ``(n,)`` the frames' times, rising.
        iterations: at most so many steps.
        rigid_only: hold shape, jaw and expression.
    """
    damping, system = 1e-3, _system(state, views, seen, priors, time_s)
    for _ in range(iterations):
        step = _step(system, priors.shape_held, damping, rigid_only)
        trial = _moved(state, *step)
        trial_system = _system(trial, views, seen, priors, time_s)
        if not trial_system.cost <= system.cost * (1.0 + 1e-9):
            damping = min(damping * 8.0, 1e3)
            if damping >= 1e3:
                break
            continue
        gain = (system.cost - trial_system.cost) / max(system.cost, 1e-30)
        state, system, damping = trial, trial_system, max(damping * 0.2, 1e-7)
        if gain < 1e-4:
            break
    return state


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations: frames' blocks (n, P, P), border (n, P, S), corner (S, S), gradients."""

    frames: Float
    border: Float
    corner: Float
    frame_gradient: Float
    shape_gradient: Float
    neighbours: Float  # (P,) inverse power of each number's second derivative
    differences: tuple[Float, ...]  # (n - 2,) three frames' shares in an acceleration, or none
    cost: float


def _system(
    state: State, views: Views, seen: Sequence[Observations], priors: Priors, time_s: Float
) -> _System:
    n, size, shapes = len(state), RIGID + JAW + state.expression.shape[1], len(state.shape)
    full = np.zeros((n, size + shapes, size + shapes))
    gradient = np.zeros((n, size + shapes))
    cost = 0.0
    for observed in seen:
        h, g, c = _data(state, views, observed, priors.shape_held)
        full += h
        gradient += g
        cost += c
    diagonal, pull, c = _frame_priors(state, priors)
    index = np.arange(RIGID, size)
    full[:, index, index] += diagonal
    tie = priors.pair_deviation**-2
    first = RIGID + JAW
    for left, right in priors.pairs:
        apart = state.expression[:, left] - state.expression[:, right]
        for a, b, sign in ((left, right, 1.0), (right, left, -1.0)):
            full[:, first + a, first + a] += tie
            full[:, first + a, first + b] -= tie
            gradient[:, first + a] += sign * tie * apart
        cost += tie * float((apart**2).sum())
    gradient[:, RIGID:size] += pull
    cost += c
    corner = full[:, size:, size:].sum(axis=0)
    shape_gradient = gradient[:, size:].sum(axis=0)
    stiffness = priors.shape_deviation**-2
    corner[np.arange(shapes), np.arange(shapes)] += stiffness
    shape_gradient = shape_gradient + stiffness * state.shape
    cost += stiffness * float((state.shape**2).sum())
    precision = 1.0 / np.concatenate(
        [np.full(3, priors.rotation_change), priors.place_change, priors.jaw_change,
         priors.expression_change]
    )  # fmt: skip
    differences: tuple[Float, ...] = ()
    frame_gradient = gradient[:, :size]
    if n > 2 and priors.coupled:
        differences, acceleration = _accelerations(state, time_s)
        force = precision * acceleration
        cost += float((force * acceleration).sum())
        for k, share in enumerate(differences):
            frame_gradient[k : n - 2 + k] += share[:, None] * force
    return _System(
        full[:, :size, :size], full[:, :size, size:], corner, frame_gradient, shape_gradient,
        precision, differences, cost,
    )  # fmt: skip


def _data(
    state: State, views: Views, seen: Observations, shape_held: bool
) -> tuple[Float, Float, float]:
    """Return normal matrix, gradient and cost of one set of points, frames in small batches."""
    size, shapes, n = RIGID + JAW + state.expression.shape[1], len(state.shape), len(state)
    used = size if shape_held else size + shapes
    normal = np.zeros((n, size + shapes, size + shapes))
    gradient = np.zeros((n, size + shapes))
    batch = max(1, 8192 // seen.points.count)
    cost = 0.0
    for start in range(0, n, batch):
        part = slice(start, min(start + batch, n))
        jacobian, error = _whitened(state[part], views[part], seen[part], shape_held)
        square = (error**2).sum(axis=-1)
        c2 = seen.robust**2
        cost += float((c2 * square / (c2 + square)).sum())
        weight = np.repeat(c2 / (c2 + square), 2, axis=1)  # square root of the usual weight
        rows = jacobian.reshape(len(error), -1, used) * weight[:, :, None]
        flat = error.reshape(len(error), -1) * weight
        for k in range(len(error)):
            normal[start + k, :used, :used] = rows[k].T @ rows[k]
            gradient[start + k, :used] = flat[k] @ rows[k]
    return normal, gradient, cost


def _whitened(
    state: State, views: Views, seen: Observations, shape_held: bool
) -> tuple[Float, Float]:
    """Return Jacobian ``(n, L, 2, P + S)`` and error ``(n, L, 2)`` in standard deviations."""
    at = seen.points.linearise(state.coefficients, state.jaw, state.eyes, shape_held)
    arm = np.einsum("nab,nlb->nla", state.rotation, at.points - state.pivot)
    world = arm + state.place_m[:, None]
    depth = views.distance_m - world[..., 2]
    scale = views.focal_px[:, None] / depth
    lens = np.zeros((*world.shape[:2], 2, 3))
    lens[..., 0, 0] = scale
    lens[..., 1, 1] = -scale
    lens[..., 0, 2] = scale * world[..., 0] / depth
    lens[..., 1, 2] = -scale * world[..., 1] / depth
    picture = views.centre_px[:, None] + np.stack(
        [scale * world[..., 0], -scale * world[..., 1]], axis=-1
    )
    lens = seen.whitening @ lens
    turned = lens @ state.rotation[:, None]
    coefficients = turned @ at.by_coefficient
    parts = [-lens @ cross_matrices(arm), lens, turned @ at.by_jaw]
    if shape_held:
        parts.append(coefficients)
    else:
        shapes = len(state.shape)
        parts += [coefficients[..., shapes:], coefficients[..., :shapes]]
    jacobian = np.concatenate(parts, axis=-1)
    error = np.einsum("nlab,nlb->nla", seen.whitening, picture - seen.target_px)
    return jacobian, error


def _frame_priors(state: State, priors: Priors) -> tuple[Float, Float, float]:
    """Return diagonal, gradient (n, JAW + E) and cost of what jaw and expression usually are."""
    values = np.concatenate([state.jaw, state.expression], axis=1)
    mean = np.concatenate([priors.jaw_mean, priors.expression_mean])
    deviation = np.concatenate([priors.jaw_deviation, priors.expression_deviation])
    lowest = np.concatenate([[_LOWEST_JAW, -np.inf, -np.inf], priors.lowest])
    highest = np.concatenate([np.full(JAW, np.inf), priors.highest])
    stiffness = np.broadcast_to(deviation**-2, values.shape).copy()
    off = values - mean
    pull = stiffness * off
    cost = float((stiffness * off**2).sum())
    outside = values - np.clip(values, lowest, highest)
    beyond = outside != 0
    stiffness[beyond] += _BOUND**-2
    pull += outside / _BOUND**2
    cost += float((outside**2).sum()) / _BOUND**2
    return stiffness, pull, cost


def _accelerations(state: State, time_s: Float) -> tuple[tuple[Float, ...], Float]:
    """Return the shares of three frames in an acceleration, and the accelerations (n - 2, P).

    Scaled by the square root of the interval: a sum of squares is then an integral over time.
    """
    step = np.diff(time_s)
    span = 0.5 * (step[1:] + step[:-1])
    before = 1.0 / step[:-1] / np.sqrt(span)
    after = 1.0 / step[1:] / np.sqrt(span)
    turn = rotation_vectors(state.rotation[1:] @ state.rotation[:-1].transpose(0, 2, 1))
    rest = np.concatenate([state.place_m, state.jaw, state.expression], axis=1)
    move = np.concatenate([turn, np.diff(rest, axis=0)], axis=1)
    return (
        (before, -before - after, after),
        move[1:] * after[:, None] - move[:-1] * before[:, None],
    )


def _step(
    system: _System, shape_held: bool, damping: float, rigid_only: bool
) -> tuple[Float, Float]:
    """Return the step of the frames ``(n, P)`` and of the shape ``(S,)``."""
    n, size = system.frame_gradient.shape
    free = RIGID if rigid_only else size
    blocks = system.frames[:, :free, :free].copy()
    index = np.arange(free)
    blocks[:, index, index] *= 1.0 + damping
    blocks[:, index, index] += 1e-9
    held = shape_held or rigid_only
    right = -system.frame_gradient[:, :free, None]
    if not held:
        right = np.asarray(np.concatenate([right, system.border], axis=2), np.float64)
    if system.differences:
        solved = _solve_band(blocks, right, system)
    else:
        solved = np.asarray(np.linalg.solve(blocks, right), np.float64)
    solved = np.asarray(solved, np.float64).reshape(n * free, -1)
    step = np.zeros((n, size))
    if held:
        step[:, :free] = solved.reshape(n, free)
        return step, np.zeros(len(system.corner))
    border = system.border.reshape(n * free, -1)
    corner = system.corner.copy()
    diagonal = np.arange(len(corner))
    corner[diagonal, diagonal] *= 1.0 + damping
    schur = corner - border.T @ solved[:, 1:]
    shape = np.linalg.solve(schur, -system.shape_gradient - border.T @ solved[:, 0])
    step[:, :] = (solved[:, 0] - solved[:, 1:] @ shape).reshape(n, size)
    return step, np.asarray(shape, np.float64)


def _solve_band(blocks: Float, right: Float, system: _System) -> Float:
    """Return the solution ``(n, P, k)`` where frames are bound to their neighbours."""
    from scipy.linalg import cho_solve_banded, cholesky_banded

    n, free = blocks.shape[:2]
    reach = 2 * free
    band = np.zeros((reach + 1, n, free))
    for a in range(free):  # upper form: row reach + i - j, column j
        for b in range(a, free):
            band[reach + a - b, :, b] = blocks[:, a, b]
    precision = system.neighbours[:free]
    shares = system.differences
    for i in range(3):
        for j in range(i, 3):
            product = (shares[i] * shares[j])[:, None] * precision
            band[reach - (j - i) * free, j : n - 2 + j] += product
    factor = cholesky_banded(band.reshape(reach + 1, n * free))
    solved = cho_solve_banded((factor, False), right.reshape(n * free, -1))
    return np.asarray(solved).reshape(right.shape)


def _moved(state: State, step: Float, shape: Float) -> State:
    turn = step[:, :3]
    length = np.linalg.norm(turn, axis=1, keepdims=True)
    turn = turn * np.minimum(1.0, 0.3 / np.maximum(length, 1e-12))
    return replace(
        state,
        shape=state.shape + shape,
        rotation=rotation_matrices(turn) @ state.rotation,
        place_m=state.place_m + step[:, 3:6],
        jaw=state.jaw + step[:, RIGID : RIGID + JAW],
        expression=state.expression + step[:, RIGID + JAW :],
    )


def rotation_vectors(rotations: Float) -> Float:
    """Return the axis-angles ``(n, 3)`` of rotations ``(n, 3, 3)``, angles up to pi."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(rotations).as_rotvec())
