"""The formats of images and label maps, one record each; nothing else in the package lists suffixes.

To add a format, write a module that reads and encodes it, and add its record to ``FORMATS`` (or pass it to
``register_format`` from outside the package). Every command then accepts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from swin_umamba.data.dicom import read_dicom
from swin_umamba.data.image import Image
from swin_umamba.data.metaimage import encode_metaimage, metaimage_shape, read_metaimage
from swin_umamba.data.nifti import encode_nifti, nifti_shape, read_nifti
from swin_umamba.data.nrrd import encode_nrrd, nrrd_shape, read_nrrd
from swin_umamba.data.pictures import encode_picture, picture_shape, read_picture
from swin_umamba.data.tiff import encode_tiff, read_tiff, tiff_shape
from swin_umamba.data.tiff_pixel_size import write_spacing_file
from swin_umamba.errors import DataError


class Reader(Protocol):
    """Reads a file, or refuses what it cannot read exactly with a ``DataError`` that says why."""

    def __call__(self, path: Path, *, indexed: bool, max_voxels: int) -> Image:
        """Return the image.

        Parameters
        ----------
        path
            An existing file that is not empty.
        indexed
            Whether the file is a label map: a palette then yields its indices, not its colours.
        max_voxels
            Largest number of voxels; files that claim more are refused before memory is allocated.
        """
        ...


class WriteBeside(Protocol):
    """Writes a second file with what a file of a format cannot express itself."""

    def __call__(self, path: Path, like: Image, *, of_labels: bool) -> None:
        """Write it beside ``path``, an image or label map on the grid of ``like``, if it is needed."""
        ...


@dataclass(frozen=True)
class Format:
    """The package's record of a format.

    Attributes
    ----------
    name
        Name as users know it.
    suffixes
        Suffixes in lower case, with the dot; a longer one that ends in another comes first.
    read
        The reader; see ``Reader``.
    encode
        ``encode(data, like, suffix)`` returns the content of a file for voxels ``(channels, y, x)`` or
        ``(channels, z, y, x)`` on the grid of an image, under one of the suffixes, or None if the format
        cannot hold such voxels. None instead of a function if the format is read-only.
    holds_labels
        Whether a file preserves every value, so that it can be a label map.
    has_geometry
        Whether a file stores where its voxels lie in the world.
    label_suffix
        Suffix for label maps of images in this format if the model's own file ending is unsuitable.
    write_beside
        See ``WriteBeside``; None if a file is complete by itself.
    shape
        Function that returns the shape ``(channels, y, x)`` or ``(channels, z, y, x)`` of a file from its
        header alone, its pixels perhaps not yet turned upright; None if the whole file has to be read. It
        refuses the headers that ``read`` refuses for their sizes.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Reader
    encode: Callable[[np.ndarray, Image, str], bytes | None] | None
    holds_labels: bool
    has_geometry: bool
    label_suffix: str
    write_beside: WriteBeside | None = None
    shape: Callable[[Path], tuple[int, ...]] | None = None


# A folder has this format, too.
DICOM = Format("DICOM", (".dcm",), read_dicom, None, True, True, ".nii.gz")
FORMATS: list[Format] = [
    Format("NIfTI", (".nii.gz", ".nii"), read_nifti, encode_nifti, True, True, ".nii.gz", shape=nifti_shape),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        read_metaimage,
        encode_metaimage,
        True,
        True,
        ".mha",
        shape=metaimage_shape,
    ),
    Format(
        "NRRD", (".seg.nrrd", ".nrrd", ".nhdr"), read_nrrd, encode_nrrd, True, True, ".nrrd", shape=nrrd_shape
    ),
    Format(
        "TIFF", (".tiff", ".tif"), read_tiff, encode_tiff, True, False, ".tif", write_spacing_file, tiff_shape
    ),
    Format("PNG", (".png",), read_picture, encode_picture, True, False, ".png", shape=picture_shape),
    Format("BMP", (".bmp",), read_picture, encode_picture, True, False, ".png", shape=picture_shape),
    Format("JPEG", (".jpeg", ".jpg"), read_picture, None, False, False, ".png", shape=picture_shape),
    DICOM,
]


def register_format(record: Format) -> None:
    """Add a format.

    Raises
    ------
    ValueError
        One of its suffixes already belongs to a format.
    """
    taken = set(record.suffixes) & set(image_suffixes())
    if taken:
        raise ValueError(f"{', '.join(sorted(taken))}: there is a format with this suffix already")
    FORMATS.append(record)


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats that can be read."""
    return tuple(suffix for record in FORMATS for suffix in record.suffixes)


def is_image_name(path: str | Path) -> bool:
    """Return whether a file name has the suffix of a format that can be read."""
    return Path(path).name.lower().endswith(image_suffixes())


def image_suffix(path: str | Path) -> str:
    """Return the suffix of an image file in lower case (``.nii.gz`` counts as one).

    Raises
    ------
    DataError
        The suffix is not that of a format that can be read.
    """
    return _find(path)[1]


def format_of(path: str | Path) -> Format:
    """Return the format of an image file, judged by its suffix; a folder contains DICOM files.

    Raises
    ------
    DataError
        The suffix is not that of a format that can be read.
    """
    return DICOM if Path(path).is_dir() else _find(path)[0]


def format_with_suffix(suffix: str) -> Format | None:
    """Return the format that a suffix (in lower case, with the dot) belongs to; None if there is none."""
    return next((record for record in FORMATS if suffix in record.suffixes), None)


def label_suffix(image: str | Path, preferred: str) -> str:
    """Return the suffix for the label map of an image file.

    Parameters
    ----------
    image
        The image file.
    preferred
        Suffix to use if it can hold labels and as much geometry as the image has; ``""`` for none.
    """
    source, wanted = format_of(image), format_with_suffix(preferred)
    suits = (
        wanted is not None
        and wanted.holds_labels
        and wanted.encode is not None
        and wanted.has_geometry == source.has_geometry
    )
    return preferred if suits else source.label_suffix


def number_suffix(labels: str | Path) -> str:
    """Return the suffix for an image of floating-point numbers beside a label map."""
    known = format_of(labels)
    if not known.has_geometry:
        return ".tif"
    return known.label_suffix if known.encode is None else image_suffix(labels)


def _find(path: str | Path) -> tuple[Format, str]:
    name = Path(path).name.lower()
    for record in FORMATS:
        for suffix in record.suffixes:
            if name.endswith(suffix):
                return record, suffix
    raise DataError(
        "the format of this file is not known",
        where=path,
        hint=f"convert it to one of {', '.join(image_suffixes())}",
    )
