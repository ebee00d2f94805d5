"""The only reader and writer of images: files in one of the ``formats``, and folders of DICOM series.

Whatever a file holds, reading it yields either an :class:`Image` that matches the file, or a
:class:`~swin_umamba.errors.DataError` that names the file, what is wrong with it and the remedy.

All other code gets its images from here. Behind it, ``formats`` has a record of each format, identified by
file name, with the module that handles it.
"""

from swin_umamba.data.formats import image_suffix, image_suffixes, is_image_name
from swin_umamba.data.image import MAX_VOXELS, Image, check_same_grid
from swin_umamba.data.image_files import image_stem, list_images
from swin_umamba.data.image_reading import num_channels_of, read_case, read_image, read_labels, shape_of
from swin_umamba.data.image_writing import write_image, write_labels, write_probabilities
from swin_umamba.data.label_grid import on_grid_of, on_one_grid
from swin_umamba.data.segments import check_label_names

__all__ = [
    "MAX_VOXELS",
    "Image",
    "check_label_names",
    "check_same_grid",
    "image_stem",
    "image_suffix",
    "image_suffixes",
    "is_image_name",
    "list_images",
    "num_channels_of",
    "on_grid_of",
    "on_one_grid",
    "read_case",
    "read_image",
    "read_labels",
    "shape_of",
    "write_image",
    "write_labels",
    "write_probabilities",
]
