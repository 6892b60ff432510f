"""Equation (6): a source's statistics become the target's, whatever their poses and cameras."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from lightstage.head import pose_head, procedural_head
from relight_model.head.clip import JOINTS, NECK
from relight_model.head.clip_statistics import ClipStatistics, Spread
from relight_model.head.normalise import NormaliseOptions, normalise
from relight_model.head.rotations import angle_between, compose, exp_at, from_matrices, matrices
from tests.relight_model.head.clips import NAMES, made_up, performed, vectors

BY_MOMENTS = NormaliseOptions(blinks="moments", translation=True, most_gain=1e6)


def close(a, b, tolerance=1e-7):
    for name, part in JOINTS.items():
        assert angle_between(a.pose[:, part], b.pose[:, part]).max() < tolerance, name
    np.testing.assert_allclose(a.expression, b.expression, atol=tolerance)
    np.testing.assert_allclose(a.translation_m, b.translation_m, atol=tolerance)


@settings(max_examples=25)
@given(source=st.integers(0, 999), target=st.integers(1000, 1999))
def test_the_normalised_source_has_the_targets_statistics(source, target):
    clip = made_up(source)
    s, t = ClipStatistics.of(clip), ClipStatistics.of(made_up(target))
    made = ClipStatistics.of(normalise(clip, s, t, BY_MOMENTS))
    pairs = [(made.expression, t.expression), (made.translation_m, t.translation_m)]
    for got, wanted in pairs:
        np.testing.assert_allclose(got.mean, wanted.mean, atol=1e-9)
        np.testing.assert_allclose(got.deviation, wanted.deviation, atol=1e-9)
    for name in JOINTS:
        got, wanted = made.joints[name], t.joints[name]
        assert angle_between(got.array("mean"), wanted.array("mean")) < 1e-7
        np.testing.assert_allclose(got.deviation, wanted.deviation, atol=1e-7)
    # doing it again with what it has now changes nothing
    once = normalise(clip, s, t, BY_MOMENTS)
    close(normalise(once, made, t, BY_MOMENTS), once)


def test_equation_six_by_hand():
    clip = made_up(1)
    s, t = ClipStatistics.of(clip), ClipStatistics.of(made_up(2))
    made = normalise(clip, s, t, BY_MOMENTS)
    w = clip.confidence / clip.confidence.sum()
    x = clip.expression[:, 0]
    mu_s = (w * x).sum()
    sigma_s = np.sqrt((w * (x - mu_s) ** 2).sum())
    other = made_up(2)
    v = other.confidence / other.confidence.sum()
    mu_t = (v * other.expression[:, 0]).sum()
    sigma_t = np.sqrt((v * (other.expression[:, 0] - mu_t) ** 2).sum())
    np.testing.assert_allclose(made.expression[:, 0], sigma_t / sigma_s * (x - mu_s) + mu_t)


@pytest.mark.parametrize("method", ["moments", "robust"])
@pytest.mark.parametrize("scale", ["each", "whole"])
def test_equal_statistics_change_nothing(method, scale):
    for clip in (made_up(4), made_up(4, pose=np.zeros((40, 15)))):
        own = ClipStatistics.of(clip, method)
        made = normalise(clip, own, own, NormaliseOptions(scale=scale, translation=True))
        close(made, clip, 1e-12)
        # and so for statistics that were saved and are equal but not the same object
        again = ClipStatistics.parse(json.loads(own.model_dump_json()), "text")
        assert again == own
        close(normalise(clip, own, again), clip, 1e-12)


@settings(max_examples=20)
@given(jumps=st.lists(st.integers(-2, 2), min_size=40, max_size=40), turn=vectors(1))
def test_whole_turns_and_the_worlds_axes_do_not_matter(jumps, turn):
    clip, target = made_up(5), ClipStatistics.of(made_up(6))
    made = normalise(clip, ClipStatistics.of(clip), target)
    length = np.linalg.norm(clip.pose[:, :3], axis=1, keepdims=True)
    pose = clip.pose.copy()
    pose[:, :3] *= 1 + 2 * np.pi * np.array(jumps)[:, None] / length
    jumped = clip.replace(pose=pose)
    close(normalise(jumped, ClipStatistics.of(jumped), target), made)
    # a source filmed from elsewhere drives the same
    pose = clip.pose.copy()
    pose[:, :3] = compose(turn[0], pose[:, :3])
    seen = clip.replace(pose=pose)
    close(normalise(seen, ClipStatistics.of(seen), target), made, 1e-6)


def test_turned_poses_are_scaled_about_the_heads_own_axes():
    # a source turned by 70 degrees that nods about its own x by 10 drives a target, turned by -50,
    # whose nods are twice as large, to nod by 20 about its own x
    t = np.linspace(0, 20 * np.pi, 801)[:-1]
    nod = np.zeros((800, 3))
    nod[:, 0] = np.sin(t)

    def nodding(yaw_deg, nod_deg):
        pose = np.zeros((800, 15))
        pose[:, :3] = exp_at(np.radians([0, yaw_deg, 0]), np.radians(nod_deg) * nod)
        return made_up(0, 800, pose=pose, confidence=None, expression=np.zeros((800, len(NAMES))))

    source, target = nodding(70, 10), nodding(-50, 20)
    made = normalise(source, ClipStatistics.of(source), ClipStatistics.of(target))
    close(made.replace(translation_m=target.translation_m), target)


def test_what_never_moves_in_the_source_keeps_the_targets_mean():
    still = made_up(1, pose=np.tile(made_up(1).pose[:1], (40, 1)), expression=np.full((40, 6), 0.3))
    t = ClipStatistics.of(made_up(2))
    made = normalise(still, ClipStatistics.of(still), t)
    expected = np.array(t.expression.mean)
    expected[3:5] = np.array(t.expression.rest)[3:5]  # lids rest
    np.testing.assert_allclose(made.expression, np.tile(expected, (40, 1)), atol=1e-9)
    for name, part in JOINTS.items():
        assert angle_between(made.pose[:, part], t.joints[name].array("mean")).max() < 1e-7
    # noise of a still source is not blown up
    noisy = still.replace(
        expression=still.expression + 5e-4 * np.random.default_rng(0).normal(size=(40, 6))
    )
    made = normalise(noisy, ClipStatistics.of(noisy), t, NormaliseOptions(blinks="moments"))
    assert np.ptp(made.expression, axis=0).max() < 5e-3


def test_gain_is_capped_and_whole_keeps_proportions():
    clip = made_up(1)
    s = ClipStatistics.of(clip)
    wide = s.replace(
        expression=Spread(**(s.expression.model_dump() | {"deviation": (9.0,) * 6})).model_dump()
    )
    made = normalise(clip, s, wide, NormaliseOptions(most_gain=2.0, blinks="moments"))
    moved = clip.expression - s.expression.array("mean")
    np.testing.assert_allclose(made.expression - s.expression.array("mean"), 2 * moved, atol=1e-9)
    made = normalise(
        clip,
        s,
        ClipStatistics.of(made_up(2)),
        NormaliseOptions(scale="whole", blinks="moments"),
    )
    changed = made.expression - made.expression[0]
    before = clip.expression - clip.expression[0]
    ratio = (changed * before).sum() / (before**2).sum()
    np.testing.assert_allclose(changed, ratio * before, atol=1e-9)
    with pytest.raises(InputError, match="most gain"):
        NormaliseOptions(most_gain=0.5)


def lid_gap_m(clip, frame):
    """Height of the left eye's opening: from the upper lid's landmarks to the lower lid's."""
    head = procedural_head()
    v = pose_head(head, clip.shape, clip.expression[frame], np.zeros(15))
    corners = v[head.f[head.landmark_faces]]
    marks = np.einsum("lk,lkd->ld", head.landmark_barycentric, corners)
    return float(marks[[43, 44], 1].mean() - marks[[47, 46], 1].mean())


def test_a_source_with_small_eyes_opens_and_closes_the_targets_fully():
    # the paper's Fig. 10: lids of the source never open more than half, nor close beyond 0.9, and
    # it blinks at other times and more often than the target
    target, source = performed(1, seconds=24), performed(2, "violent", seconds=24)
    lids = [k for k, name in enumerate(source.expression_names) if "blink" in name]
    small = source.expression.copy()
    often = np.maximum(small[:, lids], np.roll(small[:, lids], 19, axis=0))
    small[:, lids] = 0.45 + 0.45 * often
    source = source.replace(expression=small)
    s, t = ClipStatistics.of(source), ClipStatistics.of(target)
    made = normalise(source, s, t)
    closed = int(small[:, lids[0]].argmax())
    opened = int(np.argsort(small[:, lids[0]])[len(source) // 4])
    assert made.expression[closed, lids].min() > 0.97
    np.testing.assert_allclose(made.expression[opened, lids], 0, atol=0.02)
    # a blink is no normal variable: moments alone leave the eyes a fifth open (docs/parameters.md)
    plain = normalise(source, s, t, NormaliseOptions(blinks="moments"))
    assert plain.expression[closed, lids].max() < 0.85

    def gap(clip, frame):
        only_lids = np.zeros_like(clip.expression)
        only_lids[:, lids] = clip.expression[:, lids]
        return lid_gap_m(clip.replace(expression=only_lids, shape=target.shape), frame)

    wide_open = lid_gap_m(target.replace(expression=np.zeros_like(target.expression)), 0)
    assert gap(made, opened) > 0.95 * wide_open
    assert gap(made, closed) < 0.12 * wide_open
    assert gap(source, opened) < 0.75 * wide_open  # without normalisation it never opens


def test_statistics_are_weighted_and_add_up_over_clips():
    clip = made_up(3)
    halves = [clip.frames(slice(0, 17)), clip.frames(slice(17, None))]
    whole, joined = ClipStatistics.of(clip), ClipStatistics.of(iter(halves))
    np.testing.assert_allclose(joined.expression.mean, whole.expression.mean)
    np.testing.assert_allclose(joined.joints["neck"].deviation, whole.joints["neck"].deviation)
    # frames without confidence do not count, whatever they hold
    wild = clip.expression.copy()
    wild[5:9] = 1e3
    unsure = clip.replace(confidence=np.where(np.isin(np.arange(40), [5, 6, 7, 8]), 0, 1.0))
    kept = ClipStatistics.of(
        clip.frames(np.delete(np.arange(40), [5, 6, 7, 8])).replace(confidence=None)
    )
    hurt = ClipStatistics.of(unsure.replace(expression=wild))
    np.testing.assert_allclose(hurt.expression.deviation, kept.expression.deviation)
    assert hurt.frames == 36
    # beta-bar is the mean over all counted frames
    other = made_up(9, 20, confidence=np.full(20, 0.5))
    mixed = ClipStatistics.of([clip, other]).shape
    a, b = clip.confidence.sum(), 10.0
    np.testing.assert_allclose(mixed, (a * clip.shape + b * other.shape) / (a + b))


def test_robust_statistics_bear_wrong_frames_and_see_blinks():
    rng = np.random.default_rng(0)
    n = 2000
    blink = (np.arange(n) % 50 < 4).astype(float)  # closed 8 % of the time
    values = np.column_stack([rng.normal(1.0, 0.2, n), blink, rng.normal(0, 0.1, (n, 4)).T[0]])
    values = np.column_stack([values, np.zeros((n, 3))])
    pose = 0.1 * rng.normal(size=(n, 15)) + 0.5
    wrong = rng.choice(n, n // 100, replace=False)
    hurt_values, hurt_pose = values.copy(), pose.copy()
    hurt_values[wrong, :3] += 30.0
    hurt_pose[wrong] += 1.2
    clean = made_up(0, n, expression=values, pose=pose, confidence=None)
    hurt = clean.replace(expression=hurt_values, pose=hurt_pose)
    plain, robust = ClipStatistics.of(hurt), ClipStatistics.of(hurt, "robust")
    truth = ClipStatistics.of(clean)
    np.testing.assert_allclose(robust.expression.mean[:3], truth.expression.mean[:3], atol=0.03)
    np.testing.assert_allclose(
        robust.expression.deviation[:3], truth.expression.deviation[:3], rtol=0.12
    )
    assert plain.expression.deviation[0] > 10 * truth.expression.deviation[0]
    for name in JOINTS:
        np.testing.assert_allclose(
            robust.joints[name].deviation, truth.joints[name].deviation, rtol=0.12
        )


def test_statistics_save_and_refuse(tmp_path):
    own = ClipStatistics.of(made_up(1))
    own.save(tmp_path / "performer.json")
    assert ClipStatistics.load(tmp_path / "performer.json") == own
    for change, told in (
        ({"format": "lightstage head statistics 9"}, "format"),
        ({"joints": {}}, "joints must be"),
        ({"expression": own.expression.model_dump() | {"mean": [1.0]}}, "equally long"),
    ):
        data = own.model_dump(mode="json") | change
        (tmp_path / "bad.json").write_text(json.dumps(data))
        with pytest.raises(InputError, match=told) as reason:
            ClipStatistics.load(tmp_path / "bad.json")
        assert "bad.json" in str(reason.value)
    with pytest.raises(InputError, match="one head model"):
        ClipStatistics.of([made_up(1), made_up(1, head="other")])
    with pytest.raises(InputError, match="at least one clip"):
        ClipStatistics.of([])
    with pytest.raises(InputError, match="no frame of the clip has confidence"):
        ClipStatistics.of(made_up(1, confidence=np.zeros(40)))
    with pytest.raises(InputError, match="cannot be normalised"):
        fewer = made_up(1, expression=np.zeros((40, 2)), expression_names=())
        normalise(fewer, own, own)


def test_the_mean_rotation_is_right_where_vectors_jump():
    # about half a turn the vectors' own mean is nonsense
    base = np.radians(179) * np.array([0.0, 1.0, 0.0])
    pose = np.zeros((200, 15))
    noise = 0.05 * np.random.default_rng(0).normal(size=(200, 3))
    pose[:, NECK] = from_matrices(matrices(exp_at(base, noise)))
    found = ClipStatistics.of(made_up(0, 200, pose=pose, confidence=None)).joints["neck"]
    assert angle_between(found.array("mean"), base) < 0.01
    np.testing.assert_allclose(found.deviation, noise.std(axis=0), rtol=0.02)
