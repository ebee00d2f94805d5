"""Calibration of probabilities and agreement: temperature, calibration error, entropy, exponent.

Probabilities belong either to mutually exclusive classes (summing to 1 over the classes) or to independent
regions, each a separate yes-or-no question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

NUM_BINS = 15
"""Number of bins, as in Guo et al. 2017."""
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0
LOWEST_EXPONENT, HIGHEST_EXPONENT = 0.1, 10.0
# A softmax gives zero below the smallest float32, and the logarithm would be infinite.
SMALLEST = float(np.finfo(np.float32).tiny)
# Volumes are processed in pieces of this many pixels, so that copies stay small.
PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Reliability:
    """Accuracy of predictions by their confidence.

    Attributes
    ----------
    counts
        ``(bins,)``: number of predictions in each of the equally wide bins of confidence from 0 to 1.
    confidence, accuracy
        ``(bins,)``: mean confidence in each bin, and fraction of correct predictions; NaN in empty bins.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """Mean difference between confidence and accuracy (Naeini et al. 2015); NaN without predictions."""
        total = self.counts.sum()
        if total == 0:
            return math.nan
        distance = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((self.counts * distance).sum() / total)


def reliability(probabilities: np.ndarray, truth: np.ndarray, *, independent: bool) -> Reliability:
    """Compare the confidence of predictions with their accuracy.

    The confidence is the probability of the predicted class; for regions, that of the predicted answer.

    Parameters
    ----------
    probabilities
        ``(classes, pixels)``.
    truth
        ``(pixels,)``, index of the true class; for regions ``(regions, pixels)``, booleans.
    independent
        Whether the probabilities are of regions.
    """
    if independent:
        confidence = np.maximum(probabilities, 1 - probabilities).ravel()
        right = ((probabilities > 0.5) == truth).ravel()
    else:
        confidence = probabilities.max(axis=0)
        right = probabilities.argmax(axis=0) == truth
    # A confidence of exactly 1 belongs to the last bin.
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts,
            np.bincount(bins, weights=confidence, minlength=NUM_BINS) / counts,
            np.bincount(bins, weights=right, minlength=NUM_BINS) / counts,
        )


def tempered(probabilities: np.ndarray, temperature: float, *, independent: bool) -> np.ndarray:
    """Return the probabilities after dividing the logits by a temperature; the order of classes is kept.

    Softmax and sigmoid of ``logits / T`` need no logits: ``p ** (1 / T)`` is the same up to a factor that
    normalizes the sum (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).

    Parameters
    ----------
    probabilities
        ``(classes, ...)``, float32.
    temperature
        Temperature; values above 1 reduce the confidence, values below 1 increase it.
    independent
        Whether the probabilities are of regions.

    Returns
    -------
    numpy.ndarray
        float32, of the same shape.
    """
    logarithms = np.log(np.maximum(probabilities, SMALLEST)) / np.float32(temperature)
    if independent:
        others = np.log(np.maximum(1 - probabilities, SMALLEST)) / np.float32(temperature)
        # Probabilities below 1e-38 would overflow here; clipped, they are still close to zero.
        scaled: np.ndarray = 1 / (1 + np.exp(np.minimum(others - logarithms, 80)))
    else:
        powers = np.exp(logarithms - logarithms.max(axis=0))
        scaled = powers / powers.sum(axis=0)
    return scaled.astype(np.float32)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray, *, independent: bool) -> float:
    """Return the temperature that maximizes the likelihood of the truth, from 0.1 to 10.

    The negative log-likelihood is convex in 1/T, so there is a single minimum.

    Parameters
    ----------
    probabilities, truth, independent
        As for :func:`reliability`; at least one pixel.
    """
    true_class = truth if not independent else truth.astype(np.int64)

    def loss(logarithm: float) -> float:
        total = 0.0
        for part in _pieces(probabilities.shape[1]):
            scaled = tempered(probabilities[:, part], math.exp(logarithm), independent=independent)
            if independent:
                likely = np.where(true_class[:, part] == 1, scaled, 1 - scaled)
            else:
                likely = np.take_along_axis(scaled, true_class[None, part], axis=0)
            total -= float(np.log(np.maximum(likely, SMALLEST), dtype=np.float64).sum())
        return total / truth.size

    return _least(loss, LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)


def fit_exponent(agreement: np.ndarray, dice: np.ndarray) -> float:
    """Return the exponent, from 0.1 to 10, whose power of the agreement fits the Dice best in least squares.

    Ensemble members also make the same mistakes, so their agreement is higher than the Dice with the truth. A
    power keeps 0, 1 and the order of cases, and a single number can be fitted to few cases.

    Parameters
    ----------
    agreement, dice
        ``(pairs,)``, from 0 to 1; at least one pair.
    """

    def loss(logarithm: float) -> float:
        return float(np.square(agreement ** math.exp(logarithm) - dice).sum())

    return _least(loss, LOWEST_EXPONENT, HIGHEST_EXPONENT)


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Return the number from ``low`` to ``high`` whose logarithm has the least loss."""
    bounds = (math.log(low), math.log(high))
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)


def entropy(probabilities: np.ndarray, temperature: float = 1.0, *, independent: bool) -> np.ndarray:
    """Return the entropy of the tempered probabilities of each pixel as a fraction of the maximum.

    Parameters
    ----------
    probabilities
        ``(classes, *shape)``, float32.
    temperature
        See :func:`tempered`.
    independent
        Whether these are regions; the result is then the mean over them.

    Returns
    -------
    numpy.ndarray
        ``shape``, float32: 0 where one class is certain, 1 where all are equally likely.
    """
    flat = probabilities.reshape(len(probabilities), -1)
    result = np.empty(flat.shape[1], np.float32)
    for part in _pieces(flat.shape[1]):
        scaled = tempered(flat[:, part], temperature, independent=independent)
        terms = _surprise(scaled)
        if independent:
            result[part] = (terms + _surprise(1 - scaled)).mean(axis=0) / math.log(2)
        else:
            result[part] = terms.sum(axis=0) / math.log(max(2, len(flat)))
    # Rounding may give values slightly below 0 or above 1.
    return np.clip(result, 0, 1).reshape(probabilities.shape[1:])


def _surprise(probabilities: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = -probabilities * np.log(np.maximum(probabilities, SMALLEST))
    return scaled


def _pieces(size: int) -> Iterator[slice]:
    for start in range(0, size, PIXELS_AT_ONCE):
        yield slice(start, min(size, start + PIXELS_AT_ONCE))
