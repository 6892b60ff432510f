"""Virtual stores: images made when they are read are those that would have been stored."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.errors import FieldsError
from lightstage.preprocess.convert import convert
from lightstage.preprocess.import_take import import_take
from lightstage.preprocess.jobs import preprocess_take
from lightstage.preprocess.settings import PreprocessSettings
from tests.preprocess.moving_ball import MovingBall, record

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
CHOICES = {
    "full": {},
    "crop": {"crop": {"mode": "rectangle", "rectangle": (11, 6, 64, 60)}},
    "size": {"crop": {"size": (40, 32)}},
    "crop and size": {
        "crop": {"mode": "rectangle", "rectangle": (11, 6, 64, 60), "size": (90, 80)}
    },
    "fused": {"align": {"fuse_cycles": 1}},
    "filled": {"align": {"fill_missing": True}},
    "exact": {"exact_times": True, "rate_hz": 40.0},
    "unaligned": {"align": {"method": "none"}},
    "every tracking frame": {"rate_hz": None},
    "coloured": {
        "develop": {
            "demosaic": "residual",
            "white_balance": (1.5, 1.0, 1.2),
            "colour_matrix": (1.4, -0.3, -0.1, -0.2, 1.3, -0.1, 0.0, -0.3, 1.3),
        }
    },
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    ball = MovingBall(
        DOME, SEQUENCE, 140, speed_px_per_s=(180.0, -60.0), noise=0.002, drop=(40, 75, 82)
    )
    path = tmp_path_factory.mktemp("recording") / "ball.cine"
    record(ball, path)
    return path


def imported(recording, folder, **options):
    return import_take(folder, recording, name="ball", dome=DOME, sequence=SEQUENCE, **options)[0]


@pytest.mark.parametrize("choice", CHOICES)
def test_virtual_fields_equal_materialised_ones_to_the_last_bit(recording, tmp_path, choice):
    take = imported(recording, tmp_path / "s")
    settings = PreprocessSettings.parse({"rate_hz": 50.0, **CHOICES[choice]}, "test")
    stored = preprocess_take(take, settings, output=take.path / "stored.zarr")
    made = preprocess_take(take, settings, output=take.path / "made.zarr", kind="virtual")
    a, b = ReflectanceFields.open(stored.path), ReflectanceFields.open(made.path)
    assert not a.is_virtual
    assert b.is_virtual
    assert not (made.path / "olat").exists()
    assert len(a) == len(b) > 2
    assert (a.lights, a.height, a.width) == (b.lights, b.height, b.width)
    # backwards: what was read before makes no difference
    for index in reversed(range(len(a))):
        assert np.array_equal(a[index].olat, b[index].olat, equal_nan=True), index
        assert np.array_equal(a[index].full_lit, b[index].full_lit)
        assert np.array_equal(a[index].confidence, b[index].confidence)
        assert (a[index].time_s, a[index].centre_frame) == (b[index].time_s, b[index].centre_frame)
        for light in (0, 7, -1):
            one = b.read_light(index, light)
            assert np.array_equal(one, a.read_light(index, light), equal_nan=True)
            assert np.array_equal(one, a[index].olat[light], equal_nan=True)
    for name in ("flag", "residual", "residual_unaligned", "motion_px"):
        assert np.array_equal(a.read_values(name), b.read_values(name))


def test_a_virtual_store_is_much_smaller(recording, tmp_path):
    take = imported(recording, tmp_path / "s")
    sizes = {}
    for kind in ("materialised", "virtual"):
        result = preprocess_take(
            take, PreprocessSettings(rate_hz=50.0), output=take.path / f"{kind}.zarr", kind=kind
        )
        sizes[kind] = sum(p.stat().st_size for p in result.path.rglob("*") if p.is_file())
    assert sizes["virtual"] < 0.3 * sizes["materialised"]


def test_a_virtual_store_without_its_recording_says_so(recording, tmp_path):
    take = imported(recording, tmp_path / "s", storage="copy")
    preprocess_take(take, PreprocessSettings(rate_hz=50.0), kind="virtual")
    kept = tmp_path / "kept.cine"
    take.cine_path.rename(kept)
    fields = ReflectanceFields.open(take.path)
    # what is stored can be read all the same
    assert np.isfinite(fields[0].full_lit).all()
    assert len(fields.time_s) == len(fields)
    for read in (lambda: fields[0].olat, lambda: fields.read_light(0, 3)):
        with pytest.raises(FieldsError, match=r"is virtual.*take\.cine.*put the recording back"):
            read()
    # and another recording is not taken for it
    other = MovingBall(DOME, SEQUENCE, 140, noise=0.01)
    record(other, take.cine_path)
    with pytest.raises(FieldsError, match="not the recording that it was made from"):
        _ = ReflectanceFields.open(take.path)[0].olat
    take.cine_path.unlink()
    kept.rename(take.cine_path)
    assert np.isfinite(ReflectanceFields.open(take.path)[0].full_lit).all()
    assert ReflectanceFields.open(take.path)[0].olat.shape[0] == 24


def test_a_virtual_take_can_be_copied_with_its_recording(recording, tmp_path):
    take = imported(recording, tmp_path / "s", storage="copy")
    preprocess_take(take, PreprocessSettings(rate_hz=50.0), kind="virtual")
    expected = ReflectanceFields.open(take.path)[1].olat
    shutil.copytree(tmp_path / "s", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "s")
    copied = ReflectanceFields.open(tmp_path / "elsewhere")
    assert np.array_equal(copied[1].olat, expected, equal_nan=True)


def test_a_set_that_is_out_of_range_is_refused_by_both_kinds(recording, tmp_path):
    take = imported(recording, tmp_path / "s")
    for kind in ("materialised", "virtual"):
        result = preprocess_take(
            take, PreprocessSettings(rate_hz=50.0), output=take.path / f"{kind}.zarr", kind=kind
        )
        fields = ReflectanceFields.open(result.path)
        for read in (
            lambda fields=fields: fields[len(fields)],
            lambda fields=fields: fields.read_light(0, 24),
            lambda fields=fields: fields.read_olat(len(fields)),
        ):
            with pytest.raises(IndexError):
                read()


def test_conversion_there_and_back_is_what_was_made_in_the_first_place(recording, tmp_path):
    take = imported(recording, tmp_path / "s")
    settings = PreprocessSettings(rate_hz=50.0)
    stored = preprocess_take(take, settings, output=take.path / "stored.zarr")
    other = preprocess_take(take, settings, output=take.path / "other.zarr", kind="virtual")
    assert convert(other.path, "virtual") == 0
    assert convert(other.path, "materialised") == stored.sets
    a, b = ReflectanceFields.open(stored.path), ReflectanceFields.open(other.path)
    assert not b.is_virtual
    for index in range(len(a)):
        assert np.array_equal(a[index].olat, b[index].olat, equal_nan=True)
    assert convert(other.path, "virtual") == 0
    assert ReflectanceFields.open(other.path).is_virtual
    assert not (other.path / "olat").exists()
    assert np.array_equal(ReflectanceFields.open(other.path)[0].olat, a[0].olat, equal_nan=True)
