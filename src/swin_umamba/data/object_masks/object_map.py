"""A map of objects, and how it is built from single objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import DataError

IGNORE_NAMES = ("ignore", "ignore*", "__ignore__")
"""Names of classes, in lower case, whose areas are left out of training; two are QuPath's and LabelMe's."""


MOST_PIXELS = 256
"""Largest total area of the objects' boxes, as a multiple of the image."""


@dataclass(frozen=True)
class OneObject:
    """One object, as the pixels of a part of the image.

    Attributes
    ----------
    mask
        bool, ``(y, x)``.
    corner
        Row and column of the image at which the mask begins; the mask may extend beyond the image.
    class_name
        Name of its class; None if the file gives none.
    what
        Name for messages, such as ``annotation 7``.
    """

    mask: np.ndarray
    corner: tuple[int, int]
    class_name: str | None
    what: str


@dataclass(frozen=True)
class ObjectMap:
    """The objects of an image.

    Attributes
    ----------
    instances
        ``(y, x)`` or ``(z, y, x)``, intp: 0 is the background, objects are numbered from 1 without gaps.
    class_names
        Class of each object, in the order of their numbers; None where the file gives none.
    ignored
        bool of the same shape: pixels whose ground truth is unknown; None if there are none.
    remarks
        Notes for the user.
    """

    instances: np.ndarray
    class_names: tuple[str | None, ...]
    ignored: np.ndarray | None = None
    remarks: tuple[str, ...] = ()


def check_annotated_size(said: tuple[int, int], shape: tuple[int, int], name: str, where: Path) -> None:
    """Refuse annotations whose rows and columns differ from those of the image; ``where`` is their file."""
    if said != shape:
        raise DataError(
            f"{name} has {shape[0]} x {shape[1]} pixels, its annotations are of {said[0]} x {said[1]}",
            where=where,
            hint="give the image that was annotated, in its size",
        )


def union(parts: Sequence[OneObject], shape: tuple[int, int]) -> OneObject:
    """Return the object that consists of several parts, with the class and name of the first.

    Parts outside the image are omitted, unless all are.
    """
    inside = [part for part in parts if _inside(part, shape) is not None]
    if len(inside) < 2:
        return replace(parts[0], mask=inside[0].mask, corner=inside[0].corner) if inside else parts[0]
    low = np.min([part.corner for part in inside], axis=0)
    high = np.max([np.add(part.corner, part.mask.shape) for part in inside], axis=0)
    mask = np.zeros(high - low, bool)
    for part in inside:
        row, column = (int(value) for value in np.subtract(part.corner, low))
        mask[row : row + part.mask.shape[0], column : column + part.mask.shape[1]] |= part.mask
    return replace(parts[0], mask=mask, corner=(int(low[0]), int(low[1])))


def map_of_numbers(numbers: np.ndarray, ignored_value: int | None = None) -> ObjectMap:
    """Return the objects of a map that numbers them; gaps in the numbers are closed.

    Parameters
    ----------
    numbers
        Whole numbers from 0, ``(y, x)`` or ``(z, y, x)``.
    ignored_value
        Number of the pixels whose ground truth is unknown.
    """
    ignored = None
    if ignored_value is not None and (numbers == ignored_value).any():
        ignored = numbers == ignored_value
        numbers = np.where(ignored, 0, numbers)
    instances, count = consecutive_labels(numbers)
    return ObjectMap(instances, (None,) * count, ignored)


def map_of_objects(objects: Iterable[OneObject], shape: tuple[int, int], where: Path) -> ObjectMap:
    """Paint objects over each other, in order.

    Objects that have no pixel, or whose pixels are all covered by later objects, are omitted with a remark.

    Parameters
    ----------
    objects
        The objects; those of a class called ``ignore`` mark pixels whose ground truth is unknown.
    shape
        Rows and columns of the image.
    where
        Path of the file, for messages.

    Raises
    ------
    DataError
        An object lies outside the image.
    """
    painted = np.zeros(shape, np.intp)
    ignored = np.zeros(shape, bool)
    names: list[str | None] = []
    remarks: list[str] = []
    counts: Counter[str] = Counter()
    seen = 0
    for each in objects:
        seen += each.mask.size
        if seen > MOST_PIXELS * max(shape[0] * shape[1], 2**20):
            raise DataError("the objects cover the image many times over", where=where, hint="check the file")
        place = _inside(each, shape)
        if place is None:
            raise DataError(
                f"{each.what} lies outside the image of {shape[0]} x {shape[1]} pixels",
                where=where,
                hint="give the image that the outlines were drawn on, in its size",
            )
        target, mask = place
        if not mask.any():
            counts["empty"] += 1
        elif each.class_name is not None and each.class_name.casefold() in IGNORE_NAMES:
            ignored[target] |= mask
        else:
            names.append(each.class_name)
            counts["shared"] += int(np.count_nonzero(painted[target][mask]))
            counts["cut"] += mask.size < each.mask.size and int(mask.sum()) < int(each.mask.sum())
            painted[target][mask] = len(names)
    painted[ignored] = 0
    used = np.bincount(painted.ravel(), minlength=len(names) + 1)[1:] > 0
    if counts["empty"]:
        remarks.append(f"{counts['empty']} objects cover no centre of a pixel: left out")
    if counts["shared"]:
        remarks.append(f"{counts['shared']} pixels belong to several objects: the last one has them")
    if counts["cut"]:
        remarks.append(f"{counts['cut']} objects reach beyond the image: cut at its border")
    if not used.all():
        remarks.append(f"{int((~used).sum())} objects are covered by others: left out")
    instances, _ = consecutive_labels(painted)
    kept = tuple(name for name, is_used in zip(names, used, strict=True) if is_used)
    return ObjectMap(instances, kept, ignored if ignored.any() else None, tuple(remarks))


def _inside(each: OneObject, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Return where in the image an object lies, and its mask there; None if it lies outside."""
    target, source = [], []
    for start, length, size in zip(each.corner, each.mask.shape, shape, strict=True):
        first, last = max(start, 0), min(start + length, size)
        if first >= last:
            return None
        target.append(slice(first, last))
        source.append(slice(first - start, last - start))
    return (target[0], target[1]), each.mask[source[0], source[1]]
