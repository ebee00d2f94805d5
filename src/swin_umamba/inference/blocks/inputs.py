"""Which images are predicted in blocks, and what their label maps are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_umamba.data.image_io import image_stem, is_image_name
from swin_umamba.data.picture_checks import MAX_PIXELS
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.blocks.options import BlockOptions
from swin_umamba.regions.opening import is_by_region, open_region_source, stem_by_region

ZARR, TIFF = ".ome.zarr", ".tif"
_TIFF_SUFFIXES = (".tif", ".tiff")
_SMALL_FILE = 2**25
"""Smaller TIFF files are read whole without a look at their pyramid."""


def stem_of(path: Path) -> str:
    """Return the name of an image, without folder and suffix."""
    return stem_by_region(path) if is_by_region(path) else image_stem(path)


def is_label_name(path: Path) -> bool:
    """Return whether a path names a label map, rather than a folder of label maps."""
    return is_image_name(path) or path.name.lower().endswith(".zarr")


def goes_in_blocks(files: Sequence[Path], options: BlockOptions) -> bool:
    """Return whether a case is predicted in blocks.

    Raises
    ------
    UsageError
        If that is wanted of a case in several files.
    """
    if len(files) > 1:
        if options.in_blocks:
            raise UsageError(
                f"the image is in {len(files)} files; in blocks, an image is one file",
                where=files[0],
                hint="write all channels into one file, OME-Zarr or TIFF",
            )
        return False
    (path,) = files
    return options.in_blocks or is_by_region(path) or _is_large(path)


def label_name(path: Path, options: BlockOptions) -> str:
    """Return the suffix of the label map of an image in blocks."""
    zarr = path.is_dir() if options.label_format is None else options.label_format == "zarr"
    return ZARR if zarr else TIFF


def _is_large(path: Path) -> bool:
    is_tiff = path.name.lower().endswith(_TIFF_SUFFIXES) and path.is_file()
    if not is_tiff or path.stat().st_size < _SMALL_FILE:
        return False
    try:
        with open_region_source(path) as source:
            _, _, height, width = source.shape
            return len(source.levels) > 1 or height * width > MAX_PIXELS
    except (DataError, OSError):
        return False  # reading it whole says what is wrong, or reads what cannot be read by region
