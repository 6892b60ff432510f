"""Manifests: frozen, validated models that are saved as JSON by atomic replace."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lightstage.errors import InputError, LightstageError


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never half.

    The text goes to ``NAME.partial`` in the same folder, is flushed to the disk and renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk: what was renamed in it stays renamed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, error: type[LightstageError] = InputError) -> Any:
    """Return the parsed JSON of ``path``, or raise ``error`` with what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise error(f"{path}: a JSON file is expected, this is a folder.") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"{path}: cannot be read as text: {reason}.") from None
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as reason:
        raise error(f"{path}: is not valid JSON: {reason}.") from None


def explain(reason: ValidationError) -> str:
    """Return a pydantic error as ``field: what is wrong; …`` in one line."""
    parts = []
    for item in reason.errors():
        where = ".".join(str(step) for step in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)


class Manifest(BaseModel):
    """A frozen model with ``save``, ``load`` and a re-validating ``replace``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    error: ClassVar[type[LightstageError]] = InputError

    def __init__(self, **data: Any) -> None:
        """Validate ``data``; raises the class's error naming each field that is wrong."""
        try:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as reason:
            raise self.error(f"{type(self).__name__}: {explain(reason)}.") from None

    # Tells pydantic that parsing a nested model need not go through this __init__, so that an
    # error in a list of models still says which one.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to ``path`` as JSON, by atomic replace."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the model in the JSON file ``path``; raises the class's error naming the field."""
        return cls.parse(read_json(Path(path), cls.error), str(path))

    @classmethod
    def load_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Return the model in the TOML file ``path``; raises the class's error naming the field."""
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise cls.error(f"{path}: there is no such file.") from None
        except (OSError, UnicodeDecodeError) as reason:
            raise cls.error(f"{path}: cannot be read as text: {reason}.") from None
        except tomllib.TOMLDecodeError as reason:
            raise cls.error(f"{path}: is not valid TOML: {reason}.") from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: Any, source: str) -> Self:
        """Return the model in the parsed JSON ``data``; ``source`` names it in errors."""
        try:
            return cls.model_validate(data)
        except ValidationError as reason:
            raise cls.error(
                f"{source}: is not a valid {cls.__name__}: {explain(reason)}."
            ) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with ``changes``, validated anew."""
        return type(self)(**{**self.model_dump(), **changes})
