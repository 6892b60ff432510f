"""Head clips: a file gives back what was put in, and nothing in a file can hurt."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from lightstage.errors import InputError
from lightstage.pinhole import PinholeCamera
from relight_model.head.clip import HeadClip
from tests.relight_model.head.clips import CAMERA, made_up

ARRAYS = ("shape", "expression", "pose", "translation_m", "time_s", "view", "confidence")
number = st.floats(-1e6, 1e6)


@st.composite
def clips(draw):
    n, coefficients, expressions = (draw(st.integers(a, 5)) for a in (1, 0, 0))

    def array(*shape, elements=number):
        return draw(some.arrays(np.float64, shape, elements=elements))

    with_view, with_names = draw(st.booleans()), draw(st.booleans())
    steps = array(n, elements=st.floats(1e-3, 10.0))
    return HeadClip(
        shape=array(coefficients),
        expression=array(n, expressions),
        pose=array(n, 15),
        translation_m=array(n, 3),
        time_s=np.cumsum(steps) - draw(st.floats(-100, 100)),
        camera=PinholeCamera(
            draw(st.integers(1, 9000)),
            draw(st.integers(1, 9000)),
            draw(st.floats(1e-3, 1e5)),
            draw(st.floats(0.1, 10)),
            draw(st.none() | st.tuples(number, number)),
        ),
        view=array(n, 3, elements=st.floats(1e-3, 1e3)) if with_view else None,
        view_size=(draw(st.integers(1, 4096)), 7) if with_view else None,
        confidence=array(n, elements=st.floats(0, 1)) if draw(st.booleans()) else None,
        expression_names=tuple(draw(st.text(max_size=9)) for _ in range(expressions))
        if with_names
        else (),
        head=draw(st.text(max_size=9)),
        details=draw(st.dictionaries(st.text(max_size=4), st.none() | number | st.text())),
    )


def same(a, b):
    for name in ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)
            assert y.dtype == np.float64
    for name in ("camera", "view_size", "expression_names", "head", "details"):
        assert getattr(a, name) == getattr(b, name)


@settings(max_examples=40)
@given(clip=clips())
def test_a_file_gives_back_the_same_clip(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.npz"
    clip.save(path)
    same(clip, HeadClip.load(path))
    assert not list(path.parent.glob("*.partial"))


def test_the_file_needs_nothing_of_ours_to_be_read(tmp_path):
    clip = made_up()
    clip.save(tmp_path / "clip.npz")
    with zipfile.ZipFile(tmp_path / "clip.npz") as archive:
        assert set(archive.namelist()) == {f"{name}.npy" for name in (*ARRAYS, "about")}
        pose = np.load(io.BytesIO(archive.read("pose.npy")), allow_pickle=False)
        about = json.loads(str(np.load(io.BytesIO(archive.read("about.npy")), allow_pickle=False)))
    np.testing.assert_array_equal(pose, clip.pose)
    assert about["format"] == "lightstage head clip 1"


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_a_pickle_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "clip.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="no file of head parameters"):
        HeadClip.load(path)
    good = made_up()
    good.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("pose", "about", "view"):
        hurt = arrays | {name: np.array([Bomb()], dtype=object)}
        np.savez(path, **hurt)
        with pytest.raises(InputError, match=r"clip\.npz: is no file of head parameters"):
            HeadClip.load(path)


@settings(max_examples=150)
@given(where=st.floats(0, 1), value=st.integers(0, 255), kind=st.sampled_from(["cut", "byte"]))
def test_a_damaged_file_loads_or_is_refused(where, value, kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("hurt") / "clip.npz"
    made_up(n=4).save(path)
    data = bytearray(path.read_bytes())
    place = int(where * (len(data) - 1))
    if kind == "cut":
        data = data[:place]
    else:
        data[place] = value
    path.write_bytes(data)
    try:
        HeadClip.load(path)
    except InputError as reason:
        assert "clip.npz" in str(reason)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no file of head parameters"),
        (b"not a zip at all", "no file of head parameters"),
    ],
)
def test_another_file_is_refused(tmp_path, content, told):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=told):
        HeadClip.load(tmp_path / "x.npz")
    with pytest.raises(InputError, match="no such file"):
        HeadClip.load(tmp_path / "y.npz")
    with pytest.raises(InputError, match="no file of head parameters"):
        HeadClip.load(tmp_path)
    np.save(tmp_path / "z.npy", np.zeros(3))
    with pytest.raises(InputError, match="no file of head parameters"):
        HeadClip.load(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pose": np.zeros((4, 12))}, "pose must be"),
        ({"pose": np.full((4, 15), np.nan)}, "not finite"),
        ({"time_s": np.zeros(4)}, "must rise"),
        ({"time_s": np.zeros((4, 1))}, "a time for each frame"),
        ({"time_s": np.zeros(0)}, "a time for each frame"),
        ({"view": None}, "both view and view_size"),
        ({"view": np.zeros((4, 3))}, "scale that is not above 0"),
        ({"confidence": np.full(4, 1.5)}, "in \\[0, 1\\]"),
        ({"expression_names": ("a",)}, "names for"),
        ({"expression": np.zeros((3, 6))}, "expression coefficients"),
        ({"view_size": (0, 5)}, "no picture"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, told):
    with pytest.raises(InputError, match=told):
        made_up(n=4, **change)


def test_a_wrong_array_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "clip.npz"
    made_up(n=4).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"pose": np.zeros((4, 3))}))
    with pytest.raises(InputError, match=r"clip\.npz: .*pose must be \(4, 15\)"):
        HeadClip.load(path)
    np.savez(path, **(arrays | {"pose": np.array([["a"] * 15] * 4)}))
    with pytest.raises(InputError, match=r"clip\.npz: its pose is no array of numbers"):
        HeadClip.load(path)
    about = json.loads(str(arrays["about"])) | {"format": "lightstage head clip 9"}
    np.savez(path, **(arrays | {"about": np.array(json.dumps(about))}))
    with pytest.raises(InputError, match="head clip 9"):
        HeadClip.load(path)


def test_details_must_be_json_and_the_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="details must be JSON"):
        made_up(details={"when": object()}).save(tmp_path / "clip.npz")
    with pytest.raises(InputError, match="cannot be written"):
        made_up().save(tmp_path / "nowhere" / "clip.npz")
    assert list(tmp_path.iterdir()) == []


def test_some_frames_of_a_clip_keep_theirs():
    clip = made_up(n=10)
    for which in (slice(2, 7), [2, 3, 4, 5, 6], np.arange(10) // 5 * 0 + (np.arange(10) > 1)):
        which = which.astype(bool) if isinstance(which, np.ndarray) else which
        part = clip.frames(which)
        np.testing.assert_array_equal(part.pose, clip.pose[which])
        np.testing.assert_array_equal(part.view, clip.view[which])
        np.testing.assert_array_equal(part.confidence, clip.confidence[which])
        assert part.frame_camera(0) == clip.frame_camera(2)


def test_a_frame_camera_sees_what_the_crop_shows():
    # a crop from (left, top) at a scale: pixel p of the whole is (p - left) * scale - 1/2 of it
    clip = made_up(n=4)
    point = np.array([0.03, -0.02, 0.05])
    whole = CAMERA.project(point)
    left, top, scale = clip.view[2]
    expected = (whole - [left, top]) * scale - 0.5
    np.testing.assert_allclose(clip.frame_camera(2).project(point), expected, atol=1e-9)
    bare = clip.replace(view=None, view_size=None)
    assert bare.frame_camera(2) == CAMERA
