"""Numbers by position, small objects, holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from swin_umamba.errors import UsageError
from swin_umamba.instances.tidy import ordered, tidy

SHAPES = st.lists(st.integers(1, 12), min_size=2, max_size=3).map(tuple)


@given(st.integers(0, 2**32 - 1), SHAPES)
@settings(max_examples=40)
def test_numbers_follow_the_first_pixels(seed: int, shape: tuple[int, ...]) -> None:
    instances = np.random.default_rng(seed).integers(0, 9, shape) * 2**33
    found = ordered(instances)
    values = list(dict.fromkeys(value for value in instances.ravel().tolist() if value))
    numbers = {0: 0} | {value: number for number, value in enumerate(values, start=1)}
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.vectorize(numbers.get)(instances))


def test_numbers_beyond_16_bits_take_32() -> None:
    instances = np.arange(65_536, -1, -1).reshape(1, -1)
    assert ordered(instances[:, 1:]).dtype == np.uint16
    found = ordered(instances)
    assert found.dtype == np.uint32
    assert found.ravel().tolist() == [*range(1, 65_537), 0]


def holes_filled(instances: np.ndarray) -> np.ndarray:
    """The definition, hole by hole."""
    filled = instances.copy()
    patches, count = ndimage.label(instances == 0)
    for patch in range(1, count + 1):
        hole = patches == patch
        around = ndimage.binary_dilation(hole) & ~hole
        core = np.zeros_like(hole)
        core[(slice(1, -1),) * hole.ndim] = True
        neighbours = np.unique(instances[around])
        if not (hole & ~core).any() and len(neighbours) == 1:
            filled[hole] = neighbours[0]
    return filled


@given(st.integers(0, 2**32 - 1), SHAPES, st.sampled_from([1, 3]), st.integers(1, 12), st.booleans())
@settings(max_examples=80)
def test_tidy_is_its_definition(
    seed: int, shape: tuple[int, ...], largest: int, min_size: int, fill_holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    instances = (rng.integers(1, largest + 1, shape) * (rng.random(shape) < 0.7) * 50).astype(np.uint16)
    expected = holes_filled(instances) if fill_holes else instances.copy()
    for number in np.unique(expected):
        if (expected == number).sum() < min_size:
            expected[expected == number] = 0
    if fill_holes:
        expected = holes_filled(expected)
    found = tidy(instances, min_size=min_size, fill_holes=fill_holes)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)


def test_holes_of_one_object_alone_are_filled() -> None:
    rows = ["111110222", "101110202", "111113233", "100110303", "140110333", "111110000"]
    found = tidy(np.array([list(map(int, row)) for row in rows]))
    expected = ["111110222", "111110202", "111113233", "100110333", "140110333", "111110000"]
    assert ["".join(map(str, row)) for row in found.tolist()] == expected
    without_speck = tidy(np.array([list(map(int, row)) for row in rows]), min_size=2)
    assert ["".join(map(str, row)) for row in without_speck[3:5].tolist()] == ["111110333", "111110333"]


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (2, 3, 4)])
def test_empty_maps_stay_empty(shape: tuple[int, ...]) -> None:
    assert not tidy(np.zeros(shape, np.uint8), min_size=5).any()
    assert not ordered(np.zeros(shape, np.uint8)).any()


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        tidy(np.ones((2, 2), int), min_size=0)
    with pytest.raises(UsageError, match="whole numbers"):
        tidy(np.ones((2, 2)))
    with pytest.raises(UsageError, match="whole numbers"):
        ordered(np.full((2, 2), -1))
