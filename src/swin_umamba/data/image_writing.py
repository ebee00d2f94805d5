"""Writing of images, label maps and probabilities. Use it through ``image_io``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from swin_umamba.data.formats import format_of, image_suffix
from swin_umamba.data.image import Image
from swin_umamba.errors import DataError
from swin_umamba.files import atomic_open, write_bytes

# Types for storing label maps; the first that holds all values is used.

LABEL_TYPES = (np.uint8, np.uint16, np.int32)


def write_image(path: str | Path, image: Image) -> None:
    """Write an image atomically; for a TIFF volume, also write its spacing beside it.

    Parameters
    ----------
    path
        Destination; the suffix determines the format. NIfTI holds one channel and the geometry, PNG one
        channel of uint8 or uint16 or three of uint8, TIFF one channel or colours of uint8 or uint16.
        Half-precision numbers become float32, and 64-bit integers are stored with 32 bits. The output is what
        nnU-Net's readers see: they would see 8 of the 16 bits of colours in PNG.

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
        data = data.astype(np.int32)  # NIfTI readers do not accept 64 bits
    encode = format_of(path).encode
    content = None if encode is None else encode(data, image, suffix)
    if content is None:
        raise DataError(
            f"a {suffix} file cannot hold an image of shape {data.shape} and type {data.dtype}",
            where=path,
            hint="write each channel to a file of its own",
        )
    _put(path, content, image, of_labels=False)


def write_labels(
    path: str | Path, labels: np.ndarray, like: Image, *, dtypes: Sequence[type[np.integer]] = LABEL_TYPES
) -> None:
    """Write a label map on the grid of ``like`` atomically; for a TIFF volume, also its spacing beside it.

    Parameters
    ----------
    path
        Destination; the suffix determines the format. A NIfTI file gets the orientation of ``like``
        unchanged.
    labels
        Whole numbers, ``(y, x)`` or ``(z, y, x)``.
    like
        The image that was segmented.
    dtypes
        Storage types to choose from, narrow before wide; the first that can hold the labels is used. By
        default uint8 or uint16, in NIfTI and TIFF also int32.

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
    labels = _smallest_dtype(labels, path, dtypes)
    known = format_of(path)
    content = known.encode(labels[None], like, suffix) if known.holds_labels and known.encode else None
    if content is None:
        raise DataError(
            f"a {suffix} file cannot hold labels of shape {labels.shape} up to {labels.max()}",
            where=path,
            hint="write .png or .tif for a picture, .nii.gz or .tif for a volume",
        )
    _put(path, content, like, of_labels=True)


def write_probabilities(path: str | Path, probabilities: np.ndarray) -> None:
    """Write class probabilities ``(classes, y, x)`` or ``(classes, z, y, x)`` as ``.npz``, atomically.

    The array is called ``probabilities``, as in nnU-Net.
    """
    with atomic_open(path) as file:
        np.savez_compressed(file, probabilities=probabilities)


def _put(path: Path, content: bytes, like: Image, *, of_labels: bool) -> None:
    write_beside = format_of(path).write_beside
    if write_beside:
        write_beside(path, like, of_labels=of_labels)
    write_bytes(path, content)


def _smallest_dtype(labels: np.ndarray, path: Path, dtypes: Sequence[type[np.integer]]) -> np.ndarray:
    if labels.dtype.kind not in "biu":
        raise DataError(f"labels must be integers, not {labels.dtype}", where=path)
    smallest, largest = int(labels.min()), int(labels.max())
    dtype = next((each for each in dtypes if largest <= np.iinfo(each).max), None)
    if smallest < 0 or dtype is None:
        raise DataError(f"labels from {smallest} to {largest} cannot be written", where=path)
    return np.ascontiguousarray(labels, dtype=dtype)
