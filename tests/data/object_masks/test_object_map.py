"""A map of objects: gaps closed, objects painted in their order, what is lost said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swin_umamba.data.object_masks.object_map import OneObject, map_of_numbers, map_of_objects, union
from swin_umamba.errors import DataError


def box(row: int, column: int, size: int = 3, name: str | None = None) -> OneObject:
    return OneObject(np.ones((size, size), bool), (row, column), name, f"box {row},{column}")


def test_gaps_in_the_numbers_are_closed() -> None:
    numbers = np.array([[0, 7, 7], [2**40, 0, 3]])
    found = map_of_numbers(numbers)
    np.testing.assert_array_equal(found.instances, [[0, 2, 2], [3, 0, 1]])
    assert found.class_names == (None, None, None)
    assert found.ignored is None


def test_ignored_pixels_are_no_object() -> None:
    found = map_of_numbers(np.array([[0, 1], [255, 2]], np.uint8), 255)
    np.testing.assert_array_equal(found.instances, [[0, 1], [0, 2]])
    assert found.ignored is not None
    np.testing.assert_array_equal(found.ignored, [[False, False], [True, False]])
    assert map_of_numbers(np.array([[0, 1]]), 255).ignored is None


def test_objects_are_painted_in_their_order() -> None:
    empty = OneObject(np.zeros((2, 2), bool), (0, 0), "a", "nothing")
    boxes = [
        box(0, 0, name="a"),
        box(1, 1, name="b"),
        empty,
        box(5, 5, 1, "c"),
        box(4, 4, 3, "a"),
        box(6, -1),
    ]
    found = map_of_objects(boxes, (8, 8), Path("file"))
    expected = np.zeros((8, 8), int)
    expected[:3, :3], expected[1:4, 1:4], expected[4:7, 4:7], expected[6:8, :2] = 1, 2, 3, 4
    np.testing.assert_array_equal(found.instances, expected)
    assert found.class_names == ("a", "b", "a", None)
    assert found.remarks == (
        "1 objects cover no centre of a pixel: left out",
        "5 pixels belong to several objects: the last one has them",
        "1 objects reach beyond the image: cut at its border",
        "1 objects are covered by others: left out",
    )


@pytest.mark.parametrize("name", ["ignore", "Ignore*", "__ignore__"])
def test_areas_to_ignore(name: str) -> None:
    found = map_of_objects([box(0, 0), box(2, 2, 2, name)], (4, 4), Path("file"))
    assert found.instances[2, 2] == 0
    assert found.class_names == (None,)
    assert found.ignored is not None
    assert found.ignored.sum() == 4


def test_an_object_outside_is_refused() -> None:
    with pytest.raises(DataError, match=r"box 8,0 lies outside the image of 8 x 8 pixels(.|\n)*file"):
        map_of_objects([box(0, 0), box(8, 0)], (8, 8), Path("file"))


def test_objects_without_end_are_refused() -> None:
    huge = OneObject(np.ones((1, 2**20), bool), (0, 0), None, "line")
    with pytest.raises(DataError, match="many times over"):
        map_of_objects((huge for _ in range(10**9)), (1, 2**20), Path("file"))


def test_parts_of_one_object() -> None:
    found = union([box(1, 1, 2, "a"), box(5, 4, 2, "b"), box(99, 99)], (8, 8))
    assert (found.corner, found.mask.shape, found.class_name) == ((1, 1), (6, 5), "a")
    assert found.mask.sum() == 8
    assert union([box(99, 99)], (8, 8)).corner == (99, 99)
