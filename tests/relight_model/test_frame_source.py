"""Frames of films and pictures: order, times, turning, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lightstage.errors import InputError
from relight_model.frame_source import open_frames


def write_film(path: Path, stamps: list[int], width: int = 64, height: int = 48) -> None:
    """Write gray frames, each darker than the next, at stamps in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for k, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(
                np.full((height, width, 3), 20 + 20 * k, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_times_of_a_film_with_uneven_frames_are_kept(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", [0, 4, 12, 16])
    pictures = list(open_frames([tmp_path / "a.mp4"]))
    np.testing.assert_allclose([p.time_s for p in pictures], [0, 0.04, 0.12, 0.16], atol=1e-3)
    brightness = [float(p.rgb.mean()) for p in pictures]
    assert brightness == sorted(brightness) and len(set(brightness)) == 4


def test_a_source_can_be_gone_through_again(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", [0, 4])
    source = open_frames([tmp_path / "a.mp4"])
    assert [p.index for p in source] == [p.index for p in source] == [0, 1]


def test_pictures_of_a_folder_come_by_name(tmp_path: Path) -> None:
    for k in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((8, 10, 3), 60 * k, np.uint8))
    source = open_frames([tmp_path])
    assert source.size == (10, 8)
    assert [int(p.rgb[0, 0, 0]) for p in source] == [0, 60, 120]


def test_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 10, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(InputError, match=r"b\.png.*12 x 8"):
        list(open_frames([tmp_path / "a.png", tmp_path / "b.png"]))


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no film at all")
    with pytest.raises(InputError, match=r"a\.mp4.*film"):
        open_frames([path])
    with pytest.raises(InputError, match="no such file"):
        open_frames([tmp_path / "b.mp4"])
