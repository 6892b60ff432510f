"""PSNR, SSIM and MAE against closed forms, other implementations and laws."""

from __future__ import annotations

import math
from dataclasses import astuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from lightstage.colour import decode_srgb, luminance
from lightstage.errors import InputError
from relight_model.metrics import _ssim_map, exposure_of, picture_scores, region_scores, ssim


def _picture(seed: int, height: int = 48, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.random((height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(rough, (0, 0), 1.2) * 0.8


def _disc(height: int = 48, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x - 19) ** 2 + (y - 24) ** 2 < 15**2


def test_a_constant_error_has_its_closed_form():
    truth = np.full((20, 20, 3), decode_srgb(0.5), np.float32)
    other = np.full((20, 20, 3), decode_srgb(0.6), np.float32)
    scores = picture_scores(other, truth, exposure=1.0)
    assert scores.mae == pytest.approx(0.1, abs=1e-6)
    assert scores.psnr_db == pytest.approx(20.0, abs=1e-3)  # -10 log10 0.1^2
    apart = float(decode_srgb(0.6) - decode_srgb(0.5))
    assert scores.linear_mae == pytest.approx(apart, abs=1e-6)
    assert scores.linear_psnr_db == pytest.approx(-20 * math.log10(apart), abs=1e-3)
    # without contrast only the means are left of SSIM
    means = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert scores.ssim == pytest.approx(means, abs=1e-4)


def test_a_picture_is_equal_to_itself():
    scores = picture_scores(_picture(0), _picture(0), inside=_disc())
    assert scores.psnr_db == math.inf and scores.linear_psnr_db == math.inf
    assert (scores.ssim, scores.mae) == (pytest.approx(1.0, abs=1e-6), 0.0)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.4])
def test_ssim_is_that_of_other_implementations(noise):
    rng = np.random.default_rng(1)
    a = _picture(1)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 1).astype(np.float32)
    theirs = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        channel_axis=2,
    )  # fmt: skip
    assert ssim(a, b) == pytest.approx(theirs, abs=2e-5)
    torch = pytest.importorskip("torch")
    from tests.relight_model.reference_metrics import structural_similarity_index_measure

    x, y = (torch.tensor(p).permute(2, 0, 1)[None] for p in (a, b))
    _, full = structural_similarity_index_measure(
        x, y, data_range=1.0, sigma=1.5, return_full_image=True
    )
    # it also counts the border, where its windows see a reflection
    assert ssim(a, b) == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=2e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 100), factor=st.floats(1e-3, 1e3))
def test_scaling_truth_and_prediction_together_changes_nothing(seed, factor):
    truth, other = _picture(seed), _picture(seed) * 0.8 + 0.02
    scores = picture_scores(other, truth)
    scaled = picture_scores(other * np.float32(factor), truth * np.float32(factor))
    assert scaled.psnr_db == pytest.approx(scores.psnr_db, abs=1e-2)
    assert scaled.ssim == pytest.approx(scores.ssim, abs=1e-4)
    assert scaled.mae == pytest.approx(scores.mae, abs=1e-5)


def test_exposure_follows_the_truth_alone():
    truth = _picture(2) * 7.0
    exposed = luminance(truth * exposure_of(truth))
    assert np.percentile(exposed, 99) == pytest.approx(0.8, abs=1e-5)
    # a prediction that is twice as bright is wrong, and stays so
    assert picture_scores(truth * 2, truth).mae > 0.1
    assert picture_scores(np.zeros_like(truth), np.zeros_like(truth)).psnr_db == math.inf


@settings(max_examples=20)
@given(seed=st.integers(0, 100), rubbish=st.floats(0, 10))
def test_what_is_outside_the_matte_does_not_count(seed, rubbish):
    truth, other, inside = _picture(seed), _picture(seed) ** 1.1, _disc()
    spoilt = np.where(inside[..., None], other, np.float32(rubbish))
    assert picture_scores(spoilt, truth, inside=inside) == picture_scores(
        other, truth, inside=inside
    )


def test_a_matte_of_everything_is_the_whole_picture():
    truth, other = _picture(3), _picture(4)
    whole, inside = region_scores(other, truth, (None, np.ones(truth.shape[:2], bool)))
    assert whole.ssim == pytest.approx(inside.ssim, abs=1e-5)
    assert (whole.psnr_db, whole.mae) == pytest.approx((inside.psnr_db, inside.mae))


def test_errors_inside_and_outside_add_up_to_the_whole():
    truth, other, inside = _picture(5), _picture(6), _disc()
    whole, within, without = region_scores(other, truth, (None, inside, ~inside))
    share = inside.mean()
    assert whole.mae == pytest.approx(share * within.mae + (1 - share) * without.mae, rel=1e-4)
    squares = [10 ** (-s.psnr_db / 10) for s in (whole, within, without)]
    assert squares[0] == pytest.approx(share * squares[1] + (1 - share) * squares[2], rel=1e-4)


def test_ssim_where_windows_lie_inside_a_matte_is_the_usual_one():
    a, b = _picture(7, 60, 60), _picture(8, 60, 60)
    inside = np.zeros((60, 60), bool)
    inside[15:46, 15:46] = True
    theirs = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        channel_axis=2, full=True,
    )[1].mean(axis=2)  # fmt: skip
    ours = _ssim_map(a, b, inside).mean(axis=2)
    np.testing.assert_allclose(ours[20:41, 20:41], theirs[20:41, 20:41], atol=5e-5)


@pytest.mark.parametrize("figure", ["psnr_db", "ssim", "mae"])
def test_a_worse_picture_has_worse_figures(figure):
    truth = _picture(9, 96, 96)
    inside = _disc(96, 96)
    found = []
    for sigma in (0.6, 1.2, 2.4, 4.8):
        blurred = cv2.GaussianBlur(truth, (0, 0), sigma)
        found.append(getattr(picture_scores(blurred, truth, inside=inside), figure))
    assert found == sorted(found, reverse=figure != "mae")


def test_nothing_inside_has_no_figure():
    scores = picture_scores(_picture(1), _picture(2), inside=np.zeros((48, 40), bool))
    assert all(math.isnan(v) for v in astuple(scores))


def test_pictures_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="must both be"):
        picture_scores(_picture(0), _picture(0, 30, 30))
    with pytest.raises(InputError, match="smaller than SSIM"):
        picture_scores(_picture(0, 8, 8), _picture(0, 8, 8))
