"""Objects from ImageJ: a ``.roi`` file, or a ``.zip`` of them from its ROI manager.

Source: the layout that ImageJ's ``RoiDecoder`` documents. All numbers are big-endian. A header of 64 bytes
holds the kind at 6, top, left, bottom and right from 8, the number of points at 16, the size of a shape's
path at 36, and the options at 50; points follow as integers relative to the upper left corner of the box and,
with the sub-pixel option, again as absolute floats. A shape (``ShapeRoi``) is a path of moves and lines.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from swin_umamba.data.object_masks.object_map import OneObject
from swin_umamba.data.object_masks.polygons import ellipse, polygon_object, rectangle
from swin_umamba.errors import DataError
from swin_umamba.opening import open_to_read

HINT = "save the ROIs again from ImageJ's ROI manager, as areas (polygon, freehand, rectangle, oval, traced)"
MOST_BYTES = 2**28
"""Largest size of all ROIs in an archive, unpacked."""
MOST_ROIS = 10**6
_HEADER = 64
_FIELDS = struct.Struct(">4x hB x 4h H 18x i 10x h")
_POLYGON, _RECTANGLE, _OVAL, _FREEHAND, _TRACED = 0, 1, 2, 7, 8
_OTHER = {3: "a line", 4: "a freehand line", 5: "a polyline", 6: "empty", 9: "an angle", 10: "a point"}
_SUB_PIXEL = 128
_VERSION_OF_SUB_PIXELS = 222
_MOVE, _LINE, _CLOSE = 0, 1, 4


def imagej_objects(path: Path, shape: tuple[int, int]) -> Iterator[OneObject]:
    """Yield the objects of a file, for an image of shape ``(rows, columns)``. ImageJ gives no classes.

    Raises
    ------
    DataError
        The file is damaged, too large, or contains ROIs without an area.
    """
    for name, content in _contents(path):
        try:
            yield polygon_object(_rings(content), shape, None, f"ROI {name}")
        except (ValueError, struct.error) as error:
            raise DataError(f"ROI {name}: {error}", where=path, hint=HINT) from error


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    with open_to_read(path) as file:
        if path.suffix.lower() == ".roi":
            yield path.stem, file.read(MOST_BYTES)
            return
        try:
            with zipfile.ZipFile(file) as archive:
                members = [each for each in archive.infolist() if each.filename.lower().endswith(".roi")]
                if not members or len(members) > MOST_ROIS:
                    raise DataError(f"the archive holds {len(members)} ROIs", where=path, hint=HINT)
                left = MOST_BYTES
                for member in members:
                    with archive.open(member) as packed:
                        content = packed.read(left + 1)
                    left -= len(content)
                    if left < 0:
                        raise DataError("the ROIs are too large when unpacked", where=path, hint=HINT)
                    yield member.filename.removesuffix(".roi"), content
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"the archive is damaged: {error}", where=path, hint=HINT) from error


def _rings(content: bytes) -> list[np.ndarray]:
    """Return the rings of a ROI, x and y."""
    if content[:4] != b"Iout" or len(content) < _HEADER:
        raise ValueError("this is not a ROI of ImageJ")
    version, kind, top, left, bottom, right, count, path_numbers, options = _FIELDS.unpack_from(content)
    sub_pixel = bool(options & _SUB_PIXEL) and version >= _VERSION_OF_SUB_PIXELS
    if path_numbers:
        return _path(_numbers(content, ">f4", _HEADER, path_numbers))
    if kind in (_RECTANGLE, _OVAL):
        x, y, width, height = left, top, right - left, bottom - top
        if sub_pixel:
            x, y, width, height = struct.unpack_from(">4f", content, 18)
        if kind == _OVAL:
            return [ellipse(x + width / 2, y + height / 2, width / 2, height / 2)]
        return [rectangle(x, y, x + width, y + height)]
    if kind not in (_POLYGON, _FREEHAND, _TRACED):
        raise ValueError(f"it is {_OTHER.get(kind, f'of the unknown kind {kind}')}, which has no area")
    if sub_pixel:
        return [_numbers(content, ">f4", _HEADER + 4 * count, 2 * count).reshape(2, -1).T]
    corner = np.array([left, top])
    return [_numbers(content, ">i2", _HEADER, 2 * count).reshape(2, -1).T + corner]


def _numbers(content: bytes, dtype: str, start: int, count: int) -> np.ndarray:
    if count < 0 or start + count * np.dtype(dtype).itemsize > len(content):
        raise ValueError("it ends too early")
    return np.frombuffer(content, dtype, count, start).astype(np.float64)


def _path(numbers: np.ndarray) -> list[np.ndarray]:
    """Return the rings of a path: a move begins one, lines extend it, a close ends it."""
    rings: list[list[tuple[float, float]]] = []
    position = 0
    while position < len(numbers):
        step = numbers[position]
        if step == _CLOSE:
            position += 1
        elif step in (_MOVE, _LINE) and position + 3 <= len(numbers):
            if step == _MOVE:
                rings.append([])
            if not rings:
                raise ValueError("its path begins without a move")
            rings[-1].append((float(numbers[position + 1]), float(numbers[position + 2])))
            position += 3
        else:
            raise ValueError("its path has curves or is damaged")
    return [np.array(ring) for ring in rings if len(ring) > 2]
