"""exp2, softplus and sigmoid over their whole range, in units in the last place of float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from swin_umamba.ops.native import math
from swin_umamba.ops.native.vector import load, store

EXP2_ULP = 2.0
SOFTPLUS_ULP = 4.0
SIGMOID_ULP = 4.0


@njit
def apply_exp2(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(0, x.size, 16):
        store(y, i, math.exp2(math.canonical_nan(load(x, i))))


@njit
def apply_softplus(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(0, x.size, 16):
        number = math.canonical_nan(load(x, i))
        store(y, i, math.softplus(number, math.exp_of_minus_magnitude(number)))


@njit
def apply_sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(0, x.size, 16):
        number = math.canonical_nan(load(x, i))
        store(y, i, math.sigmoid(number, math.exp_of_minus_magnitude(number)))


@njit
def apply_softplus_base_2(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(0, x.size, 16):
        number = math.canonical_nan(load(x, i))
        store(y, i, math.softplus_base_2(number, math.exp2_of_minus_magnitude(number)))


@njit
def apply_sigmoid_base_2(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(0, x.size, 16):
        number = math.canonical_nan(load(x, i))
        store(y, i, math.sigmoid(number, math.exp2_of_minus_magnitude(number)))


def evaluate(function: Callable[[np.ndarray, np.ndarray], None], x: np.ndarray) -> np.ndarray:
    padded = np.zeros(-(-x.size // 16) * 16, dtype=np.float32)
    padded[: x.size] = x
    y = np.full_like(padded, np.nan)
    function(padded, y)
    return y[: x.size]


def ulp_error(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(value - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)))


def dense(low: float, high: float, around: tuple[float, ...] = (0.0,)) -> np.ndarray:
    """Two million numbers: evenly spread, and at every scale around some points."""
    generator = np.random.default_rng(0)
    spread = generator.uniform(low, high, 1_000_000)
    tiny = 10 ** generator.uniform(-38, 1, 1_000_000) * generator.choice([-1, 1], 1_000_000)
    near = np.concatenate(
        [point + part for point, part in zip(around, np.array_split(tiny, len(around)), strict=True)]
    )
    return np.concatenate([spread, near]).clip(low, high).astype(np.float32)


def test_exp2_is_within_two_ulp() -> None:
    x = dense(-126, 127.99999, around=(0.0, 0.5, -0.5, -126.0, 127.0))
    assert ulp_error(evaluate(apply_exp2, x), np.exp2(x.astype(np.float64))) < EXP2_ULP


def test_exp2_at_its_ends() -> None:
    x = np.array([0, -0.0, 1, -1, -126, -126.5, -1e30, -np.inf, 128, 1e30, np.inf, np.nan], dtype=np.float32)
    smallest = 2.0**-126
    expected = [1, 1, 2, 0.5, smallest, smallest, smallest, smallest, np.inf, np.inf, np.inf, np.nan]
    np.testing.assert_array_equal(evaluate(apply_exp2, x), np.float32(expected))


def test_softplus_is_within_four_ulp() -> None:
    x = dense(-87, 200, around=(0.0, 20.0))
    wide = x.astype(np.float64)
    exact = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    assert ulp_error(evaluate(apply_softplus, x), exact) < SOFTPLUS_ULP


def test_sigmoid_is_within_four_ulp() -> None:
    x = dense(-87, 200)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert ulp_error(evaluate(apply_sigmoid, x), exact) < SIGMOID_ULP


def test_softplus_and_sigmoid_base_2_are_within_four_ulp() -> None:
    x = dense(-125, 200, around=(0.0, 20.0))
    wide = x.astype(np.float64)
    exact = np.maximum(wide, 0) + np.log1p(np.exp2(-np.abs(wide))) / np.log(2)
    assert ulp_error(evaluate(apply_softplus_base_2, x), exact) < SOFTPLUS_ULP
    assert ulp_error(evaluate(apply_sigmoid_base_2, x), 1 / (1 + np.exp2(-wide))) < SIGMOID_ULP


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (apply_softplus_base_2, [0.0, np.inf, np.nan, np.nan]),
        (apply_sigmoid_base_2, [0.0, 1.0, np.nan, np.nan]),
        (apply_softplus, [0.0, np.inf, np.nan, np.nan]),
        (apply_sigmoid, [0.0, 1.0, np.nan, np.nan]),
    ],
)
def test_softplus_and_sigmoid_at_their_ends(
    function: Callable[[np.ndarray, np.ndarray], None], expected: list[float]
) -> None:
    odd_nan = np.array([0xFFC00001], dtype=np.uint32).view(np.float32)[0]
    x = np.array([-np.inf, np.inf, np.nan, odd_nan], dtype=np.float32)
    # The smallest normal number stands for 0.
    np.testing.assert_allclose(evaluate(function, x), expected, rtol=0, atol=2e-38)
