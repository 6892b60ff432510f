"""The outline: edges at known places are found there, and walls without edges give none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.head import procedural_head
from lightstage.pinhole import PinholeCamera
from lightstage.raster import rasterise
from relight_model.head.capture_outline import OutlineFinder, find_edges
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import Crop
from relight_model.head.capture_solver import State, Views, predict

SIZE = 208


def _crop(gray: np.ndarray) -> Crop:
    flat = np.zeros_like(gray, np.float32)
    return Crop(np.asarray(gray, np.float32), flat, 0.0, 0.0, 1.0)


@settings(max_examples=25, deadline=None)
@given(place=st.floats(-4.0, 4.0), angle=st.floats(0.0, 6.28), contrast=st.floats(0.2, 0.8))
def test_an_edge_is_found_to_a_fifth_of_a_pixel(
    place: float, angle: float, contrast: float
) -> None:
    normal = np.array([np.cos(angle), np.sin(angle)])
    y, x = np.mgrid[:SIZE, :SIZE] - 100.0
    along = x * normal[0] + y * normal[1] - place
    picture = 0.1 + contrast * np.clip(0.5 - along, 0.0, 1.0)  # a pixel's box over a step
    offset, sure = find_edges(_crop(picture), np.array([[100.0, 100.0]]), normal[None])
    assert sure[0] > 0
    assert offset[0] == pytest.approx(place, abs=0.2)


def test_an_even_wall_has_no_edge() -> None:
    noise = 0.5 + 0.01 * np.random.default_rng(1).standard_normal((SIZE, SIZE))
    angle = np.linspace(0.0, 6.0, 40)
    normals = np.column_stack([np.cos(angle), np.sin(angle)])
    _, sure = find_edges(_crop(noise), np.full((40, 2), 100.0), normals)
    assert not sure.any()


def test_steps_in_depth_of_the_head_are_where_its_outline_is() -> None:
    """The picture is the rasteriser's depth: bright is near; ears lie behind cheeks."""
    head = procedural_head()
    views = Views(np.array([700.0]), np.array([[104.0, 104.0]]), 1.0)
    camera = PinholeCamera(SIZE, SIZE, 700.0, 1.0, (104.0, 104.0))
    points = HeadPoints.at_landmarks(head)
    middle = points.evaluate(np.zeros((1, head.shapedirs.shape[2])), np.zeros((1, 3)),
                             np.zeros((1, 6)))[0, 27:].mean(axis=0)  # fmt: skip
    vertices = np.asarray(head.v_template - middle, np.float32)
    drawn = rasterise(vertices, head.f.astype(np.int32), camera, 1)
    picture = np.zeros((SIZE, SIZE))
    row, column = np.divmod(drawn.pixel, drawn.width)
    depth = drawn.gather(np.ascontiguousarray(vertices[:, 2]))
    picture[row + drawn.top, column + drawn.left] = 0.9 + 4.0 * np.minimum(depth, 0.0)
    pivot = np.array([0.0, 0.0, 0.0])
    state = State(
        np.zeros(head.shape_count), np.zeros((1, head.expression_count)), np.zeros((1, 3)),
        np.zeros((1, 6)), np.eye(3)[None], (pivot - middle)[None], pivot,
    )  # fmt: skip
    # pixel c of a crop is c + 1/2 + left in the frame
    crop = replace(_crop(picture), left=-0.5, top=-0.5)
    found = OutlineFinder(head).find(state, views, [crop])
    assert found is not None
    known = np.abs(found.whitening[0]).sum(axis=(1, 2)) > 0
    assert known.sum() > 20
    error = predict(found.points, state, views)[0] - found.target_px[0]
    off = np.einsum("lab,lb->la", found.whitening[0], error)
    unit = np.linalg.norm(found.whitening[0], axis=(1, 2))
    assert np.median(np.abs(off[known, 0]) / unit[known]) < 0.6
