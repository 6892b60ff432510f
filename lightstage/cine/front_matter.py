"""Everything that a written .cine file holds in front of its images, in the vendor's order.

CINEFILEHEADER, BITMAPINFOHEADER, SETUP, time stamps (block 1002), exposures (1003), offset table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightstage.cine import clock
from lightstage.cine.camera_setup import SETUP_BYTES, CameraSetup
from lightstage.cine.header import (
    BITMAP_HEADER_BYTES,
    EXPOSURE_BLOCK,
    FILE_HEADER_BYTES,
    TIME_BLOCK,
    BitmapHeader,
    FileHeader,
)
from lightstage.cine.packing import p10_code
from lightstage.cine.pixel_format import (
    CC_RGB,
    CC_UNINTERPOLATED,
    CFA_OF,
    COMPRESSION_OF,
    ColourFilter,
    PixelFormat,
)
from lightstage.cine.record import store
from lightstage.errors import InputError

_SETUP_START = FILE_HEADER_BYTES + BITMAP_HEADER_BYTES
_BLOCKS_START = _SETUP_START + SETUP_BYTES
_BLOCK_HEAD = np.dtype([("size", "<u4"), ("type", "<u2"), ("more", "<u2")])
#: Phantom sensors have pixels of 20 to 28 um; the vendor's older files all say 28.
_PIXELS_PER_METRE = 35714
_SIGNED_MOST = (1 << 31) - 1

#: Values that leave the picture as it is: gains of one, identity matrices, no offsets.
_NEUTRAL = CameraSetup(
    aspect_ratio=1,
    samples_per_image=1,
    description_old="",
    wb_gain=(1.0,) * 8,
    wb_view=(1.0, 1.0),
    decimation=1,
    meta_wb=1,
    gain=1.0,
    f_saturation=1.0,
    f_gamma=1.0,
    chroma=1.0,
    gain_16_8=1.0,
    gain_r=1.0,
    gain_g=1.0,
    gain_b=1.0,
    user_matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    calibration_matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    toe=1.0,
    f_decimation=1.0,
    created_by="lightstage",
)


@dataclass(frozen=True)
class Recording:
    """What is known of a recording before its frames: see :class:`CineWriter`'s arguments."""

    pixel_format: PixelFormat
    cfa: ColourFilter
    frame_rate_hz: float
    exposure_ns: int
    levels: tuple[int, int]
    first_frame_number: int
    trigger_time_ns: int
    setup: CameraSetup


def front_bytes(frame_count: int) -> int:
    """Return how many bytes the front matter of ``frame_count`` frames takes."""
    return _BLOCKS_START + 2 * _BLOCK_HEAD.itemsize + (8 + 4 + 8) * frame_count


def front_matter(
    recording: Recording,
    time64: Sequence[int],
    exposure: Sequence[int],
    offsets: Sequence[int],
) -> bytes:
    """Return the bytes in front of the images of a recording.

    Args:
        recording: what the headers say.
        time64: each frame's stamp as TIME64.
        exposure: each frame's exposure as 0.32 fixed-point seconds.
        offsets: the byte in the file where each image starts.

    Raises:
        InputError: a value does not fit its field; the text names it.
    """
    count = len(offsets)
    blocks_end = front_bytes(count) - 8 * count
    front = bytearray(_BLOCKS_START)
    _store_file_header(recording, count, blocks_end, front)
    _store_bitmap_header(recording.pixel_format, front)
    setup = bytearray(SETUP_BYTES)
    store(_neutral_under(recording.setup), setup)
    store(_decided(recording, count), setup)
    front[_SETUP_START:] = setup
    parts = [bytes(front)]
    for kind, values, dtype, more in (
        (TIME_BLOCK, time64, "<u8", 1),
        (EXPOSURE_BLOCK, exposure, "<u4", 0),
    ):
        data = np.array(values, dtype).tobytes()
        head = np.array([(_BLOCK_HEAD.itemsize + len(data), kind, more)], _BLOCK_HEAD)
        parts += [head.tobytes(), data]
    parts.append(np.array(offsets, "<i8").tobytes())
    return b"".join(parts)


def _neutral_under(setup: CameraSetup) -> CameraSetup:
    """Return ``setup`` with the neutral value wherever it says nothing."""
    return replace(
        _NEUTRAL, **{name: value for name, value in vars(setup).items() if value is not None}
    )


def _store_file_header(
    recording: Recording, count: int, off_image_offsets: int, front: bytearray
) -> None:
    bayer = recording.cfa not in ("GRAY", "RGB")
    store(
        FileHeader(
            type="CI",
            header_size=FILE_HEADER_BYTES,
            compression=CC_UNINTERPOLATED if bayer else CC_RGB,
            version=1,
            first_movie_image=recording.first_frame_number,
            total_image_count=count,
            first_image_no=recording.first_frame_number,
            image_count=count,
            off_image_header=FILE_HEADER_BYTES,
            off_setup=_SETUP_START,
            off_image_offsets=off_image_offsets,
            trigger_time64=clock.time64(recording.trigger_time_ns),
        ),
        front,
    )


def _store_bitmap_header(pixel_format: PixelFormat, front: bytearray) -> None:
    stored_bits = 8 * pixel_format.bytes_per_value * (3 if pixel_format.rgb else 1)
    header = bytearray(BITMAP_HEADER_BYTES)
    store(
        BitmapHeader(
            size=BITMAP_HEADER_BYTES,
            width=pixel_format.width,
            height=pixel_format.height,
            planes=1,
            bit_count=stored_bits,
            compression=COMPRESSION_OF[pixel_format.packing],
            size_image=pixel_format.frame_bytes,
            x_pels_per_meter=_PIXELS_PER_METRE,
            y_pels_per_meter=_PIXELS_PER_METRE,
            clr_used=0,
            clr_important=1 << _code_bits(pixel_format),
        ),
        header,
    )
    front[FILE_HEADER_BYTES : FILE_HEADER_BYTES + BITMAP_HEADER_BYTES] = header


def _code_bits(pixel_format: PixelFormat) -> int:
    """Return the bits of a stored code, which RealBPP and biClrImportant tell."""
    return 10 if pixel_format.packing == "P10" else pixel_format.bit_depth


def _decided(recording: Recording, count: int) -> CameraSetup:
    """Return the fields that follow from the recording, old and new duplicates alike."""
    pixel_format = recording.pixel_format
    bits = _code_bits(pixel_format)
    black, white = recording.levels
    if not 0 <= black < white < 1 << pixel_format.bit_depth:
        raise InputError(
            f"black_level = {black}, white_level = {white}: expected "
            f"0 <= black < white <= {(1 << pixel_format.bit_depth) - 1}."
        )
    if pixel_format.packing == "P10":
        black, white = int(p10_code()[black]), int(p10_code()[white])
    if recording.exposure_ns >= clock.SECOND_NS:
        raise InputError(f"exposure_us = {recording.exposure_ns / 1000:g}: below 1 s is expected.")
    exposure_us = recording.exposure_ns // 1000
    rate = round(recording.frame_rate_hz)
    after_trigger = min(max(0, recording.first_frame_number + count), _SIGNED_MOST)
    return CameraSetup(
        frame_rate_16=min(rate, 0xFFFF),
        shutter_16_us=min(exposure_us, 0xFFFF),
        post_trigger_16=min(after_trigger, 0xFFFF),
        mark="ST",
        length=SETUP_BYTES,
        first_image=recording.first_frame_number,
        image_count=count,
        im_width=pixel_format.width,
        im_height=pixel_format.height,
        frame_rate=rate,
        shutter_us=exposure_us,
        post_trigger=after_trigger,
        enable_color=0 if recording.cfa == "GRAY" else 1,
        cfa=CFA_OF[recording.cfa],
        real_bpp=bits,
        conv8_max=(1 << bits) - 1,
        shutter_ns=recording.exposure_ns,
        im_width_acq=pixel_format.width,
        im_height_acq=pixel_format.height,
        black_level=black,
        white_level=white,
        rec_bpp=pixel_format.bit_depth,
        lowest_format_bpp=bits,
        lowest_format_q=256 if pixel_format.packing else 0,
        d_frame_rate=recording.frame_rate_hz,
    )
