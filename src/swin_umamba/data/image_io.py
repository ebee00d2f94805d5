"""The only reader and writer of images: NIfTI, PNG, TIFF, BMP, JPEG, and folders of DICOM series.

Whatever a file holds, reading ends in an :class:`Image` that is what the file says, or in a
:class:`~swin_umamba.errors.DataError` that names the file, what is wrong with it and the cure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from swin_umamba.data.image import MAX_VOXELS, Image, check_same_grid
from swin_umamba.data.nifti import nifti_bytes, read_nifti
from swin_umamba.data.pictures import FORMAT_OF_SUFFIX, picture_bytes, read_picture
from swin_umamba.data.tiff import read_tiff, tiff_bytes
from swin_umamba.errors import DataError, UsageError
from swin_umamba.files import atomic_write

__all__ = [
    "IMAGE_SUFFIXES",
    "Image",
    "check_same_grid",
    "image_stem",
    "image_suffix",
    "list_images",
    "read_case",
    "read_image",
    "read_labels",
    "write_image",
    "write_labels",
    "write_probabilities",
]

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
TIFF_SUFFIXES = (".tiff", ".tif")
LOSSY_SUFFIXES = (".jpeg", ".jpg")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, *TIFF_SUFFIXES, *FORMAT_OF_SUFFIX)

Nonfinite = Literal["refuse", "zero"]
# So many wrong label values are named in an error; the rest is counted.
NAMED_VALUES = 5


def read_image(
    path: str | Path, *, nonfinite: Nonfinite = "refuse", indexed: bool = False, max_voxels: int = MAX_VOXELS
) -> Image:
    """Read an image.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz``, ``.png``, ``.tif``, ``.tiff``, ``.bmp``, ``.jpg`` or ``.jpeg`` file, or a
        folder with one DICOM series.
    nonfinite
        What to do about NaN and infinite voxels: refuse the image, or set them to zero with a warning.
    indexed
        Of a palette picture, return the indices and not the colours.
    max_voxels
        Files of more voxels are refused, before memory is taken for them; DICOM is limited by its own reader.

    Raises
    ------
    DataError
        The file is missing, damaged, not what its name says, too large, or holds NaN or infinity.
    """
    image = _read(Path(path), indexed=indexed, max_voxels=max_voxels)
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
    raise DataError(message, where=path, cure="repair the image, or allow such voxels to be read as zero")


def read_labels(path: str | Path) -> Image:
    """Read a label map: one channel of non-negative integers.

    The result has an integer dtype. A palette picture gives its indices, a floating-point file its values if
    all of them are whole numbers.

    Raises
    ------
    DataError
        As for :func:`read_image`, and for several channels, fractions, negative values and JPEG.
    """
    path = Path(path)
    if path.name.lower().endswith(LOSSY_SUFFIXES):
        raise DataError(
            "JPEG changes pixel values and cannot hold labels", where=path, cure="save them as PNG"
        )
    image = _read(path, indexed=True)
    if image.num_channels != 1:
        raise DataError(
            f"a label map has one channel, this file has {image.num_channels}",
            where=path,
            cure="save class numbers as a grey or palette picture, not as colours",
        )
    data = image.data
    wrong = (
        (data != np.floor(data)) | ~np.isfinite(data) if data.dtype.kind == "f" else np.zeros_like(data, bool)
    )
    wrong |= data < 0
    if data.dtype.kind == "f":
        wrong |= data > np.iinfo(np.int32).max
    if wrong.any():
        values = np.unique(data[wrong])
        named = ", ".join(str(value.item()) for value in values[:NAMED_VALUES])
        more = f" and {len(values) - NAMED_VALUES} more values" if len(values) > NAMED_VALUES else ""
        raise DataError(
            f"labels must be whole numbers from 0; {int(wrong.sum())} voxels hold {named}{more}",
            where=path,
            cure="save the class numbers unchanged (resample with nearest neighbour only)",
        )
    return image.with_data(data.astype(np.int32)) if data.dtype.kind == "f" else image


def read_case(
    channel_paths: Sequence[str | Path], *, nonfinite: Nonfinite = "refuse", max_voxels: int = MAX_VOXELS
) -> Image:
    """Read the image of one case: one file, or one single-channel file per channel on a common grid.

    The options are those of :func:`read_image`; the limit of voxels holds for each file.

    Raises
    ------
    GeometryError
        The files lie on different grids.
    DataError
        As for :func:`read_image`, and if one of several files has more than one channel.
    """
    if not channel_paths:
        raise UsageError("a case needs at least one image file")
    images = [read_image(path, nonfinite=nonfinite, max_voxels=max_voxels) for path in channel_paths]
    first = images[0]
    if len(images) == 1:
        return first
    for image in images:
        if image.num_channels != 1:
            raise DataError(
                f"the case has {len(images)} files, so each must hold one channel, not {image.num_channels}",
                where=image.path,
                cure="use one file with all channels, or one single-channel file for each",
            )
        check_same_grid(first, image)
    return first.with_data(np.concatenate([image.data for image in images]))


def write_image(path: str | Path, image: Image) -> None:
    """Write an image, atomically.

    Parameters
    ----------
    path
        Where to; the suffix chooses the format. NIfTI holds one channel and the geometry, PNG one channel of
        uint8 or uint16 or three of uint8, TIFF one channel. Half-precision numbers become float32, and
        integers of 64 bits are stored with 32.

    Raises
    ------
    DataError
        The format cannot hold the image.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    suffix, data = image_suffix(path), image.data
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    elif data.dtype.kind in "iu" and data.itemsize == 8 and np.abs(data).max() <= np.iinfo(np.int32).max:
        data = data.astype(np.int32)  # NIfTI readers do not take 64
    single = image.num_channels == 1
    if suffix in NIFTI_SUFFIXES and single:
        content = nifti_bytes(data[0], image, compress=suffix == ".nii.gz")
    elif suffix in TIFF_SUFFIXES and single:
        content = tiff_bytes(data[0])
    elif suffix == ".png" and data.ndim == 3 and single and data.dtype in (np.uint8, np.uint16):
        content = picture_bytes(data[0], suffix)
    elif suffix == ".png" and data.ndim == 3 and len(data) == 3 and data.dtype == np.uint8:
        content = picture_bytes(np.ascontiguousarray(data.transpose(1, 2, 0)), suffix)
    else:
        raise DataError(
            f"a {suffix} file cannot hold an image of shape {data.shape} and type {data.dtype}",
            where=path,
            cure="write each channel to a file of its own",
        )
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_labels(path: str | Path, labels: np.ndarray, like: Image) -> None:
    """Write a label map on the grid of ``like``, atomically.

    Parameters
    ----------
    path
        Where to; the suffix chooses the format. A NIfTI file gets the orientation of ``like`` unchanged.
    labels
        Whole numbers, ``(y, x)`` or ``(z, y, x)``. Stored as uint8 or uint16, in NIfTI and TIFF also int32.
    like
        The image that was segmented.

    Raises
    ------
    DataError
        The labels do not have the shape of ``like``, or the format cannot hold them.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    suffix = image_suffix(path)
    if labels.shape != like.spatial_shape:
        raise DataError(
            f"labels of shape {labels.shape} do not fit the image of shape {like.spatial_shape}",
            where=like.path,
        )
    labels = _smallest_dtype(labels, path)
    if suffix in NIFTI_SUFFIXES:
        content = nifti_bytes(labels, like, compress=suffix == ".nii.gz")
    elif suffix in TIFF_SUFFIXES:
        content = tiff_bytes(labels)
    elif suffix in LOSSY_SUFFIXES or labels.ndim != 2 or labels.itemsize > (1 if suffix == ".bmp" else 2):
        raise DataError(
            f"a {suffix} file cannot hold labels of shape {labels.shape} up to {labels.max()}",
            where=path,
            cure="write .png or .tif for a picture, .nii.gz or .tif for a volume",
        )
    else:
        content = picture_bytes(labels, suffix)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_probabilities(path: str | Path, probabilities: np.ndarray) -> None:
    """Write class probabilities ``(classes, y, x)`` or ``(classes, z, y, x)`` as ``.npz``, atomically.

    The array is called ``probabilities``, as nnU-Net calls it.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, probabilities=probabilities)


def list_images(path: str | Path) -> list[Path]:
    """Return the image files of a folder sorted by name, or the one file that ``path`` is.

    Hidden files, subfolders and files of other formats are skipped.

    Raises
    ------
    DataError
        There is no such file or folder, or no image in it.
    """
    path = Path(path)
    if path.is_file():
        image_suffix(path)
        return [path]
    if not path.is_dir():
        raise DataError("there is no such file or folder", where=path, cure="check the path")
    images = sorted(
        file
        for file in path.iterdir()
        if not file.name.startswith(".") and file.name.lower().endswith(IMAGE_SUFFIXES) and file.is_file()
    )
    if not images:
        raise DataError(
            "the folder holds no images",
            where=path,
            cure=f"put images there: {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return images


def image_suffix(path: str | Path) -> str:
    """Return the suffix of an image file in lower case (``.nii.gz`` counts as one).

    Raises
    ------
    DataError
        It is not the suffix of a format that can be read.
    """
    name = Path(path).name.lower()
    for suffix in IMAGE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise DataError(
        "the format of this file is not known",
        where=path,
        cure=f"convert it to one of {', '.join(IMAGE_SUFFIXES)}",
    )


def image_stem(path: str | Path) -> str:
    """Return the name of an image file without folder and suffix."""
    return Path(path).name[: -len(image_suffix(path))]


def _read(path: Path, *, indexed: bool, max_voxels: int = MAX_VOXELS) -> Image:
    is_folder = path.is_dir()
    suffix = "" if is_folder else image_suffix(path)
    if not is_folder and not path.is_file():
        raise DataError(
            "this is not a file" if path.exists() else "there is no such file",
            where=path,
            cure="check the path",
        )
    try:
        if is_folder:
            # SimpleITK takes a second to import, and nothing else needs it.
            from swin_umamba.data.dicom import read_dicom_series

            return read_dicom_series(path)
        if path.stat().st_size == 0:
            raise DataError("the file is empty", where=path, cure="copy or download the file again")
        if suffix in NIFTI_SUFFIXES:
            return read_nifti(path, max_voxels=max_voxels)
        reader = read_tiff if suffix in TIFF_SUFFIXES else read_picture
        return Image.without_geometry(reader(path, indexed=indexed, max_voxels=max_voxels), path)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            where=path,
            cure="check its permissions and the disk",
        ) from error
    except MemoryError as error:
        raise DataError(
            "the image does not fit into memory", where=path, cure="crop or downsample it"
        ) from error


def _smallest_dtype(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.dtype.kind not in "biu":
        raise DataError(f"labels must be integers, not {labels.dtype}", where=path)
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest > np.iinfo(np.int32).max:
        raise DataError(f"labels from {smallest} to {largest} cannot be written", where=path)
    dtype = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32
    return np.ascontiguousarray(labels, dtype=dtype)
