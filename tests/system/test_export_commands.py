"""``lightstage export`` and ``seal`` as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import OpenImageIO
import pytest

from lightstage import Dome, ReflectanceFields
from lightstage.dome import read_light_positions
from lightstage.exchange.colour_spaces import ACESCG, conversion
from tests.exchange.reference_ascmhl import ascmhl
from tests.system.test_commands import SAMPLE, refused, run

__all__ = ["ascmhl"]

TAKE = SAMPLE / "takes" / "talk"


def test_a_take_becomes_exrs_that_openimageio_reads(tmp_path: Path):
    result = run("export", SAMPLE, "-o", tmp_path / "exr", "--colour", "acescg", "--lights", "0:2")
    assert result.exit_code == 0, result.output
    assert "2 sets written" in result.stderr
    fields = ReflectanceFields.open(TAKE)
    file = OpenImageIO.ImageInput.open(str(tmp_path / "exr" / "talk.0001.exr"))
    assert file.seek_subimage(2, 0)
    assert file.spec().get_string_attribute("oiio:subimagename") == "light_001"
    pixels = file.read_image(2, 0, 0, 3, OpenImageIO.FLOAT)
    expected = fields.read_light(1, 1) @ conversion(ACESCG).T
    np.testing.assert_allclose(pixels, expected, rtol=6e-4, atol=1e-6)
    file.close()
    again = run(
        *("export", SAMPLE, "-o", tmp_path / "exr", "--colour", "acescg", "--lights", "0:2"),
        "--json",
    )
    assert json.loads(again.stdout)["sets_already_there"] == 2


@pytest.mark.parametrize(
    ("name", "codec", "stored"),
    [
        ("a.mp4", None, ("h264", "yuv420p")),
        ("a.mov", "prores4444", ("prores", "yuv444p12le")),
        ("a.mkv", None, ("ffv1", "gbrp16le")),
    ],
)
def test_a_take_becomes_a_film(tmp_path: Path, name, codec, stored):
    path = tmp_path / name
    options = ["--codec", codec] if codec else []
    result = run("export", TAKE, "-o", path, "--picture", "light_3", "--rate", "24", *options)
    assert result.exit_code == 0, result.output
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == stored
        assert stream.average_rate == 24
        assert sum(1 for _ in container.decode(video=0)) == 2
    assert "--overwrite" in refused(run("export", TAKE, "-o", path), 2)
    assert run("export", TAKE, "-o", path, "--overwrite").exit_code == 0


def test_lights_and_rti_stacks(tmp_path: Path):
    result = run("export", TAKE, "-o", tmp_path / "l", "--format", "lights", "--lights", "3,1")
    assert result.exit_code == 0, result.output
    dome = ReflectanceFields.open(TAKE).dome
    assert Dome.load(tmp_path / "l" / "lights.json") == dome
    lights = read_light_positions(tmp_path / "l" / "lights.lp")
    assert [name for name, _ in lights] == ["light_003", "light_001"]
    result = run("export", TAKE, "-o", tmp_path / "rti", "--format", "rti", "--sets", "1")
    assert result.exit_code == 0, result.output
    lights = read_light_positions(tmp_path / "rti" / "set_0001" / "lights.lp")
    assert all(z > 0 for _, (_, _, z) in lights)
    assert all((tmp_path / "rti" / "set_0001" / name).is_file() for name, _ in lights)
    assert (
        run(
            *("import-olat", tmp_path / "rti" / "set_0001", "-o", tmp_path / "back.zarr"),
            *("--lights", tmp_path / "rti" / "set_0001" / "lights.lp", "--transfer", "srgb"),
        ).exit_code
        == 0
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--lights", "99"], "lights 0 to 31"),
        (["--lights", "a"], "FROM:TO"),
        (["--sets", "5:6"], "sets 0 to 1"),
        (["--contents", "matte"], "has no matte yet"),
        (["--contents", "hair"], "full_lit, albedo"),
        (["--codec", "h264"], "--codec means nothing for exr"),
        (["--format", "film"], r".mp4, .mov, .mkv"),
        (["--format", "png", "--colour", "acescg", "--transfer", "srgb"], "--transfer linear"),
        (["--format", "rti", "--lights", "0:3"], "at least 6"),
    ],
)
def test_wrong_exports_are_refused_in_one_paragraph(tmp_path: Path, options, text):
    assert text in " ".join(refused(run("export", TAKE, "-o", tmp_path / "x", *options), 2).split())
    assert not list(tmp_path.rglob("*.exr"))


def test_films_and_folders_are_not_mixed_up(tmp_path: Path):
    text = refused(run("export", TAKE, "-o", tmp_path / "a.mov", "--format", "exr"), 2)
    assert "go into a folder" in text
    text = refused(run("export", TAKE, "-o", tmp_path / "a.mp4", "--codec", "ffv1"), 2)
    assert "ffv1 in .mkv" in text


@pytest.fixture
def session(tmp_path: Path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "session"))


def test_a_sealed_session_verifies_and_one_flipped_byte_fails(ascmhl, session):
    result = run("seal", session, "--author", "Ann", "--hash", "xxh64", "--hash", "md5")
    assert result.exit_code == 0, result.output
    assert run("verify", session).exit_code == 0
    assert ascmhl("verify", session).returncode == 0
    assert ascmhl("diff", session).returncode == 0
    for name in ("take.cine", "aligned.zarr/full_lit/zarr.json", "take.json"):
        path = session / "takes" / "talk" / name
        whole = path.read_bytes()
        path.write_bytes(bytes([*whole[:-2], whole[-2] ^ 16, whole[-1]]))
        assert name in run("verify", session).stderr
        assert run("verify", session, "--json").exit_code == 4
        assert ascmhl("verify", session).returncode == 11
        path.write_bytes(whole)
    # verifying leaves nothing that was not sealed
    report = json.loads(run("verify", session, "--json").stdout)
    assert report["whole"]
    assert report["seal"]["new"] == 0
    assert ascmhl("verify", session).returncode == 0


def test_sealing_again_takes_in_what_is_new_and_reports_what_changed(session):
    assert run("seal", session, "-q").exit_code == 0
    (session / "notes.txt").write_text("new")
    assert "1 files are not sealed yet" in run("verify", session).stderr
    report = json.loads(run("seal", session, "--json").stdout)
    assert (report["generations"], report["new"], report["whole"]) == (2, 1, True)
    (session / "notes.txt").write_text("changed")
    assert "1 files have changed" in refused(run("seal", session, "-q"), 4).replace("\n", " ")
    assert run("seal", session, "-q", "--ignore", "notes.txt").exit_code == 0
    assert run("verify", session).exit_code == 0


def test_recordings_alone_can_be_sealed(session):
    assert run("seal", session, "-q", "--recordings-only").exit_code == 0
    shutil.rmtree(session / "takes" / "talk" / "aligned.zarr")
    report = json.loads(run("verify", session, "--json").stdout)
    assert report["seal"]["missing"] == []
    assert report["seal"]["files"] == 5


def test_an_export_can_be_sealed_too(tmp_path: Path):
    assert run("export", TAKE, "-o", tmp_path / "out", "--contents", "full_lit").exit_code == 0
    assert run("seal", tmp_path / "out").exit_code == 0
    assert "unchanged" in run("verify", tmp_path / "out").stderr
    (tmp_path / "out" / "talk.0000.exr").write_bytes(b"")
    assert run("verify", tmp_path / "out").exit_code == 4


def test_wrong_seals_are_refused_in_one_paragraph(session):
    assert "--author" in refused(run("seal", session, "--role", "DIT"), 2)
    assert "ann@studio.com" in refused(run("seal", session, "--author", "A", "--email", "a"), 2)
    assert "no such folder" in refused(run("seal", session / "none"), 2)
