"""Mean and deviation do not depend on how an image is cut, and are those of exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from swin_umamba.trained.intensities import CELL, Moments, cells_of, moments_of, z_score

SIZES = [(1, 1, 1), (1, 5, 2 * CELL + 3), (2, CELL + 1, 7), (3, 40, 50)]
DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]


def exactly(values: np.ndarray) -> tuple[float, float]:
    numbers = [Fraction(float(value)) for value in values.astype(np.float32).ravel()]
    mean = sum(numbers) / len(numbers)
    return float(mean), math.sqrt(sum((each - mean) ** 2 for each in numbers) / len(numbers))


def image_of(size: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(200, 30, size)
    return np.clip(values, 0, 255).astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_those_of_exact_arithmetic(size: tuple[int, ...], dtype: type) -> None:
    image = image_of(size, dtype)
    expected = exactly(image)
    found = moments_of(image).mean_and_deviation()
    if np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize <= 2:
        assert found[0] == expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_order_nor_memory_changes_a_bit(dtype: type) -> None:
    image = image_of((2, CELL + 90, 2 * CELL + 11), dtype)
    expected = moments_of(image).mean_and_deviation()
    assert moments_of(np.asfortranarray(image)).mean_and_deviation() == expected
    cells = [np.array(cell) for cell in cells_of(image)]
    for seed in range(3):
        moments = Moments.of_dtype(image.dtype)
        for number in np.random.default_rng(seed).permutation(len(cells)):
            moments.add(cells[number])
        assert moments.mean_and_deviation() == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_around_the_image_do_not_count(dtype: type) -> None:
    inside = image_of((1, 30, 41), dtype)
    around = np.zeros((1, CELL + 60, 90), dtype)
    around[:, 7:37, 20:61] = inside
    found = moments_of(around).mean_and_deviation(inside.size)
    np.testing.assert_allclose(found, exactly(inside), rtol=1e-12)


def test_a_constant_image_has_no_deviation() -> None:
    image = np.full((1, 700, 700), 0.1, np.float32)
    mean, deviation = moments_of(image).mean_and_deviation()
    assert np.float32(mean) == np.float32(0.1)
    assert deviation < 1e-8
    assert np.all(z_score(image, mean, deviation) == 0)


def test_the_score_is_that_of_nnunet() -> None:
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

    image = image_of((1, 64, 80), np.uint8).astype(np.float32)
    expected = ZScoreNormalization(use_mask_for_norm=False, intensityproperties={}).run(image.copy())
    found = z_score(image.copy(), *moments_of(image).mean_and_deviation())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
