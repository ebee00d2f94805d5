"""The tables and outlines of objects over many tiles, a few rows of the image at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.outlines import Polygon, outlines_of
from swin_umamba.instances.sums import ObjectSums, sums_of
from swin_umamba.instances.table import ObjectTable, rows_of_slab, solidity_of, table_of_sums
from swin_umamba.instances.tiles.components import MOST_PIXELS, check_size
from swin_umamba.instances.tiles.stored import Read, Region, size_of

Outlines = dict[int, tuple[Polygon, ...]]
BAND_BYTES = 2**27
"""About so much of an image is read at once."""
_HINT = "leave out --objects and --solidity, or predict a part of the image: --roi"


@dataclass(frozen=True)
class MeasuredMap:
    """What the objects of an instance map are measured on.

    Attributes
    ----------
    shape
        ``(y, x)`` or ``(z, y, x)``.
    instances
        Reads their numbers, which count from 1 in raster order of the first pixels of connected objects.
    labels
        Reads the label map.
    image
        Reads ``(channels, ...)``.
    probability
        Reads the foreground probability.
    pixel_bytes
        Bytes of a pixel of the image.
    spacing
        Size of a pixel in mm along each axis; None if it is not known.
    """

    shape: tuple[int, ...]
    instances: Read
    labels: Read
    image: Read
    probability: Read
    pixel_bytes: int
    spacing: tuple[float, ...] | None = None


def tables_over(
    what: MeasuredMap, classes: ObjectClasses, case: str, *, solidity: bool, outlines: bool
) -> Iterator[tuple[ObjectTable, Outlines]]:
    """Yield the table of the objects part by part, in ascending order, and the outlines of each part.

    The numbers are those of ``objects_of`` for the whole map, to the last bit: it adds up the same rows.

    Raises
    ------
    DataError
        Outlines or solidity are wanted of an object whose box does not fit into memory.
    """
    next_number = 1
    for sums in _finished_sums(what, sorted(classes.names)):
        assert np.array_equal(sums.numbers, np.arange(next_number, next_number + len(sums)))
        next_number += len(sums)
        found: Outlines = {}
        hulls = np.full(len(sums), math.nan)
        for first, last, region in _boxes(sums) if solidity or outlines else ():
            values = what.instances(region).astype(np.int64)
            values[(values < sums.numbers[first]) | (values > sums.numbers[last - 1])] = 0
            if solidity:
                hulls[first:last] = solidity_of(values)
            if outlines:
                found |= _moved(outlines_of(values), region)
        label = np.full(len(sums), min(classes.names))
        if len(votes := sums.class_pixels[1:]):
            label = np.where(votes.any(axis=0), 1 + votes.argmax(axis=0), label)
        yield (
            table_of_sums(
                sums,
                what.shape,
                case=case,
                label=label,
                class_names=classes.names,
                spacing=what.spacing,
                solidity=hulls,
                with_probability=True,
            ),
            found,
        )


def _finished_sums(what: MeasuredMap, values: Sequence[int]) -> Iterator[ObjectSums]:
    """Yield the sums of objects of which nothing follows, as soon as those of all before them are known.

    There is a part without objects if there are none.
    """
    sums = done = None
    instances_seen = False
    length = what.shape[0]
    for top, slab in _slabs(what):
        region = (slice(top, top + len(slab[0])), *(slice(0, each) for each in what.shape[1:]))
        instances, labels, probability, image = slab
        classes = np.where(np.isin(labels, values), labels, 0)
        offset = (top, *(0,) * (instances.ndim - 1))
        more = sums_of(instances, offset, channels=[*image, probability], classes=classes)
        sums = more if sums is None else sums + more
        ended = sums.high[0] < region[0].stop if region[0].stop < length else np.ones(len(sums), bool)
        done = sums.chosen(ended) if done is None else done + sums.chosen(ended)
        sums = sums.chosen(~ended)
        ready = done.numbers < sums.numbers.min(initial=np.iinfo(np.int64).max)
        is_last = region[0].stop == length
        if ready.any() or (is_last and not instances_seen):
            instances_seen = True
            yield done.chosen(ready)
            done = done.chosen(~ready)


def _slabs(what: MeasuredMap) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Yield the first row and the values of the rows that ``objects_of`` sums at once."""
    rows = rows_of_slab(what.shape)
    row_bytes = math.prod(what.shape[1:]) * (what.pixel_bytes + 16)
    band = max(BAND_BYTES // max(row_bytes, 1) // rows, 1) * rows
    for top in range(0, what.shape[0], band):
        whole = slice(top, min(top + band, what.shape[0]))
        region = (whole, *(slice(0, each) for each in what.shape[1:]))
        reads = (what.instances, what.labels, what.probability, what.image)
        *maps, image = (read(region) for read in reads)
        for first in range(0, whole.stop - top, rows):
            part = slice(first, first + rows)
            yield top + first, (*(each[part] for each in maps), image[:, part])


def _boxes(sums: ObjectSums) -> Iterator[tuple[int, int, Region]]:
    """Yield runs of objects, from the first to before the last, and a box around each."""
    waiting = [(0, len(sums))] if len(sums) else []
    while waiting:
        first, last = waiting.pop()
        low, high = sums.low[:, first:last].min(axis=1), sums.high[:, first:last].max(axis=1)
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        if last - first == 1:
            check_size(region, f"object {sums.numbers[first]}", _HINT)
        elif math.prod(size_of(region)) > MOST_PIXELS // 4:
            middle = (first + last) // 2
            waiting += [(middle, last), (first, middle)]
            continue
        yield first, last, region


def _moved(outlines: Mapping[int, tuple[Polygon, ...]], region: Region) -> Outlines:
    corner = np.array([region[1].start, region[0].start])
    return {
        number: tuple(tuple(ring + corner for ring in polygon) for polygon in polygons)
        for number, polygons in outlines.items()
    }
