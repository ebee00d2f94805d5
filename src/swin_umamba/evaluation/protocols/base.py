"""Common parts of the protocols of the three experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from swin_umamba.evaluation.metrics import surface_distances
from swin_umamba.metric_table import metrics_of

Form = Literal["as-published", "corrected"]
FORMS: tuple[Form, ...] = ("as-published", "corrected")
MASK_METRICS: Mapping[Form, tuple[str, ...]] = {
    "as-published": ("dice", "nsd"),
    "corrected": metrics_of("masks"),
}


class Rule(NamedTuple):
    """One difference between the two forms of a protocol."""

    as_published: str
    corrected: str


COMMON_RULES = (
    Rule("scores are rounded to 4 digits before they are averaged", "scores are averaged unrounded"),
    Rule("cases without a prediction are left out", "cases without a prediction get the worst score"),
)


@dataclass(frozen=True)
class ProtocolScores:
    """Scores of one case by class and metric (NaN: not applicable), and remarks for the report."""

    scores: Mapping[str, Mapping[str, float]]
    remarks: tuple[str, ...] = ()


class PaperProtocol(Protocol):
    """Common parts of the protocols of the three experiments."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def ndim(self) -> int:
        """Number of axes of its label maps."""

    @property
    def metrics(self) -> Mapping[Form, tuple[str, ...]]:
        """Metrics of each form."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Differences between the two forms."""

    @property
    def reference_ending(self) -> str:
        """Ending of the names of reference files before the suffix."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes, as the rows of the report."""

    @property
    def prediction_values(self) -> frozenset[int]:
        """Values that are allowed in a predicted label map."""

    @property
    def reference_values(self) -> frozenset[int] | None:
        """Values that are allowed in a reference; None for instance maps."""

    def as_published(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the published scripts do."""

    def corrected(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case without the flaws of the published scripts."""


def published_nsd(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance: float
) -> float:
    """Return the NSD of masks, at least one of which is not empty, without slack for rounded spacings."""
    if not (prediction.any() and reference.any()):
        return 0.0
    return surface_distances(prediction, reference, spacing).within(tolerance, slack=0.0)


def published_digits(score: float | np.floating) -> float:
    """Round a score as the published tables do, to four digits."""
    return float(np.round(np.float64(score), 4))
