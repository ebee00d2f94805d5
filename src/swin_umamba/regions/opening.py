"""Open an image to read regions of it."""

from __future__ import annotations

from pathlib import Path

from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError, UsageError
from swin_umamba.regions.labels import UNFINISHED
from swin_umamba.regions.ome_zarr import OmeZarrSource
from swin_umamba.regions.source import ArraySource, RegionSource, chosen_level

SLIDES = (".svs", ".ndpi")
"""Endings of slide scanners' files."""
_ZARR_NAMES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def open_region_source(path: str | Path, level: int = 0, series: str | None = None) -> RegionSource:
    """Open an image of which regions are read.

    Parameters
    ----------
    path
        File or folder.
    level
        Level of a pyramid, 0 for the largest.
    series
        Which image of several in the file; None if there is one.

    Returns
    -------
    RegionSource
        The image. What can only be read whole is in memory, within the limits of ``read_image``.

    Raises
    ------
    DataError
        The file is damaged, or of a kind that is not supported.
    UsageError
        There is no such level or series, or a library is missing.
    """
    path = Path(path)
    if (path / UNFINISHED).exists() or path.with_name(path.name + UNFINISHED).exists():
        raise DataError(
            "the label map is not finished", where=path, hint="run the prediction that writes it again"
        )
    if not path.exists():
        raise DataError("there is no such file", where=path, hint="check the path")
    if is_zarr(path):
        return OmeZarrSource(path, level, series)
    chosen_level(path, level, 1)
    if series is not None:
        raise UsageError("the file holds one image", where=path, hint="leave the series out")
    return ArraySource(read_image(path), reopen=(open_region_source, (path, level, series)))


def is_by_region(path: Path) -> bool:
    """Return whether an image is of a kind that is only read by region."""
    return is_zarr(path) or path.name.lower().endswith(SLIDES)


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder in Zarr."""
    return path.is_dir() and (
        path.name.lower().endswith(".zarr") or any((path / name).is_file() for name in _ZARR_NAMES)
    )
