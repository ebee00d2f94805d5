"""Write object files: the map of a case, whose values are object numbers, and the table of all cases."""

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
    """Write an instance map unchanged, atomically, with the pixel size of the image.

    It is stored as uint16, or as uint32 if a number is above 65,535.

    Raises
    ------
    DataError
        The map differs in shape from ``like``, or holds values that are not integers or do not fit.
    OutputError
        The file cannot be written.
    """
    write_labels(path, instances, like, dtypes=INSTANCE_TYPES)


def write_objects(path: str | Path, tables: Iterable[ObjectTable]) -> None:
    """Write the objects of all cases to one CSV file, atomically; cells that do not apply are empty.

    Raises
    ------
    UsageError
        There is no table, or tables mix 2D images with volumes or differ in the number of channels.
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
    """Join several files of :func:`write_objects` into one CSV file, atomically.

    Raises
    ------
    UsageError
        The files do not have the same columns.
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
