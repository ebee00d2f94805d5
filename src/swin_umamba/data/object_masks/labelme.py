"""Objects from a LabelMe file, ``CASE.json``: polygons, rectangles, circles and masks.

Source: the files that LabelMe 5 writes. Shapes with the same ``group_id`` and label are parts of one object.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.object_masks.object_map import OneObject, check_annotated_size, union
from swin_umamba.data.object_masks.polygons import ellipse, polygon_object, rectangle
from swin_umamba.data.png import read_png
from swin_umamba.errors import DataError
from swin_umamba.schema import Provenance, listed, number, optional, table, text, whole

HINT = "save it again with LabelMe, with polygons, rectangles, circles or masks"
_POINT = listed(number(), (2,))
_SHAPE = table(
    {"label": text(), "points": listed(_POINT, range(10**7))},
    {"shape_type": optional(text()), "group_id": optional(whole()), "mask": optional(text(10**8))},
)
_FILE = table(
    {"shapes": listed(_SHAPE, range(10**6))},
    {"imageHeight": optional(whole(1)), "imageWidth": optional(whole(1))},
)


def labelme_objects(path: Path, stored: Any, shape: tuple[int, int]) -> Iterator[OneObject]:
    """Yield the objects of a file with these contents, for an image of shape ``(rows, columns)``.

    Raises
    ------
    DataError
        The file has another format, belongs to an image of another size, or contains shapes without an area.
    """
    Provenance(path, HINT, beginning="this is not a file of LabelMe: ").check(stored, _FILE)
    said = (stored.get("imageHeight") or shape[0], stored.get("imageWidth") or shape[1])
    check_annotated_size(said, shape, "the image", path)
    groups: dict[Any, list[OneObject]] = {}
    for index, each in enumerate(stored["shapes"]):
        what = f"shape {index} ({each['label']})"
        group = each.get("group_id")
        try:
            part = _object(path, each, shape, what)
        except ValueError as error:
            raise DataError(str(error), where=path, hint=HINT) from error
        groups.setdefault(index if group is None else (group, each["label"]), []).append(part)
    for parts in groups.values():
        yield union(parts, shape)


def _object(path: Path, each: Mapping[str, Any], shape: tuple[int, int], what: str) -> OneObject:
    points, name = np.array(each["points"], np.float64).reshape(-1, 2), each["label"]
    kind = each.get("shape_type") or "polygon"
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise ValueError(f"{what} needs two points, and has {len(points)}")
    if kind == "polygon":
        return polygon_object([points], shape, name, what)
    if kind == "rectangle":
        return polygon_object([rectangle(*points.ravel())], shape, name, what)
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return polygon_object([ellipse(points[0, 0], points[0, 1], radius, radius)], shape, name, what)
    if kind == "mask":
        return _painted(path, each, points, shape, what)
    raise ValueError(f"{what} is a {kind}, which has no area")


def _painted(
    path: Path, each: Mapping[str, Any], points: np.ndarray, shape: tuple[int, int], what: str
) -> OneObject:
    """Return a mask that is stored as a picture; its points are its first and last pixel."""
    if not (np.abs(points) < 2**31).all():
        raise ValueError(f"{what} has a point that is nowhere")
    left, top = np.floor(points[0])
    content = base64.b64decode(each.get("mask") or "", validate=True)  # its error is a ValueError
    mask = read_png(path, content, indexed=True, limit=(shape[0] + 1) * (shape[1] + 1))[0] > 0
    return OneObject(mask, (int(top), int(left)), each["label"], what)
