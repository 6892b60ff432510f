"""Face capture by a user's own DECA encoder, in the form that the landmark backend gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lightstage import __version__
from lightstage.errors import InputError
from relight_model.frame_source import FrameSource, camera_of
from relight_model.head.capture import Captured, CaptureSettings, Progress
from relight_model.head.landmarks import Face, LandmarkDetector, faces_of_clip
from relight_model.head.model import HeadModel


def capture_by_deca(
    source: FrameSource,
    model: HeadModel,
    checkpoint: Path,
    detector: LandmarkDetector,
    settings: CaptureSettings,
    progress: Progress = lambda what, done, total: None,
) -> Captured:
    """Return the head's parameters as DECA finds them.

    Args:
        source: the frames.
        model: a FLAME head.
        checkpoint: the user's ``deca_model.tar``.
        detector: finds the faces that are cut out for the network.
        settings: the angle of view; DECA knows nothing of a held shape.
        progress: told (what, done, total).

    Raises:
        InputError: the head is not FLAME, the checkpoint is not DECA's, or there is no face.
    """
    from relight_model.head.deca import deca_clip
    from relight_model.head.deca_encoder import DecaEncoder

    if settings.shape is not None:
        raise InputError(
            "DECA finds the shape itself: leave --shape out, or use --backend landmarks."
        )
    encoder = DecaEncoder.load(checkpoint)
    seen: list[Face | None] = []

    def faces() -> Iterator[Face | None]:
        for face in faces_of_clip(detector, (picture.rgb for picture in source)):
            seen.append(face)
            yield face

    started = time.perf_counter()
    clip = deca_clip(
        source, faces(), encoder, model, camera_of(source, settings.fov_deg),
        view=source.view, view_size=source.size if source.view is not None else None,
        progress=lambda done, total: progress("deca", done, source.count or total or done),
    )  # fmt: skip
    took = time.perf_counter() - started
    clip.details.update(
        made_by="relight_model fit --backend deca", version=__version__, source=source.name,
        detector=detector.name, fov_deg=settings.fov_deg,
    )  # fmt: skip
    nothing = np.full((68, 2), np.nan)
    landmarks = np.array([nothing if face is None else face.landmarks for face in seen])
    report: dict[str, Any] = {
        "frames": len(clip),
        "frames_without_face": sum(face is None for face in seen),
        "duration_s": float(clip.time_s[-1] - clip.time_s[0]),
        "frames_per_s": len(clip) / max(took, 1e-9),
    }
    return Captured(clip, landmarks, np.full_like(landmarks, np.nan), report)
