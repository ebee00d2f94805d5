"""Vectors of several states: every lane where it belongs."""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.state_vector import (
    STATES,
    add_products,
    broadcast_like,
    broadcast_strided,
    eight_numbers,
    eight_vectors,
    lanes_of,
    load_like,
    one_state,
    repeat_like,
    row_products,
    row_sums,
    several_states,
)
from swin_umamba.ops.native.vector import load, pointer, store

LANES = 16


def random_integers(*shape: int) -> np.ndarray:
    """Numbers whose products and sums float32 holds exactly."""
    return np.random.default_rng(0).integers(-100, 100, shape).astype(np.float32)


def test_several_states_hold_their_numbers_one_after_the_other() -> None:
    @njit
    def combine(numbers: np.ndarray, x: np.ndarray, out: np.ndarray) -> int:
        like = several_states()
        repeated = repeat_like(like, load(x, 16)) + load_like(like, x, 32)
        store(out, 0, repeated * broadcast_like(like, numbers, 3))
        return lanes_of(like)

    numbers, x = random_integers(10), random_integers(7 * LANES)
    out = np.zeros((STATES, LANES), dtype=np.float32)
    assert combine(numbers, x, out) == STATES * LANES
    rows = x.reshape(-1, LANES)
    expected = (rows[1] + rows[2 : 2 + STATES]) * numbers[3 : 3 + STATES, None]
    np.testing.assert_array_equal(out, expected)


def test_a_single_state_is_a_plain_vector() -> None:
    @njit
    def combine(numbers: np.ndarray, x: np.ndarray, out: np.ndarray) -> int:
        like = one_state()
        store(
            out,
            0,
            (repeat_like(like, load(x, 0)) + load_like(like, x, 16)) * broadcast_like(like, numbers, 1),
        )
        return lanes_of(like)

    numbers, x, out = random_integers(2), random_integers(2 * LANES), np.zeros(LANES, dtype=np.float32)
    assert combine(numbers, x, out) == LANES
    np.testing.assert_array_equal(out, (x[:16] + x[16:]) * numbers[1])


def test_add_products_sums_over_the_states() -> None:
    @njit
    def combine(x: np.ndarray, y: np.ndarray, total: np.ndarray) -> None:
        like = several_states()
        store(total, 0, add_products(load_like(like, x, 0), load_like(like, y, 0), load(total, 0)))

    x, y = random_integers(2, STATES, LANES)
    total = random_integers(LANES)
    expected = total + (x * y).sum(axis=0)
    combine(x, y, total)
    np.testing.assert_array_equal(total, expected)


def test_row_products_with_a_stride_and_from_pointers() -> None:
    @njit
    def multiply_rows(x: np.ndarray, y: np.ndarray, products: np.ndarray) -> None:
        store(products, 0, row_products(pointer(x, 4), 12, 48, pointer(y, 16), 16))

    x, y = random_integers(17, 48), random_integers(18, 16)
    products = np.zeros(16, dtype=np.float32)
    multiply_rows(x, y, products)
    np.testing.assert_array_equal(products, (x[:16, 16:32] * y[2:18]).sum(axis=1))


def test_row_sums_add_up_the_lanes() -> None:
    @njit
    def add_rows(x: np.ndarray, sums: np.ndarray) -> None:
        store(sums, 0, row_sums(pointer(x, 8), 16))

    x, sums = random_integers(18 * LANES), np.zeros(LANES, dtype=np.float32)
    add_rows(x, sums)
    np.testing.assert_array_equal(sums, x[24 : 24 + 256].reshape(16, 16).sum(axis=1))


def test_eight_vectors_of_numbers_that_are_apart() -> None:
    @njit
    def spread(numbers: np.ndarray, out: np.ndarray) -> None:
        store(out, 0, broadcast_strided(eight_vectors(), numbers, 2, 5))

    numbers, out = random_integers(40), np.zeros((8, LANES), dtype=np.float32)
    spread(numbers, out)
    np.testing.assert_array_equal(out, np.repeat(numbers[2:40:5][:, None], LANES, axis=1))


def test_half_a_vector_writes_half() -> None:
    @njit
    def copy(x: np.ndarray, out: np.ndarray) -> None:
        store(out, 1, load_like(eight_numbers(), x, 3))

    x, out = random_integers(20), np.zeros(20, dtype=np.float32)
    copy(x, out)
    np.testing.assert_array_equal(out, np.concatenate([[0], x[3:11], np.zeros(11)]))
