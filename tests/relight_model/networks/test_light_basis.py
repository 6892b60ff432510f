"""Where light bases start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightstage.dome import Dome
from lightstage.errors import InputError
from relight_model.networks import (
    NetworkConfig,
    ReflectanceNetwork,
    fitted_light_basis,
    smooth_light_basis,
)


def test_smooth_functions_are_orthogonal_and_the_first_is_even() -> None:
    basis = smooth_light_basis(96, 9, "signed").double()
    torch.testing.assert_close(
        basis.T @ basis / 96, torch.eye(9, dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert float(basis[:, 0].std()) < 0.02


def test_nine_smooth_functions_hold_lambertian_shading() -> None:
    """Nine spherical harmonics hold 99 % of it (Basri and Jacobs 2003); so do these."""
    towards = Dome.evenly_spread(96).directions
    normals = np.random.default_rng(0).standard_normal((300, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shading = np.maximum(towards @ normals.T, 0.0)
    basis = smooth_light_basis(96, 9, "signed").double().numpy()
    kept = basis @ (basis.T @ shading) / 96
    assert ((shading - kept) ** 2).sum() / (shading**2).sum() < 0.012


def test_lobes_are_positive_and_share_each_light() -> None:
    basis = smooth_light_basis(96, 16, "softplus")
    assert float(basis.min()) >= 0
    torch.testing.assert_close(basis.sum(dim=1), torch.ones(96))
    net = ReflectanceNetwork(
        NetworkConfig(size=16, in_channels=3, widths=(4,), head="low_rank", rank=16)
    )
    torch.testing.assert_close(net.light_head.light_basis(), basis, atol=2e-4, rtol=1e-3)


def test_a_fitted_basis_holds_what_principal_components_hold() -> None:
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((12, 4)) * [4, 2, 1, 0.1]
    fields = [(mixing @ rng.standard_normal((4, 3 * 8 * 8))).reshape(12, 3, 8, 8) for _ in "abc"]
    basis, held = fitted_light_basis(fields, 3)
    flat = np.concatenate([f.reshape(12, -1) for f in fields], axis=1)
    singular = np.linalg.svd(flat, compute_uv=False) ** 2
    assert held == pytest.approx(singular[:3].sum() / singular.sum(), rel=1e-9)
    kept = basis.double().numpy() @ np.linalg.lstsq(basis.double().numpy(), flat, rcond=None)[0]
    assert (kept**2).sum() / (flat**2).sum() == pytest.approx(held, rel=1e-6)
    _, whole = fitted_light_basis(fields, 4)
    assert whole == pytest.approx(1.0, rel=1e-9)


def test_wrong_fields_and_directions_are_refused() -> None:
    with pytest.raises(InputError, match="at least one field"):
        fitted_light_basis([], 2)
    with pytest.raises(InputError, match="no basis of 5"):
        fitted_light_basis([np.ones((4, 3, 2, 2))], 5)
    with pytest.raises(InputError, match="the same lights"):
        fitted_light_basis([np.ones((4, 3, 2, 2)), np.ones((5, 3, 2, 2))], 2)
    with pytest.raises(InputError, match=r"must be \(96, 3\)"):
        smooth_light_basis(96, 4, "signed", np.zeros((95, 3)))
