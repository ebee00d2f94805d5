"""Targets made of instance maps, and that they keep objects apart that the classes do not."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.evaluation.instances import score_instances
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.instances.targets import DEPTH_SCALE, depths_of, targets_of

CELLS = ObjectClasses({1: "object"}, 2)


def brute_force(instances: np.ndarray) -> np.ndarray:
    """The distance of each pixel to the nearest of its object that touches something else."""
    depths = np.zeros(instances.shape)
    for number in np.unique(instances[instances > 0]):
        own = np.argwhere(instances == number)
        padded = np.pad(instances, 1, mode="edge")
        rim = [
            (y, x)
            for y, x in own
            if any(padded[1 + y + dy, 1 + x + dx] != number for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
        ]
        for y, x in own:
            depths[y, x] = 1 + min((np.hypot(y - v, x - u) for v, u in rim), default=0)
        depths[instances == number] /= depths[instances == number].max()
    return depths


@pytest.mark.parametrize("seed", range(8))
def test_depths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seeds = rng.integers(0, 24, (6, 2))
    y, x = np.mgrid[:24, :24]
    distances = np.stack([np.hypot(y - v, x - u) for v, u in seeds])
    instances = np.where(distances.min(axis=0) < 6, (distances.argmin(axis=0) + 1) * 1000, 0)
    np.testing.assert_allclose(depths_of(instances), brute_force(instances), atol=1e-6)


def test_depths_of_nothing_and_of_everything() -> None:
    assert not depths_of(np.zeros((4, 5), int)).any()
    np.testing.assert_array_equal(depths_of(np.full((4, 5), 7)), 1)
    np.testing.assert_array_equal(depths_of(np.eye(3, dtype=int)), np.eye(3))


def test_targets() -> None:
    instances = np.zeros((30, 40), int)
    instances[2:16, 2:20], instances[2:16, 20:38], instances[20:28, 4:36] = 70_000, 5, 9
    labels = np.where(instances == 5, 3, np.where(instances > 0, 1, 0))
    labels[4:6, 4:6] = 3  # most of the object is of class 1
    labels[24:26, 30:34] = 4
    classes = ObjectClasses({1: "a", 3: "b"}, 2)
    target = targets_of(instances, labels, classes, ignore=4)
    parts = instances_to_classes(instances)
    expected = np.where(parts == 1, np.where(instances == 5, 3, 1), np.where(parts == 2, 2, 0))
    expected[labels == 4] = 4
    np.testing.assert_array_equal(target[0], expected)
    np.testing.assert_array_equal(target[1], np.rint(depths_of(instances) * DEPTH_SCALE))
    assert target.dtype == np.int16


def ellipses(gap: float, angle: float, size: int = 96) -> np.ndarray:
    """Two ellipses of half axes 20 and 15, ``gap`` pixels apart; where they overlap, parted in the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    instances = np.zeros((size, size), int)
    for number, side in ((1, -1), (2, 1)):
        inside = ((along - side * (15 + gap / 2)) / 15) ** 2 + (across / 20) ** 2 < 1
        instances[inside & (along * side > 0)] = number
    return instances


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1])
@pytest.mark.parametrize("gap", [4, 0, -4, -8, -12])
def test_objects_that_touch_without_a_pixel_of_boundary_between_them(gap: float, angle: float) -> None:
    """The classes merge them as soon as no boundary is predicted between them; the depth keeps them apart."""
    truth = ellipses(gap, angle)
    target = targets_of(truth, (truth > 0).astype(int), CELLS, None)
    classes = target[0].copy()
    between = (truth > 0) & (classes == 2)
    y, x = np.mgrid[:96, :96] - 47.5
    near = np.abs(x * np.cos(angle) + y * np.sin(angle)) < 6
    classes[between & near & (instances_to_classes((truth > 0).astype(int)) == 1)] = 1
    by_classes, _ = CELLS.decode(classes, Decoding())
    by_depth, _ = CELLS.decode(classes, Decoding(), depth=target[1] / DEPTH_SCALE)
    if gap <= 0:
        assert by_classes.max() == 1
    scores = score_instances(by_depth, truth)
    assert scores["f1"] == 1
    assert scores["pq"] > 0.9


def test_what_has_no_core_stays_an_object() -> None:
    labels = np.zeros((20, 20), int)
    labels[4:14, 4:14] = 1
    instances, _ = CELLS.decode(labels, Decoding(), depth=np.zeros((20, 20)))
    np.testing.assert_array_equal(instances, labels)


@pytest.mark.parametrize("scale", [0.45, 1.0])
def test_weak_and_noisy_depths_neither_break_objects_nor_join_them(scale: float) -> None:
    truth = ellipses(-4, 0.4)
    noise = np.random.default_rng(0).normal(0, 0.08, truth.shape)
    classes = (truth > 0).astype(int)
    found, _ = CELLS.decode(classes, Decoding(outer_rim=0), depth=scale * depths_of(truth) + noise)
    assert score_instances(found, truth)["pq"] > 0.9


def test_split_distance_cuts_what_the_depth_leaves_joined() -> None:
    truth = ellipses(-4, 0.0)
    classes = (truth > 0).astype(int)
    flat = np.zeros(truth.shape)
    joined, _ = CELLS.decode(classes, Decoding(outer_rim=0), depth=flat)
    cut, _ = CELLS.decode(classes, Decoding(split_distance=10, outer_rim=0), depth=flat)
    assert (joined.max(), cut.max()) == (1, 2)
    assert score_instances(cut, truth)["f1"] == 1
