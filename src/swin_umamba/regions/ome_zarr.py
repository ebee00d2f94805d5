"""Images in OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), read by region.

Source: the NGFF specification (ngff.openmicroscopy.org), versions 0.4 and 0.5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from swin_umamba.errors import DataError, SwinUMambaError, UsageError, in_short
from swin_umamba.regions.source import (
    UNITS,
    Level,
    Placement,
    RegionSource,
    Triple,
    check_levels,
    check_shape,
    chosen_level,
)
from swin_umamba.regions.zarr_arrays import ArrayFile, describe_array, read_metadata, zarr_library
from swin_umamba.regions.zarr_store import guarded_store

logger = logging.getLogger(__name__)

_HINT = "write it again as OME-Zarr 0.4 or 0.5, one image a folder"
_MOST_LEVELS = 40


@dataclass(frozen=True)
class ZarrGroup:
    """A group of Zarr.

    Attributes
    ----------
    folder
        Its folder.
    version
        Format of Zarr.
    ome
        What it says of images.
    """

    folder: Path
    version: Literal[2, 3]
    ome: Mapping[str, Any]


def read_group(folder: Path) -> ZarrGroup | None:
    """Return the group of a folder; None if it is none.

    Raises
    ------
    DataError
        Its metadata cannot be read, are those of an array, or are there twice.
    """
    new = read_metadata(folder, "zarr.json")
    old = {**read_metadata(folder, ".zgroup"), **read_metadata(folder, ".zattrs")}
    is_array = new.get("node_type") == "array" or (folder / ".zarray").exists()
    if is_array or (new and old):
        what = "one array, not an image" if is_array else "metadata of Zarr 2 and of Zarr 3, which may differ"
        raise DataError(
            f"the folder holds {what}",
            where=folder,
            hint="give the folder above it" if is_array else "remove those that are not used",
        )
    if new:
        attributes = new.get("attributes")
        ome = attributes.get("ome") if isinstance(attributes, dict) else None
        return ZarrGroup(folder, 3, ome if isinstance(ome, dict) else {})
    return ZarrGroup(folder, 2, old) if old else None


def find_image(folder: Path, series: str | None) -> ZarrGroup:
    """Return the group with one image: the folder's own, or one of the series in it.

    Raises
    ------
    DataError
        There is none.
    UsageError
        There are several and none is chosen, or there is none of this name.
    """
    group = read_group(folder)
    if group is None:
        raise DataError("the folder is no OME-Zarr image: it has no metadata", where=folder, hint=_HINT)
    if "multiscales" in group.ome:
        if series is not None:
            raise UsageError("the folder holds one image", where=folder, hint="leave the series out")
        return group
    if "plate" in group.ome or "well" in group.ome:
        raise DataError(
            "the folder is a plate of many images", where=folder, hint="give the folder of one field of view"
        )
    names = sorted((each.name for each in folder.iterdir() if each.name.isdigit() and each.is_dir()), key=int)
    if series is None and len(names) == 1:
        series = names[0]
    if series not in names:
        what = f"there is no series {series!r}" if series is not None else "the folder holds no single image"
        raise UsageError(what, where=folder, hint=f"its series are {in_short(names) or 'none'}")
    found = read_group(folder / series)
    if found is None or "multiscales" not in found.ome:
        raise DataError("the series is no OME-Zarr image", where=folder / series, hint=_HINT)
    return found


@dataclass(frozen=True)
class Multiscale:
    """What the metadata of an image say of its levels.

    Attributes
    ----------
    axes
        Name of each axis: some of t, c, z, y, x.
    paths
        Array of each level.
    placements
        Where the voxels of each level lie.
    """

    axes: str
    paths: tuple[str, ...]
    placements: tuple[Placement, ...]


def read_multiscale(group: ZarrGroup) -> Multiscale:
    """Return what the metadata of an image say.

    Raises
    ------
    DataError
        They are not those of the specification, or of another version.
    """
    where = group.folder
    found = group.ome.get("multiscales")
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise _wrong(where, "there have to be one image and its levels")
    image = found[0]
    version = str(image.get("version", "0.4") if group.version == 2 else group.ome.get("version"))
    if not version.startswith({2: "0.4", 3: "0.5"}[group.version]):
        raise DataError(f"OME-Zarr {version[:20]} is not supported", where=where, hint=_HINT)
    axes, units = _axes(where, image.get("axes"))
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not 0 < len(datasets) <= _MOST_LEVELS:
        raise _wrong(where, "there is no list of levels")
    whole = image.get("coordinateTransformations")
    paths, placements = [], []
    for dataset in datasets:
        path = dataset.get("path") if isinstance(dataset, dict) else None
        if not isinstance(path, str):
            raise _wrong(where, "a level has no path")
        paths.append(path)
        scale, shift = _transformed(where, dataset.get("coordinateTransformations"), len(axes))
        if whole is not None:
            outer, moved = _transformed(where, whole, len(axes))
            scale, shift = scale * outer, shift * outer + moved
        by_axis = dict(zip(axes, zip(scale.tolist(), shift.tolist(), strict=True), strict=True))
        (z, z0), (y, y0), (x, x0) = (by_axis.get(axis, (1.0, 0.0)) for axis in "zyx")
        placements.append(Placement((z, y, x), (z0, y0, x0), units))
    return Multiscale(axes, tuple(paths), tuple(placements))


def _axes(where: Path, found: Any) -> tuple[str, tuple[str | None, str | None, str | None]]:
    """Return the names of the axes, and the units along z, y and x."""
    names, units = "", dict.fromkeys("zyx")
    for axis in found if isinstance(found, list) else []:
        name = axis.get("name") if isinstance(axis, dict) else None
        if not isinstance(name, str) or name not in ("t", "c", "z", "y", "x") or name in names:
            raise _wrong(where, f"an axis {str(axis)[:100]}; axes are t, c, z, y and x, each once")
        names += name
        unit = axis.get("unit")
        if name in units and unit in UNITS:
            units[name] = unit
    if "".join(name for name in names if name in "zyx") not in ("zyx", "yx"):
        raise _wrong(where, f"axes in the order {names!r}")
    # Without a z axis, its placeholder of 1 is no reason not to know the size of a pixel.
    return names, (units["z"] if "z" in names else "millimeter", units["y"], units["x"])


def _transformed(where: Path, found: Any, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and translation of one list of transformations."""
    values = {"scale": np.ones(ndim), "translation": np.zeros(ndim)}
    listed = found if isinstance(found, list) else []
    kinds = [each.get("type") if isinstance(each, dict) else None for each in listed]
    if kinds not in (["scale"], ["scale", "translation"]):
        raise _wrong(
            where, f"transformations {str(found)[:100]}; there has to be a scale, then a translation"
        )
    for kind, each in zip(kinds, listed, strict=True):
        numbers = each.get(kind)
        if (
            not isinstance(numbers, list)
            or len(numbers) != ndim
            or not all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
            or (kind == "scale" and min(numbers) <= 0)
        ):
            raise _wrong(where, f"the {kind} {str(numbers)[:100]}")
        values[kind] = np.array(numbers, float)
    return values["scale"], values["translation"]


class OmeZarrSource(RegionSource):
    """An image in OME-Zarr.

    Parameters
    ----------
    path
        Its folder.
    level
        Level of the pyramid.
    series
        Name of the image, if the folder holds several.
    """

    def __init__(self, path: Path, level: int = 0, series: str | None = None) -> None:
        zarr = zarr_library()
        self._opening = (path, level, series)
        group = find_image(path, series)
        multiscale = read_multiscale(group)
        arrays = [describe_array(group.folder, key, group.version) for key in multiscale.paths]
        self.path, self.level = group.folder, chosen_level(path, level, len(arrays))
        self.flat, self.version = "z" not in multiscale.axes, group.version
        self._axes = multiscale.axes
        shapes = [self._shape_of(array) for array in arrays]
        self.levels = tuple(
            _level(shape, multiscale.placements[0], placement)
            for shape, placement in zip(shapes, multiscale.placements, strict=True)
        )
        self._check_arrays(arrays, shapes)
        array = arrays[level]
        self.placement, self.shape, self.dtype = multiscale.placements[level], shapes[level], array.dtype
        self.chunk = self._by_axis(array.chunk)[1:]
        self._store = guarded_store(array)
        self._array = zarr.open_array(store=self._store, path=array.key, mode="r", zarr_format=group.version)
        if (self._array.shape, self._array.dtype.newbyteorder("=")) != (array.shape, array.dtype):
            raise _wrong(array.path, f"shape {self._array.shape} and type {self._array.dtype}")

    def _by_axis(self, lengths: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Return lengths along the axes of the array as (channels, z, y, x)."""
        by_axis = dict(zip(self._axes, lengths, strict=True))
        c, z, y, x = (by_axis.get(axis, 1) for axis in "czyx")
        return c, z, y, x

    def _shape_of(self, array: ArrayFile) -> tuple[int, int, int, int]:
        if len(array.shape) != len(self._axes):
            raise _wrong(array.path, f"{len(array.shape)} axes; the image has {self._axes}")
        if "t" in self._axes and array.shape[self._axes.index("t")] != 1:
            raise DataError(
                "images with several points in time are not supported", where=self.path, hint=_HINT
            )
        shape = self._by_axis(array.shape)
        check_shape(array.path, shape)
        return shape

    def _check_arrays(self, arrays: list[ArrayFile], shapes: list[tuple[int, int, int, int]]) -> None:
        kinds = {(shape[0], array.dtype.name) for shape, array in zip(shapes, arrays, strict=True)}
        if len(kinds) != 1:
            raise DataError(
                "the levels of the pyramid disagree: they have "
                + " and ".join(f"{channels} channels of {dtype}" for channels, dtype in sorted(kinds)),
                where=self.path,
                hint="write the pyramid again from its largest level",
            )
        assert self.path is not None
        check_levels(self.path, self.levels)

    def _read(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        parts = {"z": slice(*z), "y": slice(*y), "x": slice(*x), "c": slice(None), "t": slice(0, 1)}
        try:
            stored = self._array[tuple(parts[axis] for axis in self._axes)]
        except (SwinUMambaError, MemoryError):
            raise
        except Exception as error:  # each codec has exceptions of its own
            raise DataError(
                f"a chunk of the image is damaged, in the region z {z}, y {y}, x {x}: "
                f"{str(error)[:200] or type(error).__name__}",
                where=f"{self.path}, level {self.level}",
                hint="copy or download the folder again",
            ) from error
        if self._store.missing:
            self._store.missing = False
            logger.warning(
                "%s: there are no files for some chunks; they count as the fill value %s, as Zarr defines it",
                self.path,
                self._array.fill_value,
            )
        ordered = stored.transpose([self._axes.index(axis) for axis in "tczyx" if axis in self._axes])
        region: np.ndarray = ordered.reshape(self.shape[0], *(stop - start for start, stop in (z, y, x)))
        return region

    def close(self) -> None:
        """Do nothing: the files of chunks are closed as they are read."""


def _level(shape: tuple[int, int, int, int], first: Placement, own: Placement) -> Level:
    """Return a level by its placement and that of the largest one."""

    def quotients(numbers: tuple[float, ...]) -> Triple:
        z, y, x = (number / size for number, size in zip(numbers, first.scale, strict=True))
        return z, y, x

    moved = tuple(here - there for here, there in zip(own.translation, first.translation, strict=True))
    return Level(shape[1:], quotients(own.scale), quotients(moved))


def _wrong(where: Path, what: str) -> DataError:
    return DataError(f"the metadata of the OME-Zarr image make no sense: {what}", where=where, hint=_HINT)
