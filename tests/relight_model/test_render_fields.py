"""Rendered sets are a take like any other: the lightstage commands read it, and runs resume."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lightstage import Dome, ReflectanceFields, Session
from lightstage.cli import main as lightstage
from lightstage.errors import InputError
from lightstage.images import read_image
from lightstage.relighting import load_environment, relight, studio_weights
from lightstage.relighting.weights import light_weights
from relight_model.render_fields import FieldsPlan, RenderedSet, render_fields, rendered_take

DOME = Dome.evenly_spread(24)
SIZE = 32
SETS = 3


def _half(values):
    return np.asarray(values, np.float16).astype(np.float32)


def _ball(k: int) -> RenderedSet:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    u, v = (x - 15.5 - k) / 11, (y - 15.5) / 11
    matte = (u * u + v * v < 1) * 1.0
    z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    normal = np.stack([u, -v, z], -1) * matte[..., None]
    albedo = np.stack([0.5 + 0.2 * u, 0.4 + 0.1 * v, 0.3 + 0 * u], -1) * matte[..., None]
    light = np.clip(np.einsum("hwc,lc->lhw", normal, DOME.directions), 0, None)
    olat = _half(light[..., None] * albedo + 0.001)
    return RenderedSet(olat, None, _half(normal), _half(albedo), _half(matte))


def _plan(**changes) -> FieldsPlan:
    given = {
        "dome": DOME, "width": SIZE, "height": SIZE, "time_s": np.arange(SETS) / 25,
        "made_from": {"checkpoint": "abc"},
    }  # fmt: skip
    return FieldsPlan(**(given | changes))


def _render(todo):
    return (_ball(k) for k in todo)


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    take = rendered_take(tmp_path_factory.mktemp("rendered") / "out/takes/talk", DOME)
    render_fields(take.aligned_path, _plan(), _render)
    return take


def test_what_is_read_is_what_was_rendered(take):
    fields = ReflectanceFields.open(take.path)
    assert (len(fields), fields.lights, fields.rate_hz) == (SETS, 24, pytest.approx(25.0))
    for k, field in enumerate(fields):
        ball = _ball(k)
        np.testing.assert_array_equal(field.olat, ball.olat)
        for name in ("normal", "albedo", "matte"):
            np.testing.assert_array_equal(fields.read(name, k), getattr(ball, name))
        assert field.time_s == pytest.approx(k / 25)
        # the full-lit picture is the sum of the images, as a tracking frame is
        whole = ball.olat.sum(axis=0)
        ratio = field.full_lit[whole > 0.1] / whole[whole > 0.1]
        assert ratio.std() / ratio.mean() < 1e-3
    assert fields[0].confidence.min() == 1.0
    assert Session.open(take.path.parent.parent).take("talk").manifest.origin == "rendered"


def _run(*arguments):
    done = CliRunner().invoke(lightstage, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_relight_gives_what_relighting_the_prediction_gives(take, tmp_path):
    out = tmp_path / "relit.exr"
    told = json.loads(_run("relight", take.path, "--environment", "sunset", "--set", "1",
                           "-o", out, "--json"))  # fmt: skip
    weights = light_weights(load_environment("sunset"), DOME.directions)
    expected = relight(_ball(1).olat, weights) * told["exposure_factor"]
    np.testing.assert_allclose(read_image(out), expected, rtol=2e-3, atol=1e-4)
    out = tmp_path / "rim.exr"
    told = json.loads(_run("relight", take.path, "--studio", "rim", "--set", "2",
                           "-o", out, "--json"))  # fmt: skip
    expected = relight(_ball(2).olat, studio_weights("rim", DOME.directions))
    np.testing.assert_allclose(
        read_image(out), expected * told["exposure_factor"], rtol=2e-3, atol=1e-4
    )


def test_the_other_commands_take_it_as_captured(take, tmp_path):
    session = take.path.parent.parent
    assert json.loads(_run("info", session, "--json"))
    _run("composite", take.path, "--environment", "studio", "-o", tmp_path / "c.mp4", "-q")
    assert (tmp_path / "c.mp4").stat().st_size > 500
    _run("relight", take.path, "--environment", "studio", "-o", tmp_path / "film.mp4", "-q")
    _run("export", take.path, "-o", tmp_path / "export", "-q")
    assert any((tmp_path / "export").rglob("*.exr"))
    _run("report", session, "-o", tmp_path / "report.html", "-q")


def test_normals_of_a_rendered_take_are_those_it_was_rendered_with(tmp_path):
    take = rendered_take(tmp_path / "out/takes/talk", DOME)
    render_fields(take.aligned_path, _plan(maps=("matte",)), _render)
    _run("normals", take.path, "--workers", "1", "-q")
    fields = ReflectanceFields.open(take.path)
    ball = _ball(0)
    inside = (ball.matte > 0) & (ball.normal[..., 2] > 0.5)
    cosine = (fields.read("normal", 0) * ball.normal).sum(axis=-1)[inside]
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean() < 1.0
    assert np.abs(fields.read("albedo", 0) - ball.albedo)[inside].mean() < 0.01


def test_an_interrupted_run_goes_on(tmp_path):
    path = tmp_path / "aligned.zarr"
    asked = []

    def failing(todo):
        asked.append(list(todo))
        for k in todo:
            if k == 2 and len(asked) == 1:
                raise KeyboardInterrupt
            yield _ball(k)

    with pytest.raises(KeyboardInterrupt):
        render_fields(path, _plan(), failing)
    with pytest.raises(Exception, match="unfinished"):
        ReflectanceFields.open(path)
    render_fields(path, _plan(), failing)
    assert asked == [[0, 1, 2], [2]]
    assert len(ReflectanceFields.open(path)) == SETS
    render_fields(path, _plan(), failing)
    assert len(asked) == 2  # all was there
    # from another checkpoint all is made anew
    render_fields(path, _plan(made_from={"checkpoint": "def"}), failing)
    assert asked[-1] == [0, 1, 2]


def test_a_set_that_stops_half_way_leaves_no_trace(tmp_path):
    def broken(todo):
        whole = _ball(0)
        yield RenderedSet(whole.olat[:5], None, whole.normal, whole.albedo, whole.matte)

    with pytest.raises(InputError, match="has 5 images, 24 are due"):
        render_fields(tmp_path / "a.zarr", _plan(), broken)
    assert not list((tmp_path / "a.zarr/olat").rglob("0/0/0/0/0"))
    render_fields(tmp_path / "a.zarr", _plan(), _render)
    assert len(ReflectanceFields.open(tmp_path / "a.zarr")) == SETS


def test_images_may_come_one_by_one(tmp_path, take):
    def streamed(todo):
        for k in todo:
            ball = _ball(k)
            yield RenderedSet(iter(ball.olat), None, ball.normal, ball.albedo, ball.matte)

    render_fields(tmp_path / "a.zarr", _plan(), streamed)
    pair = [ReflectanceFields.open(p) for p in (tmp_path / "a.zarr", take.path)]
    for k in range(SETS):
        np.testing.assert_array_equal(pair[0][k].olat, pair[1][k].olat)
        np.testing.assert_array_equal(pair[0][k].full_lit, pair[1][k].full_lit)


def test_captured_fields_are_never_replaced(tmp_path, take):
    from tests.exchange.small_fields import make_small_fields

    make_small_fields(tmp_path / "aligned.zarr")
    with pytest.raises(InputError, match="not rendered"):
        render_fields(tmp_path / "aligned.zarr", _plan(), _render)
    session = take.path.parent.parent
    Session.open(session).add_take("real", origin="captured")
    with pytest.raises(InputError, match="was captured"):
        rendered_take(session / "takes/real", DOME)
    with pytest.raises(InputError, match="SESSION/takes/NAME"):
        rendered_take(tmp_path / "talk", DOME)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time_s": np.zeros(3)}, "must rise"),
        ({"time_s": np.zeros(0)}, "a time for each"),
        ({"maps": ("depth",)}, "no maps"),
        ({"crop": np.zeros((2, 4))}, "crop must be"),
    ],
)
def test_plans_that_are_none_are_refused(changes, text):
    with pytest.raises(InputError, match=text):
        _plan(**changes)
