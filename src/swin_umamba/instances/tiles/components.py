"""Connected components over many tiles: those of each tile, joined over the faces between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from swin_umamba.errors import DataError
from swin_umamba.instances.tiles.stored import Read, Region, StoredTiles, Workspace, size_of

MOST_NUMBERS = 2**31 - 1
MOST_PIXELS = 2**24
"""Largest box of what has to be in memory as a whole."""


@dataclass(frozen=True, eq=False)
class Numbered:
    """A map whose pixels belong to numbered things.

    Attributes
    ----------
    stored
        What is on disk.
    numbers
        Number of the thing that each stored value stands for, 0 for none.
    count
        Largest number.
    """

    stored: StoredTiles
    numbers: np.ndarray
    count: int

    def read(self, region: Region) -> np.ndarray:
        """Return the number of each pixel of a region."""
        values: np.ndarray = self.numbers[self.stored.read(region)]
        return values

    def remove(self) -> None:
        """Remove the files."""
        self.stored.remove()


def connected(work: Workspace, kinds: Read, connectivity: int) -> Numbered:
    """Return the connected pixels of each kind; the numbers have no gaps and no meaning.

    Parameters
    ----------
    work
        Where to keep them.
    kinds
        Integers, 0 for pixels that belong to nothing; or bool.
    connectivity
        Along how many axes at once neighbours may differ.

    Raises
    ------
    DataError
        There are too many.
    """
    structure = scipy.ndimage.generate_binary_structure(len(work.shape), connectivity)
    stored = work.new(np.int32)
    count, kind_of = 0, [np.zeros(1, np.int64)]
    for number, tile in enumerate(work.tiles):
        values = kinds(tile)
        found = np.zeros(values.shape, np.int64)
        for kind in np.unique(values[values != 0]).tolist():
            parts, more = scipy.ndimage.label(values == kind, structure)
            found += np.where(parts > 0, parts + count, 0)
            kind_of.append(np.full(more, kind, np.int64))
            count += more
        if count > MOST_NUMBERS:
            raise DataError(
                f"more than {MOST_NUMBERS:,} separate parts", hint="predict a part of the image: --roi"
            )
        stored.write(number, found)
    joined = [np.zeros((0, 2), np.int64)]
    of_kind = np.concatenate(kind_of)
    for seam in work.seams():
        pairs = neighbours(stored.read(seam), connectivity)
        joined.append(pairs[of_kind[pairs[:, 0]] == of_kind[pairs[:, 1]]])
    numbers, total = _joined(np.concatenate(joined), count)
    return Numbered(stored, numbers, total)


def neighbours(values: np.ndarray, connectivity: int) -> np.ndarray:
    """Return the pairs ``(pairs, 2)`` of different positive values at neighbouring pixels."""
    pairs = [np.zeros((0, 2), np.int64)]
    for one, other in _shifts(values.ndim, connectivity):
        a, b = values[one], values[other]
        meet = (a != b) & (a > 0) & (b > 0)
        if meet.any():
            pairs.append(np.unique(np.stack([a[meet], b[meet]], axis=1).astype(np.int64), axis=0))
    return np.unique(np.concatenate(pairs), axis=0)


def _shifts(axes: int, connectivity: int) -> Iterator[tuple[Region, Region]]:
    """Yield the two parts of an array that lie on each other after a step to a neighbour, one way each."""
    here = {0: slice(None), 1: slice(None, -1), -1: slice(1, None)}
    for steps in itertools.product((-1, 0, 1), repeat=axes):
        if (0,) * axes < steps and sum(map(abs, steps)) <= connectivity:
            yield tuple(here[step] for step in steps), tuple(here[-step] for step in steps)


def _joined(pairs: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Return the component of each number from 0 to ``count``, 0 for 0, given which belong together."""
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(count + 1, count + 1))
    total, components = scipy.sparse.csgraph.connected_components(graph, directed=False)
    # Nothing touches number 0, so that its component, the first, is its own.
    return components.astype(np.int64), total - 1


def identity(stored: StoredTiles, count: int) -> Numbered:
    """Return a map whose stored values are the numbers themselves."""
    return Numbered(stored, np.arange(count + 1), count)


def joined_maps(work: Workspace, first: Numbered, second: Numbered) -> Numbered:
    """Return the things of two maps in one, the first map's numbers first; it takes the place of both."""
    if not second.count:
        second.remove()
        return first

    def both(region: Region) -> np.ndarray:
        of_first, of_second = first.read(region), second.read(region)
        more = np.where(of_second > 0, of_second + first.count, 0)
        return np.where(of_first > 0, of_first, more)

    stored = work.filled(np.int32, both)
    first.remove()
    second.remove()
    return identity(stored, first.count + second.count)


@dataclass(frozen=True, eq=False)
class ThingsWithin:
    """Things that lie wholly within a region.

    Attributes
    ----------
    region
        The region: a tile, or the box of a thing that reaches over several.
    numbers
        Ascending.
    """

    region: Region
    numbers: np.ndarray

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Return which pixels of the region belong to the things, given the number of each pixel."""
        places = np.searchsorted(self.numbers, values).clip(max=len(self.numbers) - 1)
        mask: np.ndarray = self.numbers[places] == values
        return mask


def groups_of(work: Workspace, things: Numbered, wanted: np.ndarray) -> list[ThingsWithin]:
    """Return the wanted things in groups: those of each tile, then one by one those of several tiles.

    Parameters
    ----------
    work, things
        Where they are.
    wanted
        bool, for each number from 0 on.
    """
    wanted = wanted.copy()
    wanted[0] = False
    present = [np.unique(things.read(tile)) for tile in work.tiles]
    present = [each[wanted[each]] for each in present]
    times = np.bincount(np.concatenate(present), minlength=len(wanted))
    alone = [each[times[each] == 1] for each in present]
    groups = [ThingsWithin(tile, each) for tile, each in zip(work.tiles, alone, strict=True) if len(each)]
    boxes: dict[int, Region] = {}
    for tile, found in zip(work.tiles, present, strict=True):
        several = found[times[found] > 1]
        if not len(several):
            continue
        values = things.read(tile)
        compact = np.where(np.isin(values, several), np.searchsorted(several, values) + 1, 0)
        for number, place in zip(several.tolist(), scipy.ndimage.find_objects(compact), strict=True):
            moved = tuple(
                slice(part.start + whole.start, part.stop + whole.start)
                for part, whole in zip(place, tile, strict=True)
            )
            boxes[number] = _around(boxes.get(number, moved), moved)
    return [*groups, *(ThingsWithin(box, np.array([number])) for number, box in sorted(boxes.items()))]


def _around(one: Region, other: Region) -> Region:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def check_size(region: Region, what: str, hint: str) -> None:
    """Refuse a thing that reaches farther than fits into memory.

    Raises
    ------
    DataError
        Its box has more than ``MOST_PIXELS``.
    """
    sides = size_of(region)
    if math.prod(sides) > MOST_PIXELS:
        place = ", ".join(f"{part.start}:{part.stop}" for part in region)
        raise DataError(
            f"{what} has a box of {' x '.join(map(str, sides))} pixels, at {place}; up to "
            f"{MOST_PIXELS:,} are possible",
            hint=hint,
        )
