"""Objects as a zip file of regions of interest for ImageJ's ROI Manager.

The format is that of ImageJ's class ``RoiDecoder`` (ImageJ 1.53), big-endian. An outline in one piece without
holes is a traced region, as drawn by ImageJ's wand; any other is a composite.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.files import atomic_open
from swin_umamba.instances.geojson import Add, check_same_objects
from swin_umamba.instances.outlines import Polygon
from swin_umamba.instances.table import ObjectTable
from swin_umamba.report.palette import class_colour

# ImageJ stores the box of a region, and corners relative to it, as int16, and their number as uint16.
LARGEST_COORDINATE = np.iinfo(np.int16).max
LARGEST_COUNT = np.iinfo(np.uint16).max
_VERSION = 227
_COMPOSITE, _TRACED = 1, 8  # 1 is a rectangle: the box of the shape that follows
_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0  # as in java.awt.geom.PathIterator
_HEADER = 64
_DATE = (1980, 1, 1, 0, 0, 0)  # the same objects give the same bytes


def write_rois(path: str | Path, table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
    """Write the outlines of a case's objects atomically, as one region each, named by the object's number.

    Parameters
    ----------
    path
        File to write; ImageJ opens ``.zip``.
    table
        The objects of a 2D map; regions have the colour of their class.
    outlines
        Outlines of the same map.

    Raises
    ------
    DataError
        An outline extends beyond pixel 32,767.
    UsageError
        Table and outlines hold different objects.
    OutputError
        The file cannot be written.
    """
    with rois_file(path) as add:
        add(table, outlines)


@contextmanager
def rois_file(path: str | Path) -> Iterator[Add]:
    """Yield a function that adds objects to a file of :func:`write_rois`, for tables in parts."""
    with atomic_open(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
            check_same_objects(table, outlines)
            largest = int(table.box.max(initial=0))
            if largest > LARGEST_COORDINATE:
                raise DataError(
                    f"an object reaches pixel {largest}; regions of ImageJ end at {LARGEST_COORDINATE}",
                    where=path,
                    hint="write GeoJSON, which has no such limit, or crop the image",
                )
            for (number, polygons), label in zip(outlines.items(), table.label.tolist(), strict=True):
                colour = class_colour(label) if label > 0 else None
                entry = zipfile.ZipInfo(f"{number}.roi", _DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, encode_roi(str(number), polygons, colour))

        yield add


def encode_roi(name: str, polygons: tuple[Polygon, ...], colour: tuple[int, int, int] | None = None) -> bytes:
    """Return a ``.roi`` file of an outline; see ``write_rois``."""
    corners = np.concatenate([polygon[0] for polygon in polygons])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    ring = polygons[0][0][:-1]
    traced = len(polygons) == 1 and len(polygons[0]) == 1 and len(ring) <= LARGEST_COUNT
    if traced:
        content, size = (ring - [left, top]).T.astype(">i2").tobytes(), 0
    else:
        shape = np.concatenate([_path_of(each) for polygon in polygons for each in polygon])
        content, size = shape.astype(">f4").tobytes(), len(shape)
    second = _HEADER + len(content)
    text = name.encode("utf-16-be")
    argb = 0 if colour is None else 0xFF000000 | colour[0] << 16 | colour[1] << 8 | colour[2]
    header = struct.pack(
        ">4sHBx4hH18xIIII4xII",
        *(b"Iout", _VERSION, _TRACED if traced else _COMPOSITE, top, left, bottom, right),
        *(len(ring) if traced else 0, size, argb, 0, 0, 0, second),
    )
    names = struct.pack(">16xII40x", second + _HEADER, len(name))
    region: bytes = header + content + names + text
    return region


def _path_of(ring: np.ndarray) -> np.ndarray:
    """Return a closed ring as path segments, ``(values,)``."""
    steps = np.column_stack([np.full(len(ring) - 1, _LINE_TO), ring[:-1]])
    steps[0, 0] = _MOVE_TO
    return np.append(steps.ravel(), _CLOSE)
