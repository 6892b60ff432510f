"""The dome: where the lights are and how bright each is."""

from __future__ import annotations

import math
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from lightstage.errors import DomeError
from lightstage.manifest import Manifest, read_json

Triple = tuple[float, float, float]


class Led(Manifest):
    """One light: its place in metres from the dome's centre and its relative brightness."""

    error = DomeError

    position_m: Triple
    gain: Annotated[
        Triple, Field(description="relative brightness per colour; 1 is the nominal LED")
    ] = (1.0, 1.0, 1.0)

    @field_validator("position_m")
    @classmethod
    def _not_at_the_centre(cls, value: Triple) -> Triple:
        if math.hypot(*value) < 1e-6:
            raise ValueError("a light at the dome's centre has no direction")
        return value

    @field_validator("gain")
    @classmethod
    def _not_negative(cls, value: Triple) -> Triple:
        if min(value) < 0:
            raise ValueError("a gain cannot be negative")
        return value

    @property
    def direction(self) -> Triple:
        """The unit vector from the dome's centre to the light."""
        length = math.hypot(*self.position_m)
        x, y, z = self.position_m
        return (x / length, y / length, z / length)


class Dome(Manifest):
    """All lights of a stage, in the order of their numbers (light 0 first).

    World coordinates: metres, +X image right, +Y up, +Z from the performer to the camera.
    """

    error: ClassVar = DomeError

    name: str = "dome"
    leds: Annotated[tuple[Led, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _all_apart(self) -> Self:
        directions = np.array([led.direction for led in self.leds])
        cosines = directions @ directions.T - 2.0 * np.eye(len(directions))
        if len(directions) > 1 and cosines.max() > 1.0 - 1e-9:
            first, second = np.unravel_index(int(cosines.argmax()), cosines.shape)
            raise ValueError(f"lights {first} and {second} stand in the same direction")
        return self

    @classmethod
    def evenly_spread(cls, lights: int = 96, radius_m: float = 1.3, name: str = "dome") -> Self:
        """Return a dome of ``lights`` LEDs spread evenly over the whole sphere.

        A Fibonacci spiral: each light's Voronoi cell is within 7 % of the mean from 4 lights up.
        Light 0 is nearest the top, the last nearest the bottom.
        """
        if lights < 1:
            raise DomeError(f"a dome needs at least one light, {lights} were asked for.")
        if not radius_m > 0:
            raise DomeError(f"a dome's radius must be above 0 m, {radius_m} was given.")
        positions = _fibonacci_sphere(lights) * radius_m
        return cls(name=name, leds=tuple(Led(position_m=_triple(p)) for p in positions))

    @classmethod
    def from_directions(
        cls, directions: NDArray[np.floating], radius_m: float = 1.3, name: str = "dome"
    ) -> Self:
        """Return a dome with a light at ``radius_m`` in each direction ``(lights, 3)``."""
        vectors = np.asarray(directions, dtype=np.float64).reshape(-1, 3)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if len(vectors) == 0 or not np.isfinite(vectors).all() or (lengths < 1e-9).any():
            raise DomeError("light directions must be finite vectors that are not zero.")
        leds = [{"position_m": _triple(v)} for v in vectors / lengths * radius_m]
        return cls.parse({"name": name, "leds": leds}, name)

    @classmethod
    def load(cls, path: str | os.PathLike[str], radius_m: float = 1.3) -> Self:
        """Return the dome in ``path``.

        Reads a ``.lp`` file (RTI light positions), a saved dome, or a JSON list of ``[x, y, z]``.
        Unit vectors, as most .lp files hold, are put at ``radius_m``; positions are kept.
        """
        path = Path(path)
        if path.suffix.lower() == ".lp":
            vectors = np.array([position for _, position in read_light_positions(path)])
            return cls._from_vectors(vectors, radius_m, path)
        data = read_json(path, DomeError)
        if isinstance(data, list):
            try:
                vectors = np.array(data, dtype=np.float64)
            except (ValueError, TypeError):
                vectors = np.empty(0)
            if vectors.ndim != 2 or vectors.shape[1] != 3:
                raise DomeError(f"{path}: a JSON list of lights must be a list of [x, y, z].")
            return cls._from_vectors(vectors, radius_m, path)
        return cls.parse(data, str(path))

    @classmethod
    def _from_vectors(cls, vectors: NDArray[np.float64], radius_m: float, path: Path) -> Self:
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.isfinite(lengths).all() or (lengths < 1e-9).any():
            raise DomeError(f"{path}: each light needs a finite position away from the centre.")
        if np.abs(lengths - 1.0).max() < 1e-2:
            vectors = vectors / lengths[:, None] * radius_m
        leds = [{"position_m": _triple(v)} for v in vectors]
        return cls.parse({"name": path.stem, "leds": leds}, str(path))

    def save_lp(self, path: str | os.PathLike[str], names: list[str] | None = None) -> None:
        """Write the light directions as a .lp file; ``names`` are the pictures' file names."""
        names = names or [f"light_{index:03d}.png" for index in range(len(self))]
        lines = [f"{len(self)}"]
        for name, (x, y, z) in zip(names, self.directions, strict=True):
            lines.append(f"{name} {x:.8f} {y:.8f} {z:.8f}")
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        """Return the number of lights."""
        return len(self.leds)

    @cached_property
    def positions_m(self) -> NDArray[np.float64]:
        """The lights' places, ``(lights, 3)`` in metres."""
        return np.array([led.position_m for led in self.leds])

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """The unit vectors from the centre to each light, ``(lights, 3)``."""
        return np.array([led.direction for led in self.leds])

    @cached_property
    def gains(self) -> NDArray[np.float64]:
        """The lights' relative brightness, ``(lights, 3)``."""
        return np.array([led.gain for led in self.leds])

    @property
    def radius_m(self) -> float:
        """The mean distance of the lights from the centre, in metres."""
        return float(np.linalg.norm(self.positions_m, axis=1).mean())


def read_light_positions(path: str | os.PathLike[str]) -> list[tuple[str, Triple]]:
    """Return ``(picture name, (x, y, z))`` for each line of a .lp file.

    The format is that of RTI tools: the count alone on the first line, then ``name x y z``.

    Raises:
        DomeError: the file is missing, or a line cannot be read; the text names the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DomeError(f"{path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise DomeError(f"{path}: cannot be read as a .lp text file: {reason}.") from None
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows or len(rows[0][1]) != 1 or not rows[0][1][0].isdigit():
        raise DomeError(f"{path}: line 1 of a .lp file must be the number of lights.")
    expected = int(rows[0][1][0])
    lights: list[tuple[str, Triple]] = []
    for number, words in rows[1:]:
        try:
            x, y, z = (float(word) for word in words[-3:])
            name = " ".join(words[:-3])
            if not name or not all(map(math.isfinite, (x, y, z))):
                raise ValueError
        except ValueError:
            raise DomeError(
                f"{path}: line {number} must be 'name x y z', it is {' '.join(words)!r}."
            ) from None
        lights.append((name, (x, y, z)))
    if len(lights) != expected:
        raise DomeError(f"{path}: line 1 promises {expected} lights, {len(lights)} follow.")
    if not lights:
        raise DomeError(f"{path}: holds no lights.")
    return lights


def _fibonacci_sphere(count: int) -> NDArray[np.float64]:
    index = np.arange(count) + 0.5
    y = 1.0 - 2.0 * index / count
    ring = np.sqrt(1.0 - y * y)
    angle = index * math.pi * (3.0 - math.sqrt(5.0))
    return np.stack([ring * np.sin(angle), y, ring * np.cos(angle)], axis=1)


def _triple(vector: NDArray[np.floating]) -> Triple:
    return (float(vector[0]), float(vector[1]), float(vector[2]))
