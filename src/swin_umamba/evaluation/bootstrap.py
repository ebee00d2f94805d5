"""Means over classes and cases, and bootstrap intervals of them and of the difference between two networks.

References
----------
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 (paired data) and 13 (percentile
intervals).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from swin_umamba.errors import UsageError

REPLICATES = 10_000
LEVEL = 0.95
MIN_CASES = 2


@dataclass(frozen=True)
class Interval:
    """A difference of means and its bootstrap interval.

    Attributes
    ----------
    difference
        First minus second.
    low, high
        Ends of the 95 % percentile interval.
    """

    difference: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval contains zero, so that the data show no difference."""
        return self.low <= 0 <= self.high


def mean_score(scores: np.ndarray) -> float:
    """Return the mean over classes of the mean over all applicable cases of all seeds.

    Parameters
    ----------
    scores
        Scores, (seeds, cases, classes), NaN where a class is not applicable. The result is NaN if none is
        applicable anywhere.
    """
    seeds, cases, _ = scores.shape
    return float(_weighted_means(scores, np.ones((1, seeds)), np.ones((1, cases)))[0])


def mean_interval(scores: np.ndarray) -> tuple[float, float] | None:
    """Return the ends of the 95 % percentile interval of ``mean_score`` over cases.

    The classes of a case are resampled together. None if any class is applicable in fewer than two cases.

    Parameters
    ----------
    scores
        Scores, (cases, classes), NaN where a class is not applicable.
    """
    scores = scores[~np.isnan(scores).all(axis=1)]
    cases = len(scores)
    if cases < MIN_CASES:
        return None
    weights = np.random.default_rng(0).multinomial(cases, np.full(cases, 1 / cases), size=REPLICATES)
    return _ends(_weighted_means(scores[None], np.ones((REPLICATES, 1)), weights))


def paired_interval(first: np.ndarray, second: np.ndarray) -> Interval | None:
    """Bootstrap the difference of ``mean_score`` of two networks.

    In every replicate, cases and seeds are drawn with replacement, independently of each other, and the same
    for both networks: cases that are hard for both, and orders of batches that favour both, cancel out.

    Parameters
    ----------
    first, second
        Scores, (seeds, cases, classes), of the same seeds, cases and classes.

    Returns
    -------
    Interval or None
        None if there are fewer than two cases, or no class is applicable.

    Raises
    ------
    UsageError
        If the two have different shapes.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise UsageError(
            f"scores of shapes {first.shape} and {second.shape} cannot be paired",
            hint="compare the same seeds, cases and classes",
        )
    seeds, cases, _ = first.shape
    difference = mean_score(first) - mean_score(second)
    if cases < MIN_CASES or np.isnan(difference):
        return None
    random = np.random.default_rng(0)
    seed_weights = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=REPLICATES)
    case_weights = random.multinomial(cases, np.full(cases, 1 / cases), size=REPLICATES)
    samples = _weighted_means(first, seed_weights, case_weights)
    samples -= _weighted_means(second, seed_weights, case_weights)
    return Interval(difference, *_ends(samples))


def _ends(samples: np.ndarray) -> tuple[float, float]:
    # A replicate may contain no applicable class at all; it is left out.
    low, high = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weighted_means(scores: np.ndarray, seed_weights: np.ndarray, case_weights: np.ndarray) -> np.ndarray:
    """Return ``mean_score`` for each row of weights, which say how often seeds and cases are counted."""
    applicable = ~np.isnan(scores)
    weights = "rs,rc,sck->rk"
    sums = np.einsum(weights, seed_weights, case_weights, np.where(applicable, scores, 0), optimize=True)
    counts = np.einsum(weights, seed_weights, case_weights, applicable.astype(np.int64), optimize=True)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no class is NaN, as documented
        means: np.ndarray = np.nanmean(sums / counts, axis=1)
        return means
