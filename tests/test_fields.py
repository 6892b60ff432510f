"""The store of reflectance fields: what is written is read, and damage is told."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lightstage import CaptureSequence, Dome, ReflectanceFields, Session
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import FieldsError, InputError
from lightstage.half_floats import rounded_half, to_float, to_half


def write(path, sets=2, lights=5, height=6, width=8, finish=True):
    rng = np.random.default_rng(3)
    olat = rng.random((sets, lights, height, width, 3)).astype(np.float16)
    writer = FieldsWriter.create(
        path, sets=sets, height=height, width=width, dome=Dome.evenly_spread(lights), rate_hz=25.0
    )
    for index in reversed(range(sets)):
        writer.write_set(
            index,
            olat=olat[index].astype(np.float32),
            full_lit=olat[index, 0].astype(np.float32),
            time_s=0.04 * index,
            centre_frame=65 + 42 * index,
        )
    if finish:
        writer.finish()
    return olat


def test_sets_are_read_as_they_were_written(tmp_path):
    olat = write(tmp_path / "aligned.zarr")
    fields = ReflectanceFields.open(tmp_path / "aligned.zarr")
    assert len(fields) == 2
    assert fields.directions.shape == (5, 3)
    assert (fields.lights, fields.height, fields.width, fields.rate_hz) == (5, 6, 8, 25.0)
    for index, field in enumerate(fields):
        assert field.olat.dtype == np.float32
        assert np.array_equal(field.olat, olat[index])
        assert np.array_equal(field.full_lit, olat[index, 0])
        assert field.time_s == pytest.approx(0.04 * index)
        assert field.centre_frame == 65 + 42 * index
    assert fields[-1].index == 1
    with pytest.raises(IndexError):
        fields[2]


FLOATS32 = st.floats(width=32, allow_infinity=True, allow_nan=True)


@given(st.lists(FLOATS32, min_size=1, max_size=40))
def test_values_are_stored_as_numpys_nearest_half_and_never_as_infinity(values):
    image = np.array(values, dtype=np.float32)
    limit = float(np.finfo(np.float16).max)
    expected = np.clip(image, -limit, limit).astype(np.float16)
    assert np.array_equal(to_half(image), expected, equal_nan=True)


def test_every_half_is_read_exactly():
    every = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(64, -1)
    assert np.array_equal(to_float(every), every.astype(np.float32), equal_nan=True)


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40),
    st.integers(4, 14),
)
def test_values_are_rounded_to_whole_steps(values, bits):
    image, step = np.array(values, dtype=np.float32), 2.0**-bits
    expected = np.rint(image.astype(np.float64) / step) * step  # numpy's, to even as OpenCV's
    assert np.array_equal(rounded_half(image, step), expected.astype(np.float16))


def test_rounding_leaves_missing_lights_missing():
    image = np.array([np.nan, 0.1], dtype=np.float32)
    assert np.isnan(rounded_half(image, 2.0**-10)).tolist() == [True, False]


def test_a_whole_picture_is_converted_alike():
    image = np.random.default_rng(0).normal(0, 1, (7, 33, 3)).astype(np.float32)
    image *= np.float32(10.0) ** np.random.default_rng(1).integers(-9, 5, image.shape)
    assert np.array_equal(to_half(image), image.astype(np.float16))


def test_one_light_is_read_without_the_others(tmp_path):
    olat = write(tmp_path / "a.zarr")
    fields = ReflectanceFields.open(tmp_path / "a.zarr")
    for light in (0, 3, -1):
        assert np.array_equal(fields.read_light(-1, light), olat[-1, light])
    with pytest.raises(IndexError):
        fields.read_light(0, 5)


def test_a_light_without_a_frame_is_nan_and_no_damage(tmp_path):
    writer = FieldsWriter.create(
        tmp_path / "a.zarr", sets=1, height=6, width=8, dome=Dome.evenly_spread(5), rate_hz=25.0
    )
    olat = np.ones((5, 6, 8, 3), np.float32)
    olat[:4] = np.nan
    writer.write_set(0, olat=olat, full_lit=olat[4], time_s=0.0, centre_frame=0)
    writer.finish()
    fields = ReflectanceFields.open(tmp_path / "a.zarr")
    assert np.array_equal(fields[0].olat, olat, equal_nan=True)
    assert np.isnan(fields.read_light(0, 2)).all()


def test_values_that_a_store_does_not_have_are_named(tmp_path):
    write(tmp_path / "a.zarr")
    fields = ReflectanceFields.open(tmp_path / "a.zarr")
    assert fields.read_values("confidence").shape == (2, 5)
    with pytest.raises(FieldsError, match="has no 'flag'"):
        fields.read_values("flag")
    with pytest.raises(FieldsError, match="has no 'matte'"):
        fields.read("matte", 0)


def test_what_was_left_half_written_goes_when_a_store_is_finished(tmp_path):
    writer = FieldsWriter.create(
        tmp_path / "a.zarr", sets=1, height=6, width=8, dome=Dome.evenly_spread(1), rate_hz=25.0
    )
    (tmp_path / "a.zarr" / "zarr.1234.partial").write_text("{")
    image = np.ones((6, 8, 3), np.float32)
    writer.write_set(0, olat=image[None], full_lit=image, time_s=0.0, centre_frame=0)
    writer.finish()
    assert not list((tmp_path / "a.zarr").rglob("*.partial"))
    assert len(ReflectanceFields.open(tmp_path / "a.zarr")) == 1


def test_a_store_is_found_from_its_take_and_session(tmp_path):
    session = Session.create(
        tmp_path / "s", dome=Dome.evenly_spread(5), sequence=CaptureSequence(lights=5)
    )
    take = session.add_take("a", origin="simulated")
    with pytest.raises(InputError, match="lightstage preprocess"):
        ReflectanceFields.open(take.path)
    write(take.aligned_path)
    for path in (session.path, take.path, take.aligned_path):
        assert len(ReflectanceFields.open(path)) == 2


def test_an_unfinished_store_is_not_taken_for_a_whole_one(tmp_path):
    write(tmp_path / "a.zarr", finish=False)
    with pytest.raises(FieldsError, match="unfinished"):
        ReflectanceFields.open(tmp_path / "a.zarr")


def test_damage_is_told_not_read_as_darkness(tmp_path):
    path = tmp_path / "a.zarr"
    write(path)
    (path / "olat" / "c" / "1" / "0" / "0" / "0" / "0").unlink()
    fields = ReflectanceFields.open(path)
    assert fields[0].olat.shape == (5, 6, 8, 3)
    with pytest.raises(FieldsError, match="set 1 of 'olat' is missing"):
        _ = fields[1].olat
    shard = path / "olat" / "c" / "0" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(FieldsError, match="set 0 of 'olat' is damaged"):
        _ = ReflectanceFields.open(path)[0].olat


def test_a_damaged_manifest_is_told(tmp_path):
    path = tmp_path / "a.zarr"
    write(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(FieldsError, match="cannot be opened"):
        ReflectanceFields.open(path)


@pytest.mark.parametrize("name", ["olat", "full_lit", "time_s", "centre_frame", "confidence"])
def test_a_missing_array_is_named(tmp_path, name):
    path = tmp_path / "a.zarr"
    write(path)
    group = zarr.open_group(str(path), mode="r+")
    del group[name]
    with pytest.raises(FieldsError, match=f"'{name}' is missing"):
        ReflectanceFields.open(path)


def test_other_zarr_groups_and_newer_stores_are_refused(tmp_path):
    zarr.open_group(str(tmp_path / "b.zarr"), mode="w")
    with pytest.raises(FieldsError, match="not a store of reflectance fields"):
        ReflectanceFields.open(tmp_path / "b.zarr")
    write(tmp_path / "a.zarr")
    zarr.open_group(str(tmp_path / "a.zarr"), mode="r+").attrs["lightstage_schema"] = 99
    with pytest.raises(FieldsError, match="newer lightstage"):
        ReflectanceFields.open(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="neither a session"):
        ReflectanceFields.open(tmp_path)
    with pytest.raises(InputError, match="no such"):
        ReflectanceFields.open(tmp_path / "nothing")


def test_a_store_never_replaces_something_else(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("mine")
    with pytest.raises(InputError, match="stands in the way"):
        write(folder)
    assert (folder / "chapter.txt").read_text() == "mine"
