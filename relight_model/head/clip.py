"""Head clips: the head model's parameters over a clip, and their file."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError
from lightstage.pinhole import PinholeCamera

Float = NDArray[np.float64]

#: Version of the file's layout.
FORMAT = "lightstage head clip 1"
#: Where joints' axis-angles lie in a pose of 15 numbers.
GLOBAL, NECK, JAW, EYE_LEFT, EYE_RIGHT = (slice(3 * k, 3 * k + 3) for k in range(5))
#: The joints of a pose by name, in its order.
JOINTS = {
    "global": GLOBAL,
    "neck": NECK,
    "jaw": JAW,
    "eye_left": EYE_LEFT,
    "eye_right": EYE_RIGHT,
}


@dataclass(frozen=True, eq=False)
class HeadClip:
    """What a head does over ``n`` frames: theta (pose), phi (expression), and one beta (shape).

    Attributes:
        shape: ``(S,)`` identity coefficients, one for the whole clip.
        expression: ``(n, E)`` coefficients.
        pose: ``(n, 15)`` axis-angle radians of global, neck, jaw, left eye, right eye. Face capture
            puts the head's whole rotation into ``global`` and leaves the neck 0, as DECA does.
        translation_m: ``(n, 3)`` metres, added to the posed vertices; world axes, +X image right,
            +Y up, +Z towards the camera.
        time_s: ``(n,)`` seconds, rising.
        camera: the camera of the whole, uncropped picture.
        view: ``(n, 3)`` how each frame's picture was cut from the camera's: left, top, scale, as
            :meth:`PinholeCamera.viewed` takes them; ``None``: not at all.
        view_size: width and height of the cut pictures; ``None`` with ``view``.
        confidence: ``(n,)`` in [0, 1]: how far each frame's parameters are to be trusted; 0 where
            there was no face and the parameters were interpolated.
        expression_names: what the components are called; empty for a model that names none.
        head: which model the coefficients belong to (:attr:`HeadModel.fingerprint`).
        details: anything else worth keeping, as JSON holds it.

    Arrays are kept as float64, whatever they were given as.

    Raises:
        InputError: arrays that do not fit together, or numbers that are not finite or in range.
    """

    shape: Float
    expression: Float
    pose: Float
    translation_m: Float
    time_s: Float
    camera: PinholeCamera
    view: Float | None = None
    view_size: tuple[int, int] | None = None
    confidence: Float | None = None
    expression_names: tuple[str, ...] = ()
    head: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        for name in (*_ARRAYS, *_OPTIONAL):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.time_s.ndim != 1 or len(self.time_s) == 0:
            raise InputError(
                f"a head clip needs a time for each frame, its times are {self.time_s.shape}."
            )
        n = len(self.time_s)
        wanted = {"pose": (n, 15), "translation_m": (n, 3), "time_s": (n,)}
        if self.view is not None:
            wanted["view"] = (n, 3)
        if self.confidence is not None:
            wanted["confidence"] = (n,)
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"a head clip's {name} must be {shape}, it is {getattr(self, name).shape}."
                )
        if self.shape.ndim != 1 or self.expression.ndim != 2 or len(self.expression) != n:
            raise InputError(
                f"a head clip of {n} frames has (S,) shape and ({n}, E) expression coefficients, "
                f"not {self.shape.shape} and {self.expression.shape}."
            )
        if self.expression_names and len(self.expression_names) != self.expression.shape[1]:
            raise InputError(
                f"{len(self.expression_names)} names for {self.expression.shape[1]} expressions."
            )
        if (self.view is None) != (self.view_size is None):
            raise InputError("a head clip has both view and view_size, or neither.")
        for name in (*_ARRAYS, *_OPTIONAL):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                raise InputError(f"a head clip's {name} holds numbers that are not finite.")
        if n > 1 and not (np.diff(self.time_s) > 0).all():
            raise InputError("a head clip's times must rise.")
        if self.confidence is not None and not (
            (self.confidence >= 0).all() and (self.confidence <= 1).all()
        ):
            raise InputError("a head clip's confidence must be in [0, 1].")
        if self.view is not None and not (self.view[:, 2] > 0).all():
            raise InputError("a head clip's view has a scale that is not above 0.")
        if self.view_size is not None and min(self.view_size) < 1:
            raise InputError(f"a head clip's view_size is {self.view_size}: no picture.")

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.time_s)

    @property
    def period_s(self) -> float:
        """The usual time from a frame to the next in seconds; 0 for a single frame."""
        return float(np.median(np.diff(self.time_s))) if len(self) > 1 else 0.0

    @property
    def weight(self) -> Float:
        """How much each frame counts, ``(n,)``: its confidence, 1 where none is kept."""
        return np.ones(len(self)) if self.confidence is None else self.confidence

    def replace(self, **changes: Any) -> Self:
        """Return a copy with ``changes``, checked anew."""
        return replace(self, **changes)

    def frames(self, which: ArrayLike | slice) -> Self:
        """Return the clip of some frames: indices that rise, a slice, or a mask ``(n,)``."""
        chosen: Any = which if isinstance(which, slice) else np.asarray(which)
        arrays = {
            name: values[chosen]
            for name in _PER_FRAME
            if (values := getattr(self, name)) is not None
        }
        return replace(self, **arrays)

    def frame_camera(self, index: int) -> PinholeCamera:
        """Return the camera of frame ``index``'s own picture."""
        if self.view is None or self.view_size is None:
            return self.camera
        left, top, scale = (float(v) for v in self.view[index])
        return self.camera.viewed(left, top, scale, *self.view_size)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the clip to an ``.npz`` that holds arrays and one JSON text, never a pickle.

        Raises:
            InputError: the file cannot be written, or ``details`` holds what JSON cannot.
        """
        camera = {
            "width": self.camera.width,
            "height": self.camera.height,
            "focal_px": self.camera.focal_px,
            "distance_m": self.camera.distance_m,
            "centre_px": self.camera.centre_px,
        }
        about = {
            "format": FORMAT,
            "camera": camera,
            "view_size": self.view_size,
            "expression_names": self.expression_names,
            "head": self.head,
            "details": self.details,
        }
        arrays = {
            name: getattr(self, name)
            for name in (*_ARRAYS, *_OPTIONAL)
            if getattr(self, name) is not None
        }
        try:
            text = json.dumps(about, allow_nan=False)
        except (TypeError, ValueError) as reason:
            raise InputError(f"{path}: a head clip's details must be JSON: {reason}.") from None
        partial = Path(f"{os.fspath(path)}.partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, about=np.array(text), **arrays)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as reason:
            partial.unlink(missing_ok=True)
            raise InputError(f"{path}: cannot be written: {reason.strerror}.") from None

    @staticmethod
    def load(path: str | os.PathLike[str]) -> HeadClip:
        """Read a clip that :meth:`save` wrote. Nothing in the file is run: there is no pickle.

        Raises:
            InputError: no such file, not a head clip, or one that is damaged.
        """
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about.get("format") != FORMAT:
                    raise InputError(f"is {about.get('format')!r}, this version reads {FORMAT!r}.")
                arrays = {name: file[name] for name in _ARRAYS}
                arrays |= {name: file[name] for name in _OPTIONAL if name in file}
            for name, values in arrays.items():
                if values.dtype.kind not in "fiu":
                    raise InputError(f"its {name} is no array of numbers but {values.dtype}.")
            camera = dict(about["camera"])
            centre = camera.pop("centre_px")
            size = about["view_size"]
            return HeadClip(
                **arrays,
                camera=PinholeCamera(**camera, centre_px=tuple(centre) if centre else None),
                view_size=(int(size[0]), int(size[1])) if size else None,
                expression_names=tuple(str(name) for name in about["expression_names"]),
                head=str(about["head"]),
                details=dict(about["details"]),
            )
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file.") from None
        except InputError as reason:
            raise InputError(f"{path}: {reason}") from None
        except _NOT_A_CLIP:
            raise InputError(
                f"{path}: is no file of head parameters, or a damaged one; `relight_model fit` "
                "makes them."
            ) from None


_ARRAYS = ("shape", "expression", "pose", "translation_m", "time_s")
_OPTIONAL = ("view", "confidence")
_PER_FRAME = ("expression", "pose", "translation_m", "time_s", *_OPTIONAL)
#: What reading a file that is something else, or damaged, may end in.
_NOT_A_CLIP = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
