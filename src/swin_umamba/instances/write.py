"""The files of objects: a case's map, in which a value is the number of an object, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from swin_umamba.csv_files import write_csv
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import write_labels
from swin_umamba.errors import OutputError, UsageError
from swin_umamba.files import write_text
from swin_umamba.instances.table import ObjectTable

INSTANCE_TYPES = (np.uint16, np.uint32)


def write_instances(path: str | Path, instances: np.ndarray, like: Image) -> None:
    """Write an instance map as it is, atomically, with the pixel size of the image.

    Stored as uint16, and as uint32 if a number is above 65,535.

    Raises
    ------
    DataError
        The map has another shape than ``like``, or holds no integers, or numbers that do not fit.
    OutputError
        The file cannot be written.
    """
    write_labels(path, instances, like, dtypes=INSTANCE_TYPES)


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


def join_objects(path: str | Path, files: Iterable[Path]) -> None:
    """Write one CSV file with the lines of several that :func:`write_objects` has written, atomically.

    Raises
    ------
    UsageError
        They have no columns in common.
    OutputError
        A file cannot be read or written.
    """
    heading, lines = None, []
    for file in files:
        try:
            first, _, rest = file.read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"the objects of a case cannot be read: {error}", where=file) from error
        if heading not in (None, first):
            raise UsageError(
                "the objects of the cases have no columns in common: the images differ in axes or channels",
                where=file,
                hint="predict them into different folders",
            )
        heading = first
        lines.append(rest)
    write_text(path, f"{heading}\n{''.join(lines)}")
