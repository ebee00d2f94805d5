"""Compare the estimated Dice of cases with the true one: its error, and the exponent that corrects it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import scipy

from swin_umamba.confidence.temperature import fit_exponent

# Fewer cases say nothing about an exponent or a rank correlation.
FEWEST_CASES = 4


def estimated_dice(agreement: Mapping[str, float | None], exponent: float = 1.0) -> dict[str, float | None]:
    """Return the estimated Dice of each class: the agreement of the ensemble members to a power."""
    return {name: None if value is None else value**exponent for name, value in agreement.items()}


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@dataclass(frozen=True)
class CaseAgreement:
    """Agreement of the ensemble members of a prediction, and the true Dice of its case.

    Attributes
    ----------
    case
        Name of the case.
    agreement, dice
        Agreement of the ensemble members and true Dice of each class; None where there is nothing to compare.
    """

    case: str
    agreement: Mapping[str, float | None]
    dice: Mapping[str, float | None]

    def estimated_dice(self, exponent: float = 1.0) -> float | None:
        """Return the mean over classes of the agreement to a power; None if no class has any."""
        return mean_of_known(estimated_dice(self.agreement, exponent).values())

    @property
    def true_dice(self) -> float | None:
        """Mean over classes; None if no class is applicable."""
        return mean_of_known(self.dice.values())


@dataclass(frozen=True)
class EstimatedCase:
    """A case with its estimated Dice, without (``raw``) and with an exponent, and its true Dice."""

    case: str
    raw: float
    calibrated: float
    true: float


@dataclass(frozen=True)
class QualityCheck:
    """Errors of the estimated Dice; None if there are too few cases.

    Attributes
    ----------
    bias_before, bias_after
        Mean of estimated minus true Dice, without and with the exponent.
    error_before, error_after
        Mean absolute difference between estimated and true Dice, without and with the exponent.
    rank_correlation
        Spearman's correlation between estimated and true Dice; an exponent does not change the order.
    """

    bias_before: float | None
    bias_after: float | None
    error_before: float | None
    error_after: float | None
    rank_correlation: float | None


def quality_exponent(cases: Sequence[CaseAgreement]) -> float | None:
    """Return the exponent that brings the agreement closest to the Dice, over all classes of all cases.

    None if fewer than ``FEWEST_CASES`` cases have both.
    """
    pairs = [
        (agreed, case.dice[name])
        for case in cases
        for name, agreed in case.agreement.items()
        if agreed is not None and case.dice[name] is not None
    ]
    if not pairs or len([case for case in cases if case.estimated_dice() is not None]) < FEWEST_CASES:
        return None
    agreement, dice = np.array(pairs, np.float64).T
    return fit_exponent(agreement, dice)


def estimated_cases(cases: Sequence[CaseAgreement]) -> list[EstimatedCase]:
    """Estimate each half of the cases with the exponent of the other half, or of all if that is too small."""
    halves = [cases[::2], cases[1::2]]
    exponents = [quality_exponent(half) for half in halves][::-1]
    if None in exponents:
        exponents = [quality_exponent(cases)] * 2
    result = {}
    for half, exponent in zip(halves, exponents, strict=True):
        for case in half:
            raw, true = case.estimated_dice(), case.true_dice
            calibrated = case.estimated_dice(1.0 if exponent is None else exponent)
            if raw is not None and calibrated is not None and true is not None:
                result[case.case] = EstimatedCase(case.case, raw, calibrated, true)
    return [result[case.case] for case in cases if case.case in result]


def check_quality(cases: Sequence[EstimatedCase]) -> QualityCheck:
    """Compare estimated and true Dice."""
    if not cases:
        return QualityCheck(None, None, None, None, None)
    raw, calibrated, true = (
        np.array([getattr(case, name) for case in cases]) for name in ("raw", "calibrated", "true")
    )
    correlation = None
    if len(cases) >= FEWEST_CASES and len(np.unique(raw)) > 1 and len(np.unique(true)) > 1:
        correlation = float(scipy.stats.spearmanr(raw, true).statistic)
    return QualityCheck(
        float((raw - true).mean()),
        float((calibrated - true).mean()),
        float(np.abs(raw - true).mean()),
        float(np.abs(calibrated - true).mean()),
        correlation,
    )
