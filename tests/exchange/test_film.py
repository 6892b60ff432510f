"""Films: what is written is what a player gets back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lightstage.colour import encode_srgb
from lightstage.errors import InputError
from lightstage.exchange import FilmWriter, read_film
from lightstage.exchange.film import FILM_CODECS
from lightstage.images import read_image


def ramp(height=48, width=64, seed=0):
    """A smooth picture: chroma at half resolution does it no harm."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = seed * 0.7
    return np.stack(
        [
            0.4 + 0.3 * np.sin(x / width * 3 + phase),
            0.4 + 0.3 * np.cos(y / height * 2),
            0.3 + 0.2 * np.sin((x + y) / (height + width) * 3),
        ],
        axis=-1,
    ).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "levels"),
    [(".mp4", "h264", "yuv420p", 3.0), (".mov", "prores", "yuv422p10le", 1.0)],
)
def test_a_film_holds_every_frame_with_its_size_rate_colour_and_tags(
    tmp_path: Path, suffix, codec, pixels, levels
):
    path = tmp_path / f"film{suffix}"
    images = [ramp(seed=index) for index in range(7)]
    with FilmWriter(path, 64, 48, 25) as film:
        for image in images:
            film.write(image)
    assert film.frames == 7
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == (codec, pixels)
        assert (context.width, context.height) == (64, 48)
        assert stream.average_rate == 25
        # ISO/IEC 23091-2: Rec.709 primaries and matrix, sRGB curve, limited range
        assert (context.color_primaries, context.colorspace) == (1, 1)
        assert (context.color_trc, context.color_range) == (13, 1)
    read = list(read_film(path))
    assert len(read) == 7
    for image, back in zip(images, read, strict=True):
        off = (encode_srgb(back) - encode_srgb(image)) * 255
        assert np.abs(off).mean() < levels / 2
        assert np.abs(off).max() < 4 * levels
        # no shift of colour: H.264 leaves chroma up to half a level out, 0.9 in red or blue
        assert np.abs(off.mean(axis=(0, 1))).max() < levels / 3


def test_another_decoder_sees_the_same_colours(tmp_path: Path):
    image = np.zeros((64, 64, 3), np.float32) + np.float32([0.6, 0.2, 0.05])
    with FilmWriter(tmp_path / "film.mp4", 64, 64, 24) as film:
        for _ in range(3):
            film.write(image)
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    fine, bgr = capture.read()
    capture.release()
    assert fine
    expected = encode_srgb(image)[0, 0] * 255
    # OpenCV takes untagged or tagged film by ffmpeg's default conversion, 709 here
    np.testing.assert_allclose(bgr[32, 32, ::-1], expected, atol=4)


def test_the_index_comes_first_so_that_a_browser_can_begin(tmp_path: Path):
    with FilmWriter(tmp_path / "film.mp4", 32, 32, 24) as film:
        film.write(ramp(32, 32))
    data = (tmp_path / "film.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    assert b"colr" in data


def test_black_and_white_are_whole(tmp_path: Path):
    for value in (0.0, 1.0):
        path = tmp_path / f"film_{value}.mp4"
        with FilmWriter(path, 32, 32, 24) as film:
            film.write(np.full((32, 32, 3), value))
        np.testing.assert_allclose(next(iter(read_film(path))), value, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_odd_sides_are_made_even_by_doubling_the_last_row_and_column(tmp_path: Path, suffix):
    image = ramp(31, 45)
    with FilmWriter(tmp_path / f"odd{suffix}", 45, 31, 24) as film:
        film.write(image)
    (back,) = read_film(tmp_path / f"odd{suffix}")
    assert back.shape == (32, 46, 3)
    np.testing.assert_allclose(encode_srgb(back[:31, :45]), encode_srgb(image), atol=12 / 255)
    np.testing.assert_allclose(encode_srgb(back[31, :45]), encode_srgb(image[30]), atol=12 / 255)


@pytest.mark.parametrize(
    ("rate_hz", "exact"),
    [
        (24, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (8.928571, Fraction(125, 14)),
    ],
)
def test_rates_become_their_exact_fractions(tmp_path: Path, rate_hz, exact):
    with FilmWriter(tmp_path / "film.mp4", 32, 32, rate_hz) as film:
        for _ in range(3):
            film.write(ramp(32, 32))
    assert film.rate == exact
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(rate_hz, rel=1e-4)


def test_light_beyond_the_screen_is_clipped_and_nan_is_black(tmp_path: Path):
    image = np.full((32, 32, 3), 7.0)
    image[:16] = np.nan
    image[:, :8] = -1
    image[24:, 24:] = np.inf
    with FilmWriter(tmp_path / "film.mov", 32, 32, 24) as film:
        film.write(image)
    (back,) = read_film(tmp_path / "film.mov")
    assert back[4, 20].max() < 0.01
    assert back[24, 2].max() < 0.01
    assert back[20, 20].min() > 0.97
    assert back[28, 28].min() > 0.97


@pytest.mark.parametrize("pattern", ["frames", "frames/look_%03d.png", "frames/f%d.exr"])
def test_numbered_pictures_hold_the_frames_in_order(tmp_path: Path, pattern):
    images = [ramp(15, 21, seed=index) * (4 if "exr" in pattern else 1) for index in range(11)]
    path = tmp_path / pattern
    with FilmWriter(path, 21, 15, 24) as film:
        for image in images:
            film.write(image)
    files = sorted(file.name for file in (tmp_path / "frames").iterdir())
    first = {"frames": "frame_0000.png", "frames/look_%03d.png": "look_000.png"}
    assert files[0] == first.get(pattern, "f0.exr")
    assert len(files) == 11
    read = list(read_film(path))
    for image, back in zip(images, read, strict=True):
        if "exr" in pattern:  # linear, not clipped
            np.testing.assert_array_equal(back, image)
        else:
            np.testing.assert_allclose(encode_srgb(back), encode_srgb(image), atol=0.51 / 255)
    if "look" in pattern:
        still = read_image(tmp_path / "frames" / "look_004.png", transfer="srgb")
        np.testing.assert_allclose(encode_srgb(still), encode_srgb(images[4]), atol=0.51 / 255)


def test_pictures_of_an_earlier_film_are_not_mixed_with_new_ones(tmp_path: Path):
    for _ in range(2):
        with FilmWriter(tmp_path / "frames", 4, 4, 24, overwrite=True) as film:
            for _ in range(3):
                film.write(np.zeros((4, 4, 3)))
    (tmp_path / "frames" / "notes.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"3 pictures of an earlier film.*frame_0000\.png"):
        FilmWriter(tmp_path / "frames", 4, 4, 24)
    with FilmWriter(tmp_path / "frames", 4, 4, 24, overwrite=True) as film:
        film.write(np.ones((4, 4, 3)))
    assert len(list(read_film(tmp_path / "frames"))) == 1
    assert (tmp_path / "frames" / "notes.txt").exists()


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "frames"])
def test_a_film_that_failed_leaves_nothing_behind(tmp_path: Path, name):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), FilmWriter(tmp_path / name, 32, 32, 24) as film:
        film.write(ramp(32, 32))
        stop()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_film_does_not_harm_the_one_that_stood_there(tmp_path: Path):
    path = tmp_path / "film.mp4"
    with FilmWriter(path, 32, 32, 24) as film:
        film.write(ramp(32, 32))
    before = path.read_bytes()
    with pytest.raises(InputError, match="frame 0 is"), FilmWriter(path, 32, 32, 24) as film:
        film.write(ramp(31, 32))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_film_is_refused(tmp_path: Path):
    with (
        pytest.raises(InputError, match="at least one frame"),
        FilmWriter(tmp_path / "a.mp4", 32, 32, 24),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "width", "rate_hz", "text"),
    [
        ("film.avi", 32, 24, r"\.avi is no known film; use \.mp4"),
        ("film.png", 32, 24, r"frame_%04d\.png"),
        ("a_%04d_%04d.png", 32, 24, "one counter"),
        ("a_%s.png", 32, 24, "one counter"),
        ("a_%04d.gif", 32, 24, "no picture format"),
        ("film.mp4", 0, 24, "0 x 32"),
        ("film.mp4", 32, 0, "0 frames a second"),
        ("film.mp4", 32, float("nan"), "nan frames a second"),
    ],
)
def test_what_cannot_be_a_film_is_refused(tmp_path: Path, name, width, rate_hz, text):
    with pytest.raises(InputError, match=text):
        FilmWriter(tmp_path / name, width, 32, rate_hz)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"film\.mp4: cannot be written"):
        FilmWriter(tmp_path / "file" / "film.mp4", 32, 32, 24)


def test_reading_names_what_is_no_film(tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no film at all")
    for name in ("none.mp4", "broken.mp4", "none_%04d.png"):
        with pytest.raises(InputError, match=name):
            list(read_film(tmp_path / name))


def test_a_real_clip_is_read(shared_data: Path):
    frame = next(iter(read_film(shared_data / "video" / "single_face.mp4")))
    assert frame.ndim == 3
    assert 0.02 < frame.mean() < 0.9


# Codecs by name


def film_of(path, codec, images, alpha=None):
    height, width = images[0].shape[:2]
    with FilmWriter(path, width, height, 24, codec=codec, alpha=alpha is not None) as film:
        for image in images:
            film.write(image, alpha)
    return path


def every_film(folder):
    for name, codec in FILM_CODECS.items():
        for suffix in codec.suffixes:
            for alpha in [None, np.linspace(0, 1, 64)[None].repeat(48, 0)][
                : 2 if codec.pixels_with_alpha else 1
            ]:
                path = folder / f"{name}{'' if alpha is None else '_alpha'}{suffix}"
                yield name, film_of(path, name, [ramp(), ramp(seed=1)], alpha), alpha is not None


def expected_tags(name):
    """Primaries, curve, matrix and range by ISO/IEC 23091-2 and as FFmpeg counts ranges."""
    return (1, 13, 0, 2) if name == "ffv1" else (1, 13, 1, 1)


def test_the_stream_of_every_codec_says_what_its_colours_are(tmp_path: Path):
    for name, path, _ in every_film(tmp_path):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            tags = (context.color_primaries, context.color_trc, context.colorspace)
            assert (*tags, context.color_range) == expected_tags(name), path
            frame = next(container.decode(video=0))
            assert (frame.colorspace, frame.color_range) == expected_tags(name)[2:], path


def test_the_container_of_every_codec_says_so_too(tmp_path: Path):
    """Read from the boxes and elements themselves: decoders mix them with the stream's."""
    for name, path, _ in every_film(tmp_path):
        data = path.read_bytes()
        primaries, curve, matrix, full = expected_tags(name)
        if path.suffix == ".mkv":
            # Colour: MatrixCoefficients, Range, TransferCharacteristics, Primaries, one byte each
            elements = {0xB1: matrix, 0xB9: full, 0xBA: curve, 0xBB: primaries}
            place = data.index(b"\x55\xb0")
            for element, value in elements.items():
                assert bytes([0x55, element, 0x81, value]) in data[place : place + 64], path
        else:
            place = data.index(b"colr") + 4
            assert data[place : place + 4] == (b"nclx" if path.suffix == ".mp4" else b"nclc")
            numbers = np.frombuffer(data[place + 4 : place + 10], ">u2")
            assert tuple(numbers) == (primaries, curve, matrix), path
            if path.suffix == ".mp4":
                assert data[place + 10] >> 7 == 0  # limited range


def test_ffprobe_reads_the_tags(tmp_path: Path):
    ffprobe = os.environ.get("LIGHTSTAGE_FFPROBE") or shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("ffprobe is absent: install ffmpeg, or name it in LIGHTSTAGE_FFPROBE")
    for name, path, alpha in every_film(tmp_path):
        done = subprocess.run(
            [ffprobe, "-v", "error", "-show_streams", "-of", "json", str(path)],
            capture_output=True,
            check=True,
            timeout=60,
        )
        (stream,) = json.loads(done.stdout)["streams"]
        assert stream["color_primaries"] == "bt709", path
        assert stream["color_transfer"] == "iec61966-2-1", path
        assert stream["color_space"] == ("gbr" if name == "ffv1" else "bt709"), path
        # ProRes has limited range by its specification, and no place to say so
        ranges = {"ffv1": "pc", "h264": "tv"}
        assert stream.get("color_range", "unknown") in (ranges.get(name, "unknown"), "tv"), path
        assert ("a" in stream["pix_fmt"]) == alpha, path


def test_ffv1_loses_nothing_and_keeps_odd_sides(tmp_path: Path):
    images = [np.random.default_rng(i).random((31, 45, 3)).astype(np.float32) for i in range(3)]
    path = film_of(tmp_path / "a.mkv", "ffv1", images)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    for image, frame in zip(images, frames, strict=True):
        stored = (encode_srgb(image) * 65535.0 + 0.5).astype(np.uint16)
        np.testing.assert_array_equal(frame, stored)
    for image, back in zip(images, read_film(path), strict=True):
        np.testing.assert_allclose(encode_srgb(back), encode_srgb(image), atol=0.6 / 65535)


@pytest.mark.parametrize(("name", "levels"), [("prores4444", 0.6), ("ffv1", 0.01)])
def test_alpha_and_colour_come_back(tmp_path: Path, name, levels):
    alpha = np.linspace(0, 1, 64)[None].repeat(48, 0)
    path = film_of(tmp_path / f"a{FILM_CODECS[name].suffixes[0]}", name, [ramp()], alpha)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgba64le")
    np.testing.assert_allclose(frame[..., 3] / 65535, alpha, atol=1.5 / 1023)
    (back,) = read_film(path)
    off = (encode_srgb(back) - encode_srgb(ramp())) * 255
    assert np.abs(off).mean() < levels


def test_prores_4444_keeps_sharp_colour_that_422_blurs(tmp_path: Path):
    stripes = np.zeros((48, 64, 3), np.float32)
    stripes[:, ::2] = [0.8, 0.1, 0.1]
    stripes[:, 1::2] = [0.1, 0.1, 0.8]
    errors = {}
    for name in ("prores422hq", "prores4444"):
        (back,) = read_film(film_of(tmp_path / f"{name}.mov", name, [stripes]))
        errors[name] = np.abs(encode_srgb(back) - encode_srgb(stripes)).mean()
    assert errors["prores4444"] < errors["prores422hq"] / 4


@pytest.mark.parametrize(
    ("name", "codec", "alpha", "text"),
    [
        ("a.mp4", "ffv1", False, r"ffv1 in \.mkv"),
        ("a.mov", "mpeg", False, "does not go there"),
        ("a.mp4", None, True, "alpha needs ProRes 4444"),
        ("frames", "h264", False, "does not go there"),
    ],
)
def test_codecs_that_do_not_fit_are_refused(tmp_path: Path, name, codec, alpha, text):
    with pytest.raises(InputError, match=text):
        FilmWriter(tmp_path / name, 32, 32, 24, codec=codec, alpha=alpha)
    assert list(tmp_path.iterdir()) == []


def test_alpha_must_come_with_each_frame_or_none(tmp_path: Path):
    with (
        pytest.raises(InputError, match="frame 0 has no alpha"),
        FilmWriter(tmp_path / "a.mov", 64, 48, 24, codec="prores4444", alpha=True) as film,
    ):
        film.write(ramp())
    with (
        pytest.raises(InputError, match=r"alpha of \(3, 3\), this film takes none"),
        FilmWriter(tmp_path / "b.mov", 64, 48, 24) as film,
    ):
        film.write(ramp(), np.ones((3, 3)))
