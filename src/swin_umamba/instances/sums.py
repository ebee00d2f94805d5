"""Sums over the pixels of each object, block by block: sizes, moments, boxes, intensities.

The sums of two blocks of an image add up to those of the whole, so that an image never has to be in memory
all at once, and an object may span any number of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations_with_replacement

import numpy as np
import scipy

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import GeometryError, UsageError


@dataclass(frozen=True, eq=False)
class ObjectSums:
    """Sums over the pixels of each object of a map, or of a block of it.

    Moments are about the first corner of an object's box, not the image's corner, and intensities about one
    of the object's own: sums of squares far from their centre would lose the digits that matter. Sums of
    integers are exact up to 2**53.

    Attributes
    ----------
    numbers
        ``(objects,)``: the numbers of the objects in the map, ascending.
    pixels
        ``(objects,)``: number of pixels of each.
    low, high
        ``(axes, objects)``: half-open box, in pixels of the whole image.
    first
        ``(axes, objects)``: sum of the coordinates minus ``low``.
    second
        ``(axes, axes, objects)``: sum of the products of any two of them.
    pivot
        ``(channels, objects)``: the intensity subtracted.
    intensity, square
        ``(channels, objects)``: sum of the intensities minus ``pivot``, and of their squares.
    class_pixels
        ``(classes, objects)``: number of pixels of class 0, 1, ...
    """

    numbers: np.ndarray
    pixels: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray
    second: np.ndarray
    pivot: np.ndarray
    intensity: np.ndarray
    square: np.ndarray
    class_pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __add__(self, other: ObjectSums) -> ObjectSums:
        """Return the sums over two blocks that share no pixel."""
        if self.low.shape[0] != other.low.shape[0] or len(self.pivot) != len(other.pivot):
            raise UsageError("sums add over blocks of one image: of as many axes and channels")
        numbers = np.union1d(self.numbers, other.numbers)
        left, right = self._among(numbers), other._among(numbers)
        low = np.minimum(left.low, right.low)
        pivot = np.where(left.pixels > 0, left.pivot, right.pivot)
        left, right = left.about(low, pivot), right.about(low, pivot)
        classes = max(len(left.class_pixels), len(right.class_pixels))
        return ObjectSums(
            numbers=numbers,
            pixels=left.pixels + right.pixels,
            low=low,
            high=np.maximum(left.high, right.high),
            first=left.first + right.first,
            second=left.second + right.second,
            pivot=pivot,
            intensity=left.intensity + right.intensity,
            square=left.square + right.square,
            class_pixels=_with_rows(left.class_pixels, classes) + _with_rows(right.class_pixels, classes),
        )

    def about(self, low: np.ndarray, pivot: np.ndarray) -> ObjectSums:
        """Return the sums about another corner and other intensities, for objects with any pixel."""
        count = self.pixels
        moved = np.where(count > 0, self.low - low, 0)
        with np.errstate(invalid="ignore"):  # infinities stay with their object
            brighter = np.where((count > 0) & (self.pivot != pivot), self.pivot - pivot, 0)
        across = moved[:, None] * self.first
        return replace(
            self,
            low=low,
            first=self.first + count * moved,
            second=self.second + across + across.swapaxes(0, 1) + count * moved[:, None] * moved,
            pivot=pivot,
            intensity=self.intensity + count * brighter,
            square=self.square + 2 * brighter * self.intensity + count * brighter**2,
        )

    def chosen(self, which: np.ndarray) -> ObjectSums:
        """Return the sums of some objects, given a mask of all."""
        return ObjectSums(**{each.name: getattr(self, each.name)[..., which] for each in fields(self)})

    def _among(self, numbers: np.ndarray) -> ObjectSums:
        """Return the sums with empty objects inserted, so that each of the numbers has one."""
        places = np.searchsorted(numbers, self.numbers)

        def spread(values: np.ndarray, nothing: int = 0) -> np.ndarray:
            wide = np.full((*values.shape[:-1], len(numbers)), nothing, values.dtype)
            wide[..., places] = values
            return wide

        own = {each.name: spread(getattr(self, each.name)) for each in fields(self)}
        own |= {"numbers": numbers, "low": spread(self.low, np.iinfo(np.int64).max)}
        return ObjectSums(**own)


def sums_of(
    instances: np.ndarray,
    offset: Sequence[int] | None = None,
    *,
    channels: Sequence[np.ndarray] = (),
    classes: np.ndarray | None = None,
) -> ObjectSums:
    """Sum over the pixels of every object of a block, in time linear in the pixels.

    Parameters
    ----------
    instances
        Integers, ``(y, x)`` or ``(z, y, x)``; 0 is the background.
    offset
        Position of the block's first pixel in the whole image; its corner by default.
    channels
        Intensities, arrays of the shape of the map; an image ``(channels, ...)`` will do.
    classes
        Class of each pixel, from 0; none by default.

    Raises
    ------
    GeometryError
        The arrays have different shapes.
    UsageError
        The map does not have 2 or 3 axes, or holds values that are negative or not integers.
    """
    check_shapes(instances, channels, classes)
    compact, count = consecutive_labels(instances)
    corner = np.array([0] * instances.ndim if offset is None else offset, np.int64)[:, None]
    place = np.nonzero(compact)
    index = compact[place] - 1
    numbers = np.zeros(count, np.int64)
    numbers[index] = instances[place]
    found = scipy.ndimage.find_objects(compact, count) if count else []
    boxes = [[(axis.start, axis.stop) for axis in box] for box in found]
    low, high = np.array(boxes, np.int64).reshape(count, instances.ndim, 2).transpose(2, 1, 0)
    local = [axis - start[index] for axis, start in zip(place, low, strict=True)]

    def total(values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(index, values, minlength=count)

    second = np.zeros((instances.ndim, instances.ndim, count), np.int64)
    for row, column in combinations_with_replacement(range(instances.ndim), 2):
        second[row, column] = second[column, row] = total(local[row] * local[column])
    pivot, intensity, square = np.zeros((3, len(channels), count))
    for number, channel in enumerate(channels):
        values = channel[place].astype(np.float64)
        if channel.dtype.kind == "f":  # integers need none: their sums are exact
            pivot[number, index[::-1]] = values[::-1]  # the intensity of the first pixel
            with np.errstate(invalid="ignore"):
                values -= pivot[number, index]
        intensity[number], square[number] = total(values), total(values**2)
    depth = 0 if classes is None or not count else int(classes[place].max()) + 1
    of_class = np.zeros(0, np.intp) if classes is None else classes[place].astype(np.intp) * count + index
    return ObjectSums(
        numbers=numbers,
        pixels=total(),
        low=corner + low,
        high=corner + high,
        first=np.array([total(each) for each in local], np.int64),
        second=second,
        pivot=pivot,
        intensity=intensity,
        square=square,
        class_pixels=np.bincount(of_class, minlength=depth * count).reshape(depth, count),
    )


def check_shapes(instances: np.ndarray, channels: Sequence[np.ndarray], classes: np.ndarray | None) -> None:
    """Refuse channels and classes that differ in shape from the map, and maps without 2 or 3 axes."""
    if instances.ndim not in (2, 3):
        raise UsageError(f"an instance map has 2 or 3 axes, not {instances.ndim}")
    for array in (*channels, *(() if classes is None else (classes,))):
        if array.shape != instances.shape:
            raise GeometryError(
                f"an instance map of shape {instances.shape} does not fit an image of shape {array.shape}"
            )


def _with_rows(values: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(values, ((0, rows - len(values)), (0, 0)))
