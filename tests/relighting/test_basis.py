"""The low-rank basis: against numpy's SVD, its error, its file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import DomeError, FieldsError, InputError
from lightstage.relighting import LightBasis, exposure_for, relight
from lightstage.relighting.basis import basis_frames, random_lights


def smooth_set(seed=0, lights=12, height=9, width=11):
    """Shaded bumps under lights on a circle: the images of neighbours are alike, as real ones."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    angles = np.linspace(0, 2 * np.pi, lights, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles), np.full(lights, 0.5)], axis=1)
    shading = np.maximum(0, np.einsum("yxd,ld->lyx", normals, directions))
    return (shading[..., None] * rng.uniform(0.2, 1, (height, width, 3))).astype(np.float32)


def eckart_young(olat, size):
    """Squared error of the best approximation of each colour, by numpy's SVD."""
    total = 0.0
    for colour in range(3):
        values = np.linalg.svd(
            olat[..., colour].reshape(len(olat), -1).astype(np.float64), compute_uv=False
        )
        total += float((values[size:] ** 2).sum())
    return total


@given(seed=st.integers(0, 2**32 - 1), lights=st.integers(1, 9), half=st.booleans())
@settings(max_examples=20)
def test_a_basis_of_all_lights_is_exact(seed, lights, half):
    rng = np.random.default_rng(seed)
    olat = rng.random((lights, 6, 7, 3)).astype(np.float16 if half else np.float32)
    weights = rng.normal(size=(lights, 3))
    basis = LightBasis.from_olat(olat, lights)
    np.testing.assert_allclose(basis.relight(weights), relight(olat, weights), atol=1e-5)
    assert basis.rms_error <= 1e-7


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 12])
def test_the_error_is_that_of_eckart_and_young(size):
    olat = smooth_set()
    basis = LightBasis.from_olat(olat, size)
    lights = np.broadcast_to(np.eye(12)[:, :, None], (12, 12, 3))
    one_by_one = basis.relight_many(lights)  # each light alone: the images themselves
    lost = float(((one_by_one - olat.astype(np.float64)) ** 2).sum())
    assert lost == pytest.approx(eckart_young(olat, size), rel=1e-4, abs=1e-9)
    assert basis.rms_error == pytest.approx(np.sqrt(lost / olat.size), rel=1e-4, abs=1e-7)


def test_the_error_falls_with_size_and_is_measured_on_lights_it_never_saw():
    olat = smooth_set(1)
    weights = random_lights(12, 6, np.random.default_rng(1))
    previous = np.full(6, -np.inf)
    errors = []
    for size in (1, 2, 3, 5, 8, 11):
        basis = LightBasis.from_olat(olat, size)
        measured = basis.psnr_db(olat, weights)
        exact = relight(olat, weights[0])
        scaled = exposure_for(exact) * (basis.relight(weights[0]).astype(np.float64) - exact)
        assert measured[0] == pytest.approx(-10 * np.log10(np.mean(scaled**2)), abs=1e-3)
        assert measured.mean() > previous.mean()
        previous = measured
        errors.append(basis.rms_error)
    assert errors == sorted(errors, reverse=True)


@given(seed=st.integers(0, 2**32 - 1), a=st.floats(-3, 3))
@settings(max_examples=15)
def test_relighting_by_a_basis_is_linear(seed, a):
    basis = LightBasis.from_olat(smooth_set(2), 4)
    first, second = np.random.default_rng(seed).normal(size=(2, 12, 3))
    np.testing.assert_allclose(
        basis.relight(first + a * second),
        basis.relight(first) + np.float32(a) * basis.relight(second),
        atol=1e-4,
    )


def test_a_weak_colour_keeps_its_precision():
    olat = smooth_set(3) * np.array([1, 1e-4, 1], np.float32)
    basis = LightBasis.from_olat(olat, 12)
    weights = np.ones((12, 3))
    np.testing.assert_allclose(basis.relight(weights), relight(olat, weights), rtol=1e-4)


def test_large_images_are_worked_on_in_blocks_alike(monkeypatch):
    olat = smooth_set(4, height=23, width=5)
    whole = LightBasis.from_olat(olat, 5)
    monkeypatch.setattr("lightstage.relighting.basis._BLOCK_VALUES", 12 * 5 * 3 * 4)
    weights = np.random.default_rng(4).random((12, 3))
    np.testing.assert_allclose(
        LightBasis.from_olat(olat, 5).relight(weights), whole.relight(weights), atol=1e-5
    )


def test_missing_images_are_refused_or_dark():
    olat = smooth_set(5)
    olat[3] = np.nan
    with pytest.raises(InputError, match="missing='skip'"):
        LightBasis.from_olat(olat, 4)
    dark = olat.copy()
    dark[3] = 0
    weights = np.ones((12, 3))
    np.testing.assert_allclose(
        LightBasis.from_olat(olat, 12, missing="skip").relight(weights),
        relight(dark, weights),
        atol=1e-5,
    )


@pytest.mark.parametrize("size", [0, 13, -1])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(InputError, match="takes 1 to 12"):
        LightBasis.from_olat(smooth_set(), size)


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="OLAT images"):
        LightBasis.from_olat(np.ones((4, 5, 5), np.float32), 2)
    with pytest.raises(DomeError, match="12, 3"):
        LightBasis.from_olat(smooth_set(), 2).relight(np.ones((2, 3)))


def test_a_saved_basis_is_the_same(tmp_path):
    basis = LightBasis.from_olat(smooth_set(), 4)
    basis.save(tmp_path / "basis.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["basis.npz"]
    loaded = LightBasis.load(tmp_path / "basis.npz")
    for name in ("images", "matrix", "singular_values"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(basis, name))


def test_what_is_no_basis_is_refused(tmp_path):
    path = tmp_path / "basis.npz"
    with pytest.raises(InputError, match="no such file"):
        LightBasis.load(path)
    basis = LightBasis.from_olat(smooth_set(), 4)
    basis.save(path)
    whole = path.read_bytes()
    damaged = [b"", b"no basis", whole[: len(whole) // 2]]
    for arrays in (
        {"images": basis.images},
        {"images": basis.images[1:], "matrix": basis.matrix, "singular_values": np.ones((12, 3))},
        {"images": basis.images, "matrix": basis.matrix, "singular_values": np.array([object()])},
    ):
        file = io.BytesIO()
        np.savez(file, **arrays)
        damaged.append(file.getvalue())
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(FieldsError, match=r"basis\.npz"):
            LightBasis.load(path)


def test_a_films_frames_by_their_sets_bases(tmp_path):
    writer = FieldsWriter.create(
        tmp_path / "aligned.zarr",
        sets=2,
        height=9,
        width=11,
        dome=Dome.evenly_spread(12),
        rate_hz=25.0,
    )
    for index in range(2):
        olat = smooth_set(index)
        writer.write_set(index, olat=olat, full_lit=olat[0], time_s=index / 25, centre_frame=index)
    writer.finish()
    fields = ReflectanceFields.open(tmp_path / "aligned.zarr")
    weights = random_lights(12, 3, np.random.default_rng(0))
    plan = list(zip((0, 0, 1), weights, strict=True))
    for (image, quality), (index, own) in zip(basis_frames(fields, plan, 6), plan, strict=True):
        basis = LightBasis.from_fields(fields, index, 6)
        np.testing.assert_array_equal(image, basis.relight(own))
        assert quality == pytest.approx(basis.psnr_db(fields[index].olat, own[None])[0], abs=1e-3)
