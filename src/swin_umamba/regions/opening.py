"""Open an image to read regions of it."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

from swin_umamba.data.image_io import read_image
from swin_umamba.data.tiff_tags import UnsupportedTiffError
from swin_umamba.errors import DataError, UsageError
from swin_umamba.regions.labels import UNFINISHED
from swin_umamba.regions.ome_zarr import OmeZarrSource
from swin_umamba.regions.openslide_source import OpenSlideSource
from swin_umamba.regions.source import ArraySource, RegionSource, chosen_level
from swin_umamba.regions.tiff import TiffSource, is_upright

logger = logging.getLogger(__name__)

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf")
_SCANNERS = (".svs", ".ndpi")
_OPENSLIDE_SUFFIXES = (".bif", ".mrxs", ".scn", ".svslide", ".vms", ".vmu")
SLIDES = (".btf", *_SCANNERS, *_OPENSLIDE_SUFFIXES)
"""Endings of files that are only read by region."""
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
    if series is not None:
        raise UsageError("the file holds one image", where=path, hint="leave the series out")
    name = path.name.lower() if path.is_file() else ""
    if name.endswith(_OPENSLIDE_SUFFIXES):
        return OpenSlideSource(path, level)
    if name.endswith(_SCANNERS):
        return _open_slide(path, level)
    if name.endswith(_TIFF_SUFFIXES) and is_upright(path):
        return TiffSource(path, level)
    chosen_level(path, level, 1)
    return ArraySource(read_image(path), reopen=(open_region_source, (path, level)))


def _open_slide(path: Path, level: int) -> RegionSource:
    """Open a slide by our reader, and by OpenSlide only what that does not support."""
    try:
        return TiffSource(path, level)
    except UnsupportedTiffError as error:
        try:
            source = OpenSlideSource(path, level)
        except UsageError:  # it is not installed
            hint = f"{error.hint}, or install OpenSlide: pip install 'swin-umamba[openslide]'"
            raise DataError(error.what, where=path, hint=hint) from error
        except DataError:  # nor does it know the file: the first reason says more
            raise error from None
        logger.info("%s is read through OpenSlide: %s", path, error.what)
        return source


def is_by_region(path: Path) -> bool:
    """Return whether an image is of a kind that is only read by region."""
    return is_zarr(path) or path.name.lower().endswith(SLIDES)


def stem_by_region(path: Path) -> str:
    """Return the name, without folder and suffix, of an image that is only read by region."""
    name = path.name or path.resolve().name
    suffixes = (".ome.zarr", ".zarr", *SLIDES)
    length = next((len(suffix) for suffix in suffixes if name.lower().endswith(suffix)), 0)
    return unicodedata.normalize("NFC", name[: len(name) - length])


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder in Zarr."""
    return path.is_dir() and (
        path.name.lower().endswith(".zarr") or any((path / name).is_file() for name in _ZARR_NAMES)
    )
