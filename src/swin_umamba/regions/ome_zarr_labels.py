"""Label maps in OME-Zarr, in ``labels/NAME`` of an image or of a group of their own.

Source: the NGFF specification (ngff.openmicroscopy.org), versions 0.4 and 0.5, "labels".
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from swin_umamba.errors import DataError, OutputError, SwinUMambaError, UsageError
from swin_umamba.json_files import write_json
from swin_umamba.regions.labels import (
    UNFINISHED,
    LabelGrid,
    LabelWriter,
    blocks_of,
    read_description,
    write_description,
    writing,
)
from swin_umamba.regions.ome_zarr import read_group
from swin_umamba.regions.zarr_arrays import read_metadata, zarr_library

logger = logging.getLogger(__name__)

_OTHER_NAME = "choose another name, or remove the folder"


class OmeZarrLabelWriter(LabelWriter):
    """Writes labels into a group whose metadata, which make it an image, come last."""

    def __init__(self, root: Path, name: str) -> None:
        self.path, self._root = label_folder(root, name), root
        self.grid, self._image = read_description(self.path / UNFINISHED)
        self._version = _version_of(root)
        zarr = zarr_library()
        self._store = zarr.storage.LocalStore(self.path)
        self._arrays: dict[int, Any] = {}

    @classmethod
    def create(cls, root: Path, name: str, grid: LabelGrid, image: Path | None) -> OmeZarrLabelWriter:
        """Create the arrays of all levels, without values."""
        zarr, folder, version = zarr_library(), label_folder(root, name), _version_of(root)
        if folder.exists():
            raise OutputError("there are labels of this name already", where=folder, hint=_OTHER_NAME)
        described = read_group(root) if root.is_dir() else None
        beside = os.path.relpath(image, folder) if image is not None else None
        with writing(folder):
            folder.mkdir(parents=True)
            for level in range(len(grid.pyramid)):
                _create_array(zarr, folder, level, grid, version)
            if described is not None and "multiscales" in described.ome:
                beside = "../../"
            write_description(folder / UNFINISHED, grid, beside)
        return cls(root, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return OmeZarrLabelWriter, (self._root, self.path.name)

    def read(self, z: slice, y: slice, x: slice) -> np.ndarray:
        """Return what has been written there, ``(z, y, x)``; zeros elsewhere."""
        return self._read(0, (z, y, x))

    def finish(self) -> Path:
        """Write the smaller levels, then the metadata; see ``LabelWriter``."""
        with writing(self.path):
            for number, level in enumerate(self.grid.pyramid[1:], start=1):
                places = self.grid.nearest(number)
                for region in blocks_of(level.shape, self.grid.block):
                    chosen = [place[part] for place, part in zip(places, region, strict=True)]
                    z, y, x = (slice(int(place[0]), int(place[-1]) + 1) for place in chosen)
                    larger = self._read(number - 1, (z, y, x))
                    labels = larger[np.ix_(*(place - place[0] for place in chosen))]
                    self._write_level(number, region, labels)
            _write_attributes(self.path, self._version, self._metadata())
            self._list_in_parent()
            (self.path / UNFINISHED).unlink(missing_ok=True)
        return self.path

    def _write(self, region: tuple[slice, ...], labels: np.ndarray) -> None:
        with writing(self.path):
            (self.path / UNFINISHED).stat()  # or the zarr library would make a folder that was removed again
            self._write_level(0, region, labels)

    def _write_level(self, number: int, region: tuple[slice, ...], labels: np.ndarray) -> None:
        self._array(number)[region[1:] if self.grid.flat else region] = (
            labels[0] if self.grid.flat else labels
        )

    def _read(self, number: int, region: tuple[slice, slice, slice]) -> np.ndarray:
        try:
            values: np.ndarray = self._array(number)[region[1:] if self.grid.flat else region]
        except (SwinUMambaError, MemoryError):
            raise
        except Exception as error:  # each codec has exceptions of its own
            raise DataError(
                f"labels written before are damaged: {str(error)[:200] or type(error).__name__}",
                where=f"{self.path}, level {number}, region {region}",
                hint="write these blocks again",
            ) from error
        return values[None] if self.grid.flat else values

    def _array(self, number: int) -> Any:
        if number not in self._arrays:
            self._arrays[number] = zarr_library().open_array(
                self._store, path=str(number), mode="r+", zarr_format=self._version
            )
        return self._arrays[number]

    def _metadata(self) -> dict[str, Any]:
        grid, kept = self.grid, slice(1, None) if self.grid.flat else slice(None)
        axes: list[dict[str, str]] = []
        for name, unit in list(zip("zyx", grid.placement.units, strict=True))[kept]:
            axes.append({"name": name, "type": "space"} | ({"unit": unit} if unit else {}))
        datasets = []
        for number, level in enumerate(grid.pyramid):
            placement = grid.placement_of(level)
            scale: dict[str, Any] = {"type": "scale", "scale": list(placement.scale)[kept]}
            moved = {"type": "translation", "translation": list(placement.translation)[kept]}
            datasets.append({"path": str(number), "coordinateTransformations": [scale, moved]})
        version = {2: "0.4", 3: "0.5"}[self._version]
        label: dict[str, Any] = {"version": version}
        if grid.colours:
            label["colors"] = [
                {"label-value": value, "rgba": [*colour, 255]}
                for value, colour in sorted(grid.colours.items())
            ]
        if grid.names:
            label["properties"] = [
                {"label-value": value, "name": name} for value, name in sorted(grid.names.items())
            ]
        if self._image is not None:
            label["source"] = {"image": self._image}
        own_version = {"version": version} if self._version == 2 else {}
        image = {**own_version, "name": self.path.name, "axes": axes, "datasets": datasets}
        return {"multiscales": [{**image, "type": "nearest"}], "image-label": label}

    def _list_in_parent(self) -> None:
        """Name all finished label maps in the group of labels, whoever finished them at the same time."""
        labels = self.path.parent
        if not _metadata_file(self._root, self._version).exists():
            _write_attributes(self._root, self._version, {})
        found = read_group(labels)
        ome = dict(found.ome) if found else {}
        listed = ome.get("labels")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        for folder in sorted(labels.iterdir()):
            if folder.name not in names and (folder == self.path or _is_label_map(folder)):
                names.append(folder.name)
        _write_attributes(labels, self._version, {**ome, "labels": names})
        consolidated = read_metadata(self._root, "zarr.json").get("consolidated_metadata")
        if consolidated or (self._root / ".zmetadata").exists():
            logger.warning(
                "%s: its consolidated metadata do not name the labels; consolidate them again for programs "
                "that read only those",
                self._root,
            )


def label_folder(root: Path, name: str) -> Path:
    """Return the folder of labels of an image, which lies in the image's.

    Raises
    ------
    UsageError
        The name cannot be that of a folder.
    OutputError
        The folder of labels is a link that leads elsewhere.
    """
    if not name or name.startswith(".") or any(letter in name for letter in "/\\:\0") or len(name) > 100:
        raise UsageError(f"{name!r} cannot be the name of labels", hint="use letters, digits, - and _")
    folder = root / "labels" / name
    if not folder.resolve().is_relative_to(root.resolve()):
        raise OutputError(
            "the folder of labels is a link that leads out of the image", where=folder, hint="remove the link"
        )
    return folder


def _version_of(root: Path) -> Literal[2, 3]:
    """Return the format of Zarr for labels in a folder: that of the image there, else the newer one."""
    found = read_group(root) if root.is_dir() else None
    return found.version if found else 3


def _create_array(zarr: Any, folder: Path, number: int, grid: LabelGrid, version: Literal[2, 3]) -> None:
    kept = slice(1, None) if grid.flat else slice(None)
    how: dict[str, Any]
    if version == 2:
        # Programs of that time know Blosc, and name a chunk's folders as the specification wants it.
        how = {"chunk_key_encoding": {"name": "v2", "separator": "/"}, "compressors": "auto"}
    else:
        how = {
            "shards": grid.block[kept],
            "compressors": zarr.codecs.ZstdCodec(level=3, checksum=True),
            "dimension_names": list("zyx"[kept]),
        }
    zarr.create_array(
        zarr.storage.LocalStore(folder),
        name=str(number),
        shape=grid.pyramid[number].shape[kept],
        dtype=grid.dtype,
        chunks=grid.chunk[kept],
        zarr_format=version,
        fill_value=0,
        **how,
    )


def _is_label_map(folder: Path) -> bool:
    found = read_group(folder) if folder.is_dir() else None
    return found is not None and "image-label" in found.ome


def _metadata_file(folder: Path, version: Literal[2, 3]) -> Path:
    return folder / (".zgroup" if version == 2 else "zarr.json")


def _write_attributes(folder: Path, version: Literal[2, 3], ome: Mapping[str, Any]) -> None:
    """Write what a group says of images, and keep what else it says."""
    if version == 2:
        write_json(folder / ".zgroup", {"zarr_format": 2})
        write_json(folder / ".zattrs", {**read_metadata(folder, ".zattrs"), **ome})
        return
    found = read_metadata(folder, "zarr.json")
    kept = found.get("attributes")
    attributes = {**(kept if isinstance(kept, dict) else {}), "ome": {"version": "0.5", **ome}}
    group = {**found, "zarr_format": 3, "node_type": "group", "attributes": attributes}
    write_json(folder / "zarr.json", group)
