from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.confidence.case_quality import (
    CaseAgreement,
    EstimatedCase,
    check_quality,
    estimated_cases,
    quality_exponent,
)


def cases(number: int, exponent: float = 2.0, *, seed: int = 0) -> list[CaseAgreement]:
    """Return cases with two classes whose Dice is the agreement to a power."""
    agreement = np.random.default_rng(seed).uniform(0.4, 1, (number, 2)).tolist()
    return [
        CaseAgreement(f"c{place}", {"a": a, "b": b}, {"a": a**exponent, "b": b**exponent})
        for place, (a, b) in enumerate(agreement)
    ]


def test_means_are_over_the_classes_that_are_there() -> None:
    case = CaseAgreement("x", {"a": 0.5, "b": None, "c": 0.8}, {"a": 0.2, "b": 0.6, "c": None})
    assert case.estimated_dice() == pytest.approx(0.65)
    assert case.estimated_dice(2) == pytest.approx((0.25 + 0.64) / 2)
    assert case.true_dice == pytest.approx(0.4)
    nothing = CaseAgreement("x", {"a": None}, {"a": None})
    assert nothing.estimated_dice() is None
    assert nothing.true_dice is None


def test_the_exponent_comes_from_classes_with_both_numbers() -> None:
    odd = CaseAgreement("x", {"a": 0.9, "b": None}, {"a": None, "b": 0.0})
    assert quality_exponent([*cases(6), odd]) == pytest.approx(2, rel=1e-3)


def test_too_few_cases_give_no_exponent() -> None:
    assert quality_exponent(cases(3)) is None
    assert quality_exponent([]) is None
    assert quality_exponent([CaseAgreement("x", {"a": 0.9}, {"a": None})] * 9) is None


def test_each_half_is_estimated_with_the_exponent_of_the_other() -> None:
    mixed = [case for pair in zip(cases(4, 1.0), cases(4, 3.0, seed=1), strict=True) for case in pair]
    mixed = [CaseAgreement(str(place), case.agreement, case.dice) for place, case in enumerate(mixed)]
    estimated = estimated_cases(mixed)
    assert [case.case for case in estimated] == [str(place) for place in range(8)]
    for place, case in enumerate(estimated):
        other = 3.0 if place % 2 == 0 else 1.0
        assert case.calibrated == pytest.approx(mixed[place].estimated_dice(other), rel=1e-2)
        assert case.raw == mixed[place].estimated_dice()
        assert case.true == mixed[place].true_dice


def test_few_cases_share_an_exponent_and_fewer_have_none() -> None:
    assert [case.calibrated for case in estimated_cases(cases(5))] == pytest.approx(
        [case.true_dice for case in cases(5)], rel=1e-3
    )
    assert all(case.calibrated == case.raw for case in estimated_cases(cases(3)))
    assert estimated_cases([CaseAgreement("x", {"a": None}, {"a": 0.5})]) == []


def test_how_far_estimates_are_off() -> None:
    given = [
        EstimatedCase("a", 0.9, 0.8, 0.7),
        EstimatedCase("b", 0.8, 0.7, 0.75),
        EstimatedCase("c", 0.5, 0.3, 0.3),
        EstimatedCase("d", 0.4, 0.3, 0.2),
    ]
    check = check_quality(given)
    assert check.bias_before == pytest.approx(np.mean([0.2, 0.05, 0.2, 0.2]))
    assert check.bias_after == pytest.approx(np.mean([0.1, -0.05, 0.0, 0.1]))
    assert check.error_before == pytest.approx(np.mean([0.2, 0.05, 0.2, 0.2]))
    assert check.error_after == pytest.approx(np.mean([0.1, 0.05, 0.0, 0.1]))
    assert check.rank_correlation == pytest.approx(0.8)
    assert check_quality(given[:3]).rank_correlation is None
    assert check_quality([EstimatedCase("a", 0.9, 0.9, 0.1)] * 5).rank_correlation is None
    assert check_quality([]).error_before is None
