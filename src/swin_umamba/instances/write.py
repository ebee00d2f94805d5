"""The files of objects: a case's map, in which a value is the number of an object, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from swin_umamba.csv_files import write_csv
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import write_labels
from swin_umamba.errors import UsageError
from swin_umamba.instances.table import ObjectTable

INSTANCE_TYPES = (np.uint16, np.uint32)


def instances_path(folder: str | Path, case: str, axes: int) -> Path:
    """Return where the map of a case lies: TIFF for a picture, NIfTI for a volume (of 3 ``axes``)."""
    return Path(folder) / f"{case}{'.tif' if axes == 2 else '.nii.gz'}"


def write_instances(folder: str | Path, case: str, instances: np.ndarray, like: Image) -> Path:
    """Write an instance map as it is, atomically, with the pixel size of the image; return where.

    Stored as uint16, and as uint32 if a number is above 65,535.

    Raises
    ------
    DataError
        The map has another shape than ``like``, or holds no integers, or numbers that do not fit.
    OutputError
        The file cannot be written.
    """
    path = instances_path(folder, case, instances.ndim)
    write_labels(path, instances, like, dtypes=INSTANCE_TYPES)
    return path


def write_objects(path: str | Path, tables: Iterable[ObjectTable]) -> None:
    """Write the objects of all cases as one CSV file, atomically; what is not applicable is an empty cell.

    Raises
    ------
    UsageError
        There is no table, or they are of flat images and volumes, or of different numbers of channels.
    OutputError
        The file cannot be written.
    """
    tables = list(tables)
    headers = {tuple(table.columns()) for table in tables}
    if len(headers) != 1:
        raise UsageError(
            f"the objects of {len(tables)} cases have no columns in common: they need images of as many axes "
            "and channels",
            where=path,
            hint="write those of other images to a file of their own",
        )
    write_csv(path, [*headers, *(row for table in tables for row in table.rows())])
