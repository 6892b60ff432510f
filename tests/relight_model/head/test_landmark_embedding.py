"""A detector's landmarks lie on the head where the table says, near the head's own, on its skin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.errors import DamagedDataError
from lightstage.head import HeadFile, procedural_head
from relight_model.head import landmark_embedding
from relight_model.head.landmark_embedding import (
    convention,
    embed_near,
    landmark_places,
    nearest_barycentric,
)
from relight_model.head.landmarks import CONTOUR, INNER, MIRRORED, detector_embedding


@pytest.fixture(scope="module")
def head() -> HeadFile:
    return procedural_head()


@given(st.integers(0, 2**32 - 1))
def test_the_nearest_point_of_a_triangle_is_trimeshs(seed: int) -> None:
    trimesh = pytest.importorskip("trimesh")
    rng = np.random.default_rng(seed)
    triangles = rng.normal(size=(20, 3, 3))
    place = rng.normal(size=3)
    weights = nearest_barycentric(triangles, place)
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert weights.min() >= -1e-12
    ours = np.einsum("kc,kcd->kd", weights, triangles)
    theirs = trimesh.triangles.closest_point(triangles, np.tile(place, (20, 1)))
    assert np.allclose(ours, theirs, atol=1e-9)


def test_a_detector_without_a_table_has_the_heads_own_landmarks(head: HeadFile) -> None:
    for name in ("fake", "../dlib", ""):
        faces, weights = detector_embedding(head, name)
        assert (faces == head.landmark_faces).all()
        assert (weights == head.landmark_barycentric).all()


def test_another_head_has_its_own_landmarks(head: HeadFile) -> None:
    other = replace(head, v_template=head.v_template + [0.0, 0.02, 0.0])
    faces, weights = detector_embedding(other, "dlib")
    assert (faces == head.landmark_faces).all()
    assert (weights == head.landmark_barycentric).all()


def test_the_shipped_table_was_made_for_the_shipped_head(head: HeadFile) -> None:
    """Made anew whenever the head changes: ``benchmarks/landmark_convention.py --write``."""
    table = convention("dlib")
    assert table is not None
    own = landmark_places(head, (head.landmark_faces, head.landmark_barycentric))
    assert np.median(np.linalg.norm(own - table[0], axis=1)) < 1e-3


def test_offsets_are_short_and_symmetric() -> None:
    table = convention("dlib")
    assert table is not None
    offsets = table[1]
    assert np.linalg.norm(offsets, axis=1).max() < 0.00601
    # the head itself is symmetric only to a triangle
    assert np.allclose(offsets[MIRRORED] * [-1.0, 1.0, 1.0], offsets, atol=1e-3)


def test_the_embedding_lies_where_the_table_says(head: HeadFile) -> None:
    """On the skin nearest to there; the contour is the head's own."""
    table = convention("dlib")
    assert table is not None
    found = landmark_places(head, detector_embedding(head, "dlib"))
    own = landmark_places(head, (head.landmark_faces, head.landmark_barycentric))
    assert (found[CONTOUR] == own[CONTOUR]).all()
    assert np.median(np.linalg.norm(found - table[0] - table[1], axis=1)[INNER]) < 0.001


def test_places_off_the_surface_become_the_nearest_ones_on_it(head: HeadFile) -> None:
    """Where the head's own places are lifted off along the skin's normal, they fall back."""
    own = (head.landmark_faces, head.landmark_barycentric)
    places = landmark_places(head, own)
    corners = head.v_template[head.f[own[0]].astype(int)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = landmark_places(head, embed_near(head, own, places + 0.0002 * normals))
    assert np.linalg.norm(found - places, axis=1).max() < 2e-4


def test_the_inner_landmarks_stay_on_their_side_of_lips_and_lids(head: HeadFile) -> None:
    """An upper lip's landmark does not come to lie below the lower lip's."""
    places = landmark_places(head, detector_embedding(head, "dlib"))
    for upper, lower in ((61, 67), (62, 66), (63, 65), (37, 41), (38, 40), (43, 47), (44, 46)):
        assert places[upper, 1] > places[lower, 1] - 1e-4
    assert (np.diff(places[CONTOUR, 0]) > 0).all()


def test_a_damaged_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "damaged_convention.json").write_text('{"own_places_mm": [[1, 2')
    (tmp_path / "short_convention.json").write_text('{"own_places_mm": [[1]], "offsets_mm": []}')
    monkeypatch.setattr(landmark_embedding, "files", lambda package: tmp_path)
    for name in ("damaged", "short"):
        with pytest.raises(DamagedDataError, match=f"{name}_convention.json"):
            convention(name)
