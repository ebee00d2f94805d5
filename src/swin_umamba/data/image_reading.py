"""Reading of images, label maps and cases. Use it through ``image_io``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom import ChosenSeries, find_segmentation, read_dicom, read_segmentation
from swin_umamba.data.dicom.files import unreadable
from swin_umamba.data.formats import DICOM, format_of, is_image_name
from swin_umamba.data.image import MAX_VOXELS, Image, check_same_grid
from swin_umamba.errors import DataError, UsageError
from swin_umamba.options import Nonfinite

logger = logging.getLogger(__name__)

# This many wrong label values are named in an error; the rest are counted.
NAMED_VALUES = 5


def read_image(
    path: str | Path,
    *,
    nonfinite: Nonfinite = "refuse",
    indexed: bool = False,
    max_voxels: int = MAX_VOXELS,
    series: ChosenSeries | None = None,
    fraction: float | None = None,
) -> Image:
    """Read an image.

    Parameters
    ----------
    path
        A file in one of the ``formats``, or a folder with a DICOM series.
    nonfinite
        Treatment of NaN and infinite voxels: refuse the image, or set them to zero with a warning.
    indexed
        Whether the file is a label map: a palette picture yields its indices instead of its colours, and a
        DICOM segmentation can be read.
    max_voxels
        Largest number of voxels; images with more are refused before memory is allocated.
    series
        UID or number of the DICOM series to read, required for a folder with several, or UID:NAME=VALUE for
        one volume of a series, or the files of one; see ``read_dicom``. Ignored for other formats.
    fraction
        With ``indexed``, the threshold of a DICOM segmentation of fractions; see ``read_segmentation``.

    Raises
    ------
    DataError
        The file is missing, damaged, not what its name says, or too large, or holds NaN or infinity.
    """
    image = _read(Path(path), indexed=indexed, max_voxels=max_voxels, series=series, fraction=fraction)
    finite = np.isfinite(image.data) if image.data.dtype.kind == "f" else np.True_
    if finite.all():
        return image
    first = tuple(int(index) for index in np.argwhere(~finite)[0])
    count = int(finite.size - np.count_nonzero(finite))
    message = (
        f"{count} of {finite.size} voxels are NaN or infinite, the first at index {first} (channel first)"
    )
    if nonfinite == "zero":
        logger.warning("%s: %s; set to 0", path, message)
        return image.with_data(np.where(finite, image.data, image.data.dtype.type(0)))
    raise DataError(message, where=path, hint="repair the image, or allow such voxels to be read as zero")


def num_channels_of(path: str | Path) -> int:
    """Return the number of channels of an image, from its header if that says it.

    Raises
    ------
    DataError
        As ``read_image`` does; but damaged voxels of a format whose header is read are not noticed.
    """
    shape = shape_of(path)
    return read_image(path).num_channels if shape is None else shape[0]


def shape_of(path: str | Path) -> tuple[int, ...] | None:
    """Return the shape of an image from its header, ``(channels, y, x)`` or ``(channels, z, y, x)``.

    Returns
    -------
    tuple of int or None
        The pixels may not be turned upright yet. None for folders, and where the whole file has to be read.

    Raises
    ------
    DataError
        The header is damaged, or claims more than images may have.
    """
    path = Path(path)
    read_shape = format_of(path).shape
    if read_shape is None or not path.is_file():
        return None
    with _refusing_what_fails(path):
        _refuse_empty(path)
        return read_shape(path)


def read_labels(path: str | Path, *, fraction: float | None = None) -> Image:
    """Read a label map: one channel of non-negative integers.

    The result has an integer dtype. A palette picture yields its indices, a floating-point file its values if
    all of them are whole numbers, and a DICOM segmentation, alone in a file or a folder, the numbers of its
    segments.

    Parameters
    ----------
    path
        The file, or a folder with a DICOM segmentation.
    fraction
        Threshold for a DICOM segmentation of fractions; see ``read_segmentation``.

    Raises
    ------
    DataError
        As for :func:`read_image`; also for several channels, fractions, negative values and JPEG.
    """
    path = Path(path)
    if is_image_name(path) and not (known := format_of(path)).holds_labels:
        raise DataError(
            f"{known.name} changes pixel values and cannot hold labels", where=path, hint="save them as PNG"
        )
    image = _read(path, indexed=True, fraction=fraction)
    if image.num_channels != 1:
        raise DataError(
            f"a label map has one channel, this file has {image.num_channels}",
            where=path,
            hint="save class numbers as a grey or palette picture, not as colours",
        )
    data = image.data
    wrong = data < 0
    if data.dtype.kind == "f":
        largest = np.float64(np.iinfo(np.int32).max)  # beyond half precision
        wrong |= (data != np.floor(data)) | ~np.isfinite(data) | (data > largest)
    if wrong.any():
        values = np.unique(data[wrong])
        named = ", ".join(str(value.item()) for value in values[:NAMED_VALUES])
        more = f" and {len(values) - NAMED_VALUES} more values" if len(values) > NAMED_VALUES else ""
        raise DataError(
            f"labels must be whole numbers from 0; {int(wrong.sum())} voxels hold {named}{more}",
            where=path,
            hint="save the class numbers unchanged (resample with nearest neighbour only)",
        )
    return image.with_data(data.astype(np.int32)) if data.dtype.kind == "f" else image


def read_case(
    channel_paths: Sequence[str | Path],
    *,
    nonfinite: Nonfinite = "refuse",
    max_voxels: int = MAX_VOXELS,
    series: ChosenSeries | None = None,
) -> Image:
    """Read the image of one case: one file, or one single-channel file per channel on a common grid.

    The options are those of :func:`read_image`; the voxel limit applies to each file.

    Raises
    ------
    GeometryError
        The files lie on different grids.
    DataError
        As for :func:`read_image`; also if one of several files has more than one channel.
    """
    if not channel_paths:
        raise UsageError("a case needs at least one image file")
    images = [
        read_image(path, nonfinite=nonfinite, max_voxels=max_voxels, series=series) for path in channel_paths
    ]
    first = images[0]
    if len(images) == 1:
        return first
    for image in images:
        if image.num_channels != 1:
            raise DataError(
                f"the case has {len(images)} files, so each must hold one channel, not {image.num_channels}",
                where=image.path,
                hint="use one file with all channels, or one single-channel file for each",
            )
        check_same_grid(first, image)
    return first.with_data(np.concatenate([image.data for image in images]))


def _read(
    path: Path,
    *,
    indexed: bool,
    max_voxels: int = MAX_VOXELS,
    series: ChosenSeries | None = None,
    fraction: float | None = None,
) -> Image:
    known, is_folder = format_of(path), path.is_dir()
    if not is_folder and not path.is_file():
        raise DataError(
            "this is not a file" if path.exists() else "there is no such file",
            where=path,
            hint="check the path",
        )
    with _refusing_what_fails(path):
        if known is DICOM:
            if indexed and (found := find_segmentation(path)) is not None:
                return read_segmentation(found, fraction=fraction, max_voxels=max_voxels)
            return read_dicom(path, indexed=indexed, max_voxels=max_voxels, series=series)
        _refuse_empty(path)
        return known.read(path, indexed=indexed, max_voxels=max_voxels)


def _refuse_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=path, hint="copy or download the file again")


@contextmanager
def _refusing_what_fails(path: Path) -> Iterator[None]:
    """Turn errors of the system into those of the file."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except MemoryError as error:
        raise DataError(
            "the image does not fit into memory", where=path, hint="crop or downsample it"
        ) from error
