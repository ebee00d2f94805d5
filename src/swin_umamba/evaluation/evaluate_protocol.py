"""Scores a folder of predictions by the protocol of an experiment, in one or both of its forms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.image_io import Image, on_one_grid, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.cases import CaseFiles, Missing, check_declared, evaluate_cases, pair_up
from swin_umamba.evaluation.protocols.base import FORMS, Form, PaperProtocol, ProtocolScores, Rule
from swin_umamba.evaluation.results import CaseFailure, mean, plain_scores, write_results


@dataclass(frozen=True)
class FormScores:
    """The scores of one form of a protocol.

    Attributes
    ----------
    metrics, class_names
        Metrics and classes of the scores of each case.
    cases
        Results by case, without the cases that the form leaves out.
    """

    metrics: tuple[str, ...]
    class_names: tuple[str, ...]
    cases: Mapping[str, ProtocolScores]

    def values(self, class_name: str, metric: str) -> list[float]:
        """Return the scores of the cases in which the class is applicable."""
        scores = (result.scores[class_name][metric] for result in self.cases.values())
        return [score for score in scores if not math.isnan(score)]

    def class_mean(self, class_name: str, metric: str) -> float | None:
        """Return the mean over the applicable cases; None without one."""
        return mean(self.values(class_name, metric))

    def mean(self, metric: str) -> float | None:
        """Return the mean over the classes of the mean over their cases, as in the paper's tables."""
        return mean(self.class_mean(name, metric) for name in self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not applicable is None."""
        return {
            "mean": {metric: self.mean(metric) for metric in self.metrics},
            "classes": {name: self._class_to_dict(name) for name in self.class_names},
            "cases": {case: plain_scores(result.scores) for case, result in self.cases.items()},
            "remarks": {case: list(result.remarks) for case, result in self.cases.items() if result.remarks},
        }

    def _class_to_dict(self, name: str) -> dict[str, Any]:
        summary: dict[str, Any] = {}
        for metric in self.metrics:
            values = self.values(name, metric)
            summary[metric] = {
                "mean": mean(values),
                "median": statistics.median(values) if values else None,
                "cases": len(values),
                "not_applicable": len(self.cases) - len(values),
            }
        return summary


@dataclass(frozen=True)
class ProtocolEvaluation:
    """The evaluation of a folder of predictions by the protocol of an experiment.

    Attributes
    ----------
    protocol
        Its name.
    rules
        Differences between its two forms.
    forms
        Scores of each requested form.
    missing
        References without a prediction: they get the worst score in the corrected form, and are left out of
        the published one.
    failures
        Cases that could not be evaluated; the means exclude them.
    extra
        Predictions without a reference.
    """

    protocol: str
    rules: tuple[Rule, ...]
    forms: Mapping[Form, FormScores]
    missing: tuple[str, ...]
    failures: tuple[CaseFailure, ...]
    extra: tuple[str, ...]

    contract = "protocol-evaluation"

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics of any form, in order."""
        return tuple(dict.fromkeys(metric for scores in self.forms.values() for metric in scores.metrics))

    def differences(self) -> dict[str, float]:
        """Return corrected minus as published of the mean of each metric that both forms have."""
        if len(self.forms) < 2:
            return {}
        published, corrected = self.forms["as-published"], self.forms["corrected"]
        means = {metric: (published.mean(metric), corrected.mean(metric)) for metric in published.metrics}
        return {
            metric: after - before
            for metric, (before, after) in means.items()
            if before is not None and after is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "protocol": self.protocol,
            "rules": [rule._asdict() for rule in self.rules],
            "forms": {form: scores.to_dict() for form, scores in self.forms.items()},
            "corrected_minus_as_published": self.differences(),
            "missing": list(self.missing),
            "failed": {failure.case: failure.error for failure in self.failures},
            "extra": list(self.extra),
        }

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``metrics.json`` (everything) and ``metrics.csv`` (a row per form, case and class)."""
        rows = (
            [form, case, name, *(scores.get(metric, math.nan) for metric in self.metrics)]
            for form, form_scores in self.forms.items()
            for case, result in form_scores.cases.items()
            for name, scores in result.scores.items()
        )
        return write_results(
            self.contract, folder, self.to_dict(), ["form", "case", "class", *self.metrics], rows
        )


def evaluate_protocol(
    predictions: str | Path,
    references: str | Path,
    protocol: PaperProtocol,
    *,
    forms: Sequence[Form] = FORMS,
    missing: Missing = "error",
    num_workers: int = 1,
) -> ProtocolEvaluation:
    """Score every case as published, corrected, or both.

    Parameters
    ----------
    predictions, references
        Folders of label maps (or one file each); instance maps as references of the microscopy.
    protocol
        Protocol such as ``Endoscopy()``, see :mod:`swin_umamba.evaluation.protocols`.
    forms
        Forms to compute.
    missing
        Treatment of references without a prediction: refuse them, or give them the worst score (as published:
        leave them out).
    num_workers
        Number of parallel processes.

    Returns
    -------
    ProtocolEvaluation
        The scores, with a failure for each case that is damaged or inconsistent.

    Raises
    ------
    UsageError
        If ``forms`` is empty or ``num_workers`` out of range.
    DataError
        If a folder is empty, two files belong to the same case, or predictions are missing (all are listed).
    """
    if not forms or num_workers < 1:
        raise UsageError(f"forms must not be empty and num_workers at least 1, not {forms} and {num_workers}")
    ending = protocol.reference_ending
    files, extra = pair_up(predictions, references, missing=missing, reference_ending=ending)
    work = partial(evaluate_case, protocol=protocol, forms=tuple(forms))
    scored, failures = evaluate_cases(work, files, num_workers=num_workers)
    return ProtocolEvaluation(
        protocol=protocol.name,
        rules=protocol.rules,
        forms={
            form: FormScores(
                protocol.metrics[form],
                protocol.class_names,
                {case: outcome[form] for case, outcome in scored.items() if form in outcome},
            )
            for form in forms
        },
        missing=tuple(each.case for each in files if each.prediction is None),
        failures=failures,
        extra=extra,
    )


def evaluate_case(
    files: CaseFiles, protocol: PaperProtocol, forms: Sequence[Form]
) -> Mapping[Form, ProtocolScores]:
    """Score one case in each form; a missing prediction is scored as empty, in the corrected form only.

    Raises
    ------
    GeometryError
        If prediction and reference lie on different grids.
    DataError
        If a file is damaged, or not of the kind that the protocol scores.
    """
    truth = _read(files.reference, protocol, protocol.reference_values)
    if files.prediction is None:
        reference = truth.data[0]
        if "corrected" not in forms:
            return {}
        empty = np.zeros(reference.shape, np.uint8)
        return {"corrected": protocol.corrected(empty, reference, truth.spacing)}
    predicted = _read(files.prediction, protocol, protocol.prediction_values)
    predicted, truth = on_one_grid(predicted, truth)
    reference = truth.data[0]
    score = {"as-published": protocol.as_published, "corrected": protocol.corrected}
    return {form: score[form](predicted.data[0], reference, truth.spacing) for form in forms}


def _read(path: Path, protocol: PaperProtocol, values: frozenset[int] | None) -> Image:
    image = read_labels(path)
    if len(image.spatial_shape) != protocol.ndim:
        raise DataError(
            f"the protocol {protocol.name} scores label maps of {protocol.ndim} axes, "
            f"not of {len(image.spatial_shape)}",
            where=path,
        )
    if values is not None:
        check_declared(image.data[0], values, path)
    return image
