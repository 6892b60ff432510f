"""Samples, their order, changes that keep the physics of light, and what resumes."""

from __future__ import annotations

import itertools
import shutil
import threading
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import FieldsError, InputError
from lightstage.relighting import relight
from lightstage.relighting.matte_job import matte_of_set
from relight_model.augmentation import (
    Augmentation,
    AugmentationSettings,
    change_maps,
    change_pictures,
    draw,
    mirror_lights,
)
from relight_model.batches import Place, TrainingBatches
from relight_model.conditioning import ConditioningRenderer, StackLayout, stack
from relight_model.dataset import PerformanceDataset, surface_targets
from relight_model.head.clip import HeadClip
from relight_model.rendered_maps import rendered_maps
from relight_model.training_take import TrainingTake

LAYOUT = StackLayout(("diffuse", "pncc", "landmarks", "normal"), 4)
SIZE = 48


@pytest.fixture(scope="module")
def take(simulated_session) -> TrainingTake:
    return TrainingTake.open(simulated_session.take("talk").path)


@pytest.fixture(scope="module")
def dataset(take) -> PerformanceDataset:
    return PerformanceDataset([take], LAYOUT, SIZE)


# Samples


def test_a_sample_is_the_set_and_its_maps(take, dataset):
    sample, field = dataset[12], take.fields[12]
    np.testing.assert_array_equal(sample["olat"], field.olat.transpose(0, 3, 1, 2))
    for name in ("albedo", "normal"):
        stored = take.fields.read(name, 12).transpose(2, 0, 1)
        np.testing.assert_allclose(sample[name], stored, atol=1e-3)
    np.testing.assert_array_equal(sample["matte"][0], take.fields.read("matte", 12))
    # the same maps as the stack of driving
    drawn = ConditioningRenderer(None, take.clip.shape).render_channels(
        take.clip, maps=LAYOUT.maps, size=SIZE
    )
    np.testing.assert_array_equal(sample["conditioning"], stack(drawn, 12, 4))
    assert sample["conditioning"].shape == (LAYOUT.channels, SIZE, SIZE)
    assert sample["time_s"] == pytest.approx(12 / 25)
    # the first set has no past: its own frame stands for it
    first = dataset[0]["conditioning"].reshape(4, -1, SIZE, SIZE)
    assert (first == first[3]).all()


def test_the_full_lit_picture_is_made_of_the_olat_set(take, dataset):
    field = take.fields[3]
    lit = relight(field.olat, dataset.full_lit_weights)
    np.testing.assert_allclose(dataset[3]["full_lit"], lit.transpose(2, 0, 1), rtol=2e-3, atol=1e-4)
    # as bright as the take's own tracking frame
    np.testing.assert_allclose(lit, field.full_lit, rtol=5e-3, atol=1e-3)


def test_some_lights_are_those_of_the_whole(dataset):
    whole, some = dataset[5], dataset.sample(5, [20, 3, 7])
    np.testing.assert_array_equal(some["olat"], whole["olat"][[20, 3, 7]])
    np.testing.assert_array_equal(some["full_lit"], whole["full_lit"])
    assert some["lights"].tolist() == [20, 3, 7]


@pytest.mark.parametrize("size", [48, 24, 64])
def test_what_is_kept_changes_nothing(take, size):
    plain = PerformanceDataset([take], LAYOUT, size)
    assert (plain.memory.images, plain.memory.targets) == (0, 0)
    half = PerformanceDataset([take], LAYOUT, size, memory_bytes=plain.memory.wanted - 1)
    assert half.memory.targets and not half.memory.images
    whole = PerformanceDataset([take], LAYOUT, size, memory_bytes=plain.memory.wanted)
    assert whole.memory.images == 30 * 24 * 3 * size * size * 2
    lights = [1, 17]
    for _ in range(2):  # the second time from memory
        samples = [d.sample(7, lights) for d in (plain, half, whole)]
        for name in ("olat", "albedo", "normal", "matte", "full_lit", "conditioning"):
            for other in samples[1:]:
                np.testing.assert_array_equal(samples[0][name], other[name])
    assert samples[0]["olat"].shape == (2, 3, size, size)


def test_without_the_full_lit_picture_the_rest_is_the_same(take, dataset):
    lean = PerformanceDataset([take], LAYOUT, SIZE, full_lit=False)
    kept = PerformanceDataset([take], LAYOUT, SIZE, full_lit=False, memory_bytes=1 << 30)
    for _ in range(2):
        expected = dataset.sample(6, [2, 9])
        del expected["full_lit"]
        for other in (lean.sample(6, [2, 9]), kept.sample(6, [2, 9])):
            assert other.keys() == expected.keys()
            for name in ("olat", "albedo", "normal", "matte"):
                np.testing.assert_array_equal(other[name], expected[name])
    (batch,) = _take(TrainingBatches(lean, 2, lights_per_step=2), 1)
    assert "full_lit" not in batch


def test_a_smaller_picture_keeps_the_light(take):
    small = PerformanceDataset([take], LAYOUT, 24)[4]
    mean = take.fields[4].olat.mean(axis=(1, 2))
    assert small["olat"].mean(axis=(2, 3)) == pytest.approx(mean, rel=2e-3, abs=1e-5)
    length = np.linalg.norm(small["normal"], axis=0)
    assert ((np.abs(length - 1) < 2e-3) | (length == 0)).all()


def test_the_held_out_end_is_apart_from_what_is_learnt(take):
    parts = {part: PerformanceDataset([take], LAYOUT, 24, part=part) for part in
             ("train", "held_out")}  # fmt: skip
    learnt, judged = ([m.set for m in parts[p].moments] for p in ("train", "held_out"))
    times = take.fields.time_s
    assert times[judged].min() - times[learnt].max() > 0.112
    assert len(learnt) + len(judged) < 30 and judged[-1] == 29


def test_takes_of_one_performer_go_together(simulated_session):
    paths = [simulated_session.take(name).path for name in ("talk", "held_out")]
    both = PerformanceDataset.open(paths, LAYOUT, 24)
    assert len(both) == 45
    assert [both[i]["index"] for i in (0, 44)] == [0, 44]
    alone = PerformanceDataset.open(paths[1:], LAYOUT, 24)
    for name in ("olat", "conditioning"):
        np.testing.assert_array_equal(both[44][name], alone[14][name])
    # a stack never reaches into another take
    first = both[30]["conditioning"].reshape(4, -1, 24, 24)
    assert (first == first[3]).all()


def test_targets_that_the_store_lacks_are_made(take, tmp_path):
    shutil.copytree(take.fields.path, tmp_path / "aligned.zarr")
    for name in ("normal", "albedo", "matte"):
        shutil.rmtree(tmp_path / "aligned.zarr" / name)
    bare = ReflectanceFields.open(tmp_path / "aligned.zarr")
    made, true = surface_targets(bare, 4), surface_targets(take.fields, 4)
    np.testing.assert_array_equal(made["matte"], matte_of_set(bare, 4).alpha)
    inside = true["matte"] > 0.99
    cosine = (made["normal"] * true["normal"]).sum(axis=2)[inside]
    known = np.linalg.norm(made["normal"], axis=2)[inside] > 0.5
    # lights 1.3 m away are taken as far away, and gloss and folds at 48 pixels: some degrees
    assert known.mean() > 0.7
    assert np.rad2deg(np.arccos(np.clip(cosine[known], -1, 1))).mean() < 15


# Clip and store


def test_a_clip_of_every_tracking_frame_gives_the_same_stacks(take):
    times = np.arange(0, 1.2, 0.008)
    fine = HeadClip(
        shape=take.clip.shape, camera=take.clip.camera, time_s=times,
        **{name: np.stack([np.interp(times, take.clip.time_s, column)
                           for column in getattr(take.clip, name).T], axis=1)
           for name in ("expression", "pose", "translation_m")},
    )  # fmt: skip
    matched = TrainingTake.matched(take.fields, fine)
    fives = matched.stack_frames(20, StackLayout(("pncc",), 4, step=5))
    assert (fives // 5).tolist() == take.stack_frames(20, StackLayout(("pncc",), 4)).tolist()
    assert times[fives] == pytest.approx(take.fields.time_s[17:21])


def test_clips_that_count_from_their_first_frame_are_understood(take):
    assert take.frames.tolist() == list(range(30))
    fields = take.fields
    late = take.clip.replace(time_s=take.clip.time_s)
    fields.__dict__["time_s"], before = fields.time_s + 0.056, fields.time_s
    try:
        assert TrainingTake.matched(fields, late).frames.tolist() == list(range(30))
    finally:
        fields.__dict__["time_s"] = before


def test_a_gap_in_the_clip_ends_a_stack(take):
    kept = [k for k in range(30) if not 10 <= k < 14]
    clip = take.clip.frames(kept)
    matched = TrainingTake(
        take.fields, clip, np.searchsorted(kept, np.minimum(np.arange(30), 29)), "x"
    )
    # set 15 has 14 before it, then nothing until 9
    assert [kept[k] for k in matched.stack_frames(15, LAYOUT)] == [14, 14, 14, 15]


def test_parameters_of_another_take_are_refused(take, simulated_session, tmp_path):
    late = take.clip.time_s + 0.02 * (np.arange(30) == 29)
    with pytest.raises(InputError, match=r"set 29, at 1\.160 s, is 20\.0 ms from the nearest"):
        TrainingTake.matched(take.fields, take.clip.replace(time_s=late))
    with pytest.raises(InputError, match="relight_model fit"):
        TrainingTake.matched(take.fields, take.clip.frames(slice(0, 9)))
    with pytest.raises(InputError, match="same crop"):
        wide = take.clip.camera.viewed(-0.5, -0.5, 1.0, 64, 48)
        TrainingTake.matched(take.fields, take.clip.replace(camera=wide))
    shutil.copytree(take.fields.path, tmp_path / "aligned.zarr")
    with pytest.raises(InputError, match="has no head parameters"):
        TrainingTake.open(tmp_path / "aligned.zarr")
    other = TrainingTake.open(simulated_session.take("held_out").path)
    strange = TrainingTake(other.fields, other.clip.replace(head="0" * 16), other.frames, "x")
    with pytest.raises(InputError, match="different heads"):
        PerformanceDataset([take, strange], LAYOUT, 24)


def test_sets_without_all_lights_are_left_out(take, tmp_path):
    path = tmp_path / "aligned.zarr"
    olat = np.full((3, 4, 32, 32, 3), 0.1, np.float32)
    olat[1, 2] = np.nan
    for missing, expected in (([[1, 2]], 2), ([], 3)):
        writer = FieldsWriter.create(
            path, sets=3, height=32, width=32, dome=Dome.evenly_spread(4), rate_hz=25.0,
            attributes={"missing": missing}, extra={"matte": 1, "normal": 3, "albedo": 3},
        )  # fmt: skip
        for k in range(3):
            picture = np.ones((32, 32, 3))
            writer.write_set(k, olat=olat[k], full_lit=picture, time_s=k / 25, centre_frame=k,
                             matte=picture[..., 0], normal=picture, albedo=picture)  # fmt: skip
        writer.finish()
        data = PerformanceDataset(
            [TrainingTake.matched(ReflectanceFields.open(path), take.clip)], LAYOUT, 32
        )
        assert (len(data), data.left_out) == (expected, 3 - expected)
    # one that nobody wrote down is refused when it is read
    with pytest.raises(FieldsError, match="set 1 has pixels that are no numbers"):
        data[1]


# Maps that are drawn once


def test_maps_in_a_file_are_those_in_memory(take, tmp_path):
    renderer = ConditioningRenderer(None, take.clip.shape)
    clip = take.clip.frames(slice(0, 5))
    memory = rendered_maps(renderer, clip, LAYOUT.maps, (24, 24))
    filed = rendered_maps(renderer, clip, LAYOUT.maps, (24, 24), folder=tmp_path)
    np.testing.assert_array_equal(memory, filed)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = rendered_maps(renderer, clip, LAYOUT.maps, (24, 24), folder=tmp_path)
    np.testing.assert_array_equal(memory, again)
    assert file.stat().st_mtime_ns == written
    # whatever changes them makes another file
    rendered_maps(renderer, clip.replace(pose=clip.pose + 0.01), LAYOUT.maps, (24, 24),
                  folder=tmp_path)  # fmt: skip
    rendered_maps(ConditioningRenderer(None, [0.5]), clip, LAYOUT.maps, (24, 24), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    file.write_bytes(file.read_bytes()[:1000])
    mended = rendered_maps(renderer, clip, LAYOUT.maps, (24, 24), folder=tmp_path)
    np.testing.assert_array_equal(memory, mended)


# Changes


def test_light_stays_additive_whatever_is_changed(dataset):
    weights = np.random.default_rng(0).uniform(0, 1, (24, 3)).astype(np.float32)
    change = Augmentation((1.5, 1.2, 0.9), (3.0, -2.0), 1.1)
    plain, changed = dataset[8], dataset.sample(8, None, change)
    # relighting the changed set is changing the relit one
    relit = np.einsum("lchw,lc->hwc", plain["olat"], weights)
    expected = change_pictures(relit, change)
    np.testing.assert_allclose(
        np.einsum("lchw,lc->hwc", changed["olat"], weights), expected, rtol=1e-4, atol=1e-5
    )
    full = np.einsum("lchw,lc->chw", changed["olat"], dataset.full_lit_weights)
    np.testing.assert_allclose(changed["full_lit"], full, rtol=2e-3, atol=1e-4)
    # brighter light on a surface is a brighter surface
    ratio = change_pictures(plain["albedo"].transpose(1, 2, 0), change)
    np.testing.assert_allclose(changed["albedo"].transpose(1, 2, 0), ratio, rtol=1e-5)


def test_maps_move_with_the_pictures(dataset, take):
    moved = dataset.sample(9, [0], Augmentation(shift_px=(5.0, -3.0)))
    plain = dataset.sample(9, [0])
    for name in ("olat", "albedo", "normal", "conditioning"):
        np.testing.assert_allclose(moved[name][..., 0:-3, 5:], plain[name][..., 3:, :-5], atol=2e-3)
    # what came from outside is outside the matte, though edges are repeated there
    assert (moved["matte"][0, -3:] == 0).all() and (moved["matte"][0, :, :5] == 0).all()
    np.testing.assert_array_equal(moved["matte"][0, 0:-3, 5:], plain["matte"][0, 3:, :-5])
    # a camera that is moved alike draws the maps that the change makes
    camera = take.clip.camera.viewed(-5.5, 2.5, 1.0, SIZE, SIZE)
    clip = take.clip.replace(camera=camera)
    drawn = ConditioningRenderer(None, take.clip.shape).render_channels(
        clip, [9], maps=LAYOUT.maps
    )[0]
    np.testing.assert_allclose(
        moved["conditioning"][-len(drawn) :, 1:-4, 6:], drawn[:, 1:-4, 6:], atol=2e-3
    )


def _symmetric_dome() -> Dome:
    half = Dome.evenly_spread(12).directions
    half[:, 0] = np.abs(half[:, 0]) + 0.1
    both = np.concatenate([half, half * [-1, 1, 1], [[0, 0.2, 1]]])
    return Dome.from_directions(both)


def test_mirror_lights_are_found_where_there_are_any():
    assert mirror_lights(Dome.evenly_spread(96).directions) is None
    dome = _symmetric_dome()
    found = mirror_lights(dome.directions)
    mirrored = dome.directions * [-1, 1, 1]
    np.testing.assert_allclose(dome.directions[found], mirrored, atol=1e-9)
    # one light that stands elsewhere spoils it
    turned = dome.directions.copy()
    turned[3] = [0, 0, -1]
    assert mirror_lights(turned) is None


def test_a_mirrored_sample_is_a_mirrored_performer(tmp_path, take):
    """A ball with a mark on one side: mirrored, it is the ball with the mark on the other."""
    dome, size = _symmetric_dome(), 32
    y, x = np.mgrid[:size, :size].astype(np.float64)
    u, v = (x - 15.5) / 12, (y - 15.5) / 12
    matte = 1.0 * (u * u + v * v < 1)
    normal = np.stack([u, -v, np.sqrt(np.clip(1 - u * u - v * v, 0, 1))], -1) * matte[..., None]

    def ball(side):
        albedo = (0.3 + 0.4 * np.exp(-20 * ((u - 0.4 * side) ** 2 + v**2)))[..., None] * [1, 0.8, 1]
        light = np.clip(np.einsum("hwc,lc->lhw", normal, dome.directions), 0, None)
        return light[..., None] * albedo, albedo

    data = {}
    for name, side in (("left", -1), ("right", 1)):
        writer = FieldsWriter.create(
            tmp_path / name, sets=1, height=size, width=size, dome=dome, rate_hz=None,
            extra={"matte": 1, "normal": 3, "albedo": 3},
        )  # fmt: skip
        olat, albedo = ball(side)
        writer.write_set(0, olat=olat, full_lit=albedo, time_s=0.0, centre_frame=0, matte=matte,
                         normal=normal, albedo=albedo)  # fmt: skip
        writer.finish()
        fields = ReflectanceFields.open(tmp_path / name)
        data[name] = PerformanceDataset(
            [TrainingTake.matched(fields, take.clip.frames([0]))], LAYOUT, size
        )
    mirrored = data["left"].sample(0, [4, 15], Augmentation(mirrored=True))
    right = data["right"].sample(0, [4, 15])
    for name in ("olat", "albedo", "normal", "matte", "full_lit"):
        np.testing.assert_allclose(mirrored[name], right[name], atol=2e-3)


def test_mirrored_maps_are_those_of_a_mirrored_head():
    """A neutral face turned to one side, mirrored, is the face turned to the other."""
    layout = StackLayout(("diffuse", "pncc", "normal"), 1)
    renderer = ConditioningRenderer(None)
    from lightstage.simulation import SimulatedCamera

    camera = SimulatedCamera(64, 64).pinhole

    def turned(yaw):
        pose = np.zeros(15)
        pose[1] = yaw
        return renderer.render([], pose, [0, 0, 0], camera).channels(layout.maps)

    low, high = (getattr(renderer.head.v_template[:, 0], name)() for name in ("min", "max"))
    mirrored = change_maps(
        turned(0.3), Augmentation(mirrored=True), layout, float(-2 * low / (high - low))
    )
    away = np.abs(mirrored - turned(-0.3))
    # no head is quite even on both sides: single pixels of outlines and of paint differ
    assert away[3:].mean() < 0.02 and away.mean() < 0.03
    assert np.abs(turned(0.3) - turned(-0.3))[3:].mean() > 3 * away[3:].mean()


def test_a_mirror_without_mirror_lights_is_refused(dataset):
    with pytest.raises(InputError, match="no mirror lights"):
        dataset.sample(0, None, Augmentation(mirrored=True))


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_changes_stay_within_their_bounds(seed):
    bounds = AugmentationSettings(
        exposure_stops=0.5, balance_stops=0.2, shift_px=6, zoom=0.1, mirror=True
    )
    change = draw(bounds, np.random.default_rng(seed), mirror=False)
    gain = np.log2(change.gain)
    assert abs(gain[1]) <= 0.5 + 1e-9 and np.abs(gain - gain[1]).max() <= 0.2 + 1e-9
    assert max(map(abs, change.shift_px)) <= 6 and 1 / 1.1 - 1e-9 <= change.zoom <= 1.1 + 1e-9
    assert not change.mirrored
    assert draw(AugmentationSettings(), np.random.default_rng(seed), True) == Augmentation()


# Batches


def _take(batches: TrainingBatches, count: int) -> list[dict[str, torch.Tensor]]:
    with closing(iter(batches)) as stream:
        return list(itertools.islice(stream, count))


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


CHANGES = AugmentationSettings(exposure_stops=0.5, balance_stops=0.1, shift_px=3, zoom=0.05)


def test_batches_are_tensors_of_the_promised_shapes(dataset):
    (batch,) = _take(TrainingBatches(dataset, 3, lights_per_step=5, augmentation=CHANGES), 1)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "conditioning": (3, LAYOUT.channels, SIZE, SIZE), "olat": (3, 5, 3, SIZE, SIZE),
        "lights": (5,), "albedo": (3, 3, SIZE, SIZE), "normal": (3, 3, SIZE, SIZE),
        "matte": (3, 1, SIZE, SIZE), "full_lit": (3, 3, SIZE, SIZE), "directions": (24, 3),
        "index": (3,), "time_s": (3,),
    }  # fmt: skip
    assert all(v.dtype == torch.float32 for k, v in batch.items()
               if k not in ("lights", "index", "time_s"))  # fmt: skip


@pytest.mark.parametrize(("prefetch", "workers"), [(0, 1), (1, 1), (3, 2)])
def test_batches_do_not_depend_on_how_they_are_made(dataset, prefetch, workers):
    plain = _take(TrainingBatches(dataset, 4, 7, lights_per_step=3, augmentation=CHANGES,
                                  prefetch=0), 9)  # fmt: skip
    other = _take(TrainingBatches(dataset, 4, 7, lights_per_step=3, augmentation=CHANGES,
                                  prefetch=prefetch, workers=workers), 9)  # fmt: skip
    assert all(_equal(a, b) for a, b in zip(plain, other, strict=True))


@pytest.mark.parametrize("after", [0, 1, 6, 7, 10])
def test_a_resumed_stream_goes_on_as_if_unbroken(dataset, after):
    def stream():
        return TrainingBatches(dataset, 4, 3, lights_per_step=2, augmentation=CHANGES)

    unbroken = _take(stream(), after + 3)
    first = stream()
    _take(first, after)
    second = stream()
    second.load_state_dict(first.state_dict())
    resumed = _take(second, 3)
    assert all(_equal(a, b) for a, b in zip(unbroken[after:], resumed, strict=True))


def test_every_epoch_has_each_sample_once_in_another_order(dataset):
    batches = TrainingBatches(dataset, 5, 1)
    epochs = [
        np.concatenate([batches.indices_at(Place(epoch, b)) for b in range(6)])
        for epoch in range(3)
    ]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(30))
    assert not np.array_equal(epochs[0], epochs[1])
    still = TrainingBatches(dataset, 5, 1, shuffle=False)
    assert still.indices_at(Place(4, 1)).tolist() == [5, 6, 7, 8, 9]


def test_processes_share_each_batch(dataset):
    alone = TrainingBatches(dataset, 6, 2, lights_per_step=4, augmentation=CHANGES)
    pair = [TrainingBatches(dataset, 3, 2, lights_per_step=4, augmentation=CHANGES, rank=rank,
                            world=2) for rank in (0, 1)]  # fmt: skip
    assert pair[0].batches_per_epoch == alone.batches_per_epoch == 5
    place = Place(1, 3)
    whole, halves = alone.make(place), [half.make(place) for half in pair]
    for name in ("olat", "conditioning", "index"):
        assert torch.equal(whole[name], torch.cat([half[name] for half in halves]))
    assert torch.equal(whole["lights"], halves[1]["lights"])


def test_lights_are_drawn_evenly(dataset):
    batches = TrainingBatches(dataset, 1, 0, lights_per_step=6)
    counts = np.zeros(24)
    for k in range(800):
        counts[batches.lights_at(Place(k, 0))] += 1
    # each 200 times, with a standard deviation of 12
    assert np.abs(counts - 200).max() < 60


def test_so_few_samples_that_one_batch_repeats_them(dataset):
    batches = TrainingBatches(dataset, 40, 0, lights_per_step=1)
    assert batches.batches_per_epoch == 1
    assert len(set(batches.indices_at(Place(0, 0)).tolist())) == 30


def test_memory_is_bounded_by_what_is_made_ahead(dataset, monkeypatch):
    made, gate = [], threading.Event()
    batches = TrainingBatches(dataset, 1, prefetch=3, lights_per_step=1)
    real = batches.make

    def counted(place):
        made.append(place)
        gate.set()
        return real(place)

    monkeypatch.setattr(batches, "make", counted)
    with closing(iter(batches)) as stream:
        next(stream)
        next(stream)
        gate.wait(10)
        threading.Event().wait(0.3)
        assert len(made) <= 2 + 3
    assert batches.place == Place(0, 2)


def test_an_error_in_a_thread_reaches_the_trainer(dataset, monkeypatch):
    batches = TrainingBatches(dataset, 1, prefetch=2)
    monkeypatch.setattr(dataset, "sample", lambda *a: (_ for _ in ()).throw(FieldsError("gone")))
    with pytest.raises(FieldsError, match="gone"), closing(iter(batches)) as stream:
        next(stream)


def test_numbers_that_make_no_sense_are_refused(dataset):
    for options in ({"batch_size": 0}, {"batch_size": 1, "rank": 1}, {"batch_size": 1,
                    "lights_per_step": 25}, {"batch_size": 1, "prefetch": -1}):  # fmt: skip
        with pytest.raises(InputError):
            TrainingBatches(dataset, **options)
    batches = TrainingBatches(dataset, 1, 5)
    with pytest.raises(InputError, match="of seed 4, not 5"):
        batches.load_state_dict({"seed": 4, "epoch": 0, "batch": 0})
    with pytest.raises(InputError, match="no state"):
        batches.load_state_dict({"epoch": 0})
    with pytest.raises(InputError, match="no take"):
        PerformanceDataset([], LAYOUT, 24)
