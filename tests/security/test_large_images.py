"""Attacks through large images: OME-Zarr that leaves its folder, grows beyond its claims, or names code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr", reason="the zarr library needs Python 3.11")

from json_edits import changed_json
from regions.zarr_images import CODECS, VERSIONS, refused, stored, voxels, write_image


@VERSIONS
@pytest.mark.parametrize("path", ["../b.zarr/0", "/etc", "", "0/../../b.zarr/0", "link", "https://host/0"])
def test_no_level_lies_outside_of_the_folder(tmp_path: Path, version: int, path: str) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.zarr", voxels(16, 16), "yx", version, (8, 8))
    (tmp_path / "a.zarr" / "link").symlink_to(tmp_path / "b.zarr" / "0")
    file, content, image = stored(tmp_path / "a.zarr", version)
    image["datasets"][0]["path"] = path
    file.write_text(json.dumps(content))
    refused(tmp_path / "a.zarr", "outside of its own folder|is missing")


@VERSIONS
def test_no_chunk_lies_outside_of_the_folder(tmp_path: Path, version: int) -> None:
    write_image(tmp_path / "a.zarr", voxels(16, 16), "yx", version, (8, 8))
    chunk = tmp_path / "a.zarr" / ("0/0/0" if version == 2 else "0/c/0/0")
    chunk.rename(tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    refused(tmp_path / "a.zarr", "leads out of its folder")
    chunk.unlink()
    os.mkfifo(chunk)
    refused(tmp_path / "a.zarr", "a pipe or a device")


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("codec", ["plain", "gzip", "zstd", "blosc", "crc"])
def test_a_chunk_that_becomes_too_large_is_not_decoded(tmp_path: Path, codec: str, sharded: bool) -> None:
    how = {**CODECS[codec], **({"shards": (8, 8)} if sharded else {})}
    write_image(tmp_path / "a.zarr", voxels(8, 8), "yx", 3, (8, 8), **how)
    how = {**CODECS[codec], **({"shards": (2048, 2048)} if sharded else {})}
    write_image(tmp_path / "b.zarr", np.ones((2048, 2048), np.uint16), "yx", 3, (2048, 2048), **how)
    os.replace(tmp_path / "b.zarr/0/c/0/0", tmp_path / "a.zarr/0/c/0/0")
    refused(tmp_path / "a.zarr", "damaged: it would become|damaged: bytes 0 to|damaged: a chunk lies at")


@pytest.mark.parametrize(
    ("version", "change", "what"),
    [
        (2, {"shape": [2**40, 64]}, "its shape is"),
        (2, {"shape": [64]}, "its shape is"),
        (2, {"shape": [True, 64]}, "its shape is"),
        (2, {"chunks": [2**20, 2**20]}, "stored in parts of"),
        (2, {"chunks": [0, 8]}, "its chunks is"),
        (2, {"dtype": "|O"}, "values of type object"),
        (2, {"dtype": "<c8"}, "values of type complex64"),
        (2, {"dtype": [["a", "<u2"]]}, "values of type object"),
        (2, {"filters": [{"id": "pickle"}]}, "filters"),
        (2, {"compressor": {"id": "pickle"}}, "compressed by pickle"),
        (2, {"compressor": {"id": "bz2"}}, "compressed by bz2"),
        (3, {"shape": [2**40, 64]}, "its shape is"),
        (3, {"chunk_grid": {"name": "rectilinear"}}, "no regular grid"),
        (3, {"data_type": "string"}, "values of type string"),
        (3, {"data_type": {"name": "struct"}}, "values of type"),
        (3, {"codecs": [{"name": "vlen-utf8"}]}, "encoded by"),
        (3, {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}, "compressed by numcodecs.pickle"),
        (3, {"codecs": [{"name": "bytes"}, {"name": "gzip"}, {"name": "zstd"}]}, "encoded by"),
        (3, {"codecs": []}, "encoded by"),
        (3, {"storage_transformers": [{"name": "x"}]}, "no regular grid"),
    ],
)
def test_arrays_are_checked_first(tmp_path: Path, version: int, change: dict[str, Any], what: str) -> None:
    write_image(tmp_path / "a.zarr", voxels(8, 8), "yx", version, (8, 8))
    with changed_json(tmp_path / "a.zarr/0" / (".zarray" if version == 2 else "zarr.json")) as content:
        content |= change
    refused(tmp_path / "a.zarr", what)
