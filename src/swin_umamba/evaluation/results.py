"""Results of an evaluation: scores per case and class, their means, and their files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.csv_files import write_csv
from swin_umamba.json_files import write_contract
from swin_umamba.metric_table import metrics_of


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case; ``missing`` if there was no prediction and it was scored as if empty.

    Scores by class and metric; NaN (not applicable) where neither label map has the class. ``names`` are
    values with the names that the files give them.
    """

    case: str
    classes: Mapping[str, Mapping[str, float]]
    missing: bool = False
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class CaseFailure:
    """A case that could not be evaluated, and why."""

    case: str
    error: str


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder of predictions.

    Attributes
    ----------
    class_names
        Foreground classes, in the order of the data set.
    tolerance
        Tolerance of the NSD, in mm.
    cases
        Sorted by name.
    failures
        Cases that could not be evaluated; the means exclude them.
    extra
        Predictions without a reference.
    label_values
        The label values of each class.
    """

    class_names: tuple[str, ...]
    tolerance: float
    cases: tuple[CaseScores, ...]
    failures: tuple[CaseFailure, ...]
    extra: tuple[str, ...]
    label_values: Mapping[str, tuple[int, ...]]

    contract = "evaluation"

    def summary(self, class_name: str) -> dict[str, Any]:
        """Return the mean of each metric (None without a case), ``cases`` and ``not_applicable``."""
        scores = [case.classes[class_name] for case in self.cases]
        applicable = [score for score in scores if not all(map(math.isnan, score.values()))]
        means = {metric: mean(score[metric] for score in applicable) for metric in metrics_of("masks")}
        return {**means, "cases": len(applicable), "not_applicable": len(scores) - len(applicable)}

    def mean(self, metric: str) -> float | None:
        """Return the mean over classes of the mean over cases; None if no class is applicable anywhere."""
        return mean(self.summary(name)[metric] for name in self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not applicable is None."""
        return {
            "tolerance_mm": self.tolerance,
            "mean": {metric: self.mean(metric) for metric in metrics_of("masks")},
            "classes": {name: self.summary(name) for name in self.class_names},
            "cases": {case.case: plain_scores(case.classes) for case in self.cases},
            "missing": [case.case for case in self.cases if case.missing],
            "failed": {failure.case: failure.error for failure in self.failures},
            "extra": list(self.extra),
            "label_values": {name: list(values) for name, values in self.label_values.items()},
        }

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``metrics.json`` (everything) and ``metrics.csv`` (a row per case and class)."""
        metrics = metrics_of("masks")
        rows = (
            [case.case, name, *(scores[metric] for metric in metrics)]
            for case in self.cases
            for name, scores in case.classes.items()
        )
        return write_results(self.contract, folder, self.to_dict(), ["case", "class", *metrics], rows)


def write_results(
    contract: str,
    folder: str | Path,
    data: Mapping[str, Any],
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> tuple[Path, Path]:
    """Write ``metrics.json`` with ``data`` and ``metrics.csv`` with a table; NaN is an empty cell there.

    ``contract`` names the schema of ``data``.
    """
    json_path, csv_path = Path(folder) / "metrics.json", Path(folder) / "metrics.csv"
    write_contract(contract, json_path, data)
    write_csv(csv_path, [header, *rows])
    return json_path, csv_path


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are neither None nor NaN; None if there are none."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None


def plain_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return the scores of a case by class and metric, with None for NaN."""
    return {
        name: {metric: none_for_nan(value) for metric, value in values.items()}
        for name, values in scores.items()
    }


def none_for_nan(value: float) -> float | None:
    """Return None for NaN, which JSON does not have, else the value."""
    return None if math.isnan(value) else float(value)
