"""Instance maps as background, interior and boundary, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import peak_local_max

from swin_umamba.data.instance_labels import (
    MIN_INTERIOR_SIZE,
    _peaks,
    classes_to_instances,
    consecutive_labels,
    instances_to_classes,
    interior_components,
)
from swin_umamba.errors import UsageError


def squares(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Instance 1, 2, ... in the boxes ``(top, bottom, left, right)``; later ones over earlier ones."""
    instances = np.zeros(shape, np.int32)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        instances[top:bottom, left:right] = number
    return instances


def assert_same_instances(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to the numbering."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    np.testing.assert_array_equal(found == 0, expected == 0)


def test_classes_of_one_square() -> None:
    classes = instances_to_classes(squares((9, 9), (2, 7, 2, 7)), min_interior_size=1)
    expected = [
        "000000000",
        "002222200",
        "022222220",
        "022222220",
        "022212220",
        "022222220",
        "022222220",
        "002222200",
        "000000000",
    ]
    assert ["".join(map(str, row)) for row in classes.tolist()] == expected
    assert classes.dtype == np.uint8


def test_small_interiors_are_left_out() -> None:
    fifteen, sixteen = (2, 9, 2, 11), (2, 10, 14, 22)  # interiors of 3 x 5 and 4 x 4
    classes = instances_to_classes(squares((12, 24), fifteen, sixteen))
    assert (classes == 1).sum() == 16
    assert (classes[4:7, 4:9] == 0).all()
    assert (classes[4:8, 16:20] == 1).all()


def test_boundary_keeps_touching_cells_apart_and_comes_back() -> None:
    instances = squares((16, 28), (2, 14, 2, 14), (2, 14, 14, 26))
    classes = instances_to_classes(instances)
    assert (classes[8, 12:16] == 2).all()
    assert interior_components(classes)[1] == 2
    np.testing.assert_array_equal(classes_to_instances(classes), instances)


@pytest.mark.parametrize("side", range(1, 12))
@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4, 5])
def test_cells_of_any_size_side_by_side(side: int, gap: int) -> None:
    instances = squares((side + 8, 2 * side + gap + 8), (4, 4 + side, 4, 4 + side))
    instances[4 : 4 + side, 4 + side + gap : 4 + 2 * side + gap] = 2
    found = classes_to_instances(instances_to_classes(instances))
    # Cells of up to four pixels have no interior, and in a gap of up to two no background is left.
    apart = side > 4 or gap > 2
    assert apart or (found > 0)[instances > 0].any()
    if apart:
        assert found.max() == 2
        np.testing.assert_array_equal(found[instances > 0], instances[instances > 0])
        assert gap in (1, 2) or not found[instances == 0].any()


@pytest.mark.parametrize("gap", [2, 3])
def test_background_where_corners_meet_is_no_cell(gap: int) -> None:
    instances = squares((40, 40), (2, 18, 2, 18), (2, 18, 18 + gap, 38), (18 + gap, 38, 2, 18))
    instances[18 + gap : 38, 18 + gap : 38] = 4
    classes = instances_to_classes(instances)
    assert classes[18, 18] == 0
    found = classes_to_instances(classes)
    assert found.max() == 4
    np.testing.assert_array_equal(found[instances > 0], instances[instances > 0])


def test_nested_cells() -> None:
    instances = squares((40, 40), (2, 38, 2, 38), (13, 27, 13, 27))
    found = classes_to_instances(instances_to_classes(instances))
    assert found.max() == 2
    # The corners of the inner cell are as near to the interior of the outer one: no map of classes tells.
    different = np.argwhere(found != instances)
    assert len(different) <= 12
    assert (np.minimum(abs(different - 13), abs(different - 26)).sum(axis=1) <= 1).all()


@pytest.mark.parametrize("place", [(5, 5), (0, 5), (0, 0), (10, 10)])
def test_one_pixel_cells(place: tuple[int, int]) -> None:
    instances = np.zeros((11, 11), np.int32)
    instances[place] = 7
    classes = instances_to_classes(instances)
    assert not (classes == 1).any()
    assert_same_instances(classes_to_instances(classes), instances)
    assert not classes_to_instances(classes, min_size=2).any()


def test_cells_cut_by_the_image_border() -> None:
    instances = squares((20, 30), (0, 9, 0, 9), (0, 8, 12, 22), (12, 20, 20, 30))
    classes = instances_to_classes(instances)
    assert classes[0, 0] == classes[19, 29] == 1
    assert_same_instances(classes_to_instances(classes), instances)


@pytest.mark.parametrize("gap", [0, 3])
def test_ten_thousand_cells(gap: int) -> None:
    pitch = 10 + gap
    rows = np.arange(100 * pitch)
    inside = rows % pitch < 10
    instances = (rows // pitch)[:, None] * 100 + rows // pitch + 1
    instances = np.where(inside[:, None] & inside, instances, 0)
    found = classes_to_instances(instances_to_classes(instances))
    assert found.max() == 10_000
    np.testing.assert_array_equal(found, instances)


def test_volumes() -> None:
    instances = np.zeros((16, 28, 16), np.int32)
    instances[2:14, 2:14, 2:14], instances[2:14, 14:26, 2:14] = 1, 2
    np.testing.assert_array_equal(classes_to_instances(instances_to_classes(instances)), instances)


def test_boundary_inside_the_cells() -> None:
    """Labels whose boundary is the outermost pixel of each cell have no rim to leave out."""
    classes = np.zeros((12, 12), np.uint8)
    classes[2:10, 2:10] = 2
    classes[3:9, 3:9] = 1
    assert (classes_to_instances(classes, outer_rim=0) > 0).sum() == 64
    assert (classes_to_instances(classes, outer_rim=1) > 0).sum() == 36


def test_boundary_goes_to_the_interior_that_is_nearer_along_the_boundary() -> None:
    classes = np.array([[1, 2, 2, 2, 2, 2, 1, 0, 1]], np.uint8)
    assert classes_to_instances(classes, outer_rim=0).tolist() == [[1, 1, 1, 1, 2, 2, 2, 0, 3]] or (
        classes_to_instances(classes, outer_rim=0).tolist() == [[1, 1, 1, 2, 2, 2, 2, 0, 3]]
    )
    # Near in the plane but not connected: the patch below the background is a cell of its own.
    classes = np.array([[1, 1, 1], [0, 0, 0], [0, 2, 2]], np.uint8)
    assert classes_to_instances(classes, outer_rim=0).tolist() == [[1, 1, 1], [0, 0, 0], [0, 2, 2]]


def test_numbers_have_no_gaps_after_small_instances_are_dropped() -> None:
    classes = np.zeros((5, 30), np.uint8)
    for left in (1, 11, 21):
        classes[1:4, left : left + 5] = 1
    classes[2, 8] = classes[2, 18] = 1
    found = classes_to_instances(classes, min_size=2)
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    assert found.dtype == np.int32


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2


def test_split_of_joined_cells() -> None:
    shape = (40, 70)
    joined = disc(shape, (20, 20), 13) | disc(shape, (20, 42), 13)
    single = disc(shape, (20, 62), 6)
    classes = (joined | single).astype(np.uint8)
    assert classes_to_instances(classes).max() == 2
    found = classes_to_instances(classes, split_distance=8)
    assert found.max() == 3
    np.testing.assert_array_equal(found > 0, classes > 0)
    assert len({found[20, 20], found[20, 42], found[20, 62]}) == 3
    assert found[20, 26] == found[20, 20]
    assert found[20, 36] == found[20, 42]


def test_split_leaves_single_cells_whole() -> None:
    shape = (60, 60)
    classes = np.zeros(shape, np.uint8)
    for centre, radius in (((12, 12), 9), ((12, 40), 4), ((40, 20), 15), ((2, 55), 1.5)):
        classes |= disc(shape, centre, radius).astype(np.uint8)
    assert_same_instances(
        classes_to_instances(classes, split_distance=6), ndimage.label(classes, np.ones((3, 3)))[0]
    )


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.integers(0, 2), st.sampled_from([None, 2, 5]))
def test_any_class_map_gives_consistent_instances(
    seed: int, density: float, outer_rim: int, split: int | None
) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((24, 31)), 1.2)
    classes = np.digitize(noise, np.quantile(noise, [density * 0.7, density])).astype(np.uint8)
    found = classes_to_instances(classes, outer_rim=outer_rim, split_distance=split)
    holes, _ = ndimage.label(classes == 0)
    small = (np.bincount(holes.ravel()) < MIN_INTERIOR_SIZE)[holes] & (outer_rim > 0)
    assert not found[(classes == 0) & ~small].any()
    assert found[classes == 1].all()
    assert np.unique(found[found > 0]).tolist() == list(range(1, int(found.max()) + 1))
    components, count = interior_components(classes)
    assert found.max() >= count
    owners = [set(components[(found == number) & (components > 0)]) for number in range(1, found.max() + 1)]
    assert all(len(owner) <= 1 for owner in owners)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_uniform_class_maps(value: int) -> None:
    classes = np.full((6, 7), value, np.uint8)
    assert (classes_to_instances(classes) == min(value, 1)).all()
    assert (classes_to_instances(classes, split_distance=3) > 0).all() == (value > 0)


def test_nothing_in_nothing_out() -> None:
    assert not instances_to_classes(np.zeros((5, 5), np.uint16)).any()


def test_consecutive_labels() -> None:
    for dtype in (np.uint8, np.uint16, np.int32, np.uint32, np.uint64):
        numbers, count = consecutive_labels(np.array([[0, 9], [4, 9]], dtype))
        assert numbers.tolist() == [[0, 2], [1, 2]]
        assert count == 2
    # A table up to the largest number would take 16 GB.
    largest = 2**31 - 1
    assert consecutive_labels(np.array([[largest, 0, 5]]))[0].tolist() == [[2, 0, 1]]
    assert consecutive_labels(np.array([[largest, 5]]))[0].tolist() == [[2, 1]]
    assert consecutive_labels(np.array([[largest, 5]]))[1] == 2
    assert consecutive_labels(np.zeros((0, 3), np.uint8))[1] == 0


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="integers"):
        instances_to_classes(np.zeros((4, 4)))
    with pytest.raises(UsageError, match="axes"):
        classes_to_instances(np.zeros(4, np.uint8))
    for wrong in ({"outer_rim": -1}, {"min_size": 0}, {"split_distance": 0}):
        with pytest.raises(UsageError, match="at least"):
            classes_to_instances(np.zeros((4, 4), np.uint8), **wrong)
    with pytest.raises(UsageError, match="whole numbers"):
        consecutive_labels(np.array([-1, 2]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=60)
def test_centres_are_the_peaks_of_scikit_image(seed: int, distance: int, filled: float) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 16, rng.integers(2, 4)))
    inside = rng.random(shape) < filled
    plateaus = rng.integers(0, 4, shape) * inside * 1.0
    smooth = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), distance / 4) * inside
    for depth in (plateaus, smooth):
        expected = np.zeros(shape, bool)
        expected[tuple(peak_local_max(depth, min_distance=distance, exclude_border=False).T)] = True
        np.testing.assert_array_equal(_peaks(depth, distance), expected)


def test_numbers_beyond_63_bits_are_refused_and_others_kept() -> None:
    instances = np.array([[0, 2**63 - 1, 5]], np.uint64)
    assert consecutive_labels(instances)[0].tolist() == [[0, 2, 1]]
    with pytest.raises(UsageError, match="below 2\\*\\*63"):
        consecutive_labels(instances + np.uint64(1))
