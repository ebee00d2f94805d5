"""The only reader and writer of images: NIfTI, PNG, TIFF, BMP, JPEG, and folders of DICOM series.

Whatever a file holds, reading ends in an :class:`Image` that is what the file says, or in a
:class:`~swin_umamba.errors.DataError` that names the file, what is wrong with it and the cure.

Everything else takes its images from here. Behind it, ``image_files`` tells formats by the names of files,
and ``image_reading`` and ``image_writing`` choose among the modules that know one format each.
"""

from swin_umamba.data.image import MAX_VOXELS, Image, check_same_grid
from swin_umamba.data.image_files import (
    IMAGE_SUFFIXES,
    TIFF_SUFFIXES,
    image_stem,
    image_suffix,
    list_images,
)
from swin_umamba.data.image_reading import read_case, read_image, read_labels
from swin_umamba.data.image_writing import write_image, write_labels, write_probabilities

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_VOXELS",
    "TIFF_SUFFIXES",
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
