"""Images in OME-Zarr, written with the zarr library and metadata by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs
from zarr.storage import LocalStore

from swin_umamba.errors import DataError
from swin_umamba.regions.opening import open_region_source

ALL = slice(None)
VERSIONS = pytest.mark.parametrize("version", [2, 3])
CODECS: dict[str, dict[str, Any]] = {
    "plain": {"compressors": None},
    "gzip": {"compressors": zarr.codecs.GzipCodec()},
    "zstd": {"compressors": zarr.codecs.ZstdCodec(checksum=True)},
    "blosc": {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
    "crc": {"compressors": [zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]},
    "transposed": {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
}
SCALES = {"z": 2.0, "y": 0.5, "x": 0.25}


def multiscale(axes: str, levels: int, unit: str | None = "micrometer", **changes: Any) -> dict[str, Any]:
    """Return what an image's metadata say of ``levels`` levels, each half as large in y and x."""
    kinds = {"t": "time", "c": "channel"}
    described: list[dict[str, Any]] = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [SCALES.get(axis, 1.0) * (2.0**level if axis in "yx" else 1.0) for axis in axes],
                },
                {
                    "type": "translation",
                    "translation": [
                        SCALES[axis] * (2**level - 1) / 2 if axis in "yx" else 0.0 for axis in axes
                    ],
                },
            ],
        }
        for level in range(levels)
    ]
    return {"axes": described, "datasets": datasets, **changes}


def write_group(folder: Path, version: int, ome: dict[str, Any]) -> None:
    """Write the metadata of a group."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(ome))
    else:
        attributes = {"ome": {"version": "0.5", **ome}}
        content = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (folder / "zarr.json").write_text(json.dumps(content))


def write_image(
    folder: Path,
    data: np.ndarray,
    axes: str,
    version: int,
    chunk: tuple[int, ...],
    levels: int = 1,
    **how: Any,
) -> None:
    """Write an image whose smaller levels are every second voxel along y and x."""
    described = multiscale(axes, levels)
    if version == 2:
        described["version"] = "0.4"
    write_group(folder, version, {"multiscales": [described]})
    step = tuple(slice(None, None, 2) if axis in "yx" else slice(None) for axis in axes)
    for level in range(levels):
        array = zarr.create_array(
            LocalStore(folder),
            name=str(level),
            shape=data.shape,
            dtype=data.dtype,
            chunks=chunk,
            zarr_format=version,
            fill_value=0,
            **({"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == 2 else {}),
            **how,
        )
        array[...] = data
        data = data[step]


def voxels(*shape: int, dtype: str = "uint16") -> np.ndarray:
    """Return any values from 0 to 199."""
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def refused(folder: Path, what: str, **how: Any) -> None:
    """Expect an error with these words where an image is opened or read."""
    with pytest.raises(DataError, match=what), open_region_source(folder, **how) as source:
        source.read(ALL, ALL, ALL)


def stored(folder: Path, version: int) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Return the metadata file of an image, its content, and the part on levels in it."""
    file = folder / (".zattrs" if version == 2 else "zarr.json")
    content = json.loads(file.read_text())
    ome = content if version == 2 else content["attributes"]["ome"]
    return file, content, ome["multiscales"][0]
