"""A made-up FLAME file of the true sizes, converted, is what smplx makes of the original."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner
from scipy.spatial import cKDTree

from lightstage.colour import decode_srgb
from lightstage.errors import InputError
from lightstage.head import HeadFile
from relight_model.cli.application import main
from relight_model.head.flame_file import Conversion, convert_flame, read_embedding
from relight_model.head.model import HeadModel

V, F = 5023, 9976


class Ch:
    """What chumpy's arrays leave in a pickle."""

    def __init__(self, x: np.ndarray) -> None:
        self.__dict__ = {"x": x, "_dirty_vars": {"x"}, "_itr": None, "_status": "new"}


@pytest.fixture(scope="module")
def chumpy() -> Iterator[None]:
    """A chumpy that can be pickled; it is gone when files are read."""
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    sys.modules |= {"chumpy": package, "chumpy.ch": module}
    yield
    del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def old_paths(data: bytes) -> bytes:
    """A protocol 2 pickle as numpy 1 and old scipy wrote it."""
    return (
        data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        .replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")
        .replace(b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n")
    )


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    """FLAME's arrays, at random, on a head's ellipsoid."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(V, 3))
    points *= np.array([0.075, 0.12, 0.1]) / np.linalg.norm(points, axis=1)[:, None]
    faces = np.array([rng.choice(V, 3, replace=False) for _ in range(F)])
    contour = contour_places()
    nearest = cKDTree(points).query(contour.reshape(-1, 3), 3)[1]
    faces[: len(nearest)] = nearest
    # each triangle is written from its first vertex on: none appears twice in two ways
    first = faces.argmin(axis=1)[:, None]
    faces = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    weights = rng.dirichlet(np.full(5, 0.3), V)
    regressor = np.zeros((5, V))
    for joint in range(5):
        chosen = rng.choice(V, 60, replace=False)
        regressor[joint, chosen] = rng.dirichlet(np.ones(60))
    return {
        "v_template": points,
        "f": faces.astype(np.uint32),
        "shapedirs": 2e-3 * rng.normal(size=(V, 3, 400)),
        "posedirs": 2e-3 * rng.normal(size=(V, 3, 36)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[0xFFFFFFFF, 0, 1, 1, 1], range(5)], np.int64).astype("<u4"),
        "J": regressor @ points,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def contour_places() -> np.ndarray:
    """Outlines ``(79, 17, 3)``: a face that turns to image left shows its right cheek's front.

    Rows as smplx reads them: 0 to 39 for turns to image left, then 1 to 39 to image right.
    """
    turn = np.concatenate([np.arange(40), -np.arange(1, 40)])[:, None]
    x = np.linspace(-0.07, 0.07, 17)[None]
    z = 0.02 - 0.0012 * turn * np.sign(x)
    y = -0.1 * (1.0 - (x / 0.09) ** 2) + 0.0 * turn
    return np.stack([x + 0.0 * turn, y, z], axis=-1)


@pytest.fixture(scope="module")
def folder(arrays: dict[str, Any], chumpy: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as FLAME 2020 and smplx's users have them."""
    folder = tmp_path_factory.mktemp("flame")
    rng = np.random.default_rng(1)
    sparse = arrays | {"J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"])}
    (folder / "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(sparse, protocol=2))
    wrapped = sparse | {"shapedirs": Ch(arrays["shapedirs"])}
    (folder / "generic_model.pkl").write_bytes(old_paths(pickle.dumps(wrapped, protocol=2)))
    inner = {
        "lmk_face_idx": rng.integers(0, F, 51).astype(np.uint32),
        "lmk_b_coords": rng.dirichlet(np.ones(3), 51),
    }
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(inner, protocol=2))
    contour = {
        "lmk_face_idx": np.arange(79 * 17).reshape(79, 17),
        "lmk_b_coords": rng.dirichlet(np.ones(3), (79, 17)),
    }
    np.save(folder / "flame_dynamic_embedding.npy", contour, allow_pickle=True)  # type: ignore[arg-type]
    frontal = np.concatenate([contour["lmk_face_idx"][0], inner["lmk_face_idx"]])
    weights = np.concatenate([contour["lmk_b_coords"][0], inner["lmk_b_coords"]])
    # DECA's: two of them torch tensors, the table for yaw of the other sign
    swapped = np.concatenate([[0], np.arange(40, 79), np.arange(1, 40)])
    everything = {
        "static_lmk_faces_idx": inner["lmk_face_idx"].astype(np.int64),
        "static_lmk_bary_coords": inner["lmk_b_coords"],
        "dynamic_lmk_faces_idx": torch.tensor(contour["lmk_face_idx"][swapped]),
        "dynamic_lmk_bary_coords": torch.tensor(contour["lmk_b_coords"][swapped]),
        "full_lmk_faces_idx": frontal[None].astype(np.int64),
        "full_lmk_bary_coords": weights[None],
    }
    np.save(folder / "landmark_embedding.npy", everything, allow_pickle=True)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def converted(folder: Path) -> Conversion:
    torch.set_num_threads(1)
    return convert_flame(
        folder / "generic_model.pkl",
        landmarks=[folder / "flame_static_embedding.pkl", folder / "flame_dynamic_embedding.npy"],
    )


@pytest.fixture
def small(converted: Conversion) -> HeadFile:
    """The head with few components: quick to pickle."""
    head = converted.head
    return replace(head, shapedirs=head.shapedirs[:, :, :4], shape_count=2)


def test_the_converted_file_holds_the_arrays_of_the_pickle(
    arrays: dict[str, Any], converted: Conversion
) -> None:
    head = converted.head
    for name in ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights"):
        assert np.array_equal(getattr(head, name), arrays[name]), name
    assert np.abs(head.J - arrays["J"]).max() < 1e-15
    assert (head.shape_count, head.expression_count) == (300, 100)
    assert len(converted.missing) == 2
    assert "--texture" in converted.missing[0]
    assert "--template" in converted.missing[1]


def test_vertices_and_landmarks_are_those_of_smplx(folder: Path, converted: Conversion) -> None:
    import smplx

    frames = 4
    oracle = smplx.FLAME(
        str(folder),
        num_betas=300,
        num_expression_coeffs=100,
        use_face_contour=True,
        batch_size=frames,
    )
    rng = np.random.default_rng(3)
    shape, expression = (
        torch.tensor(rng.normal(size=(frames, n)), dtype=torch.float32) for n in (300, 100)
    )
    pose = torch.tensor(0.4 * rng.normal(size=(frames, 15)), dtype=torch.float32)
    # smplx takes the global rotation's yaw only, DECA and this model the neck's too
    pose[:, 3:6] = 0.0
    pose[:, 1] = torch.tensor([0.0, 0.5, -0.3, -1.2])
    with torch.no_grad():
        truth = oracle(
            betas=shape,
            expression=expression,
            global_orient=pose[:, :3],
            neck_pose=pose[:, 3:6],
            jaw_pose=pose[:, 6:9],
            leye_pose=pose[:, 9:12],
            reye_pose=pose[:, 12:],
        )
    model = HeadModel(converted.head)
    vertices = model(shape, expression, pose)
    assert (vertices - truth.vertices).abs().max() < 1e-5
    inner, contour = truth.joints[:, 5:56], truth.joints[:, 56:73]
    assert (model.joints(shape, expression, pose) - truth.joints[:, :5]).abs().max() < 1e-5
    found = model.landmarks(vertices, pose)
    assert (found[:, 17:] - inner).abs().max() < 1e-5
    assert (found[:, :17] - contour).abs().max() < 1e-5
    assert (model.at_landmarks()(shape, expression, pose) - found).abs().max() < 1e-6
    # and with a neck, which smplx skins too
    pose[:, 3:6] = 0.3
    with torch.no_grad():
        turned = oracle(
            betas=shape, expression=expression, global_orient=pose[:, :3], neck_pose=pose[:, 3:6],
            jaw_pose=pose[:, 6:9], leye_pose=pose[:, 9:12], reye_pose=pose[:, 12:],
        )  # fmt: skip
    assert (model(shape, expression, pose) - turned.vertices).abs().max() < 1e-5


def test_both_embedding_layouts_and_both_signs_of_yaw_give_the_same_landmarks(
    folder: Path, converted: Conversion
) -> None:
    of_deca = convert_flame(
        folder / "FLAME_NEUTRAL.pkl", landmarks=[folder / "landmark_embedding.npy"]
    )
    for name in ("landmark_faces", "landmark_barycentric", "contour_faces", "contour_barycentric"):
        found = getattr(of_deca.head, name)
        assert np.array_equal(found, getattr(converted.head, name)), name
    assert any("other sign" in note for note in of_deca.notes)
    assert not any("other sign" in note for note in converted.notes)


def test_texture_spaces_become_linear_rgb(
    small: HeadFile, folder: Path, arrays: dict[str, Any], tmp_path: Path
) -> None:
    write_model(tmp_path / "small.pkl", small)
    rng = np.random.default_rng(4)
    mean = rng.uniform(0, 255, (8, 8, 3))
    steps = rng.normal(size=(8, 8, 3, 5))
    vt = rng.uniform(0, 1, (40, 2))
    different, same = np.unique(small.f, axis=0, return_inverse=True)
    ft = rng.integers(0, 40, (len(different), 3))[same]
    np.savez(tmp_path / "flame.npz", mean=mean, tex_dir=steps, vt=vt, ft=ft)
    np.savez(tmp_path / "bfm.npz", MU=mean.reshape(-1) / 255, PC=steps.reshape(-1, 5) / 255)
    template = tmp_path / "head_template.obj"
    lines = [f"v {x} {y} {z}" for x, y, z in small.v_template]
    lines += [f"vt {u} {v}" for u, v in vt]
    for face, corners in zip(small.f[::-1], ft[::-1], strict=True):
        a, b, c = (f"{p + 1}/{t + 1}" for p, t in zip(face, corners, strict=True))
        lines.append(f"f {b} {c} {a}")
    template.write_text("\n".join(lines))
    first = convert_flame(
        tmp_path / "small.pkl",
        texture=tmp_path / "flame.npz",
        shape_count=2,
        texture_components=3,
    ).head
    second = convert_flame(
        tmp_path / "small.pkl",
        texture=tmp_path / "bfm.npz",
        template=template,
        shape_count=2,
        texture_components=3,
    ).head
    truth = decode_srgb(mean[..., ::-1] / 255)
    for head, space in ((first, "FLAME"), (second, "BFM")):
        assert head.has_texture
        assert np.abs(head.texture - truth).max() < 1e-6
        assert np.abs(head.vt - vt).max() < 1e-6
        assert np.array_equal(head.ft, ft)
        assert head.texture_basis is not None
        assert head.texture_basis.space == space
        wanted = steps[:, :, ::-1, :3] / 255
        assert np.abs(head.texture_basis.components - wanted).max() < 1e-5
    second.save(tmp_path / "head.npz")
    assert HeadFile.load(tmp_path / "head.npz").has_texture


def write_model(path: Path, head: HeadFile, **changes: Any) -> None:
    names = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights")
    content = {name: getattr(head, name) for name in names}
    content |= {"kintree_table": head.kintree_table} | changes
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}))


def test_wrong_files_are_refused_with_what_was_expected(
    small: HeadFile, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pkl"
    for changes, expected in (
        ({"weights": None}, "weights is not in it"),
        ({"J_regressor": np.ones((24, V))}, "24 joints; FLAME, a head, has 5"),
        ({"posedirs": np.zeros((V, 3, 207))}, r"posedirs must be \(5023, 3, 36\)"),
        ({"shapedirs": "none"}, "shapedirs"),
        ({"shapedirs": np.array(["a"])}, "FLAME model"),
        ({"v_template": small.v_template * np.inf}, "finite"),
        ({"f": small.f * 10}, "vertices"),
        ({}, "--shape-count"),
    ):
        write_model(path, small, **changes)
        with pytest.raises(InputError, match=expected):
            convert_flame(path, shape_count=2 if changes else None)
    with pytest.raises(InputError, match="no such file"):
        convert_flame(tmp_path / "absent.pkl")
    write_model(path, small)
    static, dynamic = (
        folder / "flame_static_embedding.pkl",
        folder / "flame_dynamic_embedding.npy",
    )
    for marks, expected in (
        ([path], "landmark embedding"),
        ([static], "flame_dynamic_embedding.npy"),
        ([dynamic], "flame_static_embedding.pkl"),
        ([tmp_path / "none.npy"], "no such file"),
    ):
        with pytest.raises(InputError, match=expected):
            convert_flame(path, landmarks=marks, shape_count=2)
    with pytest.raises(InputError, match="another mesh"):
        read_embedding(dynamic, replace(small, f=small.f[:50]))
    np.savez(tmp_path / "texture.npz", something=np.zeros(3))
    (tmp_path / "quads.obj").write_text("f 1/1 2/2 3/3 4/4\n")
    for option in ({"texture": tmp_path / "texture.npz"}, {"template": tmp_path / "quads.obj"},
                   {"texture": path}, {"template": dynamic}):  # fmt: skip
        with pytest.raises(InputError, match="was expected"):
            convert_flame(path, shape_count=2, **option)


def test_the_command_converts_and_reports(small: HeadFile, tmp_path: Path, folder: Path) -> None:
    write_model(tmp_path / "model.pkl", small)
    arguments = ["convert-head", str(tmp_path / "model.pkl"), "-o", str(tmp_path / "head.npz")]
    arguments += ["--shape-count", "2", "--landmarks", str(folder / "landmark_embedding.npy")]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["vertices"], report["faces"], report["landmarks"]) == (V, F, 68)
    assert report["contour_by_yaw"] is True
    assert HeadModel.load(tmp_path / "head.npz").fingerprint == report["fingerprint"]
    table = CliRunner().invoke(main, arguments)
    assert table.exit_code == 0
    assert "Missing: a texture" in table.stderr
    (tmp_path / "model.pkl").write_bytes(b"not a pickle")
    wrong = CliRunner().invoke(main, arguments)
    assert wrong.exit_code == 2
    assert "generic_model.pkl" in wrong.stderr
