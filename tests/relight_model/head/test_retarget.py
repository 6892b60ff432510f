"""Retargeting: what of the source reaches the target, seen on the head's mesh and in the camera."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lightstage.errors import InputError
from lightstage.head import pose_head, procedural_head, rotation_matrices
from relight_model.head.clip import EYE_LEFT, GLOBAL, JAW, JOINTS, NECK
from relight_model.head.clip_statistics import ClipStatistics
from relight_model.head.mirror import mirror, mirror_statistics
from relight_model.head.neck import eye_positions_m, neck_into_global
from relight_model.head.normalise import normalise
from relight_model.head.retarget import RetargetOptions, retarget
from relight_model.head.rotations import angle_between, compose
from tests.relight_model.head.clips import NAMES, made_up, performed

AS_IT_IS = {"normalise": False}


def vertices(clip, frame):
    posed = pose_head(procedural_head(), clip.shape, clip.expression[frame], clip.pose[frame])
    return posed + clip.translation_m[frame]


def same_pose(a, b, parts=tuple(JOINTS)):
    return (
        max(angle_between(a.pose[:, JOINTS[p]], b.pose[:, JOINTS[p]]).max() for p in parts) < 1e-7
    )


def test_a_performer_drives_themselves_unchanged():
    clip = performed(0, seconds=3)
    made = retarget(clip, clip)
    assert same_pose(made, clip)
    np.testing.assert_allclose(made.expression, clip.expression, atol=1e-12)
    np.testing.assert_allclose(made.translation_m, clip.translation_m, atol=1e-12)
    assert made.camera == clip.camera


def test_the_target_gives_identity_camera_and_statistics():
    source, target = made_up(1), made_up(2, 30, camera=performed(0, seconds=1).camera)
    made = retarget(source, target)
    np.testing.assert_array_equal(made.shape, target.shape)
    np.testing.assert_array_equal(made.time_s, source.time_s)
    np.testing.assert_array_equal(made.confidence, source.confidence)
    assert made.camera == target.camera and made.view_size == target.view_size
    got, wanted = ClipStatistics.of(made), ClipStatistics.of(target)
    np.testing.assert_allclose(
        got.joints["jaw"].deviation, wanted.joints["jaw"].deviation, atol=1e-7
    )
    # statistics that are given are those that count
    other = ClipStatistics.of(made_up(7))
    made = retarget(source, target, target_statistics=other)
    assert angle_between(
        ClipStatistics.of(made).joints["global"].array("mean"), other.joints["global"].array("mean")
    ) < 1e-7  # fmt: skip


def test_holding_the_pose_keeps_the_mouth():
    source, target = performed(1, seconds=4), performed(0, seconds=4)
    free = retarget(source, target)
    held = retarget(
        source, target, RetargetOptions(origins={"pose": "mean", "translation": "mean"})
    )
    assert np.ptp(held.pose[:, :6], axis=0).max() < 1e-12
    assert np.ptp(held.translation_m, axis=0).max() < 1e-12
    mean = ClipStatistics.of(target).joints["neck"].array("mean")
    assert angle_between(held.pose[:, NECK], mean).max() < 1e-9
    assert same_pose(held, free, ("jaw", "eye_left", "eye_right"))
    np.testing.assert_array_equal(held.expression, free.expression)
    # on the mesh: the lips open as far, although the head stands still
    head = procedural_head()
    corners = head.f[head.landmark_faces[[62, 66]]]

    def opening(clip, frame):
        lips = np.einsum(
            "lk,lkd->ld", head.landmark_barycentric[[62, 66]], vertices(clip, frame)[corners]
        )
        return np.linalg.norm(lips[0] - lips[1])

    frames = range(0, 100, 9)
    np.testing.assert_allclose(
        [opening(held, k) for k in frames], [opening(free, k) for k in frames], atol=1e-9
    )
    assert np.ptp([opening(free, k) for k in frames]) > 1e-3


def test_parts_come_from_where_they_should():
    source, target, own = made_up(1), made_up(2), made_up(3, 60)
    still = RetargetOptions(
        **AS_IT_IS,
        origins={"gaze": "mean", "blink": "mean", "jaw": own, "expression": own},
    )
    made = retarget(source, target, still)
    statistics = ClipStatistics.of(target)
    for name in ("eye_left", "eye_right"):
        part = JOINTS[name]
        assert angle_between(made.pose[:, part], statistics.joints[name].array("mean")).max() < 1e-9
    np.testing.assert_allclose(
        made.expression[:, 3:5], np.tile(statistics.expression.array("rest")[3:5], (40, 1))
    )
    assert same_pose(made, source, ("global", "neck"))
    # a clip of one's own is taken from its beginning, at the source's times
    assert angle_between(made.pose[0, JAW], own.pose[0, JAW]) < 1e-7
    np.testing.assert_allclose(made.expression[0, :3], own.expression[0, :3], atol=1e-9)
    with pytest.raises(InputError, match="beyond half a frame"):
        retarget(source, target, RetargetOptions(origins={"jaw": made_up(3, 20)}))
    with pytest.raises(InputError, match="cannot come from"):
        RetargetOptions(origins={"jaw": "camera"})
    with pytest.raises(InputError, match="no part of a clip"):
        RetargetOptions(origins={"ears": "mean"})


def test_poses_are_attenuated_smoothed_and_offset():
    clip = performed(0, seconds=4)
    mean = ClipStatistics.of(clip).joints["neck"].array("mean")
    half = retarget(clip, clip, RetargetOptions(amounts={"pose": 0.5}))
    np.testing.assert_allclose(
        angle_between(half.pose[:, NECK], mean), 0.5 * angle_between(clip.pose[:, NECK], mean),
        atol=1e-7,
    )  # fmt: skip
    none = retarget(clip, clip, RetargetOptions(amounts={"pose": 0, "translation": 0}))
    held = retarget(clip, clip, RetargetOptions(origins={"pose": "mean", "translation": "mean"}))
    assert same_pose(none, held)
    np.testing.assert_allclose(none.translation_m, held.translation_m, atol=1e-12)
    soft = retarget(clip, clip, RetargetOptions(pose_smoothing_s=0.2))
    assert (
        np.abs(np.diff(soft.pose[:, NECK], axis=0)).sum()
        < np.abs(np.diff(clip.pose[:, NECK], axis=0)).sum()
    )
    # yaw turns the whole head about the vertical, to the image's right
    yawed = retarget(clip, clip, RetargetOptions(pose_offset_deg=(0, 25, 0)))
    turn = rotation_matrices(np.array([[0, np.radians(25), 0]]))[0]
    root = procedural_head().J_regressor[0] @ vertices(
        clip.replace(pose=0 * clip.pose, translation_m=0 * clip.translation_m,
                     expression=0 * clip.expression), 0
    )  # fmt: skip
    shift = root + clip.translation_m[7]
    np.testing.assert_allclose(
        vertices(yawed, 7), (vertices(clip, 7) - shift) @ turn.T + shift, atol=1e-4
    )


def test_expressions_are_scaled_about_rest_and_limited():
    clip = made_up(4, expression=np.clip(made_up(4).expression, 0, 1))
    s = ClipStatistics.of(clip).expression
    rest = s.array("rest")
    made = retarget(clip, clip, RetargetOptions(amounts={"smile": 0.5}))
    np.testing.assert_allclose(
        made.expression[:, 0] - rest[0], 0.5 * (clip.expression[:, 0] - rest[0]), atol=1e-12
    )
    np.testing.assert_allclose(made.expression[:, 1:], clip.expression[:, 1:], atol=1e-12)
    everything = retarget(clip, clip, RetargetOptions(amounts={"all": 3.0, "smile": 1.0}))
    reach = s.array("high") - s.array("low")
    assert (everything.expression <= s.array("high") + 0.5 * reach + 1e-9).all()
    np.testing.assert_allclose(everything.expression[:, 0], clip.expression[:, 0], atol=1e-12)
    np.testing.assert_allclose(everything.expression[:, 3:5], clip.expression[:, 3:5], atol=1e-12)
    free = retarget(clip, clip, RetargetOptions(amounts={"all": 3.0}, limit=False))
    np.testing.assert_allclose(
        free.expression[:, 1] - rest[1], 3 * (clip.expression[:, 1] - rest[1]), atol=1e-12
    )
    # lids never close beyond closed
    shut = retarget(clip, clip, RetargetOptions(amounts={"blink": 9.0}))
    assert shut.expression[:, 3:5].max() <= 1.0
    with pytest.raises(InputError, match="no 'grin' to scale; known are all, pose"):
        retarget(clip, clip, RetargetOptions(amounts={"grin": 2}))


def test_eyes_look_into_the_camera_wherever_the_head_is():
    head = procedural_head()
    clip = performed(1, "violent", seconds=2)
    clip = clip.replace(translation_m=clip.translation_m + [0.15, -0.1, 0.1])
    made = retarget(clip, clip, RetargetOptions(origins={"gaze": "camera"}), head=head)
    for frame in (0, 20, 45):
        # oracle: the eyeball's vertices, turned as one piece by the head model
        for joint, side in ((3, 0), (4, 1)):
            ball = np.flatnonzero(head.weights[:, joint] > 0.999)
            plain = pose_head(head, made.shape, made.expression[frame] * 0, np.zeros(15))[ball]
            posed = vertices(made.replace(expression=made.expression * 0), frame)[ball]
            a, b = plain - plain.mean(axis=0), posed - posed.mean(axis=0)
            u, _, vt = np.linalg.svd(b.T @ a)
            looks = (u @ vt) @ [0, 0, 1.0]
            towards = made.camera.position_m - eye_positions_m(made, head)[frame, side]
            off = np.linalg.norm(np.cross(looks, towards)) / np.linalg.norm(towards)
            assert off < np.sin(np.radians(0.01)) and looks @ towards > 0
            # and the centre that was found is where the eyeball is
            centre = posed.mean(axis=0) - (u @ vt) @ (
                plain.mean(axis=0) - _centre(head, made, joint)
            )
            np.testing.assert_allclose(eye_positions_m(made, head)[frame, side], centre, atol=1e-3)
    assert np.abs(made.pose[:, 11]).max() < 1e-12  # no twist
    with pytest.raises(InputError, match="head model is needed"):
        retarget(clip, clip, RetargetOptions(origins={"gaze": "camera"}))
    # eyes do not turn out of their sockets
    away = clip.replace(pose=clip.pose + np.eye(15)[1] * 2.0)
    far = retarget(away, away, RetargetOptions(origins={"gaze": "camera"}), head=head)
    assert np.degrees(np.linalg.norm(far.pose[:, EYE_LEFT], axis=1)).max() < 40.001


def _centre(head, clip, joint):
    plain = pose_head(head, clip.shape, clip.expression[0] * 0, np.zeros(15))
    return head.J_regressor[joint] @ plain


def test_mirrored_twice_is_the_same_and_mirrored_statistics_are_of_mirrored_clips():
    clip = made_up(5)
    twice = mirror(mirror(clip))
    assert same_pose(twice, clip)
    for name in ("expression", "translation_m", "view"):
        np.testing.assert_allclose(getattr(twice, name), getattr(clip, name), atol=1e-9)
    assert twice.camera == clip.camera
    for method in ("moments", "robust"):
        a = mirror_statistics(ClipStatistics.of(clip, method))
        b = ClipStatistics.of(mirror(clip), method)
        for x, y in (
            (a.expression, b.expression),
            *zip(a.joints.values(), b.joints.values(), strict=True),
        ):
            for name in ("mean", "deviation", "rest", "low", "high"):
                np.testing.assert_allclose(x.array(name), y.array(name), atol=1e-6)
    # mirroring a source that is normalised is mirroring first
    target = ClipStatistics.of(made_up(6))
    direct = retarget(clip, made_up(6), RetargetOptions(mirror=True),
                      source_statistics=ClipStatistics.of(clip))  # fmt: skip
    by_hand = normalise(mirror(clip), ClipStatistics.of(mirror(clip)), target)
    assert same_pose(direct, by_hand)


def test_the_mirrored_clip_moves_the_mesh_as_a_mirror_does():
    # the mean head is symmetric: find each vertex's partner on the neutral mesh
    head = procedural_head()
    clip = performed(0, seconds=4)
    clip = clip.replace(shape=np.zeros(head.shape_count))
    moved = clip.expression.copy()
    moved[:, [k for k, n in enumerate(clip.expression_names) if n.endswith("left")]] += 0.3
    clip = clip.replace(expression=moved)
    apart, partner = cKDTree(head.v_template).query(head.v_template * [-1, 1, 1])
    paired = apart < 1e-7
    assert paired.mean() > 0.5
    mirrored = mirror(clip)
    for frame in (30, 77):
        seen = vertices(clip, frame)[partner] * [-1, 1, 1]
        got = vertices(mirrored, frame)
        wrong = np.linalg.norm(got - seen, axis=1)[paired]
        moves = np.linalg.norm(vertices(clip, frame) - seen, axis=1)[paired]
        assert np.median(moves) > 2e-3
        assert np.percentile(wrong, 99) < 1e-4, np.percentile(wrong, 99)


def test_the_mirrored_picture_is_the_picture_mirrored():
    clip = made_up(5)
    mirrored = mirror(clip)
    point = np.array([0.05, 0.02, 0.03])
    x, y = clip.frame_camera(3).project(point)
    got = mirrored.frame_camera(3).project(point * [-1, 1, 1])
    np.testing.assert_allclose(got, [clip.view_size[0] - 1 - x, y], atol=1e-9)
    with pytest.raises(InputError, match="does not name"):
        mirror(clip.replace(expression_names=()))
    with pytest.raises(InputError, match="no 'b right'"):
        mirror(clip.replace(expression_names=("b left", "c", "d", "e", "f", "g")))


def test_the_neck_goes_into_the_whole_and_the_head_stays():
    head = procedural_head()
    clip = performed(2, "violent", seconds=2)
    whole = neck_into_global(clip, head)
    assert not whole.pose[:, NECK].any()
    follows = head.weights[:, 1:].sum(axis=1) > 1 - 1e-12
    for frame in (5, 40):
        # pose correctives of the neck are not part of what stays
        still = vertices(clip.replace(expression=clip.expression * 0), frame)
        moved = vertices(whole.replace(expression=whole.expression * 0), frame)
        np.testing.assert_allclose(moved[follows], still[follows], atol=2e-5)


def test_crops_stand_still_or_follow_the_head_as_the_targets_do():
    source, target = made_up(1), made_up(2)
    fixed = target.replace(view=np.tile([100.0, 50.0, 0.4], (40, 1)))
    np.testing.assert_array_equal(retarget(source, fixed).view, fixed.view)
    # a target whose crop keeps the head's origin at one pixel, at one size
    place, size = np.array([60.0, 40.0]), 300.0
    depth = target.camera.distance_m - target.translation_m[:, 2]
    scale = size * depth / target.camera.focal_px
    corner = target.camera.project(target.translation_m) - (place + 0.5) / scale[:, None]
    follows = target.replace(view=np.column_stack([corner, scale]))
    made = retarget(source, follows)
    for frame in (0, 13, 39):
        camera = made.frame_camera(frame)
        np.testing.assert_allclose(camera.project(made.translation_m[frame]), place, atol=1e-6)
        near = camera.project(made.translation_m[frame] + [0.1, 0, 0]) - place
        assert near[0] == pytest.approx(0.1 * size)
    bare = target.replace(view=None, view_size=None)
    assert retarget(source, bare).view is None


def test_other_head_models_are_mapped_by_name_or_refused():
    source = made_up(1, head="a")
    names = ("blink right", "smile", "brow up left", "ears")
    target = made_up(2, head="b", expression=made_up(2).expression[:, :4], expression_names=names)
    made = retarget(source, target, RetargetOptions(**AS_IT_IS, limit=False))
    order = [NAMES.index(n) for n in names[:3]]
    np.testing.assert_array_equal(made.expression[:, :3], source.expression[:, order])
    rest = ClipStatistics.of(target).expression.rest[3]
    np.testing.assert_allclose(made.expression[:, 3], rest)
    normalised = retarget(source, target)
    np.testing.assert_allclose(
        ClipStatistics.of(normalised).expression.mean[1:3],
        ClipStatistics.of(target).expression.mean[1:3],
    )
    stranger = target.replace(expression_names=("u", "v", "w", "smile"))
    with pytest.raises(InputError, match="only 1 of the target's 4"):
        retarget(source, stranger)
    unnamed = {"expression_names": ()}
    with pytest.raises(InputError, match="do not name their expressions"):
        retarget(source.replace(**unnamed), target.replace(**unnamed))
    # of one model, fewer components may have been fitted
    few = source.replace(**unnamed).replace(expression=source.expression[:, :2])
    made = retarget(few, source.replace(**unnamed), RetargetOptions(**AS_IT_IS))
    np.testing.assert_array_equal(made.expression[:, :2], few.expression)
    with pytest.raises(InputError, match="neither tells"):
        retarget(few.replace(head=""), source.replace(**unnamed, head=""))
    with pytest.raises(InputError, match="target's statistics are of"):
        retarget(source, source, target_statistics=ClipStatistics.of(target))


def test_offsets_are_rotations_of_the_world():
    clip = made_up(1)
    made = retarget(clip, clip, RetargetOptions(pose_offset_deg=(10, 0, 0)))
    np.testing.assert_allclose(
        angle_between(made.pose[:, GLOBAL], compose(np.radians([10, 0, 0]), clip.pose[:, GLOBAL])),
        0, atol=1e-7,
    )  # fmt: skip
