"""Write object files: the map of a case, whose values are object numbers, and the table of all cases."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from swin_umamba.csv_files import write_csv
from swin_umamba.data.image import Image
from swin_umamba.data.image_io import write_labels
from swin_umamba.errors import OutputError, UsageError
from swin_umamba.files import atomic_open
from swin_umamba.instances.table import ObjectTable
from swin_umamba.opening import open_to_read

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

    Tables may come one by one, and are not kept.

    Raises
    ------
    UsageError
        There is no table, or tables mix 2D images with volumes or differ in the number of channels.
    OutputError
        The file cannot be written.
    """
    write_csv(path, _rows(path, tables))


def _rows(path: str | Path, tables: Iterable[ObjectTable]) -> Iterator[tuple[Any, ...]]:
    heading: tuple[str, ...] | None = None
    for table in tables:
        own = tuple(table.columns())
        if heading is None:
            yield (heading := own)
        if own != heading:
            raise _not_alike(path)
        yield from table.rows()
    if heading is None:
        raise _not_alike(path)


def _not_alike(path: str | Path) -> UsageError:
    return UsageError(
        "the objects of the cases have no columns in common: they need images of as many axes and channels",
        where=path,
        hint="write those of other images to a file of their own",
    )


def join_objects(path: str | Path, files: Iterable[Path]) -> None:
    """Join several files of :func:`write_objects` into one CSV file, atomically.

    Raises
    ------
    UsageError
        The files do not have the same columns.
    OutputError
        A file cannot be read or written.
    """
    heading = None
    with atomic_open(path) as joined:
        for file in files:
            with _read(file) as lines:
                first = lines.readline()
                if heading is None:
                    joined.write(first)
                elif heading != first:
                    raise UsageError(
                        "the objects of the cases have no columns in common: the images differ in axes or "
                        "channels",
                        where=file,
                        hint="predict them into different folders",
                    )
                heading = first
                shutil.copyfileobj(lines, joined)


@contextmanager
def _read(file: Path) -> Iterator[BinaryIO]:
    try:
        opened = open_to_read(file)
    except OSError as error:
        raise OutputError(f"the objects of a case cannot be read: {error}", where=file) from error
    with opened:
        yield opened
