"""The simulated training session: true parameters, unseen expressions, both ways of making it."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage import ReflectanceFields, Session
from lightstage.errors import InputError
from lightstage.head import procedural_head
from lightstage.session import Take
from lightstage.simulation.grimaces import GRIMACES, UNSEEN_COMPONENTS, GrimacingPerformer
from lightstage.simulation.performer import Performer
from lightstage.simulation.recipe import TakeRecipe
from relight_model.conditioning import ConditioningRenderer
from relight_model.head.clip import HeadClip
from tests.relight_model.training_session import CLIP_NAME, example, small_session


@pytest.fixture(scope="module")
def session(simulated_session) -> Session:
    return simulated_session


def _overlaps(take: Take, looks: int = 4) -> list[float]:
    """How far masks drawn from the parameters agree with the sets' mattes: shared over together."""
    fields, clip = ReflectanceFields.open(take.path), HeadClip.load(take.path / CLIP_NAME)
    chosen = np.linspace(0, len(fields) - 1, looks).round().astype(int).tolist()
    drawn = ConditioningRenderer(None, clip.shape).render_clip(clip, chosen, maps=("mask",))
    found = []
    for index, maps in zip(chosen, drawn, strict=True):
        head, matte = maps.mask > 0.5, fields.read("matte", index) > 0.5
        found.append(float((head & matte).sum() / (head | matte).sum()))
    return found


def test_the_true_parameters_draw_the_performer_where_the_sets_show_them(session):
    for take in session.takes:
        fields, clip = ReflectanceFields.open(take.path), HeadClip.load(take.path / CLIP_NAME)
        assert clip.time_s == pytest.approx(fields.time_s)
        assert min(_overlaps(take)) > 0.97  # single pixels of the outline, at 48 pixels


def test_targets_are_the_renderers_truth(session):
    fields = ReflectanceFields.open(session.take("talk").path)
    recipe = example().training_recipe(small=True)
    stage = example()._direct_stage(recipe, recipe.takes[0], 48)
    from lightstage.simulation import Scene
    from lightstage.simulation.render import render_lights

    scene = Scene(stage.performer.model, stage.camera, stage.performer.vertices(7 / 25))
    olat = render_lights(scene, stage.dome, range(24))
    np.testing.assert_allclose(fields[7].olat, olat, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(fields.read("albedo", 7), scene.albedo, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fields.read("normal", 7), scene.normal, atol=1e-3)
    # a take's own tracking frames see the same share of the sum
    share = stage.sequence.tracking_pulse_us / stage.sequence.exposure_us
    np.testing.assert_allclose(fields[7].full_lit, olat.sum(axis=0) * share, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 3])
def test_grimaces_are_expressions_that_talk_does_not_have(seed):
    names = procedural_head().expression_names
    for grimace in GRIMACES.values():
        for component in set(grimace) - {"jaw"}:
            assert component in names or f"{component} left" in names
    times = np.arange(0, 16, 0.04)
    talk = np.array([Performer(seed).parameters(t).expression for t in times])
    pulled = GrimacingPerformer(seed)
    held_out = np.array([pulled.parameters(t).expression for t in times[times < 4]])
    unseen = [names.index(name) for name in UNSEEN_COMPONENTS]
    assert np.abs(talk[:, unseen]).max() == 0.0
    assert held_out[:, unseen].max(axis=0).min() > 0.5  # each of them is used, and much
    away = np.abs(held_out[:, unseen]).max(axis=1) > 0.3
    assert 0.3 < away.mean() < 0.9
    # nor does the head repeat the poses of talk
    poses = [np.array([who.parameters(t).pose[:6] for t in times[times < 4]])
             for who in (Performer(seed), pulled)]  # fmt: skip
    assert np.abs(poses[0] - poses[1]).max() > 0.05


def test_grimaces_are_smooth_and_depend_on_time_alone():
    performer = GrimacingPerformer(1)
    times = np.arange(0, 3, 0.001)
    values = np.array([performer.parameters(t).expression for t in times])
    # no component moves by more than a blink does: from open to closed in 75 ms
    assert np.abs(np.diff(values, axis=0)).max() < 0.04
    assert performer.parameters(1.5).expression == pytest.approx(values[1500])
    assert isinstance(TakeRecipe(motion="grimacing").who, GrimacingPerformer)
    with pytest.raises(InputError, match="motion"):
        TakeRecipe(motion="sleeping")


@pytest.mark.slow
def test_the_whole_chain_gives_the_same_session_as_the_shortcut(tmp_path):
    chain = small_session(tmp_path / "chain", shortcut=False)
    for take in chain.takes:
        fields = ReflectanceFields.open(take.path)
        assert (fields.height, fields.width, fields.lights) == (48, 48, 24)
        assert all(fields.has(name) for name in ("matte", "normal", "albedo"))
        # recorded with noise at 96 x 72 pixels
        assert min(_overlaps(take)) > 0.9
    again = small_session(tmp_path / "chain", shortcut=False)
    assert [take.name for take in again.takes] == ["held_out", "talk"]
