"""Face capture by DECA: crops, its weak-perspective camera as ours, and a clip of its codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from lightstage.errors import InputError
from lightstage.pinhole import PinholeCamera
from relight_model.head.clip import GLOBAL, JAW, HeadClip
from relight_model.head.deca_encoder import CODE_PARTS, IMAGE_PX, DecaEncoder
from relight_model.head.model import HeadLandmarks, HeadModel

if TYPE_CHECKING:
    from relight_model.frame_source import Picture
    from relight_model.head.landmarks import Face

Float = NDArray[np.float64]

#: DECA's crop is this much wider than the mean of the landmarks' width and height.
_FROM_LANDMARKS = 1.1
_CROP_SCALE = 1.25
# a head seen smaller than this in its crop is none: DECA's s is 5 to 10
_LEAST_SCALE = 0.5


@dataclass(frozen=True)
class DecaCrop:
    """The square of a picture that DECA sees.

    ``left`` and ``top`` are the place, in pixels (a pixel's middle at whole numbers), that becomes
    the middle of the crop's first pixel; ``size`` is how far it is from there to the last's.
    """

    left: float
    top: float
    size: float

    @property
    def scale(self) -> float:
        """Crop pixels for one of the picture's."""
        return (IMAGE_PX - 1) / self.size

    def cut(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Return the crop ``(3, 224, 224)`` in [0, 1] of a picture ``(height, width, 3)`` uint8.

        Interpolated between pixels, black outside the picture, as DECA does.
        """
        import cv2

        k = self.scale
        to_crop = np.array([[k, 0.0, -k * self.left], [0.0, k, -k * self.top]])
        crop = cv2.warpAffine(rgb, to_crop, (IMAGE_PX, IMAGE_PX), flags=cv2.INTER_LINEAR)
        return torch.from_numpy(crop).permute(2, 0, 1).float() / 255.0

    def to_picture(self, points: Float) -> Float:
        """Return the picture's pixels of the crop's pixels ``(..., 2)``."""
        return np.asarray(points / self.scale + [self.left, self.top])


def deca_crop(landmarks: Float) -> DecaCrop:
    """Return what DECA looks at for a face with these landmarks ``(68, 2)``.

    About the middle of the landmarks' box; its side is the box's mean side x 1.1 x 1.25, in whole
    pixels.
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = float((high - low).mean()) * _FROM_LANDMARKS
    size = max(int(side * _CROP_SCALE), 2)
    left, top = (float(c) - size / 2 for c in (low + high) / 2)
    return DecaCrop(left, top, float(size))


def deca_clip(
    pictures: Iterable[Picture],
    faces: Iterable[Face | None],
    encoder: DecaEncoder,
    model: HeadModel,
    camera: PinholeCamera,
    *,
    view: Float | None = None,
    view_size: tuple[int, int] | None = None,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> HeadClip:
    """Return a clip's parameters as DECA finds them, picture by picture.

    Only ``batch`` crops are in memory at a time. One identity is kept for the whole clip: the
    mean of the pictures', weighted by the faces' confidence. Pictures without a face get what lies
    between their neighbours, and confidence 0.

    Args:
        pictures: the frames, as a :class:`relight_model.frame_source.FrameSource` yields them.
        faces: for each picture the face to follow, or ``None``; taken in step with ``pictures``.
        encoder: :meth:`DecaEncoder.load` of the user's ``deca_model.tar``.
        model: a FLAME head with landmarks, from ``relight_model convert-head``.
        camera: of the whole picture. DECA does not know its focal length; a guess will do, and
            decides how far away the head is put.
        view: as :attr:`HeadClip.view`, where pictures are cut from the whole.
        view_size: as :attr:`HeadClip.view_size`.
        batch: how many pictures go through the network at once.
        progress: called with how many pictures are done, and 0 for a total that is not known.

    Raises:
        InputError: the head is not FLAME, or no picture has a face.
    """
    check_flame(model)
    codes: list[Float] = []
    crops: list[DecaCrop | None] = []
    times: list[float] = []
    trust: list[float] = []
    pairs = iter(zip(pictures, faces, strict=True))
    while group := list(islice(pairs, batch)):
        found = [None if face is None else deca_crop(face.landmarks) for _, face in group]
        cut = [c.cut(p.rgb) for (p, _), c in zip(group, found, strict=True) if c is not None]
        rows = iter(_codes(encoder, cut))
        for (picture, face), crop in zip(group, found, strict=True):
            code = np.zeros(sum(CODE_PARTS.values())) if crop is None else next(rows)
            seen = crop is not None and _part(code, "camera")[0] > _LEAST_SCALE
            codes.append(code)
            crops.append(crop if seen else None)
            times.append(picture.time_s)
            trust.append(face.confidence if face is not None and seen else 0.0)
        if progress is not None:
            progress(len(codes), 0)
    if not any(crop is not None for crop in crops):
        raise InputError("no picture has a face that DECA sees.")
    code = np.array(codes)
    known = np.array([crop is not None for crop in crops])
    weight = np.where(known, np.maximum(trust, 1e-6), 0.0)
    shape = np.average(_part(code, "shape"), axis=0, weights=weight)
    texture = np.average(_part(code, "texture"), axis=0, weights=weight)
    landmarks = model.at_landmarks()
    pose = np.zeros((len(code), 15))
    translation = np.zeros((len(code), 3))
    for k, crop in enumerate(crops):
        if crop is None:
            continue
        seen_by = camera
        if view is not None and view_size is not None:
            left, top, scale = (float(v) for v in view[k])
            seen_by = camera.viewed(left, top, scale, *view_size)
        pose[k], translation[k] = place_head(
            landmarks,
            shape,
            _part(code[k], "expression"),
            _part(code[k], "pose"),
            _part(code[k], "camera"),
            crop,
            seen_by,
        )
    expression = _part(code, "expression").copy()
    _fill(known, np.array(times), expression, pose, translation)
    return HeadClip(
        shape=shape,
        expression=expression,
        pose=pose,
        translation_m=translation,
        time_s=np.array(times),
        camera=camera,
        view=view,
        view_size=view_size,
        confidence=np.clip(trust, 0.0, 1.0),
        head=model.fingerprint,
        details={"backend": "DECA", "deca_texture": texture.tolist()},
    )


def check_flame(model: HeadModel) -> None:
    """Check that DECA's numbers mean something to a head.

    Raises:
        InputError: it has fewer components than DECA finds, or no landmarks.
    """
    shapes, expressions = CODE_PARTS["shape"], CODE_PARTS["expression"]
    if model.shape_count < shapes or model.expression_count < expressions:
        raise InputError(
            f"DECA finds {shapes} shape and {expressions} expression coefficients of FLAME; this "
            f"head has {model.shape_count} and {model.expression_count}. Give the FLAME head that "
            f"`relight_model convert-head` made of your FLAME file."
        )
    if not model.head.has_landmarks:
        raise InputError(
            "DECA needs a head with landmarks: convert it again with `relight_model convert-head "
            "--landmarks landmark_embedding.npy`."
        )


def place_head(
    landmarks: HeadLandmarks,
    shape: Float,
    expression: Float,
    deca_pose: Float,
    deca_camera: Float,
    crop: DecaCrop,
    camera: PinholeCamera,
) -> tuple[Float, Float]:
    """Return the pose ``(15,)`` and translation ``(3,)`` in metres for a pinhole camera.

    DECA's camera is weakly perspective: it sees all of the head at one size. Here the head is put
    where a pinhole sees the mean of its landmarks at that place and size. Points nearer or farther
    by d than that mean then appear larger or smaller by d / distance: 5 % at 5 cm and 1 m, where
    DECA has 0. Away from the picture's middle a pinhole sees a head somewhat from the side; DECA,
    looking at the crop alone, takes that for a turn of the head, and it is taken back.

    Args:
        landmarks: of the FLAME head, in double or single precision.
        shape: identity coefficients.
        expression: expression coefficients.
        deca_pose: ``(6,)`` axis-angles of global and jaw.
        deca_camera: ``(3,)`` s, tx, ty.
        crop: what DECA saw of the picture.
        camera: of the picture.
    """
    pose = np.zeros(15)
    pose[GLOBAL], pose[JAW] = deca_pose[:3], deca_pose[3:]
    s, tx, ty = (float(v) for v in deca_camera)
    middle = _middle(landmarks, shape, expression, pose)
    half = IMAGE_PX / 2
    in_crop = np.array([half * (1 + s * (middle[0] + tx)), half * (1 - s * (middle[1] + ty))])
    pixel = crop.to_picture(in_crop)
    per_metre = half * s / crop.scale
    depth = camera.focal_px / per_metre
    place = np.array(
        [
            (pixel[0] - camera.centre[0]) / per_metre,
            (camera.centre[1] - pixel[1]) / per_metre,
            camera.distance_m - depth,
        ]
    )
    ray = place - camera.position_m
    turn = _turn(np.array([0.0, 0.0, -1.0]), ray / np.linalg.norm(ray))
    pose[GLOBAL] = (turn * Rotation.from_rotvec(pose[GLOBAL])).as_rotvec()
    return pose, place - _middle(landmarks, shape, expression, pose)


def _middle(landmarks: HeadLandmarks, shape: Float, expression: Float, pose: Float) -> Float:
    kind = landmarks.model.template.dtype
    rows = (torch.tensor(values[None], dtype=kind) for values in (shape, expression, pose))
    return np.asarray(landmarks(*rows)[0].mean(dim=0).double().numpy())


def _turn(start: Float, end: Float) -> Rotation:
    """Return the smallest rotation of one direction to another, less than half a turn away."""
    axis = np.cross(start, end)
    sine = float(np.linalg.norm(axis))
    angle = float(np.arctan2(sine, start @ end))
    return Rotation.from_rotvec(axis * (angle / sine if sine > 1e-12 else 0.0))


def _codes(encoder: DecaEncoder, cut: list[Tensor]) -> Float:
    if not cut:
        return np.zeros((0, sum(CODE_PARTS.values())))
    with torch.no_grad():
        return np.asarray(encoder(torch.stack(cut)).double().numpy())


def _part(code: Float, name: str) -> Float:
    names = list(CODE_PARTS)
    first = sum(CODE_PARTS[n] for n in names[: names.index(name)])
    return code[..., first : first + CODE_PARTS[name]]


def _fill(
    known: NDArray[np.bool_], times: Float, expression: Float, pose: Float, translation: Float
) -> None:
    """Fill the rows that are not known from their neighbours in time, in place."""
    if known.all():
        return
    have, lack = times[known], times[~known]
    within = np.clip(lack, have[0], have[-1])
    for values in (expression, pose, translation):
        for column in values.T:
            column[~known] = np.interp(within, have, column[known])
    if len(have) > 1:
        turns = Slerp(have, Rotation.from_rotvec(pose[known][:, GLOBAL]))
        pose[~known, GLOBAL] = turns(within).as_rotvec()
