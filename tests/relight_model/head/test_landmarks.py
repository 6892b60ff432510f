"""Landmarks lie where a person sees them, follow the picture's symmetries, and tell when unsure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.head import landmark_dlib
from relight_model.head.dlib_file import mean_shape
from relight_model.head.landmark_dlib import DETECT_EVERY, DlibLandmarks, packaged_model
from relight_model.head.landmarks import (
    INNER,
    MIRRORED,
    Face,
    LandmarkDetector,
    faces_of_clip,
    frames_told,
    interocular_px,
    landmark_detector,
    mirrored,
    require_face,
    require_faces,
)

data = pytest.importorskip("skimage.data")
Image = NDArray[np.uint8]

#: Read off by eye from enlarged pictures: pupils, mouth's corners, nose's tip, chin's lowest point.
ASTRONAUT = {
    (36, 37, 38, 39, 40, 41): (203.0, 100.3),
    (42, 43, 44, 45, 46, 47): (246.2, 102.7),
    (48,): (202.3, 139.0),
    (54,): (244.2, 140.7),
    (30,): (223.0, 126.5),
    (8,): (222.5, 177.5),
}
FIRST_OF_CLIP = {
    (36, 37, 38, 39, 40, 41): (258.5, 169.0),
    (42, 43, 44, 45, 46, 47): (329.0, 165.5),
    (48,): (276.0, 250.5),
    (54,): (327.0, 249.5),
    (8,): (302.0, 302.5),
}
#: A person reads a place to a pixel or two on these faces; the middle of lids is not the pupil.
BY_EYE = 0.05


@pytest.fixture(scope="module")
def detector() -> DlibLandmarks:
    return DlibLandmarks.load()


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def seen(detector: DlibLandmarks, astronaut: Image) -> Face:
    return require_face(detector.detect(astronaut), "astronaut")


def film(shared_data: Path) -> list[Image]:
    with av.open(str(shared_data / "video" / "single_face.mp4")) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def apart(a: Any, b: Any) -> Any:
    """Distances of landmarks in shares of the distance of the outer eye corners."""
    return np.linalg.norm(np.asarray(a) - b, axis=-1) / interocular_px(np.asarray(b))


def by_eye(face: Face, places: dict[tuple[int, ...], tuple[float, float]]) -> None:
    for which, place in places.items():
        found = face.landmarks[list(which)].mean(axis=0)
        off = np.linalg.norm(found - place) / interocular_px(face.landmarks)
        assert off < BY_EYE, (which, found, place)


def test_landmarks_lie_where_a_person_sees_them(seen: Face) -> None:
    by_eye(seen, ASTRONAUT)
    assert seen.confidence > 0.95
    left, top, right, bottom = seen.box
    inside = (seen.landmarks[INNER] > (left, top)) & (seen.landmarks[INNER] < (right, bottom))
    assert inside.all()


def test_landmarks_of_a_film_lie_where_a_person_sees_them(
    detector: DlibLandmarks, shared_data: Path
) -> None:
    by_eye(require_face(detector.detect(film(shared_data)[0]), "clip"), FIRST_OF_CLIP)


def test_a_mirrored_picture_has_mirrored_landmarks(
    detector: DlibLandmarks, astronaut: Image, seen: Face
) -> None:
    other = require_face(detector.detect(np.ascontiguousarray(astronaut[:, ::-1])), "mirrored")
    # what is left comes from the detector's box, whose pixels are whole
    assert apart(mirrored(other.landmarks, astronaut.shape[1]), seen.landmarks).max() < 0.01


def test_mirroring_twice_is_nothing() -> None:
    assert (MIRRORED[MIRRORED] == np.arange(68)).all()
    places = np.random.default_rng(0).uniform(0, 99, (68, 2))
    assert np.allclose(mirrored(mirrored(places, 100), 100), places)


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_a_resized_picture_has_resized_landmarks(
    detector: DlibLandmarks, astronaut: Image, seen: Face, scale: float
) -> None:
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=kind))
    found = require_face(detector.detect(picture), "resized")
    off = apart((found.landmarks + 0.5) / scale - 0.5, seen.landmarks)
    assert off.mean() < 0.006
    assert off.max() < 0.02


@pytest.mark.parametrize("angle_deg", [-40.0, -20.0, 30.0])
def test_a_leaning_head_has_leaning_landmarks(
    detector: DlibLandmarks, astronaut: Image, seen: Face, angle_deg: float
) -> None:
    turn = cv2.getRotationMatrix2D((222.0, 130.0), angle_deg, 1.0)
    found = require_face(detector.detect(cv2.warpAffine(astronaut, turn, (512, 512))), "leaning")
    assert apart(found.landmarks, seen.landmarks @ turn[:, :2].T + turn[:, 2]).mean() < 0.01


def test_a_dark_picture_has_the_same_landmarks(
    detector: DlibLandmarks, astronaut: Image, seen: Face
) -> None:
    dark = require_face(detector.detect((astronaut * 0.1).astype(np.uint8)), "dark")
    assert apart(dark.landmarks, seen.landmarks).mean() < 0.01


@pytest.mark.parametrize("what", ["noise", "rocket", "coffee", "grey", "pixel", "line"])
def test_there_is_no_face_where_there_is_none(detector: DlibLandmarks, what: str) -> None:
    pictures = {
        "noise": lambda: np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8),
        "rocket": data.rocket,
        "coffee": data.coffee,
        "grey": lambda: np.full((200, 300, 3), 128, np.uint8),
        "pixel": lambda: np.zeros((1, 1, 3), np.uint8),
        "line": lambda: np.zeros((2, 900, 3), np.uint8),
    }
    face = detector.detect(pictures[what]())
    assert face is None
    with pytest.raises(InputError, match=f"{what}: no face was found. The face should"):
        require_face(face, what)


def test_of_two_faces_the_larger_is_taken(
    detector: DlibLandmarks, astronaut: Image, seen: Face
) -> None:
    head = astronaut[:300, 80:380]
    both = np.zeros((300, 500, 3), np.uint8)
    both[:, 200:] = head
    both[60:240, 10:190] = cv2.resize(head, (180, 180), interpolation=cv2.INTER_AREA)
    found = require_face(detector.detect(both), "two faces")
    assert apart(found.landmarks - (120.0, 0.0), seen.landmarks).max() < 0.02


def test_tracking_finds_what_detection_finds(detector: DlibLandmarks, shared_data: Path) -> None:
    frames = film(shared_data)[:45]
    tracked = require_faces(list(faces_of_clip(detector, frames)), "clip")
    ages = [face.since_detection for face in tracked]
    assert max(ages) == DETECT_EVERY - 1
    for index in range(0, 45, 4):
        fresh = require_face(detector.detect(frames[index]), "clip")
        off = apart(tracked[index].landmarks, fresh.landmarks)
        assert off.mean() < 0.01
        assert off.max() < 0.03


def test_tracking_seldom_asks_the_slow_detector(detector: DlibLandmarks, astronaut: Image) -> None:
    asked = []

    def counting(image: Image, upsample: int) -> Any:
        asked.append(image.size)
        return detector.detector(image, upsample)

    frames = [astronaut] * (2 * DETECT_EVERY)
    assert all(faces_of_clip(replace(detector, detector=counting), frames))
    # once on the whole picture, then once on a small window
    assert len(asked) == 2
    assert asked[1] < asked[0] / 3


def test_a_lost_face_is_told_and_found_again(detector: DlibLandmarks, astronaut: Image) -> None:
    rocket = cv2.resize(data.rocket(), (512, 512))
    moved = np.roll(astronaut, 150, axis=1)
    frames = [astronaut, rocket, rocket, moved, moved]
    faces = list(faces_of_clip(detector, frames))
    assert [face is not None for face in faces] == [True, False, False, True, True]
    with pytest.raises(InputError, match=r"clip: no face was found in 2 of 5 frames \(1-2, count"):
        require_faces(faces, "clip")


def test_a_track_that_strayed_comes_back(
    detector: DlibLandmarks, astronaut: Image, seen: Face
) -> None:
    strayed = replace(seen, landmarks=seen.landmarks + (150.0, 250.0))
    found = require_face(detector.track(astronaut, strayed), "astronaut")
    assert apart(found.landmarks, seen.landmarks).max() < 0.02
    outside = replace(seen, landmarks=seen.landmarks + (5000.0, 0.0))
    assert detector.track(astronaut, outside) is not None


def test_many_predictions_jitter_less_than_half_of_one(
    detector: DlibLandmarks, astronaut: Image
) -> None:
    """dlib's own whole pixels, with its own boxes, are the measure; the head does not move."""
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 4.0, (12, *astronaut.shape))
    frames = np.clip(astronaut + noise, 0, 255).astype(np.uint8)
    one = []
    for frame in frames:
        box = max(detector.detector(frame, 0), key=lambda b: b.area())
        one.append([(p.x, p.y) for p in detector.predict.trees(frame, box).parts()])
    many = [face.landmarks for face in faces_of_clip(detector, frames) if face]
    assert len(many) == len(frames)
    assert np.std(many, axis=0).mean() < 0.5 * np.std(one, axis=0).mean()


def test_confidence_is_low_where_there_is_no_face(detector: DlibLandmarks) -> None:
    """Predicted without asking the detector of faces first, as when a track is lost."""
    rng = np.random.default_rng(2)
    found = []
    for name in ("rocket", "coffee", "astronaut"):
        picture = getattr(data, name)()
        height, width = picture.shape[:2]
        for _ in range(6):
            # the astronaut's suit, below her face
            y = rng.uniform(270, height - 60)
            box = landmark_dlib.Box(rng.uniform(60, width - 60), y, rng.uniform(80, 160))
            face = detector._face(picture, box, 0)
            found.append(face.confidence if face else 0.0)
    assert max(found) < 0.5


def test_pictures_of_another_kind_are_refused(detector: DlibLandmarks, astronaut: Image) -> None:
    for wrong in (astronaut[:, :, 0], astronaut.astype(np.float32), astronaut[:0]):
        with pytest.raises(InputError, match="8-bit RGB"):
            detector.detect(wrong)


def test_frames_are_told_as_runs() -> None:
    assert frames_told([3, 4, 5, 9], 72) == "4 of 72 frames (3-5, 9, counted from 0)"
    assert frames_told([0, 1], 2) == "any of 2 frames"
    assert frames_told([], 0) == "a clip of no frames"
    assert frames_told(range(0, 40, 2), 50).endswith("14, ..., counted from 0)")


def test_the_packaged_weights_are_found_without_importing_the_package() -> None:
    import sys

    assert packaged_model().stat().st_size > 90e6
    assert "face_recognition_models" not in sys.modules


def test_damaged_packaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(packaged_model().read_bytes())
    content[50_000_000] ^= 1
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / landmark_dlib.MODEL_NAME).write_bytes(content)

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(landmark_dlib, "find_spec", lambda name: Spec)
    with pytest.raises(InputError, match=r"is not the file that is known .* Reinstall"):
        landmark_detector()
    monkeypatch.setattr(landmark_dlib, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'lightstage\[model\]'.*--landmark-model"):
        landmark_detector()


def test_files_that_are_no_predictor_are_refused(tmp_path: Path) -> None:
    good = packaged_model().read_bytes()
    file = tmp_path / "weights.dat"
    with pytest.raises(InputError, match=r"weights\.dat: cannot be read"):
        landmark_detector(model=file)
    for content in (b"", b"PK\x03\x04 a torch file", good[:300], b"\x01\x02" + good[2:5000]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.dat: is no dlib predictor of 68"):
            landmark_detector(model=file)
    file.write_bytes(good[:60_000])
    with pytest.raises(InputError, match=r"weights\.dat: dlib cannot read"):
        landmark_detector(model=file)
    five = packaged_model().with_name("shape_predictor_5_face_landmarks.dat")
    with pytest.raises(InputError, match="10 x 1 numbers, not 136 x 1"):
        landmark_detector(model=five)


@given(st.binary(max_size=3000), st.integers(0, 1200))
def test_a_file_of_any_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, kept: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.dat"
    file.write_bytes(_beginning()[:kept] + tail)
    try:
        shape = mean_shape(file)
    except InputError as error:
        assert "any.dat" in str(error)
    else:
        assert shape.shape == (68, 2)
        assert np.isfinite(shape).all()


@cache
def _beginning() -> bytes:
    with packaged_model().open("rb") as stream:
        return stream.read(2000)


def test_weights_of_ones_own_are_read_by_path(tmp_path: Path, astronaut: Image, seen: Face) -> None:
    copy = tmp_path / "mine.dat"
    copy.symlink_to(packaged_model())
    face = require_face(landmark_detector(model=copy).detect(astronaut), "astronaut")
    assert (face.landmarks == seen.landmarks).all()


class Fake:
    """What another package might offer."""

    name = "fake"

    def detect(self, image: Image) -> Face | None:
        return None

    def track(self, image: Image, previous: Face) -> Face | None:
        return previous


def offer_fake(model: Path | None) -> LandmarkDetector:
    return Fake()


def offer_nothing(model: Path | None) -> object:
    return object()


def test_another_package_may_offer_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "other_landmarks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-landmarks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[relight_model.landmarks]\n"
        f"fake = {__name__}:offer_fake\nempty = {__name__}:offer_nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert landmark_detector("fake").name == "fake"
    with pytest.raises(InputError, match="gives a object, which lacks name"):
        landmark_detector("empty")
    with pytest.raises(InputError, match="no landmark detector 'mtcnn'; known are: dlib, empty, f"):
        landmark_detector("mtcnn")
