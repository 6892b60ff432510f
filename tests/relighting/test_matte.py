"""Mattes against the simulator's truth, hair included; networks; steadiness over time."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import binary_fill_holes

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.colour import encode_srgb
from lightstage.errors import InputError
from lightstage.relighting import matte_job
from lightstage.relighting.matte import MatteSettings, find_matte, foreground_colour
from lightstage.relighting.matte_job import NetworkFile, matte_of_set, matte_take
from lightstage.relighting.matte_network import fetch_network, network_matte, open_network
from lightstage.relighting.matte_smoothing import flow_between, steadied
from lightstage.relighting.trimap import lit_sums, trimap_of
from tests.relighting.hair_scene import HairScene, hair_scene

SAMPLE = Path(__file__).parents[2] / "sample_sessions" / "talking"


@pytest.fixture(scope="module", params=[0, 100], ids=["head", "hair"])
def scene(request: pytest.FixtureRequest) -> HairScene:
    # strands are to be about as thin as in a picture of full size
    width, height = (512, 384) if request.param else (256, 192)
    return hair_scene(width, height, lights=48, strands=request.param, seed=3)


def _error(scene: HairScene, *, rim_light: bool) -> float:
    sums = lit_sums(scene.olat, scene.dome.directions, rim_light=rim_light)
    matte = find_matte(sums, MatteSettings(rim_light=rim_light))
    return float(np.abs(matte.alpha - scene.matte).mean())


def test_rim_light_makes_a_clearly_better_matte(scene: HairScene) -> None:
    with_rim, without = (_error(scene, rim_light=rim) for rim in (True, False))
    # a bare head's edges are lit from the front too; hair's are not
    assert with_rim < (0.7 if scene.hair.any() else 0.9) * without
    assert with_rim < 0.02


def test_sure_parts_of_a_trimap_are_sure(scene: HairScene) -> None:
    trimap = trimap_of(lit_sums(scene.olat, scene.dome.directions))
    # the simulator's head is hollow: through an open mouth its truth sees the curtain
    whole = binary_fill_holes(scene.matte > 0.5)
    assert whole[trimap == 1.0].mean() > 0.999
    assert (scene.matte[trimap == 0.0] > 0.3).mean() < 1e-3
    assert (trimap == 1.0).sum() > 0.5 * (scene.matte == 1.0).sum()


def test_a_matte_does_not_depend_on_exposure(scene: HairScene) -> None:
    sums = lit_sums(scene.olat, scene.dome.directions)
    brighter = lit_sums(scene.olat * np.float32(8.0), scene.dome.directions)
    assert np.allclose(find_matte(sums).alpha, find_matte(brighter).alpha, atol=1e-3)


def test_a_missing_light_is_taken_as_dark() -> None:
    scene = hair_scene(128, 96, lights=32, strands=0)
    scene.olat[5] = np.nan
    alpha = find_matte(lit_sums(scene.olat, scene.dome.directions)).alpha
    assert np.isfinite(alpha).all()
    assert np.abs(alpha - scene.matte).mean() < 0.02


def test_a_dome_without_rear_lights_is_refused() -> None:
    images = np.ones((2, 8, 8, 3), np.float32)
    with pytest.raises(InputError, match="behind the performer"):
        lit_sums(images, [[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])


def test_an_empty_stage_is_refused() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 64, 64, 3)).astype(np.float32)
    with pytest.raises(InputError, match="stands out"):
        find_matte(lit_sums(noise, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))


def _soft_disc(size: int = 64) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip((0.3 * size - np.hypot(x, y)) / 4 + 0.5, 0.0, 1.0).astype(np.float32)


def test_the_foreground_is_the_colour_that_was_mixed_with_black() -> None:
    alpha, colour = _soft_disc(), np.array([0.6, 0.3, 0.1], np.float32)
    found = foreground_colour(alpha[..., None] * colour, alpha)
    edge = (alpha > 0.1) & (alpha < 1.0)
    assert np.abs(found[edge] - colour).max() < 0.06
    assert np.allclose(found[alpha == 1.0], colour)


def test_the_foreground_scales_with_the_light() -> None:
    alpha = _soft_disc()
    rng = np.random.default_rng(1)
    light = rng.uniform(0.0, 1.0, (64, 64, 3)).astype(np.float32) * alpha[..., None]
    one, many = (foreground_colour(light * np.float32(k), alpha) for k in (1.0, 40.0))
    assert np.allclose(40.0 * one, many, rtol=1e-3, atol=1e-4)


# Networks: tiny ones whose result is known


def _mean_network(path: Path) -> Path:
    """Write a network whose matte is the mean of red, green and blue, back in [0, 1]."""
    weight = numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 6, np.float32), "weight")
    bias = numpy_helper.from_array(np.array([0.5], np.float32), "bias")
    shape = [1, 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["matte"])],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("matte", TensorProto.FLOAT, [1, 1, *shape[2:]])],
        [weight, bias],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_an_onnx_network_sees_the_picture_as_modnet_does(tmp_path: Path) -> None:
    network = open_network(_mean_network(tmp_path / "mean.onnx"))
    guide = cv2.GaussianBlur(
        np.random.default_rng(2).uniform(0, 1, (96, 128, 3)).astype(np.float32), (0, 0), 6
    )
    matte = network_matte(network, guide, shorter_side=96)
    assert matte.shape == (96, 128)
    assert np.abs(matte - encode_srgb(guide).mean(axis=2)).max() < 1e-5
    resized = network_matte(network, guide, shorter_side=192)
    assert np.abs(resized - matte).max() < 0.01


def test_a_network_is_known_by_its_hash(tmp_path: Path) -> None:
    path = _mean_network(tmp_path / "mean.onnx")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert fetch_network(str(path)) == (path, right)
    assert fetch_network(str(path), right.upper()) == (path, right)
    with pytest.raises(InputError, match="another file"):
        fetch_network(str(path), "0" * 64)
    with pytest.raises(InputError, match="64 hexadecimal"):
        fetch_network(str(path), "abc")


def test_a_network_is_downloaded_once_and_only_if_it_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    right = fetch_network(str(_mean_network(tmp_path / "served" / "mean.onnx")))[1]
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            asked.append(format % args)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mean.onnx"
        with pytest.raises(InputError, match="not kept"):
            fetch_network(url, "1" * 64)
        first, second = fetch_network(url, right), fetch_network(url, right)
        server.shutdown()
    assert first == second
    assert first[1] == right
    assert len(asked) == 2
    with pytest.raises(InputError, match="--sha256"):
        fetch_network(url)
    assert not list((tmp_path / "cache").rglob("*.partial"))


@pytest.mark.parametrize("name", ["bad.onnx", "bad.tflite"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no network at all" * 10)
    with pytest.raises(InputError, match=name):
        open_network(path)


def test_torchscript_without_torch_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relight_model.matte_network import load_torchscript

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"lightstage\[model\]"):
        load_torchscript(tmp_path / "modnet.pt")


# users have TorchScript files, whatever torch would have them use instead
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_network_gives_what_torch_gives(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from relight_model.matte_network import load_torchscript

    layer = torch.nn.Conv2d(3, 1, 1)
    path = tmp_path / "layer.pt"
    torch.jit.trace(layer, torch.zeros(1, 3, 32, 32)).save(str(path))
    batch = np.random.default_rng(0).normal(size=(1, 3, 32, 64)).astype(np.float32)
    expected = layer(torch.from_numpy(batch)).detach().numpy()
    assert np.allclose(load_torchscript(path)(batch), expected, atol=1e-6)


# Over time


def _moving_store(path: Path) -> tuple[ReflectanceFields, tuple[float, float]]:
    """Return a store of three sets in which all moves evenly, seen by a crop that follows half."""
    grid, unit = (5, 12, 16), 0.25
    writer = FieldsWriter.create(
        path, sets=3, height=48, width=64, dome=Dome.evenly_spread(8), rate_hz=50.0, grid=grid,
        attributes={"flow_unit_px": unit},
    )  # fmt: skip
    speed = np.array([200.0, -100.0])  # pixels of the recording per second
    times = np.array([0.0, 0.02, 0.04])
    tracking = np.tile(np.arange(-2, 3) * 0.02, (3, 1)) + times[:, None]
    crop = np.array([[10 + 2 * k, 20 - k, 128, 96] for k in range(3)], np.float64)
    writer.create_values("tracking_time_s", tracking.shape, "float64", 0.0, ("tracking",))
    writer.create_values("crop", crop.shape, "float64", 0.0, ("left_top_width_height",))
    writer.write_values(
        tracking_time_s=tracking, crop=crop, time_s=times, centre_frame=np.arange(3),
        confidence=np.ones((3, 8), np.float32),
    )  # fmt: skip
    for index in range(3):
        shift = (tracking[index] - times[index])[:, None] * speed / unit
        flow = np.broadcast_to(shift[:, None, None, :], (*grid, 2)).astype(np.int16)
        trust = np.full(grid, 255, np.uint8)
        picture = np.ones((48, 64, 3), np.float32)
        writer.write_images(index, flow=flow, trust=trust, full_lit=picture)
        writer.write_olat(index, (picture.astype(np.float16) for _ in range(8)))
    writer.finish()
    # by 4, -2 pixels of the recording, less the crop's 2, -1; an image pixel is two of them
    return ReflectanceFields.open(path), (1.0, -0.5)


def test_the_flow_between_sets_heeds_units_and_crops(tmp_path: Path) -> None:
    fields, step = _moving_store(tmp_path / "aligned.zarr")
    for other, sign in ((0, -1), (2, 1)):
        found = flow_between(fields, 1, other)
        assert found is not None
        assert np.allclose(found[0], sign * np.array(step), atol=1e-3)
        assert np.allclose(found[1], 1.0)


def test_steadied_mattes_flicker_less_and_do_not_smear(tmp_path: Path) -> None:
    fields, step = _moving_store(tmp_path / "aligned.zarr")
    rng = np.random.default_rng(4)

    def disc(index: int) -> NDArray[np.float32]:
        y, x = np.mgrid[:48, :64]
        away = np.hypot(x - 30 - step[0] * (index - 1), y - 24 - step[1] * (index - 1))
        # between 0.2 and 0.8, where noise is not clipped
        return (0.2 + 0.6 * np.clip(12.5 - away, 0.0, 1.0)).astype(np.float32)

    noisy = [disc(k) + rng.normal(0, 0.05, (48, 64)).astype(np.float32) for k in range(3)]
    flows = [(noisy[k], *(flow_between(fields, 1, k) or pytest.fail())) for k in (0, 2)]
    before, after = (np.abs(m - disc(1)).mean() for m in (noisy[1], steadied(noisy[1], flows, 0.6)))
    assert after < 0.8 * before
    assert np.array_equal(steadied(noisy[1], flows, 0.0), noisy[1])


def test_what_the_neighbours_show_otherwise_stays(tmp_path: Path) -> None:
    alpha = _soft_disc()
    still = np.zeros((64, 64, 2), np.float32)
    trust = np.ones((64, 64), np.float32)
    steady = steadied(alpha, [(1.0 - alpha, still, trust)], 1.0)
    sure = (alpha == 0.0) | (alpha == 1.0)
    assert np.abs(steady - alpha)[sure].max() < 1e-5


# Whole takes


@pytest.fixture
def fields(tmp_path: Path) -> ReflectanceFields:
    take = tmp_path / "talking"
    shutil.copytree(SAMPLE, take)
    return ReflectanceFields.open(take)


def test_a_takes_mattes_are_stored_and_made_once(fields: ReflectanceFields) -> None:
    assert matte_take(fields, foreground=True).made == len(fields)
    again = ReflectanceFields.open(fields.path)
    assert again.attributes["matte"]["finished"]
    for index in range(len(again)):
        matte = again.read("matte", index)
        assert matte.shape == (fields.height, fields.width)
        assert 0.05 < matte.mean() < 0.95
        assert again.read("foreground", index).shape == (*matte.shape, 3)
        assert np.abs(matte - matte_of_set(again, index).alpha).mean() < 0.01
    assert matte_take(again, foreground=True).made == 0
    assert matte_take(again, MatteSettings(rim_light=False)).made == len(fields)


def test_an_interrupted_take_goes_on_where_it_stopped(
    fields: ReflectanceFields, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = matte_job.matte_of_set
    looked: list[int] = []

    def stopping(fields: ReflectanceFields, index: int, *args: object) -> object:
        if looked:
            raise KeyboardInterrupt
        looked.append(index)
        return find(fields, index, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(matte_job, "matte_of_set", stopping)
    with pytest.raises(KeyboardInterrupt):
        matte_take(fields)
    assert not ReflectanceFields.open(fields.path).attributes["matte"]["finished"]
    seen: list[int] = []
    monkeypatch.setattr(
        matte_job, "matte_of_set", lambda f, i, *rest: seen.append(i) or find(f, i, *rest)
    )
    assert matte_take(fields).made == len(fields)
    assert seen == [1]


def test_a_take_is_matted_by_a_network(fields: ReflectanceFields, tmp_path: Path) -> None:
    path, sha256 = fetch_network(str(_mean_network(tmp_path / "mean.onnx")))
    network = NetworkFile(path, sha256, shorter_side=96)
    matte = matte_of_set(fields, 0, network=network)
    assert np.abs(matte.alpha - encode_srgb(matte.guide).mean(axis=2)).max() < 0.02
