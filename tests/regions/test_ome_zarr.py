"""OME-Zarr of both versions, read by region: values, sizes, and what cannot be read as it says."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_umamba.errors import UsageError
from swin_umamba.regions.opening import open_region_source

pytest.importorskip("zarr", reason="the zarr library needs Python 3.11")

import zarr.codecs

from regions.zarr_images import (
    CODECS,
    VERSIONS,
    multiscale,
    refused,
    stored,
    voxels,
    write_group,
    write_image,
)

ALL = slice(None)


@VERSIONS
@pytest.mark.parametrize(
    ("axes", "shape", "place"),
    [
        ("yx", (37, 29), (None, None, ALL, ALL)),
        ("cyx", (3, 37, 29), (ALL, None, ALL, ALL)),
        ("zyx", (4, 17, 9), (None, ALL, ALL, ALL)),
        ("czyx", (2, 3, 17, 9), (ALL, ALL, ALL, ALL)),
        ("tczyx", (1, 2, 3, 17, 9), (0, ALL, ALL, ALL, ALL)),
    ],
)
def test_regions_are_those_of_the_array(
    tmp_path: Path, version: int, axes: str, shape: tuple[int, ...], place: tuple[Any, ...]
) -> None:
    data = voxels(*shape)
    write_image(tmp_path / "a.zarr", data, axes, version, tuple(min(8, each) for each in shape), levels=2)
    expected = data[place]
    with open_region_source(tmp_path / "a.zarr") as source:
        assert (source.shape, source.dtype, source.flat) == (expected.shape, np.uint16, "z" not in axes)
        assert source.chunk[1:] == (8, 8)
        assert source.spacing == ((0.002 if "z" in axes else 1.0), 0.0005, 0.00025)
        assert [level.downsample for level in source.levels] == [(1, 1, 1), (1, 2, 2)]
        assert [level.offset for level in source.levels] == [(0, 0, 0), (0, 0.5, 0.5)]
        for y, x in [(ALL, ALL), (slice(3, 12), slice(8, 9)), (slice(16, 17), slice(0, 8))]:
            assert np.array_equal(source.read(ALL, y, x), expected[:, :, y, x])
    with open_region_source(tmp_path / "a.zarr", level=1) as source:
        assert np.array_equal(source.read(ALL, ALL, ALL), expected[:, :, ::2, ::2])
        assert source.spacing == ((0.002 if "z" in axes else 1.0), 0.001, 0.0005)
        again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again.read(ALL, ALL, slice(0, 2)), expected[:, :, ::2, :4:2])


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_supported_encoding_is_read(tmp_path: Path, codec: str, dtype: str, sharded: bool) -> None:
    data, how = voxels(19, 13, dtype=dtype), dict(CODECS[codec])
    if sharded:
        how["shards"] = (16, 16)
    write_image(tmp_path / "a.zarr", data, "yx", 3, (8, 8), **how)
    source = open_region_source(tmp_path / "a.zarr")
    assert source.chunk == (1, 8, 8)
    assert np.array_equal(source.read(ALL, ALL, ALL)[0, 0], data)
    assert np.array_equal(source.read(ALL, slice(9, 10), slice(7, 9))[0, 0], data[9:10, 7:9])


@pytest.mark.parametrize("dtype", [">u2", "<f4", "|i1"])
@pytest.mark.parametrize("compressor", ["zlib", "lz4", "gzip", "zstd", "blosc", None])
def test_every_supported_encoding_of_version_2_is_read(
    tmp_path: Path, dtype: str, compressor: str | None
) -> None:
    import numcodecs

    data = voxels(21, 19, dtype="int8").astype(dtype)
    chosen = None if compressor is None else numcodecs.get_codec({"id": compressor})
    write_image(tmp_path / "a.zarr", data, "yx", 2, (8, 8), compressors=chosen)
    source = open_region_source(tmp_path / "a.zarr")
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(source.read(ALL, ALL, ALL)[0, 0], data)


@VERSIONS
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_damaged_chunk_is_named(tmp_path: Path, version: int, damage: str, sharded: bool) -> None:
    if sharded and version == 2:
        pytest.skip("there are no shards")
    how: dict[str, Any] = {"compressors": zarr.codecs.ZstdCodec(checksum=True)} if version == 3 else {}
    if sharded:
        how["shards"] = (16, 16)
    write_image(tmp_path / "a.zarr", voxels(32, 32), "yx", version, (8, 8), **how)
    chunk = tmp_path / "a.zarr" / ("0/1/1" if version == 2 else "0/c/1/1")
    content = bytearray(chunk.read_bytes())
    if damage == "flipped":
        content[20:24] = b"\xff\x00\xff\x00"
    chunk.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": content}[damage])
    refused(tmp_path / "a.zarr", "a chunk of the image is damaged")
    with open_region_source(tmp_path / "a.zarr") as source:  # the others can be read
        assert source.read(ALL, slice(0, 8), slice(0, 8)).any()


@VERSIONS
def test_a_missing_chunk_is_said(tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "a.zarr", voxels(16, 16) + 1, "yx", version, (8, 8))
    (tmp_path / "a.zarr" / ("0/1/1" if version == 2 else "0/c/1/1")).unlink()
    region = open_region_source(tmp_path / "a.zarr").read(ALL, ALL, ALL)[0, 0]
    assert not region[8:, 8:].any()
    assert region[:8].all()
    assert "no files for some chunks" in caplog.text


@VERSIONS
def test_levels_that_disagree_are_refused(tmp_path: Path, version: int) -> None:
    folder = tmp_path / "a.zarr"
    write_image(folder, voxels(64, 64), "yx", version, (8, 8), levels=3)
    file, content, image = stored(folder, version)
    for change in ([0, 2, 1], [0, 0], [1, 0]):
        datasets = [image["datasets"][number] for number in change]
        file.write_text(json.dumps(content).replace(json.dumps(image["datasets"]), json.dumps(datasets)))
        refused(folder, "levels of the pyramid disagree")
    file.write_text(json.dumps(content))
    write_image(tmp_path / "b.zarr", voxels(64, 64, dtype="uint8"), "yx", version, (8, 8), levels=2)
    os.rename(folder / "1", tmp_path / "old")
    os.rename(tmp_path / "b.zarr" / "1", folder / "1")
    refused(folder, "disagree: they have 1 channels of uint16 and 1 channels of uint8")


def changed(image: dict[str, Any], change: str) -> None:
    first = image["datasets"][0]
    match change:
        case "axes":
            image["axes"] = image["axes"][::-1]
        case "an axis":
            image["axes"][0]["name"] = "lambda"
        case "no scale":
            del first["coordinateTransformations"]
        case "negative":
            first["coordinateTransformations"][0]["scale"][0] = -1.0
        case "rotation":
            first["coordinateTransformations"][0]["type"] = "affine"
        case "no levels":
            image["datasets"] = []
        case "rank":
            image["axes"] = multiscale("zyx", 1)["axes"]


@VERSIONS
@pytest.mark.parametrize(
    "change", ["axes", "an axis", "no scale", "negative", "rotation", "no levels", "rank"]
)
def test_metadata_that_make_no_sense_are_refused(tmp_path: Path, version: int, change: str) -> None:
    write_image(tmp_path / "a.zarr", voxels(16, 16), "yx", version, (8, 8))
    file, content, image = stored(tmp_path / "a.zarr", version)
    changed(image, change)
    file.write_text(json.dumps(content))
    refused(tmp_path / "a.zarr", "metadata of the OME-Zarr image make no sense")


@VERSIONS
def test_a_size_without_a_unit_is_not_known(tmp_path: Path, version: int) -> None:
    write_image(tmp_path / "a.zarr", voxels(16, 16), "yx", version, (8, 8))
    file, content, image = stored(tmp_path / "a.zarr", version)
    for axis in image["axes"]:
        del axis["unit"]
    file.write_text(json.dumps(content))
    source = open_region_source(tmp_path / "a.zarr")
    assert source.spacing is None
    assert source.placement.scale == (1.0, 0.5, 0.25)


@VERSIONS
def test_a_scale_of_all_levels_counts_too(tmp_path: Path, version: int) -> None:
    write_image(tmp_path / "a.zarr", voxels(16, 16), "yx", version, (8, 8), levels=2)
    file, content, image = stored(tmp_path / "a.zarr", version)
    image["coordinateTransformations"] = [
        {"type": "scale", "scale": [2, 4]},
        {"type": "translation", "translation": [1.0, 3.0]},
    ]
    file.write_text(json.dumps(content))
    placement = open_region_source(tmp_path / "a.zarr", level=1).placement
    assert placement.scale == (1.0, 2.0, 2.0)
    assert placement.translation == (0.0, 1.5, 3.5)


@VERSIONS
def test_a_folder_of_series_needs_a_choice(tmp_path: Path, version: int) -> None:
    folder = tmp_path / "a.zarr"
    write_group(folder, version, {"bioformats2raw.layout": 3})
    for number in range(2):
        write_image(folder / str(number), voxels(8, 8) + number, "yx", version, (8, 8))
    with pytest.raises(UsageError, match="holds no single image"):
        open_region_source(folder)
    with pytest.raises(UsageError, match="no series '7'"):
        open_region_source(folder, series="7")
    source = pickle.loads(pickle.dumps(open_region_source(folder, series="1")))
    assert np.array_equal(source.read(ALL, ALL, ALL)[0, 0], voxels(8, 8) + 1)


@VERSIONS
def test_what_is_no_image_is_refused(tmp_path: Path, version: int) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    refused(folder, "no OME-Zarr image")
    write_group(folder, version, {"plate": {}})
    refused(folder, "a plate of many images")
    write_image(tmp_path / "b.zarr", voxels(8, 8), "yx", version, (8, 8))
    refused(tmp_path / "b.zarr" / "0", "one array, not an image")
    write_group(tmp_path / "b.zarr", 5 - version, {})
    refused(tmp_path / "b.zarr", "Zarr 2 and of Zarr 3")
    write_image(tmp_path / "c.zarr", voxels(2, 8, 8), "tyx", version, (1, 8, 8))
    refused(tmp_path / "c.zarr", "points in time")


def test_without_the_library_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.zarr", voxels(8, 8), "yx", 3, (8, 8))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UsageError, match="OME-Zarr needs the zarr library") as caught:
        open_region_source(tmp_path / "a.zarr")
    assert "pip install 'swin-umamba[zarr]'" in str(caught.value.hint)
