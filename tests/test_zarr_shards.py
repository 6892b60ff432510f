"""Shards written by hand are shards to every Zarr reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from lightstage.errors import DamagedDataError
from lightstage.zarr_shards import BloscCodec, ShardReader, ShardWriter, write_shard

DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
ZARRS = "zarrs.ZarrsCodecPipeline"


def _images(dtype: str, count: int = 6) -> NDArray[Any]:
    values = np.random.default_rng(5).integers(0, 200, (count, 20, 30))
    return values.astype(dtype)


def _store(path: Path, images: NDArray[Any], codec: BloscCodec, chunks: int) -> zarr.Array[Any]:
    return zarr.create_array(
        str(path),
        shape=images.shape,
        chunks=(1, *images.shape[1:]),
        shards=(chunks, *images.shape[1:]),
        dtype=images.dtype,
        compressors=[codec.configuration()],
        fill_value=7,
    )


@pytest.mark.parametrize("pipeline", [DEFAULT, ZARRS])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16"])
@pytest.mark.parametrize("cname", ["lz4", "zstd"])
def test_zarr_and_zarrs_read_what_was_written(
    tmp_path: Path, pipeline: str, dtype: str, cname: Any
) -> None:
    """Two shards of four, of which the last is not full: what is not there reads as the fill."""
    images = _images(dtype)
    codec = BloscCodec(typesize=2, cname=cname)
    _store(tmp_path, images, codec, 4)
    write_shard(tmp_path / "c/0/0/0", list(images[:4]), codec)
    with ShardWriter(tmp_path / "c/1/0/0", 4, codec) as writer:
        writer.add(1, images[5])
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        found = zarr.open_array(str(tmp_path), mode="r")[:]
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 5]], images[[0, 1, 2, 3, 5]])
    assert (found[4] == 7).all()


@pytest.mark.parametrize("pipeline", [DEFAULT, ZARRS])
def test_what_zarr_writes_is_read(tmp_path: Path, pipeline: str) -> None:
    images = _images("uint16", 4)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        _store(tmp_path, images, BloscCodec(typesize=2), 4)[:] = images
    out = np.empty_like(images[0])
    with ShardReader(tmp_path / "c/0/0/0", 4) as reader:
        for index in (3, 0, 2, 1):
            reader.read_into(index, out)
            np.testing.assert_array_equal(out, images[index])


def test_the_order_of_adding_leaves_no_trace(tmp_path: Path) -> None:
    images = _images("uint8")
    codec = BloscCodec(typesize=1)
    for name, order in (("forth", range(6)), ("back", range(5, -1, -1)), ("mixed", [2, 0, 5, 1])):
        with ShardWriter(tmp_path / name, 6, codec) as writer:
            for index in order:
                writer.add(index, images[index])
    assert (tmp_path / "forth").read_bytes() == (tmp_path / "back").read_bytes()
    with ShardReader(tmp_path / "mixed", 6) as reader:
        assert [reader.has(index) for index in range(6)] == [True, True, True, False, False, True]


def test_a_shard_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="before"),
        ShardWriter(tmp_path / "0", 2, BloscCodec(typesize=1)) as writer,
    ):
        writer.add(0, _images("uint8")[0])
        writer.add(0, _images("uint8")[0])
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told(tmp_path: Path) -> None:
    images = _images("uint8")
    path = tmp_path / "0"
    write_shard(path, list(images), BloscCodec(typesize=1))
    whole = path.read_bytes()
    out = np.empty_like(images[0])
    for place in (-1, -5, -40):  # checksum and index
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(DamagedDataError, match="CRC"):
            ShardReader(path, 6)
    for place in (4, 12):  # lengths in the first chunk's header
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with ShardReader(path, 6) as reader, pytest.raises(DamagedDataError, match="header"):
            reader.read_into(0, out)
    path.write_bytes(whole[:50])
    with pytest.raises(DamagedDataError, match="cut off"):
        ShardReader(path, 6)
    with pytest.raises(DamagedDataError, match="cannot be opened"):
        ShardReader(tmp_path / "none", 6)
