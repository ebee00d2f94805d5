from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from swin_umamba.confidence import temperature as calibration
from swin_umamba.confidence.temperature import entropy, fit_exponent, fit_temperature, reliability, tempered

# Of float32 exponentials and logarithms.
TOLERANCE = 2e-6
# Of a temperature that is fitted to 200,000 draws.
SAMPLING_TOLERANCE = 0.02


def softmax(logits: np.ndarray) -> np.ndarray:
    return special.softmax(logits.astype(np.float64), axis=0).astype(np.float32)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tempered_classes_are_those_of_divided_logits(
    random: np.random.Generator, temperature: float
) -> None:
    logits = random.normal(scale=4, size=(5, 7, 9))
    found = tempered(softmax(logits), temperature, independent=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(logits / temperature), atol=TOLERANCE)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tempered_regions_are_those_of_divided_logits(
    random: np.random.Generator, temperature: float
) -> None:
    logits = random.normal(scale=3, size=(2, 50))
    found = tempered(special.expit(logits).astype(np.float32), temperature, independent=True)
    np.testing.assert_allclose(found, special.expit(logits / temperature), atol=1e-5)


@pytest.mark.parametrize("independent", [False, True])
def test_certain_probabilities_stay_finite(independent: bool) -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    for temperature in (0.1, 1.0, 10.0):
        found = tempered(certain, temperature, independent=independent)
        assert np.isfinite(found).all()
        assert (found[[0, 1], [0, 1]] > 0.999).all()
    assert (entropy(certain, independent=independent) < 1e-6).all()


def test_reliability_by_hand() -> None:
    probabilities = np.array([[0.95, 0.95, 0.95, 0.95, 0.4], [0.05, 0.05, 0.05, 0.05, 0.6]], np.float32)
    found = reliability(probabilities, np.array([0, 0, 0, 1, 1]), independent=False)
    assert found.counts.tolist() == [0] * 9 + [1] + [0] * 4 + [4]  # 0.6 is the lower end of bin 9 of 15
    assert found.accuracy[14] == pytest.approx(0.75)
    assert found.confidence[9] == pytest.approx(0.6)
    assert math.isnan(found.accuracy[0])
    assert found.expected_calibration_error == pytest.approx((4 * 0.2 + 1 * 0.4) / 5, abs=1e-6)


def test_reliability_of_regions_counts_yes_and_no() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.7]], np.float32)
    truth = np.array([[True, False], [False, True]])
    found = reliability(probabilities, truth, independent=True)
    assert found.counts.sum() == 4
    assert found.expected_calibration_error == pytest.approx((2 * 0.1 + 2 * 0.2) / 4, abs=1e-6)


def test_no_pixels_have_no_error() -> None:
    nothing = reliability(np.zeros((2, 0), np.float32), np.zeros(0, int), independent=False)
    assert math.isnan(nothing.expected_calibration_error)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_temperature_that_made_the_truth_is_found(
    random: np.random.Generator, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "PIXELS_AT_ONCE", 70_001)  # several pieces, the last one smaller
    logits = random.normal(scale=3, size=(3, 200_000))
    honest = softmax(logits / temperature)
    truth = (random.random(200_000) > np.cumsum(honest, axis=0)[:2]).sum(axis=0)
    found = fit_temperature(softmax(logits), truth, independent=False)
    assert found == pytest.approx(temperature, rel=SAMPLING_TOLERANCE)
    before = reliability(softmax(logits), truth, independent=False).expected_calibration_error
    after = reliability(
        tempered(softmax(logits), found, independent=False), truth, independent=False
    ).expected_calibration_error
    assert after < 0.005
    if temperature != 1:
        assert before > 5 * after


def test_the_temperature_of_regions_is_found(random: np.random.Generator) -> None:
    logits = random.normal(scale=3, size=(2, 100_000))
    truth = random.random(logits.shape) < special.expit(logits / 2)
    probabilities = special.expit(logits).astype(np.float32)
    assert fit_temperature(probabilities, truth, independent=True) == pytest.approx(2, rel=SAMPLING_TOLERANCE)


def test_a_temperature_stays_in_its_bounds() -> None:
    always_right = np.array([[0.6] * 50, [0.4] * 50], np.float32)
    assert fit_temperature(always_right, np.zeros(50, int), independent=False) == pytest.approx(0.1, rel=1e-2)
    assert fit_temperature(always_right, np.ones(50, int), independent=False) == pytest.approx(10, rel=1e-2)


def test_entropy_of_classes(random: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PIXELS_AT_ONCE", 10)
    probabilities = softmax(random.normal(size=(4, 5, 6)))
    expected = special.entr(probabilities.astype(np.float64)).sum(axis=0) / np.log(4)
    found = entropy(probabilities, independent=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    even = np.full((4, 2, 2), 0.25, np.float32)
    np.testing.assert_allclose(entropy(even, 7.0, independent=False), 1, atol=TOLERANCE)
    assert (entropy(probabilities, 3.0, independent=False) > found).all()


def test_entropy_of_regions_is_the_mean_over_them() -> None:
    probabilities = np.array([[0.5, 0.25], [1.0, 0.25]], np.float32)
    quarter = special.entr([0.25, 0.75]).sum() / np.log(2)
    np.testing.assert_allclose(entropy(probabilities, independent=True), [0.5, quarter], atol=TOLERANCE)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
def test_the_exponent_that_made_the_dice_is_found(random: np.random.Generator, exponent: float) -> None:
    agreement = random.uniform(0.3, 1, 50)
    assert fit_exponent(agreement, agreement**exponent) == pytest.approx(exponent, rel=1e-3)
    noisy = agreement**exponent + random.normal(scale=0.01, size=50)
    assert fit_exponent(agreement, noisy) == pytest.approx(exponent, rel=0.05)


def test_an_exponent_stays_in_its_bounds() -> None:
    assert fit_exponent(np.array([0.5, 0.9]), np.zeros(2)) == pytest.approx(10, rel=1e-2)
    assert fit_exponent(np.array([0.5, 0.9]), np.ones(2)) == pytest.approx(0.1, rel=1e-2)
