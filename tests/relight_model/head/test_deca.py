"""DECA's encoder and camera, with random weights in the layout of its checkpoint."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch.nn import functional

from lightstage.errors import InputError
from lightstage.head import procedural_head
from lightstage.pinhole import PinholeCamera
from relight_model.frame_source import Picture
from relight_model.head.clip import HeadClip
from relight_model.head.deca import DecaCrop, deca_clip, deca_crop, place_head
from relight_model.head.deca_encoder import DecaEncoder, split_code
from relight_model.head.landmarks import Face
from relight_model.head.model import HeadModel


@pytest.fixture(scope="module")
def encoder() -> DecaEncoder:
    """Random weights, with statistics that are not those of a fresh layer."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = DecaEncoder().eval()
    with torch.no_grad():
        for name, values in encoder.state_dict().items():
            if name.endswith("running_var"):
                values.uniform_(0.5, 2.0)
            elif name.endswith("running_mean") or (".bn" in name and name.endswith("bias")):
                values.normal_(0.0, 0.1)
    return encoder


@pytest.fixture(scope="module")
def checkpoint(encoder: DecaEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deca") / "deca_model.tar"
    nothing: dict[str, Any] = {}
    content = {"E_flame": encoder.state_dict(), "E_detail": nothing, "D_detail": nothing}
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def flame() -> HeadModel:
    """The procedural head with as many components as DECA finds; those that are new do nothing."""
    head = procedural_head()
    s, e = head.shape_count, head.expression_count
    directions = np.zeros((len(head.v_template), 3, 150))
    directions[:, :, :s] = head.shapedirs[:, :, :s]
    directions[:, :, 100 : 100 + e] = head.shapedirs[:, :, s:]
    padded = replace(head, shapedirs=directions, shape_count=100, expression_names=())
    return HeadModel(padded, dtype=torch.float64)


def names_of_resnet50() -> dict[str, tuple[int, ...]]:
    """torchvision's state dict of resnet50 without its last layer, from the paper's table 1."""
    names: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            names[f"{name}.{part}"] = (width,)
        names[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    given = 64
    for layer, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            shapes = [(width, given, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            for k, shape in enumerate(shapes, 1):
                names[f"{at}.conv{k}.weight"] = shape
                norm(f"{at}.bn{k}", shape[0])
            if block == 0:
                names[f"{at}.downsample.0.weight"] = (4 * width, given, 1, 1)
                norm(f"{at}.downsample.1", 4 * width)
            given = 4 * width
    return names


def test_the_encoder_has_the_names_shapes_and_count_of_resnet50(encoder: DecaEncoder) -> None:
    state = encoder.state_dict()
    trunk = {
        name.removeprefix("encoder."): tuple(value.shape)
        for name, value in state.items()
        if name.startswith("encoder.")
    }
    assert trunk == names_of_resnet50()
    assert len(trunk) == 318  # torchvision's 320 without fc
    rest = {name: tuple(value.shape) for name, value in state.items() if "encoder" not in name}
    assert rest == {
        "layers.0.weight": (1024, 2048),
        "layers.0.bias": (1024,),
        "layers.2.weight": (236, 1024),
        "layers.2.bias": (236,),
    }
    parameters = sum(p.numel() for p in encoder.encoder.parameters())
    assert parameters + 2048 * 1000 + 1000 == 25_557_032


def folded(state: dict[str, torch.Tensor], conv: str, norm: str, x: torch.Tensor, **how: int):  # type: ignore[no-untyped-def]
    """A convolution with the normalisation after it taken into its weights."""
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
    weight = state[f"{conv}.weight"] * gain[:, None, None, None]
    bias = state[f"{norm}.bias"] - gain * state[f"{norm}.running_mean"]
    return functional.conv2d(x, weight, bias, **how)


def test_the_encoder_computes_what_the_paper_s_table_says(encoder: DecaEncoder) -> None:
    state = {name: value.double() for name, value in encoder.state_dict().items()}
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    x = folded(state, "encoder.conv1", "encoder.bn1", images.double(), stride=2, padding=3).relu()
    assert x.shape[2:] == (112, 112)
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)
    for layer, (blocks, size) in enumerate([(3, 56), (4, 28), (6, 14), (3, 7)], 1):
        for block in range(blocks):
            at = f"encoder.layer{layer}.{block}"
            stride = 2 if block == 0 and layer > 1 else 1
            y = folded(state, f"{at}.conv1", f"{at}.bn1", x).relu()
            y = folded(state, f"{at}.conv2", f"{at}.bn2", y, stride=stride, padding=1).relu()
            y = folded(state, f"{at}.conv3", f"{at}.bn3", y)
            if block == 0:
                x = folded(state, f"{at}.downsample.0", f"{at}.downsample.1", x, stride=stride)
            x = (x + y).relu()
        assert x.shape[2:] == (size, size)
    features = functional.avg_pool2d(x, 7)[:, :, 0, 0]
    hidden = functional.linear(features, state["layers.0.weight"], state["layers.0.bias"]).relu()
    truth = functional.linear(hidden, state["layers.2.weight"], state["layers.2.bias"])
    with torch.no_grad():
        found = encoder(images).double()
    assert truth.abs().max() > 1e-2
    assert (found - truth).abs().max() < 1e-4 * truth.abs().max()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_in_deca_s_layout_is_loaded(
    encoder: DecaEncoder, tmp_path: Path, zipped: bool
) -> None:
    path = tmp_path / "deca_model.tar"
    # checkpoints of old versions of torch lack the counts of batches
    state = {k: v for k, v in encoder.state_dict().items() if not k.endswith("batches_tracked")}
    torch.save({"E_flame": state, "E_detail": {}}, path, _use_new_zipfile_serialization=zipped)
    loaded = DecaEncoder.load(path)
    assert not loaded.training
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(loaded(images), encoder(images))
    code = loaded.encode(images)
    assert code.shape.shape == (2, 100)
    assert code.light.shape == (2, 9, 3)


def test_codes_are_split_in_deca_s_order() -> None:
    parts = split_code(torch.arange(236.0)[None])
    first = (parts.shape, parts.texture, parts.expression, parts.pose, parts.camera)
    assert [int(p[0, 0]) for p in first] == [0, 100, 150, 200, 206]
    assert parts.light[0, 0].tolist() == [209, 210, 211]
    assert parts.light[0, 8].tolist() == [233, 234, 235]
    with pytest.raises(InputError, match="236"):
        split_code(torch.zeros(1, 235))


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deca_model.tar"
    rng = np.random.default_rng(0)
    for zipped in (True, False):
        torch.save({"E_flame": {"a": torch.zeros(3)}}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for _ in range(40):
            damaged = bytearray(whole[: rng.integers(1, len(whole))])
            damaged[rng.integers(len(damaged))] = rng.integers(256)
            path.write_bytes(damaged if rng.random() < 0.5 else damaged + whole[len(damaged) :])
            with pytest.raises(InputError, match="deca_model"):
                DecaEncoder.load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_does_not_run(tmp_path: Path, zipped: bool) -> None:
    path, marker = tmp_path / "deca_model.tar", tmp_path / "it_ran"
    torch.save({"E_flame": Evil(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"asks for '\w+\.system'.*was not run"):
        DecaEncoder.load(path)
    path.write_bytes(pickle.dumps({"E_flame": Evil(marker)}))
    with pytest.raises(InputError):
        DecaEncoder.load(path)
    assert not marker.exists()


def test_wrong_checkpoints_are_refused_with_what_was_expected(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "deca_model.tar"
    state = torch.load(checkpoint, weights_only=True)["E_flame"]
    several = {f"encoder.layer1.0.bn{k}.weight" for k in (1, 2)}
    wide = state | {"layers.2.weight": torch.zeros(334, 1024)}
    odd = state | {"layers.0.bias": torch.full((1024,), float("nan"))}
    for content, expected in (
        ({"model": 1, "epoch": 2}, "key E_flame; this holds the keys model, epoch"),
        ([1, 2], "key E_flame"),
        ({"E_flame": {k: v for k, v in state.items() if k not in several}}, "lacks encoder.layer1"),
        ({"E_flame": state | {"head.weight": torch.zeros(2)}}, "also holds head.weight"),
        ({"E_flame": wide}, r"layers.2.weight must be \(236, 1024\)"),
        ({"E_flame": odd}, "finite"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=expected):
            DecaEncoder.load(path)
    whole = checkpoint.read_bytes()[:200_000]
    for data in (b"", b"not a checkpoint", whole, whole[1000:], pickle.dumps([1]), b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(InputError, match="deca_model"):
            DecaEncoder.load(path)
    with pytest.raises(InputError, match="no such file"):
        DecaEncoder.load(tmp_path / "absent.tar")


def test_the_crop_is_deca_s() -> None:
    landmarks = np.random.default_rng(0).uniform([100, 50], [300, 350], (68, 2))
    landmarks[:2] = [[100, 50], [300, 350]]
    crop = deca_crop(landmarks)
    # (200 + 300) / 2 * 1.1 * 1.25 = 343.75, cut to whole pixels, about (200, 200)
    assert crop == DecaCrop(200 - 171.5, 200 - 171.5, 343.0)
    # a picture whose colours are its coordinates: the crop's corners come from the square's
    y, x = np.mgrid[0:400, 0:400]
    rgb = np.stack([x / 2, y / 2, 0 * x], axis=-1).astype(np.uint8)
    cut = crop.cut(rgb).numpy() * 255 * 2
    inside = cut[:, 1:-1, 1:-1]
    assert inside.shape == (3, 222, 222)
    assert abs(cut[0, 112, 0] - 28.5) < 2.1
    assert abs(cut[0, 112, 223] - 371.5) < 2.1
    assert abs(cut[1, 223, 112] - 371.5) < 2.1
    outside = DecaCrop(-500.0, -500.0, 100.0).cut(rgb)
    assert outside.abs().max() == 0
    corners = np.array([[0.0, 0.0], [223.0, 223.0]])
    assert np.abs(crop.to_picture(corners) - [[28.5, 28.5], [371.5, 371.5]]).max() < 1e-9


def as_deca_sees(
    flame: HeadModel, pose: np.ndarray, translation: np.ndarray, camera: PinholeCamera
) -> tuple[np.ndarray, np.ndarray, DecaCrop]:
    """The weakly perspective pose and camera that fit a pinhole's landmarks best."""
    points = flame.at_landmarks()

    def posed(angles: np.ndarray) -> np.ndarray:
        whole = np.concatenate([angles, pose[3:]])
        zeros = torch.zeros(1, 0, dtype=torch.float64)
        return points(zeros, zeros, torch.tensor(whole[None]))[0].numpy()

    seen = camera.project(posed(pose[:3]) + translation)
    crop = deca_crop(seen)
    in_crop = (seen - [crop.left, crop.top]) * crop.scale

    def miss(x: np.ndarray) -> np.ndarray:
        at = x[3] * (posed(x[:3])[:, :2] + x[4:6]) * [1, -1]
        return (112.0 * (1.0 + at) - in_crop).ravel()

    best = least_squares(miss, np.array([*pose[:3], 8.0, 0.0, 0.0]))
    return best.x[:3], best.x[3:], crop


@pytest.mark.parametrize(
    ("pose", "translation", "focal"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1400.0),
        ((0.1, -0.4, 0.1), (0.30, -0.05, 0.1), 1400.0),
        ((-0.2, 0.3, -0.3), (-0.35, 0.2, -0.2), 1000.0),
    ],
)
def test_a_head_comes_back_where_it_was_before_a_pinhole(
    flame: HeadModel, pose: tuple[float, ...], translation: tuple[float, ...], focal: float
) -> None:
    camera = PinholeCamera(1280, 960, focal, 1.6)
    whole = np.zeros(15)
    whole[:3], whole[6] = pose, 0.15
    angles, weak, crop = as_deca_sees(flame, whole, np.array(translation), camera)
    zeros = np.zeros(0)
    jaw = np.array([0.15, 0, 0])
    found, placed = place_head(
        flame.at_landmarks(), zeros, zeros, np.concatenate([angles, jaw]), weak, crop, camera
    )
    off = Rotation.from_rotvec(found[:3]) * Rotation.from_rotvec(whole[:3]).inv()
    # what is left is what the weak camera cannot say: the nose is nearer than the ears
    assert np.degrees(off.magnitude()) < 1.0
    if translation[0] != 0.0:
        # what DECA saw from the side would have been ten degrees off
        uncorrected = Rotation.from_rotvec(angles) * Rotation.from_rotvec(whole[:3]).inv()
        assert np.degrees(uncorrected.magnitude()) > 5.0
    assert np.linalg.norm(placed - translation) < 0.03
    assert np.array_equal(found[6:9], jaw)
    model = flame.at_landmarks()
    empty = torch.zeros(1, 0, dtype=torch.float64)
    there = model(empty, empty, torch.tensor(found[None]))[0].numpy() + placed
    truth = model(empty, empty, torch.tensor(whole[None]))[0].numpy() + translation
    eyes = np.linalg.norm(np.subtract(*camera.project(truth[[36, 45]])))
    error = np.linalg.norm(camera.project(there) - camera.project(truth), axis=1)
    assert error.mean() < 0.03 * eyes


def test_far_away_the_landmarks_are_exactly_where_deca_puts_them(flame: HeadModel) -> None:
    camera = PinholeCamera(1000, 800, 400_000.0, 400.0)
    crop = DecaCrop(420.0, 300.0, 260.0)
    angles = np.array([0.2, -0.3, 0.1, 0.1, 0.0, 0.0])
    weak = np.array([7.0, 0.01, -0.02])
    landmarks, empty = flame.at_landmarks(), np.zeros(0)
    pose, translation = place_head(landmarks, empty, empty, angles, weak, crop, camera)
    none = torch.zeros(1, 0, dtype=torch.float64)
    posed = landmarks(none, none, torch.tensor(pose[None]))[0].numpy()
    of_deca = np.zeros(15)
    of_deca[:3], of_deca[6:9] = angles[:3], angles[3:]
    at = landmarks(none, none, torch.tensor(of_deca[None]))[0].numpy()[:, :2]
    ndc = 7.0 * (at + weak[1:]) * [1, -1]
    truth = crop.to_picture(112.0 * (1.0 + ndc))
    assert np.abs(camera.project(posed + translation) - truth).max() < 0.1


def test_a_clip_follows_the_codes_and_bridges_frames_without_a_face(flame: HeadModel) -> None:
    camera = PinholeCamera(640, 480, 800.0)

    class Told(DecaEncoder):
        """Says what it is told to, by the brightness of the crop."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            k = torch.round(images.amax(dim=(1, 2, 3)) * 255 / 10)
            code = torch.zeros(len(images), 236)
            code[:, 0] = 0.1 * k
            code[:, 150] = k
            code[:, 201] = 0.1 * k
            code[:, 203] = 0.05 * k
            code[:, 206] = 8.0
            return code

    landmarks = np.random.default_rng(0).uniform([260, 180], [380, 300], (68, 2))
    face = Face(landmarks, np.ones(68), (260, 180, 380, 300), 0.8)
    pictures = [Picture(k, 0.04 * k, np.full((480, 640, 3), 10 * k, np.uint8)) for k in range(1, 8)]
    faces = [None if k in (1, 4) else face for k in range(1, 8)]
    done: list[int] = []
    clip = deca_clip(
        pictures, faces, Told(), flame, camera, batch=3, progress=lambda n, _: done.append(n)
    )
    assert isinstance(clip, HeadClip)
    assert clip.head == flame.fingerprint
    assert done == [3, 6, 7]
    assert clip.confidence is not None
    assert clip.confidence.tolist() == [0, 0.8, 0.8, 0, 0.8, 0.8, 0.8]
    assert abs(clip.shape[0] - 0.1 * np.mean([2, 3, 5, 6, 7])) < 1e-6
    assert np.abs(clip.expression[:, 0] - [2, 2, 3, 4, 5, 6, 7]).max() < 1e-6
    assert np.abs(clip.pose[:, 6] - 0.05 * np.array([2, 2, 3, 4, 5, 6, 7])).max() < 1e-6
    yaw = Rotation.from_rotvec(clip.pose[:, :3]).magnitude()
    assert abs(yaw[3] - (yaw[2] + yaw[4]) / 2) < 2e-3
    middle = camera.project(
        flame.at_landmarks()(
            *(torch.tensor(a) for a in (clip.shape[None], clip.expression, clip.pose))
        ).numpy()
        + clip.translation_m[:, None]
    ).mean(axis=1)
    # s = 8 puts the head's middle near the crop's
    assert np.abs(middle - landmarks[:2].mean(axis=0)).max() < 90


def test_a_head_that_is_not_flame_and_a_clip_without_faces_are_refused(
    encoder: DecaEncoder, flame: HeadModel
) -> None:
    camera = PinholeCamera(640, 480, 800.0)
    picture = Picture(0, 0.0, np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(InputError, match="convert-head"):
        deca_clip([picture], [None], encoder, HeadModel.procedural(), camera)
    with pytest.raises(InputError, match="no picture has a face"):
        deca_clip([picture], [None], encoder, flame, camera)
