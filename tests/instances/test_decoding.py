"""Label maps of models as objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import UsageError
from swin_umamba.instances.decoding import Decoding, ObjectClasses, objects_of_depth
from swin_umamba.instances.targets import depths_of

TRUTH = np.zeros((40, 60), np.int64)
TRUTH[2:20, 2:20] = 1
TRUTH[2:20, 20:38] = 2  # touches the first
TRUTH[24:38, 30:58] = 3


def labels_of(classes: tuple[int, ...], boundary: int) -> np.ndarray:
    """The label map of the truth, with these values of the interiors."""
    parts = instances_to_classes(TRUTH)
    return np.where(parts == 2, boundary, np.array([0, *classes])[TRUTH] * (parts == 1))


def test_objects_that_touch_stay_apart() -> None:
    classes = ObjectClasses.of({"background": 0, "interior": 1, "boundary": 2})
    assert classes == ObjectClasses({1: "object"}, 2)
    instances, class_of_each = classes.decode(labels_of((1, 1, 1), 2), Decoding())
    np.testing.assert_array_equal(instances, TRUTH)
    assert instances.dtype == np.uint16
    np.testing.assert_array_equal(class_of_each, [1, 1, 1])


def test_an_object_has_the_class_of_most_of_its_interior() -> None:
    classes = ObjectClasses.of({"background": 0, "tumour": 1, "immune": 3, "boundary": 2, "ignore": 4})
    assert classes == ObjectClasses({1: "tumour", 3: "immune"}, 2)
    labels = labels_of((3, 1, 3), 2)
    labels[4:7, 4:18] = 1
    labels[30:34, 40:44] = 4  # a hole, which is filled
    instances, class_of_each = classes.decode(labels, Decoding())
    np.testing.assert_array_equal(instances, TRUTH)
    np.testing.assert_array_equal(class_of_each, [3, 1, 3])


def test_the_boundary_of_other_data_lies_inside() -> None:
    classes = ObjectClasses.of({"background": 0, "cell": 1, "border": 2})
    labels = (TRUTH > 0).astype(int)
    for box in (np.s_[2:20, 2:20], np.s_[2:20, 20:38], np.s_[24:38, 30:58]):
        rim = np.ones_like(labels[box], bool)
        rim[1:-1, 1:-1] = False
        labels[box][rim] = 2
    np.testing.assert_array_equal(classes.decode(labels, Decoding(outer_rim=0))[0], TRUTH)
    assert (classes.decode(labels, Decoding())[0] > 0).sum() < (TRUTH > 0).sum()


@pytest.mark.parametrize("boundary", [True, False])
def test_necks_are_cut(boundary: bool) -> None:
    labels = {"background": 0, "cell": 1} | ({"boundary": 2} if boundary else {})
    y, x = np.mgrid[:40, :80]
    pair = ((y - 20) ** 2 + (x - 24) ** 2 < 225) | ((y - 20) ** 2 + (x - 51) ** 2 < 225)
    classes = ObjectClasses.of(labels)
    assert classes.decode(pair.astype(np.uint8), Decoding())[0].max() == 1
    instances, _ = classes.decode(pair.astype(np.uint8), Decoding(split_distance=10))
    assert instances.max() == 2
    assert instances[20, 24] == 1
    assert instances[20, 51] == 2


def test_without_a_boundary_objects_are_connected_and_of_one_class() -> None:
    classes = ObjectClasses.of({"background": 0, "liver": 1, "spleen": 2})
    assert classes.boundary is None
    labels = np.where(TRUTH == 2, 2, TRUTH > 0)
    instances, class_of_each = classes.decode(labels, Decoding())
    np.testing.assert_array_equal(instances, TRUTH)
    np.testing.assert_array_equal(class_of_each, [1, 2, 1])
    volume, of_volume = classes.decode(np.stack([labels] * 3), Decoding())
    np.testing.assert_array_equal(volume, np.stack([TRUTH] * 3))
    np.testing.assert_array_equal(of_volume, class_of_each)


@pytest.mark.parametrize("higher", [0, 1e-5, 0.05])
def test_peaks_with_a_shallow_pass_are_one_object(higher: float) -> None:
    cells = np.zeros((24, 50), bool)
    cells[2:22, 2:48] = True
    depth = np.where(cells, 0.8, 0).astype(np.float32)
    depth[8:16, 8:16] = 0.9
    depth[8:16, 34:42] = 0.9 + higher
    np.testing.assert_array_equal(objects_of_depth(cells, depth) > 0, cells)
    assert np.unique(objects_of_depth(cells, depth)[cells]).size == 1
    depth[:, 22:28] = np.where(cells[:, 22:28], 0.4, 0)
    assert np.unique(objects_of_depth(cells, depth)[cells]).size == 2


@pytest.mark.parametrize("degrees", [0, 15, 30, 45, 77])
def test_long_cells_of_known_depth_are_whole(degrees: int) -> None:
    y, x = np.mgrid[-32:32, -32:32]
    angle = np.radians(degrees)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    rods = np.where(np.abs(along) <= 25, (np.abs(across - 4) <= 4) + 2 * (np.abs(across + 5) <= 4), 0)
    found = objects_of_depth(rods > 0, depths_of(rods))
    assert [np.unique(found[rods == rod]).size for rod in (1, 2)] == [1, 1]
    assert np.unique(found).size == 3


def test_specks_are_left_out() -> None:
    classes = ObjectClasses.of({"background": 0, "liver": 1})
    labels = np.zeros((20, 20), np.uint8)
    labels[:3, :5], labels[10:14, 10:14] = 1, 1
    assert classes.decode(labels, Decoding())[0].max() == 1
    assert classes.decode(labels, Decoding(), min_size=15)[0].max() == 2
    empty, of_empty = classes.decode(np.zeros_like(labels), Decoding())
    assert not empty.any()
    assert of_empty.shape == (0,)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, "regions, such as whole"),
        ({"background": 0, "boundary": 1}, "no class of objects"),
    ],
)
def test_models_without_objects(labels: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ObjectClasses.of(labels)


@pytest.mark.parametrize("values", [{"split_distance": 0}, {"outer_rim": -1}])
def test_ranges(values: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Decoding(**values)
