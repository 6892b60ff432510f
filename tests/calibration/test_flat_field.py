"""Dark frames and flat fields take out what a camera put in."""

from pathlib import Path

import numpy as np
import pytest

from lightstage.calibration.flat_field import dark_frame, flat_field
from lightstage.errors import InputError
from lightstage.preprocess.develop import DevelopedFrames, develop
from lightstage.preprocess.field_correction import FieldCorrection
from lightstage.preprocess.settings import DevelopSettings
from lightstage.preprocess.view import Rectangle

HEIGHT, WIDTH = 96, 128
CFA = "RGGB"
BLACK, WHITE = 256.0, 65000.0


def vignette():
    """The share of light that arrives in each colour: cos^4-like, its middle off the picture's."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    off = ((x - 70) / 90) ** 2 + ((y - 44) / 90) ** 2
    share = 1.0 / (1.0 + off[..., None] * np.array([0.9, 1.0, 1.15]))
    return share / share.max(axis=(0, 1))


class Camera:
    """A camera with a vignette and a fixed pattern, as a frame source."""

    def __init__(self, scenes, noise=0.0, pattern=True):
        rng = np.random.default_rng(5)
        self.pattern = rng.uniform(0, 0.01, (HEIGHT, WIDTH)) if pattern else 0.0
        self._scenes, self._noise = scenes, noise
        self.width, self.height, self.cfa = WIDTH, HEIGHT, CFA
        self.black_level, self.white_level = BLACK, WHITE
        self.path = Path("session/takes/one/take.cine")

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, index):
        light = np.broadcast_to(self._scenes[index], (HEIGHT, WIDTH, 3)) * vignette()
        mosaic = np.empty((HEIGHT, WIDTH))
        for place, colour in enumerate(CFA):
            row, column = divmod(place, 2)
            mosaic[row::2, column::2] = light[row::2, column::2, "RGB".index(colour)]
        rng = np.random.default_rng([9, index])
        mosaic = np.minimum(mosaic + self.pattern + rng.normal(0, self._noise, mosaic.shape), 1.0)
        return np.round(np.clip(BLACK + mosaic * (WHITE - BLACK), 0, 65535)).astype(np.uint16)

    def read_window(self, index, top, bottom):
        return self[index][top:bottom]


def corrected(camera, index, dark=None, flat=None):
    correction = FieldCorrection(WIDTH, HEIGHT, dark, flat)
    whole = Rectangle(0, 0, WIDTH, HEIGHT)
    return develop(
        camera[index],
        cfa=CFA,
        black_level=BLACK,
        white_level=WHITE,
        settings=DevelopSettings(demosaic="bilinear"),
        dark=correction.dark(whole),
        flat=correction.flat(whole),
    )


def test_an_even_surface_comes_out_even():
    camera = Camera([0.0] * 16 + [0.6] * 16 + [np.array([0.6, 0.4, 0.2])], noise=0.002)
    dark = dark_frame(camera, range(16))
    flat = flat_field(camera, range(16, 32), dark)
    raw = corrected(camera, 32)
    mended = corrected(camera, 32, dark, flat)
    truth = np.array([0.6, 0.4, 0.2])
    inner = np.s_[2:-2, 2:-2]
    assert (raw / truth)[inner].std() > 0.1
    # blocks of 8 x 8 pixels: what is left is not noise
    blocks = mended.reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean(axis=(1, 3)) / truth
    assert np.abs(blocks / blocks.mean(axis=(0, 1)) - 1.0).max() < 0.015


def test_the_fixed_pattern_of_the_sensor_goes():
    camera = Camera([0.0] * 64 + [0.5], noise=0.0)
    dark = dark_frame(camera, range(64))
    assert dark == pytest.approx(camera.pattern, abs=2e-5)


def test_a_flat_field_inverts_the_vignette_to_half_a_percent():
    camera = Camera([0.8], pattern=False)
    flat = flat_field(camera, [0])
    whole = FieldCorrection(WIDTH, HEIGHT, flat=flat).flat(Rectangle(0, 0, WIDTH, HEIGHT))
    off = whole / vignette() - 1.0
    assert np.abs(off[4:-4, 4:-4]).max() < 0.01
    assert np.abs(off[4:-4, 4:-4]).mean() < 0.003


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_region_is_corrected_as_the_whole_frame_is(level):
    rng = np.random.default_rng(0)
    flat = np.asarray(0.5 + 0.5 * rng.random((12, 16, 3)), np.float32)
    correction = FieldCorrection(WIDTH, HEIGHT, flat=flat)
    whole = correction.flat(Rectangle(0, 0, WIDTH, HEIGHT), level)
    region = Rectangle(32, 16, 64, 48)
    part = correction.flat(region, level)
    step = 1 << level
    rows = slice(region.top // step, region.bottom // step)
    columns = slice(region.left // step, region.right // step)
    assert part == pytest.approx(whole[rows, columns], abs=2e-3)


def test_saturated_pixels_are_told_before_the_flat_field_brightens_them():
    flat = np.full((2, 2, 3), 0.5, np.float32)
    white = np.full((HEIGHT, WIDTH), WHITE, np.uint16)
    mended = develop(
        white, cfa=CFA, black_level=BLACK, white_level=WHITE,
        flat=FieldCorrection(WIDTH, HEIGHT, flat=flat).flat(Rectangle(0, 0, WIDTH, HEIGHT)),
    )  # fmt: skip
    assert mended == pytest.approx(np.full_like(mended, 2.0), abs=1e-5)


def test_frames_developed_for_sets_are_corrected(tmp_path):
    from lightstage.calibration.results import save_field_picture
    from lightstage.session import Session

    camera = Camera([0.0, 0.8, 0.4])
    camera.path = tmp_path / "takes" / "one" / "take.cine"
    session = Session(tmp_path)
    dark = dark_frame(camera, [0])
    settings = DevelopSettings(
        demosaic="bilinear",
        dark=save_field_picture(session, "dark", dark, "one").file,
        flat=save_field_picture(session, "flat", flat_field(camera, [1], dark), "one").file,
    )
    frames = DevelopedFrames(camera, settings, 0, 1 << 24)
    picture = frames.region(2, Rectangle(32, 16, 64, 48))
    assert np.abs(picture / picture.mean(axis=(0, 1)) - 1.0).max() < 0.01
    settings.replace(flat="flat.0000000000000000.exr")
    from lightstage.errors import SessionError

    with pytest.raises(SessionError, match="is gone"):
        DevelopedFrames(camera, settings.replace(flat="flat.0000000000000000.exr"), 0, 1)


def test_what_is_neither_dark_nor_flat_is_refused():
    scene = np.full((HEIGHT, WIDTH, 3), 0.6)
    scene[30:60, 40:90] = 0.05
    camera = Camera([0.5, 0.01, 1.5, scene], pattern=False)
    with pytest.raises(InputError, match="not dark"):
        dark_frame(camera, [0])
    with pytest.raises(InputError, match="too little light"):
        flat_field(camera, [1])
    with pytest.raises(InputError, match="saturated"):
        flat_field(camera, [2])
    with pytest.raises(InputError, match="no flat field"):
        flat_field(camera, [3])
    with pytest.raises(InputError, match="no frames"):
        flat_field(camera, [])
