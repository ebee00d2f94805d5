"""Blocks of numbers turned on their side: every number where it belongs, and none beyond."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from swin_umamba.ops.native.transpose import channels_first, channels_last, copy_numbers, transpose
from swin_umamba.ops.native.vector import pointer

SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 50)


@njit
def turn(source: np.ndarray, target: np.ndarray, source_stride: int, target_stride: int) -> None:
    transpose(pointer(source, 3), source_stride, pointer(target, 5), target_stride)


@njit
def to_last(source: np.ndarray, numbers: int, target: np.ndarray) -> None:
    channels_last(pointer(source, 0), numbers, pointer(target, 0))


@njit
def to_first(source: np.ndarray, numbers: int, target: np.ndarray) -> None:
    channels_first(pointer(source, 0), numbers, pointer(target, 0))


@njit
def copy(source: np.ndarray, target: np.ndarray, count: int) -> None:
    copy_numbers(pointer(source, 1), pointer(target, 2), count)


def counted(size: int) -> np.ndarray:
    return np.arange(1, size + 1, dtype=np.float32)


def test_rows_become_columns() -> None:
    source, target = counted(16 * 20), np.zeros(16 * 24, dtype=np.float32)
    turn(source, target, 19, 23)
    rows = np.stack([source[3 + 19 * row :][:16] for row in range(16)])
    expected = np.zeros_like(target)
    for column in range(16):
        expected[5 + 23 * column :][:16] = rows[:, column]
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("numbers", SIZES)
def test_channels_to_the_lanes_and_back(numbers: int) -> None:
    source = counted(16 * numbers)
    target, back = np.zeros(16 * numbers + 16, dtype=np.float32), np.zeros(16 * numbers + 16, np.float32)
    to_last(source, numbers, target)
    np.testing.assert_array_equal(target[:-16].reshape(numbers, 16), source.reshape(16, numbers).T)
    to_first(target, numbers, back)
    np.testing.assert_array_equal(back[:-16], source)
    assert not target[-16:].any()
    assert not back[-16:].any()


@pytest.mark.parametrize("count", SIZES)
def test_copies_exactly_so_many_numbers(count: int) -> None:
    source, target = counted(count + 20), np.zeros(count + 20, dtype=np.float32)
    copy(source, target, count)
    np.testing.assert_array_equal(target[2 : 2 + count], source[1 : 1 + count])
    assert not target[:2].any()
    assert not target[2 + count :].any()
