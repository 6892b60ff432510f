"""How bright each light must be to stand for an environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import DomeError, InputError
from lightstage.relighting.cells import cells_for
from lightstage.relighting.coverage import covered, default_reach_deg
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.harmonics import cell_areas, harmonic_weights
from lightstage.relighting.lobes import lobe_weights
from lightstage.relighting.sphere import pixel_directions

Method = Literal["voronoi", "cosine", "harmonics"]
METHODS: tuple[Method, ...] = get_args(Method)
Uncovered = Literal["nearest", "leave-out"]


def light_weights(
    environment: EnvironmentMap | ArrayLike,
    directions: ArrayLike,
    method: Method = "voronoi",
    *,
    present: ArrayLike | None = None,
    uncovered: Uncovered = "nearest",
    reach_deg: float | None = None,
) -> NDArray[np.float64]:
    """Return each light's weight per colour, ``(lights, 3)``, for an environment.

    The weights add up to the environment's integral over the sphere, by any method:

    ``voronoi``
        the integral of radiance over the part of the sphere that is nearer to the light than to
        any other (its spherical Voronoi cell), exactly.
    ``cosine``
        light is shared smoothly among the lights near it (:mod:`lightstage.relighting.lobes`):
        a narrow sun does not jump from light to light as the map turns.
    ``harmonics``
        the map's low spherical harmonics are met as well
        (:mod:`lightstage.relighting.harmonics`): the nearest to the truth for most maps; weights
        may be negative beside narrow lights.

    Lights in the same direction (to 1e-6) share evenly what is theirs.

    Args:
        environment: a map, or an array ``(height, width, 3)`` of linear radiance.
        directions: the lights' directions ``(lights, 3)``; lengths do not matter.
        method: see above.
        present: ``(lights,)`` of bool; lights that are not present (no image, or a gain of 0) get
            weight 0 and their neighbours take over their part. All are present by default.
        uncovered: what becomes of light from where there are no lights, as on a dome that is not
            closed: it goes to the ``nearest`` there are, or it is left out: then the weights add up
            to the integral over what is covered (:mod:`lightstage.relighting.coverage`).
        reach_deg: how far from its nearest light a direction may be and still be covered; the
            lights' median spacing unless given. Matters for ``leave-out`` alone.

    Raises:
        EnvironmentMapError: the array is no map of light.
        DomeError: a direction is missing, zero or not finite, or no light is present.
        InputError: there is no such method, or a reach that is none.
    """
    for what, value, known in (
        ("light-weight method", method, METHODS),
        ("choice for uncovered light", uncovered, get_args(Uncovered)),
    ):
        if value not in known:
            raise InputError(f"there is no {what} {value!r} (there are: {', '.join(known)}).")
    if reach_deg is not None and not 0 < reach_deg <= 180:
        raise InputError(f"a light's reach must be above 0 and at most 180 degrees: {reach_deg}.")
    if not isinstance(environment, EnvironmentMap):
        environment = EnvironmentMap(np.asarray(environment))
    vectors = _unit_vectors(directions)
    used = _present_lights(present, len(vectors))
    distinct, member, count = np.unique(
        np.round(vectors[used], 6) + 0.0, axis=0, return_inverse=True, return_counts=True
    )
    member = member.reshape(-1)
    representative = np.zeros_like(distinct)
    representative[member] = vectors[used]
    in_world, representative = representative, environment.to_picture(representative)
    if uncovered == "leave-out":
        reach = default_reach_deg(representative) if reach_deg is None else reach_deg
        towards = pixel_directions(environment.height, environment.width)
        environment = environment.kept(covered(towards, representative, reach))
    if method == "cosine":
        shares = lobe_weights(environment.energy.points, representative)
    elif method == "harmonics":
        shares = harmonic_weights(environment.energy.points, representative, cell_areas(in_world))
    else:
        cells = cells_for(environment.height, environment.width, representative.tobytes())
        shares = cells.integrate(environment.energy)
    weights = np.zeros((len(vectors), 3))
    weights[used] = (shares / count[:, None])[member]
    return weights


def divide_by_gains(weights: ArrayLike, gains: ArrayLike) -> NDArray[np.float64]:
    """Return weights ``(lights, 3)`` for images that were taken with lights of unequal brightness.

    Args:
        weights: as :func:`light_weights` returns them.
        gains: each light's calibrated relative brightness ``(lights, 3)``, as ``dome.gains``;
            leave them out where the images were divided by them already.

    Raises:
        DomeError: shapes differ, or a light that is needed has a gain of 0.
    """
    weights, gains = np.asarray(weights, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    if weights.shape != gains.shape:
        raise DomeError(f"weights are {weights.shape}, gains are {gains.shape}: one each is due.")
    if not np.isfinite(gains).all() or (gains < 0).any():
        raise DomeError("gains must be finite and not negative.")
    dark = np.flatnonzero(((gains == 0) & (weights != 0)).any(axis=1))
    if len(dark):
        raise DomeError(
            f"lights {_listed(dark)} have a gain of 0 and cannot give the light that is asked of "
            f"them; leave them out with light_weights(…, present=gains.all(axis=1))."
        )
    return np.asarray(np.divide(weights, gains, out=np.zeros_like(weights), where=gains > 0))


def rotation_sweep(
    environment: EnvironmentMap,
    directions: ArrayLike,
    frames: int,
    degrees: float = 360.0,
    method: Method = "voronoi",
) -> Iterator[NDArray[np.float64]]:
    """Yield the weights of ``frames`` even steps of a turn by ``degrees`` about the vertical.

    The last frame is one step short of the full turn, so that a film of 360 degrees loops.
    """
    if frames < 1:
        raise InputError(f"a sweep needs at least one frame, {frames} were asked for.")
    for frame in range(frames):
        yield light_weights(environment.rotated(degrees * frame / frames), directions, method)


def _unit_vectors(directions: ArrayLike) -> NDArray[np.float64]:
    vectors = np.asarray(directions, dtype=np.float64)
    if vectors.ndim != 2 or vectors.shape[1] != 3 or len(vectors) == 0:
        raise DomeError(f"light directions must be (lights, 3), these are {vectors.shape}.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 1e-9)))
    if len(bad):
        raise DomeError(f"lights {_listed(bad)} have no direction (zero, or not finite).")
    return np.asarray(vectors / lengths)


def _present_lights(present: ArrayLike | None, lights: int) -> NDArray[np.bool_]:
    if present is None:
        return np.ones(lights, dtype=bool)
    used = np.asarray(present, dtype=bool)
    if used.shape != (lights,):
        raise DomeError(f"present is {used.shape}, there are {lights} lights.")
    if not used.any():
        raise DomeError("no light is present; nothing can be lit.")
    return used


def _listed(numbers: NDArray[np.intp]) -> str:
    head = ", ".join(str(number) for number in numbers[:8])
    return head if len(numbers) <= 8 else f"{head} and {len(numbers) - 8} more"
