"""The bootstrap against cases whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.errors import UsageError
from swin_umamba.evaluation.bootstrap import Interval, mean_interval, mean_score, paired_interval

MONTE_CARLO_TOLERANCE = 0.05
"""Relative to the standard error: what 10,000 replicates scatter in a quantile."""


def scores(*cases: float) -> np.ndarray:
    """Return one seed and one class."""
    return np.array(cases, dtype=float).reshape(1, -1, 1)


def test_means_leave_out_what_is_not_applicable() -> None:
    nan = np.nan
    both = np.array([[[1.0, nan], [0.5, 0.2]], [[0.0, nan], [nan, 0.4]]])
    assert mean_score(both) == pytest.approx(((1.0 + 0.5 + 0.0) / 3 + (0.2 + 0.4) / 2) / 2)
    assert np.isnan(mean_score(np.full((1, 2, 1), nan)))
    assert mean_score(np.array([[[0.25, nan]]])) == 0.25
    assert np.isnan(mean_score(np.zeros((1, 0, 3))))


def test_agrees_with_the_normal_distribution() -> None:
    random = np.random.default_rng(1)
    hard = random.uniform(0, 0.5, 400)
    difference = random.normal(0.03, 0.1, 400)
    found = paired_interval(scores(*(hard + difference)), scores(*hard))
    assert found is not None
    error = difference.std() / 20  # of a mean of 400
    assert found.difference == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - 1.96 * error, abs=MONTE_CARLO_TOLERANCE * error * 2)
    assert found.high == pytest.approx(
        difference.mean() + 1.96 * error, abs=MONTE_CARLO_TOLERANCE * error * 2
    )


def test_a_constant_difference_has_no_width_however_much_cases_differ() -> None:
    found = paired_interval(scores(0.3, 0.6, 1.0), scores(0.2, 0.5, 0.9))
    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert not found.holds_zero


def test_two_cases_give_the_three_means_there_are() -> None:
    # The mean is -0.1 or 0.3 with probability 1/4 each, else 0.1.
    found = paired_interval(scores(0.4, 0.8), scores(0.5, 0.5))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.1, 0.3))
    assert found.holds_zero


def test_seeds_are_drawn_too() -> None:
    # No case differs from another; all uncertainty is between the two seeds.
    first = np.stack([np.full((5, 1), 0.5), np.full((5, 1), 0.9)])
    found = paired_interval(first, np.full((2, 5, 1), 0.6))
    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, -0.1, 0.3))


def test_equal_networks_do_not_differ() -> None:
    same = np.random.default_rng(0).uniform(size=(2, 7, 3))
    assert paired_interval(same, same) == Interval(0.0, 0.0, 0.0)
    assert Interval(0.0, 0.0, 0.0).holds_zero


def test_is_repeatable_and_antisymmetric() -> None:
    random = np.random.default_rng(0)
    first, second = random.uniform(size=(2, 2, 9, 2))
    there, back = paired_interval(first, second), paired_interval(second, first)
    assert there is not None
    assert back is not None
    assert there == paired_interval(first, second)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_no_interval_without_enough_to_draw_from() -> None:
    assert paired_interval(scores(0.5), scores(0.4)) is None
    assert paired_interval(scores(np.nan, np.nan), scores(np.nan, np.nan)) is None
    with pytest.raises(UsageError, match="cannot be paired"):
        paired_interval(scores(0.1, 0.2), scores(0.1, 0.2, 0.3))


def test_the_interval_has_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, (400, 1))
    low, high = mean_interval(values) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=1e-3)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert mean_interval(values[:1]) is None
    assert mean_interval(np.full((5, 2), np.nan)) is None
