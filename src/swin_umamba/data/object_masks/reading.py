"""The objects of an image, from any supported kind of file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage

from swin_umamba.data.dicom import is_dicom_folder
from swin_umamba.data.image import Image, check_same_grid
from swin_umamba.data.image_files import image_stem, list_images
from swin_umamba.data.image_reading import read_labels
from swin_umamba.data.label_grid import on_grid_of
from swin_umamba.data.object_masks.imagej import imagej_objects
from swin_umamba.data.object_masks.labelme import labelme_objects
from swin_umamba.data.object_masks.object_map import ObjectMap, OneObject, map_of_numbers, map_of_objects
from swin_umamba.data.object_masks.qupath import geojson_objects
from swin_umamba.errors import DataError, GeometryError
from swin_umamba.json_files import LARGEST_RESULTS, read_json

ANNOTATION_SUFFIXES = (".geojson", ".json", ".zip", ".roi")
"""Suffixes of files with the outlines of the objects of one image."""


def read_objects(source: Path, image: Image, ignored_value: int | None = None) -> ObjectMap:
    """Return the objects of an image.

    Parameters
    ----------
    source
        An image file with a number for each object; a folder of image files, each of which is above zero
        where its object is; or a file from LabelMe, QuPath (GeoJSON) or ImageJ.
    image
        The image that contains the objects.
    ignored_value
        See :func:`map_of_numbers`.

    Raises
    ------
    GeometryError
        The objects belong to an image of another size or position.
    DataError
        The file cannot be read, or has none of these formats.
    """
    suffix = source.suffix.lower()
    if suffix not in ANNOTATION_SUFFIXES and not (source.is_dir() and not is_dicom_folder(source)):
        return _of_numbers(source, image, ignored_value)
    if len(image.spatial_shape) != 2:
        raise DataError(
            "outlines and files of single objects are read for pictures and not for volumes",
            where=source,
            hint="give a volume with a number for each object",
        )
    rows, columns = image.spatial_shape
    return map_of_objects(_objects(source, suffix, image, (rows, columns)), (rows, columns), source)


def _of_numbers(source: Path, image: Image, ignored_value: int | None) -> ObjectMap:
    numbers = read_labels(source)
    if numbers.is_partial:
        numbers = on_grid_of(image, numbers)
    check_size(numbers, image)
    found = map_of_numbers(numbers.data[0], ignored_value)
    numbered = skimage.measure.label(found.instances, background=0, connectivity=found.instances.ndim)
    pieces = int(numbered.max(initial=0))
    remarks = []
    if extra := pieces - len(found.class_names):
        remarks.append(f"objects in several pieces: {extra} more pieces than numbers, each number one object")
    return ObjectMap(found.instances, found.class_names, found.ignored, tuple(remarks))


def check_size(mask: Image, image: Image) -> None:
    """Refuse a mask that is not on the grid of its image.

    Raises
    ------
    GeometryError
        The grids differ; the message says how.
    """
    if mask.spatial_shape != image.spatial_shape:
        raise GeometryError(
            f"the image has the shape {image.spatial_shape}, its mask {mask.spatial_shape}",
            where=mask.path,
            hint="use the mask of this image, in its size",
        )
    check_same_grid(image, mask)


def _objects(source: Path, suffix: str, image: Image, shape: tuple[int, int]) -> Iterator[OneObject]:
    if source.is_dir():
        return _one_a_file(source, image)
    if suffix in (".zip", ".roi"):
        return imagej_objects(source, shape)
    stored: Any = read_json(source, object, hint="export the objects again", largest=LARGEST_RESULTS)
    if isinstance(stored, dict) and "shapes" in stored:
        return labelme_objects(source, stored, shape)
    return geojson_objects(source, stored, shape)


def _one_a_file(folder: Path, image: Image) -> Iterator[OneObject]:
    for path in list_images(folder):
        mask = read_labels(path)
        check_size(mask, image)
        inside = mask.data[0] > 0
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            yield OneObject(np.zeros((1, 1), bool), (0, 0), None, image_stem(path))
            continue
        box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        yield OneObject(box, (int(rows[0]), int(columns[0])), None, image_stem(path))
