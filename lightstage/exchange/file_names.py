"""Light directions told by file names, as face databases and turntables write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from lightstage.errors import InputError

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_ANGLES, _VECTOR = {"azimuth", "elevation"}, {"x", "y", "z"}
#: Patterns with a name. Yale: Extended Yale Face Database B, ``yaleB12_P00A+035E-20.pgm``.
PRESETS = {"yale": "A{-azimuth}E{elevation}"}


@dataclass(frozen=True)
class NamePattern:
    """How a picture's name tells where its light stood.

    A template is plain text with fields in braces, found anywhere in the name without its suffix:

    * ``{azimuth}`` and ``{elevation}`` in degrees: azimuth from the camera (+Z), positive to image
      right (+X); elevation positive upwards: ``(sin A cos E, sin E, cos A cos E)``;
    * ``{x}``, ``{y}``, ``{z}``: the vector to the light, in world axes.

    A minus turns a field's sign: ``{-azimuth}`` is positive to image left. Text that holds
    ``(?P<azimuth>…)`` is taken as a regular expression with those named groups; a group called
    ``minus_azimuth`` turns its sign. ``yale`` stands for ``A{-azimuth}E{elevation}``.

    Attributes:
        text: as the user wrote it.
        expression: the compiled form.
    """

    text: str
    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern that ``text`` describes.

        Raises:
            InputError: fields are missing or not known, or the regular expression is not one.
        """
        source = PRESETS.get(text, text)
        if "(?P<" not in source:
            source = _expression_of(source)
        try:
            expression = re.compile(source)
        except re.error as reason:
            raise InputError(f"the pattern {text!r} is no regular expression: {reason}.") from None
        fields = {name.removeprefix("minus_") for name in expression.groupindex}
        if fields not in (_ANGLES, _VECTOR):
            raise InputError(
                f"the pattern {text!r} must hold {{azimuth}} and {{elevation}}, or {{x}}, {{y}} "
                f"and {{z}}; it holds {', '.join(sorted(fields)) or 'no field'}."
            )
        return cls(text, expression)

    def direction(self, name: str) -> tuple[float, float, float] | None:
        """Return the light's direction for a file name without its suffix, ``None`` if it has none.

        Angles give a unit vector, ``x y z`` what the name says.
        """
        match = self.expression.search(name)
        if match is None:
            return None
        value: dict[str, float] = {}
        for field, text in match.groupdict().items():
            try:
                number = float(text)
            except (TypeError, ValueError):
                raise InputError(f"{name}: {field} is {text!r}, not a number.") from None
            value[field.removeprefix("minus_")] = -number if field.startswith("minus_") else number
        if "x" in value:
            return value["x"], value["y"], value["z"]
        azimuth, elevation = math.radians(value["azimuth"]), math.radians(value["elevation"])
        return (
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        )


def _expression_of(template: str) -> str:
    parts, end = [], 0
    for field in re.finditer(r"\{(-?)(\w+)\}", template):
        parts.append(re.escape(template[end : field.start()]))
        name = ("minus_" if field[1] else "") + field[2]
        parts.append(f"(?P<{name}>{_NUMBER})")
        end = field.end()
    parts.append(re.escape(template[end:]))
    return "".join(parts)
