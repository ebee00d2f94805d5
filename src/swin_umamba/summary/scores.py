"""Scores from files, our ``metrics.json`` and nnU-Net's ``summary.json``, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.evaluation.bootstrap import mean_interval, mean_score
from swin_umamba.evaluation.classes import LARGEST_LABEL
from swin_umamba.evaluation.evaluate_instances import NUMBERS
from swin_umamba.json_files import LARGEST_RESULTS, read_contract
from swin_umamba.metric_table import METRICS, Metric
from swin_umamba.pseudonyms import shown
from swin_umamba.report.contents import Scores, SummaryRow
from swin_umamba.summary.places import DAMAGED

PREFERRED_FORM = "corrected"
MEAN_OF_CLASSES = "mean of classes"


@dataclass(frozen=True)
class ScoresFile:
    """Scores, and the cases without scores with the reasons."""

    scores: Scores
    failures: tuple[tuple[str, str], ...]


def read_results(path: Path) -> dict[str, Any]:
    """Read a file of scores, ours or nnU-Net's, which holds NaN.

    Raises
    ------
    DataError
        If the file cannot be read, is far too large, or holds something else.
    """
    return read_contract(path, largest=LARGEST_RESULTS, nan=True)


def scores_of_evaluation(content: Mapping[str, Any], *, where: Path) -> ScoresFile:
    """Return the scores in a ``metrics.json`` of ``evaluate``, with or without a protocol.

    Raises
    ------
    DataError
        If the content is not of that form.
    """
    try:
        notes = []
        part = content
        heading = "Evaluation"
        if "forms" in content:
            forms = content["forms"]
            form = PREFERRED_FORM if PREFERRED_FORM in forms else next(iter(forms))
            part, heading = forms[form], f"Protocol {content['protocol']}, {form}"
        elif "tolerance_mm" in content:
            tolerance = float(content["tolerance_mm"])
            notes.append(
                f"HD95 and the NSD's tolerance of {tolerance:g} are in mm, or in pixels for pictures."
            )
        classes = list(dict(part["classes"]))
        values = part.get("label_values")  # files of before lack them
        scores = _scores(heading, part["cases"], classes, tuple(notes), values)
        missing = [
            (shown(str(case)), "it has no prediction and was scored as empty") for case in content["missing"]
        ]
        failed = [(shown(str(case)), str(why)) for case, why in dict(content["failed"]).items()]
    except (*DAMAGED, StopIteration) as error:
        raise DataError(
            "this is not a result of an evaluation",
            where=where,
            hint="write it with: swin-umamba evaluate PREDICTIONS REFERENCES -o FOLDER",
        ) from error
    return ScoresFile(scores, (*failed, *missing))


def scores_of_validation(content: Mapping[str, Any], names: Mapping[str, str], *, where: Path) -> Scores:
    """Return the scores in nnU-Net's ``summary.json`` of a validation.

    Parameters
    ----------
    content
        Content of the file.
    names
        Class names by the text of their label values in the file, such as ``1`` or ``(1, 2)``.
    where
        The file, for errors.
    """
    try:
        cases = {
            Path(str(case["prediction_file"])).name.split(".")[0]: {
                names.get(value, value): {"dice": scores["Dice"], "iou": scores["IoU"]}
                for value, scores in case["metrics"].items()
            }
            for case in content["metric_per_case"]
        }
        classes = [names.get(value, value) for value in dict(content["mean"])]
        return _scores("Validation", cases, classes, ())
    except DAMAGED as error:
        raise DataError(
            "this is not a summary of a validation", where=where, hint="validate the fold again"
        ) from error


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the joined scores of validations of the same classes and metrics.

    Raises
    ------
    DataError
        If they have different classes or metrics.
    """
    first = parts[0]
    if any((each.class_names, each.metrics) != (first.class_names, first.metrics) for each in parts):
        raise DataError("the folds were validated with different classes", hint="make a report for each fold")
    return replace(
        first,
        cases=tuple(case for each in parts for case in each.cases),
        values=np.concatenate([each.values for each in parts]),
    )


def _scores(
    heading: str,
    cases: Mapping[str, Mapping[str, Mapping[str, Any]]],
    classes: Sequence[str],
    notes: tuple[str, ...],
    label_values: Mapping[str, Sequence[int]] | None = None,
) -> Scores:
    """Return scores by case and class; without values of the classes, names that are numbers are values."""
    if not all(isinstance(name, str) for name in classes):
        raise TypeError("a class has no name")
    if label_values is None:
        label_values = {name: [int(name)] for name in classes if name.isdecimal()}
    single = {name: int(each[0]) for name, each in label_values.items() if len(each) == 1}
    found = {metric for scores in cases.values() for each in scores.values() for metric in each}
    found -= set(NUMBERS)
    # The range of a metric from another version of this package is unknown.
    metrics = [metric for key, metric in METRICS.items() if key in found]
    metrics += [Metric(key, key, "files", unit="?") for key in sorted(found - METRICS.keys())]
    values = np.full((len(cases), len(classes), len(metrics)), np.nan)
    for row, scores in enumerate(cases.values()):
        for column, name in enumerate(classes):
            for layer, metric in enumerate(metrics):
                value = scores.get(name, {}).get(metric.key)
                values[row, column, layer] = np.nan if value is None else float(value)
    return Scores(
        heading,
        tuple(metrics),
        tuple(classes),
        tuple(map(shown, cases)),
        values,
        notes,
        _numbers(cases),
        {name: value for name, value in single.items() if 0 < value <= LARGEST_LABEL},
    )


def _numbers(cases: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, int]]:
    """Return the numbers of objects in each case, of all classes; none if no objects were evaluated."""
    numbers: dict[str, dict[str, int]] = {}
    for case, scores in cases.items():
        for each in scores.values():
            for key in NUMBERS:
                if key in each:
                    of_case = numbers.setdefault(shown(case), {})
                    of_case[key] = of_case.get(key, 0) + int(each[key])
    return numbers


def summarize(scores: Scores) -> tuple[SummaryRow, ...]:
    """Return the mean and the bootstrap interval of each class and metric, then of the mean of classes."""
    rows = [_row(name, scores.values[:, [column]]) for column, name in enumerate(scores.class_names)]
    if len(scores.class_names) > 1:
        rows.append(_row(MEAN_OF_CLASSES, scores.values))
    return tuple(rows)


def _row(name: str, values: np.ndarray) -> SummaryRow:
    """Summarize (cases, classes, metrics)."""
    layers = range(values.shape[2])
    applicable = int((~np.isnan(values)).any(axis=(1, 2)).sum()) if values.size else 0
    return SummaryRow(
        name,
        applicable,
        tuple(mean_score(values[None, :, :, layer]) for layer in layers),
        tuple(mean_interval(values[:, :, layer]) for layer in layers),
    )
