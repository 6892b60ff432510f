"""Crops that follow the head: laws of the path, and of resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from lightstage.colour import decode_srgb
from lightstage.errors import InputError
from lightstage.head import pose_head, procedural_head
from lightstage.pinhole import PinholeCamera
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import Scene
from relight_model.conditioning import ConditioningRenderer
from relight_model.head.clip import HeadClip
from relight_model.head_crop import crop_clip, crop_image, head_boxes, store_view
from tests.relight_model.conditioning.conftest import talking_clip


def centres(clip: HeadClip) -> np.ndarray:
    """The squares' middles in the whole picture."""
    assert clip.view is not None and clip.view_size is not None
    return clip.view[:, :2] + 0.5 * clip.view_size[0] / clip.view[:, 2:]


def test_a_constant_head_gets_a_constant_crop() -> None:
    clip = talking_clip(40)
    still = replace(
        clip,
        pose=np.repeat(clip.pose[:1], 40, axis=0),
        expression=np.repeat(clip.expression[:1], 40, axis=0),
        translation_m=np.repeat(clip.translation_m[:1], 40, axis=0),
    )
    view = crop_clip(still, procedural_head(), 128).view
    assert view is not None and np.abs(view - view[0]).max() < 1e-6


def test_moving_the_picture_moves_the_crop() -> None:
    """The same head seen by a camera whose axis lies elsewhere: the crop goes along."""
    clip = talking_clip(60)
    moved = replace(clip, camera=replace(clip.camera, centre_px=(300.0, 260.0)))
    x, y = clip.camera.centre
    first = crop_clip(clip, procedural_head(), 128, inside=False)
    second = crop_clip(moved, procedural_head(), 128, inside=False)
    assert first.view is not None and second.view is not None
    shift = (second.view - first.view) - [300.0 - x, 260.0 - y, 0.0]
    assert np.abs(shift).max() < 1e-6


def test_the_whole_head_is_inside_with_room_to_spare() -> None:
    clip = talking_clip(60)
    head = procedural_head()
    cut = crop_clip(clip, head, 256)
    assert cut.view is not None and np.ptp(cut.view[:, 2]) == 0  # nothing zooms
    for index in range(0, 60, 7):
        vertices = pose_head(head, clip.shape, clip.expression[index], clip.pose[index])
        vertices = vertices + clip.translation_m[index]
        above = vertices[head.v_template[:, 1] > head.v_template[:, 1].max() - 0.2]
        places = cut.frame_camera(index).project(above)
        assert places.min() > 0.05 * 256 - 2 and places.max() < 0.95 * 256 + 1


def test_the_crop_neither_jitters_nor_lags() -> None:
    rng = np.random.default_rng(0)
    clip = talking_clip(100)
    slow = 0.03 * np.sin(2 * np.pi * 0.1 * clip.time_s)
    steady = replace(
        clip,
        pose=np.zeros((100, 15)),
        expression=0 * clip.expression,
        translation_m=np.column_stack([slow, 0 * slow, 0 * slow]),
    )
    jitter = rng.normal(0, 0.001, (100, 3)) * [1, 1, 0]
    noisy = replace(steady, translation_m=steady.translation_m + jitter)
    head = procedural_head()
    smooth, rough = (centres(crop_clip(c, head, 128)) for c in (steady, noisy))
    pixels = 1900.0 / 1.5
    jumps = np.diff(rough - smooth, axis=0)[10:-10]
    assert jumps.std() < 0.03 * np.diff(jitter[:, :2], axis=0).std() * pixels
    # no lag: the path is most like the head's own motion at no delay
    path = smooth[20:-20, 0] - smooth[20:-20, 0].mean()
    likeness = [
        np.corrcoef(path, np.roll(slow, delay)[20:-20])[0, 1] for delay in (-6, -3, 0, 3, 6)
    ]
    assert int(np.argmax(likeness)) == 2


@pytest.mark.parametrize("place", [[0.06, 0.0, 0.0], [-0.11, 0.05, 0.0], [0.0, -0.06, 0.0]])
def test_the_square_stays_in_the_picture_while_the_head_does(place: list[float]) -> None:
    clip = talking_clip(50)
    clip = replace(clip, translation_m=clip.translation_m + place)
    cut = crop_clip(clip, procedural_head(), 128)
    assert cut.view is not None
    boxes = head_boxes(clip, procedural_head())
    side = 128 / cut.view[0, 2]
    left_top = cut.view[:, :2]
    assert (left_top > -0.51).all() and (left_top + side < [639.51, 479.51]).all()
    seen = np.clip(boxes, -0.5, [639.5, 479.5, 639.5, 479.5])
    assert (seen[:, :2] >= left_top - 0.01).all()
    assert (seen[:, 2:] <= left_top + side + 0.01).all()


def test_a_head_larger_than_the_picture_is_padded() -> None:
    clip = replace(talking_clip(20), camera=PinholeCamera(640, 200, 1900.0, 1.5))
    cut = crop_clip(clip, procedural_head(), 128)
    assert cut.view is not None
    assert 128 / cut.view[0, 2] >= 200 - 1e-6
    picture = crop_image(np.ones((200, 640), np.float32), cut.view[0], 128)
    assert np.allclose(picture, 1.0)


def test_wrong_crops_are_refused() -> None:
    clip = talking_clip(10)
    head = procedural_head()
    cut = crop_clip(clip, head, 64)
    with pytest.raises(InputError, match="cut already"):
        crop_clip(cut, head, 64)
    with pytest.raises(InputError, match="outside the picture"):
        crop_clip(replace(clip, translation_m=clip.translation_m + [3.0, 0, 0]), head, 64)
    with pytest.raises(InputError, match="behind the camera"):
        crop_clip(replace(clip, translation_m=clip.translation_m + [0, 0, 2.0]), head, 64)
    with pytest.raises(InputError, match="makes no sense"):
        crop_clip(clip, head, 0)


def test_maps_of_a_cut_clip_lie_on_the_cut_pictures() -> None:
    """Rendering into the crop is cropping the rendering."""
    clip = talking_clip(9)
    cut = crop_clip(clip, procedural_head(), 96)
    assert cut.view is not None
    fine = ConditioningRenderer(None, supersampling=4)
    whole = next(fine.render_clip(clip, [4], maps=["mask"])).mask
    small = next(fine.render_clip(cut, [4], maps=["mask"])).mask
    cropped = crop_image(whole, cut.view[4], 96, padding="zero")
    assert np.abs(cropped - small).mean() < 0.01
    y, x = np.mgrid[0:96, 0:96]
    for axis in (x, y):
        assert (
            abs((axis * cropped).sum() / cropped.sum() - (axis * small).sum() / small.sum()) < 0.1
        )


@given(
    left=st.floats(-3, 8), top=st.floats(-3, 8), scale=st.floats(0.08, 3.0), slope=st.floats(-2, 2)
)
def test_a_ramp_is_a_ramp_in_any_crop(left: float, top: float, scale: float, slope: float) -> None:
    """Resampling by symmetric weights keeps straight ramps, where no edge is near."""
    y, x = np.mgrid[0:64, 0:80].astype(np.float32)
    ramp = x + slope * y
    crop = crop_image(ramp, (left + 20, top + 16, scale), (12, 10))
    u = left + 20 + (np.arange(12) + 0.5) / scale
    v = top + 16 + (np.arange(10) + 0.5) / scale
    expected = u[None] + slope * v[:, None]
    reach = max(1.0, 1.0 / scale)
    inside = ((u - reach >= 0) & (u + reach <= 79))[None] & ((v - reach >= 0) & (v + reach <= 63))[
        :, None
    ]
    tolerance = 1e-3 * (1 + abs(slope)) + (0.0 if scale >= 1 else 0.15 * (1 + abs(slope)))
    assert np.abs(crop - expected)[inside].max(initial=0.0) < tolerance


def test_enlarging_is_bilinear_and_a_crop_at_scale_1_is_a_copy() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    assert np.array_equal(crop_image(picture, (9.5, 4.5, 1.0), (20, 16)), picture[5:21, 10:30])
    crop = crop_image(picture.astype(np.float32), (10.2, 6.7, 2.5), 30)
    u, v = (s + (np.arange(30) + 0.5) / 2.5 for s in (10.2, 6.7))
    grid = np.meshgrid(v, u, indexing="ij")
    for channel in range(3):
        expected = map_coordinates(picture[..., channel].astype(float), grid, order=1)
        assert np.abs(crop[..., channel] - expected).max() < 0.05


def test_reducing_drops_no_pixel() -> None:
    """A single bright pixel gives the same sum wherever it lies, to what tents can hold."""
    sums = []
    for offset in range(16):
        picture = np.zeros((128, 128), np.float32)
        picture[60, 56 + offset] = 1.0
        sums.append(float(crop_image(picture, (-0.5, -0.5, 1 / 8), 16).sum()) * 64)
    assert np.ptp(sums) < 0.03 and abs(np.mean(sums) - 1) < 0.03


def test_wrong_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be cut"):
        crop_image(np.zeros((0, 4), np.float32), (0, 0, 1), 4)
    with pytest.raises(InputError, match="cannot be cut"):
        crop_image(np.zeros((4, 4), np.float32), (0, 0, -1), 4)


class CroppedStore:
    """What ``store_view`` asks of a store: pictures of 128 x 96 out of parts of a recording."""

    path, width, height = "aligned.zarr", 128, 96

    def __init__(self, crop: np.ndarray | None) -> None:
        self._crop = crop

    def __len__(self) -> int:
        return 2

    def has(self, name: str) -> bool:
        return name == "crop" and self._crop is not None

    def read_values(self, name: str) -> np.ndarray:
        assert self._crop is not None
        return self._crop


def test_a_stores_view_is_the_camera_of_its_crop() -> None:
    """The crop's edges are the picture's edges: pixel edges lie half a pixel beside the middles."""
    camera = PinholeCamera(640, 480, 1900.0, 1.5)
    crop = np.array([[100.5, 30.0, 256.0, 192.0], [102.0, 31.0, 256.0, 192.0]])
    view, size = store_view(CroppedStore(crop))  # type: ignore[arg-type]
    assert size == (128, 96)
    for row, (left, top, width, height) in zip(view, crop, strict=True):
        cut = camera.viewed(*row, *size)
        for point in ([0.02, 0.01, 0.05], [-0.05, 0.06, 0.0]):
            x, y = camera.project(np.array(point))
            across, down = (x + 0.5 - left) / width, (y + 0.5 - top) / height
            expected = (across * 128 - 0.5, down * 96 - 0.5)
            assert np.allclose(cut.project(np.array(point)), expected)
    whole, _ = store_view(CroppedStore(None))  # type: ignore[arg-type]
    assert np.array_equal(whole, [[-0.5, -0.5, 1.0]] * 2)
    with pytest.raises(InputError, match="resized differently"):
        store_view(CroppedStore(np.array([[0, 0, 300.0, 192.0]] * 2)))  # type: ignore[arg-type]


def test_maps_are_what_the_simulator_pictures_of_a_talking_performer() -> None:
    """Another rasteriser (OpenCV's) on the same performer, cut afterwards."""
    performer = Performer(2, "talking")
    camera = SimulatedCamera(256, 192)
    renderer = ConditioningRenderer(
        procedural_head(), performer.model.shape, performer.model.texture, supersampling=2
    )
    for time_s in (0.0, 1.3):
        now = performer.parameters(time_s)
        scene = Scene(performer.model, camera, performer.vertices(time_s))
        pose = (now.expression, now.pose, now.translation_m)
        maps = renderer.render(*pose, camera.pinhole)
        assert np.abs(maps.mask - scene.matte).mean() < 1e-3
        inside = (maps.mask == 1) & (scene.matte == 1)
        assert ((maps.normal * scene.normal).sum(axis=2)[inside] > 0.99).mean() > 0.99
        # a texture between mip levels is a little softer than the simulator's
        assert np.abs(decode_srgb(maps.diffuse) - scene.albedo)[inside].mean() < 0.01
        view = (80.3, 20.1, 0.75)
        cut = renderer.render(*pose, camera.pinhole.viewed(*view, 90, 100), ["mask"]).mask
        assert np.abs(cut - crop_image(scene.matte, view, (90, 100))).mean() < 0.01
