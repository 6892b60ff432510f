"""Lids: closures that the simulator renders are found; where nothing is seen the fit is kept."""

from __future__ import annotations

import numpy as np

from lightstage.colour import encode_srgb
from lightstage.dome import Dome
from lightstage.head import pose_head, procedural_head
from lightstage.simulation import Performer, Scene, SimulatedCamera, render_full_lit
from relight_model.head.capture_fit import face_px_of, face_scale
from relight_model.head.capture_lids import LidFinder, best_closure
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import FaceRenderer, crop_face
from relight_model.head.capture_solver import State, Views, predict


def test_closures_that_the_simulator_renders_are_found() -> None:
    """The fit says that the lids are open; the simulator has its own renderer, light and skin."""
    head, performer, camera = procedural_head(), Performer(1, "still"), SimulatedCamera(512, 384)
    names = list(head.expression_names)
    lids = [names.index("blink left"), names.index("blink right")]
    shape, true = performer.parameters(0.0).shape, np.array([0.0, 0.5, 1.0])
    n, pinhole = len(true), camera.pinhole
    fitted = State(
        shape, np.zeros((n, head.expression_count)), np.zeros((n, 3)), np.zeros((n, 6)),
        np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3)), np.zeros(3),
    )  # fmt: skip
    views = Views(np.full(n, pinhole.focal_px), np.tile(pinhole.centre, (n, 1)), pinhole.distance_m)
    middle = predict(HeadPoints.at_landmarks(head), fitted, views)[:, 27:].mean(axis=1)
    wide = face_px_of(fitted, views, face_scale(head))
    crops = []
    for k, closure in enumerate(true):
        expression = np.zeros(head.expression_count)
        expression[lids] = closure
        vertices = pose_head(head, shape, expression, np.zeros(15)).astype(np.float32)
        scene = Scene(performer.model, camera, vertices)
        light = render_full_lit(scene, Dome.evenly_spread(24))
        rgb = (encode_srgb(0.85 * light / np.quantile(light, 0.995)) * 255 + 0.5).astype(np.uint8)
        crops.append(crop_face(rgb, middle[k], float(wide[k])))
    found = LidFinder(head, FaceRenderer(head)).closed(fitted, views, crops).expression
    np.testing.assert_allclose(found[:, lids].mean(axis=1), true, atol=0.2)
    others = np.delete(np.arange(head.expression_count), lids)
    np.testing.assert_array_equal(found[:, others], 0.0)


def test_where_every_closure_is_as_likely_the_fit_is_kept() -> None:
    found = best_closure(np.full((9, 2), 0.3), np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, 0.5, atol=0.01)


def test_an_eye_that_shows_nothing_follows_the_other() -> None:
    shown = -3.0 * (np.linspace(0.0, 1.0, 9) - 0.8) ** 2
    right, left = best_closure(np.column_stack([shown, np.zeros(9)]), np.array([0.1, 0.1]))
    assert right > 0.6
    assert left > 0.3
