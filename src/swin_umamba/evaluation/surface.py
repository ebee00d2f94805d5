"""The surface of a mask as elements with an area, for distances between surfaces.

The surface is defined on the corners between voxels. The 2 x 2 (x 2) voxels around a corner form its
neighbour code, and the code decides the contour length or surface area there, by marching squares or cubes
with the crossing in the middle of each edge (Lorensen and Cline, 1987). Where marching cubes is ambiguous,
the choice reproduces the areas of the widely used surface Dice of Nikolov et al. (2018, arXiv 1809.04430): of
a code and its complement, the one with fewer corners inside is meshed; corners that touch only across a face
are separated; and a polygon that is not flat is cut into the triangles of the largest total area.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

_Point = tuple[float, ...]

_CORNERS: tuple[tuple[int, ...], ...] = tuple(itertools.product((0, 1), repeat=3))
_SQUARE = ((0, 0), (0, 1), (1, 1), (1, 0))


def neighbour_codes(mask: np.ndarray) -> np.ndarray:
    """Return the code of every voxel corner of a 2D or 3D mask.

    Parameters
    ----------
    mask
        Boolean. Everything outside the array is background.

    Returns
    -------
    numpy.ndarray
        uint8, one larger than ``mask`` along each axis. Bit ``b`` (from the highest, C order over the
        neighbourhood) is set if that neighbour is inside; 0 and all bits mean that no surface passes.
    """
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for offset in itertools.product((0, 1), repeat=mask.ndim):
        window = tuple(slice(start, start + size) for start, size in zip(offset, codes.shape, strict=True))
        codes = np.left_shift(codes, 1, dtype=np.uint8) | padded[window]
    return codes


def element_areas(spacing: Sequence[float]) -> np.ndarray:
    """Return the contour length (2D, mm) or surface area (3D, mm^2) of every neighbour code.

    Parameters
    ----------
    spacing
        Voxel spacing in mm, one for each axis of the mask.

    Returns
    -------
    numpy.ndarray
        float64, 16 entries in 2D and 256 in 3D.
    """
    if len(spacing) == 2:
        return _contour_lengths(*spacing)
    depth, height, width = spacing
    # In a stretched triangle, each component of the area vector scales with the two other axes.
    scale = np.array([height * width, depth * width, depth * height])
    return np.array([np.linalg.norm(vectors * scale, axis=1).sum() for vectors in _area_vectors()])


def _contour_lengths(height: float, width: float) -> np.ndarray:
    cut_corner = 0.5 * np.hypot(height, width)
    lengths = np.zeros(16)
    for code in range(1, 15):
        upper, lower, left, right = code >> 2, code & 0b11, code & 0b1010, code & 0b0101
        if upper in (0b00, 0b11) and lower in (0b00, 0b11):
            lengths[code] = width
        elif left in (0b0000, 0b1010) and right in (0b0000, 0b0101):
            lengths[code] = height
        else:
            # One corner differs from the other three, or two opposite corners differ from the rest.
            lengths[code] = cut_corner * (2 if code in (0b1001, 0b0110) else 1)
    return lengths


@lru_cache(maxsize=1)
def _area_vectors() -> tuple[np.ndarray, ...]:
    """Return for each code the area vectors ``(triangles, 3)`` of its triangles in a cube of side 1."""
    table = []
    for code in range(256):
        vectors = [vector for polygon in _polygons(code) for vector in _largest_triangulation(polygon)]
        table.append(np.array(vectors).reshape(-1, 3))
    return tuple(table)


def _polygons(code: int) -> list[list[_Point]]:
    """Return the closed polygons through edge midpoints that separate inside from outside corners."""
    inside = {corner for bit, corner in enumerate(_CORNERS) if code >> (7 - bit) & 1}
    if len(inside) > 4:
        inside = set(_CORNERS) - inside
    neighbours: dict[_Point, list[_Point]] = {}
    for face in _faces():
        for start, end in _face_segments(face, inside):
            neighbours.setdefault(start, []).append(end)
            neighbours.setdefault(end, []).append(start)
    polygons = []
    unused = set(neighbours)
    while unused:
        polygon = [min(unused)]
        while True:
            unused.discard(polygon[-1])
            following = [point for point in neighbours[polygon[-1]] if point in unused]
            if not following:
                break
            polygon.append(following[0])
        polygons.append(polygon)
    return polygons


def _faces() -> Iterator[list[tuple[int, ...]]]:
    """Yield the six faces of the cube, each as its four corners in cyclic order."""
    for axis, side in itertools.product(range(3), (0, 1)):
        yield [(*square[:axis], side, *square[axis:]) for square in _SQUARE]


def _face_segments(
    face: list[tuple[int, ...]], inside: set[tuple[int, ...]]
) -> Iterator[tuple[_Point, _Point]]:
    """Yield the lines on one face between the midpoints of edges that cross the surface."""
    crossings = [
        _midpoint(face[i - 1], face[i]) for i in range(4) if (face[i - 1] in inside) != (face[i] in inside)
    ]
    if len(crossings) == 2:
        yield crossings[0], crossings[1]
    elif len(crossings) == 4:
        for i in range(4):
            if face[i] in inside:
                yield _midpoint(face[i - 1], face[i]), _midpoint(face[i], face[(i + 1) % 4])


def _midpoint(a: tuple[int, ...], b: tuple[int, ...]) -> _Point:
    return tuple((x + y) / 2 for x, y in zip(a, b, strict=True))


def _largest_triangulation(polygon: list[_Point]) -> list[np.ndarray]:
    """Return the area vectors of the triangles whose areas have the largest sum."""

    def vectors(triangles: list[tuple[int, int, int]]) -> list[np.ndarray]:
        points = np.array(polygon)
        return [np.cross(points[j] - points[i], points[k] - points[i]) / 2 for i, j, k in triangles]

    candidates = [vectors(triangles) for triangles in _triangulations(0, len(polygon) - 1)]
    return max(candidates, key=lambda candidate: sum(float(np.linalg.norm(vector)) for vector in candidate))


def _triangulations(first: int, last: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield every way to cut the polygon of the points ``first`` to ``last`` into triangles."""
    if last - first < 2:
        yield []
        return
    for tip in range(first + 1, last):
        for left, right in itertools.product(_triangulations(first, tip), _triangulations(tip, last)):
            yield [*left, (first, tip, last), *right]
