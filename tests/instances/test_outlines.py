"""Outlines drawn back to pixels, and what makes a polygon a valid one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_umamba.errors import UsageError
from swin_umamba.instances.outlines import Polygon, outlines_of


def drawn(polygon: Polygon, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose centre lies inside by the even-odd rule: an odd number of edges to the left."""
    edges = np.zeros((shape[0], shape[1] + 1), int)
    for ring in polygon:
        for (x, y), (other_x, other_y) in itertools.pairwise(ring):
            assert (x == other_x) != (y == other_y), "along pixel edges"
            if x == other_x:
                edges[min(y, other_y) : max(y, other_y), x] += 1
    return (edges.cumsum(axis=1) % 2 == 1)[:, : shape[1]]


def passed(ring: np.ndarray) -> list[tuple[int, int]]:
    """Return the corners of pixels that a ring passes, straight on ones too."""
    points = []
    for begin, end in itertools.pairwise(ring):
        step = np.sign(end - begin)
        points += [tuple(begin + step * at) for at in range(int(np.abs(end - begin).max()))]
    return points


def area(ring: np.ndarray) -> float:
    """Return the area by the shoelace formula; positive if it runs clockwise on the screen."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


def check(instances: np.ndarray) -> None:
    outlines = outlines_of(instances)
    assert list(outlines) == [number for number in np.unique(instances).tolist() if number]
    for number, polygons in outlines.items():
        total = np.zeros(instances.shape, int)
        for polygon in polygons:
            pixels = drawn(polygon, instances.shape)
            assert area(polygon[0]) > 0
            assert all(area(hole) < 0 for hole in polygon[1:])
            assert sum(map(area, polygon)) == pixels.sum()
            for hole in polygon[1:]:
                assert (drawn((hole,), instances.shape) <= drawn(polygon[:1], instances.shape)).all()
            total += pixels
            for ring in polygon:
                assert (ring[0] == ring[-1]).all()
                points = passed(ring)
                assert len(set(points)) == len(points), "a ring passes no point twice"
                turns = np.diff(np.concatenate([ring, ring[1:2]]), axis=0)
                assert (turns[1:] * turns[:-1] == 0).all(), "every corner is a turn"
        np.testing.assert_array_equal(total, instances == number)


@given(
    st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 14), st.integers(1, 14)), st.sampled_from([1, 2, 40])
)
@settings(max_examples=100)
def test_outlines_give_the_pixels_again(seed: int, shape: tuple[int, int], largest: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, largest + 1, shape)
    check(coarse.repeat(rng.integers(1, 4), axis=0).repeat(rng.integers(1, 4), axis=1).astype(np.uint16))


@given(
    st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 14), st.integers(1, 14)), st.sampled_from([1, 2, 40])
)
@settings(max_examples=60)
def test_outlines_are_valid_for_shapely(seed: int, shape: tuple[int, int], largest: int) -> None:
    shapely = pytest.importorskip("shapely")
    instances = np.random.default_rng(seed).integers(0, largest + 1, shape)
    for number, polygons in outlines_of(instances).items():
        found = shapely.MultiPolygon([(polygon[0], polygon[1:]) for polygon in polygons])
        assert found.is_valid
        assert found.area == (instances == number).sum()


def test_corners_of_small_maps() -> None:
    one = outlines_of(np.array([[0, 0, 0], [0, 7, 0]]))
    assert [[ring.tolist() for ring in polygon] for polygon in one[7]] == [
        [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]
    ]
    diagonal = outlines_of(np.array([[1, 0], [0, 1]], np.uint8))
    assert [[len(ring) for ring in polygon] for polygon in diagonal[1]] == [[5], [5]]
    # A hole that meets the outside at a corner: a hole all the same, and no part of the outer ring.
    corner = outlines_of(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]]))
    assert [[len(ring) for ring in polygon] for polygon in corner[1]] == [[7, 5]]
    assert corner[1][0][1].tolist() == [[1, 2], [2, 2], [2, 1], [1, 1], [1, 2]]


def test_a_hole_holds_another_object_with_a_hole() -> None:
    instances = np.zeros((9, 9), int)
    instances[1:8, 1:8] = 5
    instances[2:7, 2:7] = 0
    instances[3:6, 3:6] = 2**40
    instances[4, 4] = 5
    check(instances)
    outlines = outlines_of(instances)
    assert {number: list(map(len, polygons)) for number, polygons in outlines.items()} == {
        5: [2, 1],
        2**40: [2],
    }


@pytest.mark.parametrize("shape", [(3, 4), (0, 4)])
def test_a_map_without_objects_has_no_outlines(shape: tuple[int, int]) -> None:
    assert outlines_of(np.zeros(shape, int)) == {}


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="flat"):
        outlines_of(np.ones((2, 2, 2), int))
    with pytest.raises(UsageError, match="whole numbers"):
        outlines_of(np.ones((2, 2)))
