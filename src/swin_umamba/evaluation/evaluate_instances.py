"""Score a folder of instance maps from any tool against the true ones: objects found, missed and invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.image_io import on_grid_of, on_one_grid, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.cases import (
    CaseFiles,
    Missing,
    check_declared,
    evaluate_cases,
    label_values,
    pair_up,
)
from swin_umamba.evaluation.class_names import given_names, names_of_values
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.instances import (
    IOU_THRESHOLDS,
    Overlap,
    class_of_objects,
    measure_overlap,
    scores_of,
    without_unknown,
)
from swin_umamba.evaluation.object_errors import ERRORS, errors_of
from swin_umamba.evaluation.results import CaseFailure, mean, none_for_nan, write_results
from swin_umamba.metric_table import metrics_of

ALL_OBJECTS = "objects"
"""Name used for the class of objects without classes."""
COUNTS = ("num_reference", "num_prediction")
NUMBERS = (*COUNTS, *(f"num_{kind}" for kind in ERRORS))
ENDINGS = ("_label", "_cp_masks", "_masks", "_mask")
"""Endings that data sets and tools add to the name of an image to name its instance map."""


@dataclass(frozen=True)
class InstanceFiles(CaseFiles):
    """The files of one case, with the class maps of its objects if they have classes."""

    prediction_classes: Path | None = None
    reference_classes: Path | None = None


@dataclass(frozen=True)
class InstanceScores:
    """Scores of the objects of one class in one case.

    Attributes
    ----------
    num_reference, num_prediction
        Numbers of objects.
    matches
        Number of one-to-one matches at each IoU threshold.
    scores
        Value of each metric; NaN (not applicable) where neither map has an object.
    errors
        Number of each kind of ``object_errors.ERRORS``.
    """

    num_reference: int
    num_prediction: int
    matches: tuple[int, ...]
    scores: Mapping[str, float]
    errors: Mapping[str, int]

    @property
    def ap_at(self) -> list[float | None]:
        """The AP at each IoU threshold; None where neither map has an object."""
        total = self.num_reference + self.num_prediction
        return [_ratio(found, total - found) for found in self.matches]

    @classmethod
    def of(cls, overlap: Overlap) -> InstanceScores:
        """Return the scores of two maps."""
        counts = overlap.num_reference, overlap.num_prediction
        return cls(*counts, tuple(overlap.matches), scores_of(overlap), errors_of(overlap).counts())

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and scores as plain data for JSON."""
        return {**self.numbers(), **{key: none_for_nan(value) for key, value in self.scores.items()}}

    def numbers(self) -> dict[str, int]:
        """Return the numbers of objects by their ``NUMBERS``."""
        return dict(
            zip(NUMBERS, (self.num_reference, self.num_prediction, *self.errors.values()), strict=True)
        )


@dataclass(frozen=True)
class InstanceEvaluation:
    """Scores of a folder of predicted instance maps.

    Attributes
    ----------
    class_names
        Classes of objects; ``("objects",)`` if they have none.
    cases
        Scores by case and class, sorted by name.
    missing
        Cases without a prediction, scored as if nothing was predicted.
    failures
        Cases that could not be evaluated; no mean and no sum includes them.
    extra
        Predictions without a reference.
    """

    class_names: tuple[str, ...]
    cases: Mapping[str, Mapping[str, InstanceScores]]
    missing: tuple[str, ...]
    failures: tuple[CaseFailure, ...]
    extra: tuple[str, ...]

    contract = "instance-evaluation"

    def of_class(self, name: str) -> list[InstanceScores]:
        """Return the scores of a class in all cases."""
        return [scores[name] for scores in self.cases.values()]

    def mean(self, metric: str, name: str) -> float | None:
        """Return the mean over the cases where either map has an object; None without one."""
        return mean(each.scores[metric] for each in self.of_class(name))

    def count_error(self, name: str) -> float | None:
        """Return the mean absolute error of the number of objects over all cases."""
        return mean(abs(each.num_prediction - each.num_reference) for each in self.of_class(name))

    def number(self, count: str, name: str) -> int:
        """Return the number of objects of a class in all cases; ``count`` is one of ``NUMBERS``."""
        return sum(each.numbers()[count] for each in self.of_class(name))

    def pooled(self, name: str) -> dict[str, float | None]:
        """Return the scores that follow from the sums of matches and objects over all cases.

        Every object has the same weight, rather than every image.
        """
        cases = self.of_class(name)
        reference, prediction = (self.number(count, name) for count in COUNTS)
        total = reference + prediction
        matches = [sum(each.matches[index] for each in cases) for index in range(len(IOU_THRESHOLDS))]
        ap = [_ratio(found, total - found) for found in matches]
        return {
            "f1": _ratio(2 * matches[0], total),
            "precision": _ratio(matches[0], prediction),
            "recall": _ratio(matches[0], reference),
            "f1_50_95": mean(2 * found / total for found in matches) if total else None,
            "ap": ap[0],
            "ap_50_95": mean(ap),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not applicable is None."""
        return {
            "classes": {name: self._summary(name) for name in self.class_names},
            "cases": {
                case: {name: each.to_dict() for name, each in classes.items()}
                for case, classes in self.cases.items()
            },
            "missing": list(self.missing),
            "failed": {failure.case: failure.error for failure in self.failures},
            "extra": list(self.extra),
        }

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``metrics.json`` (everything) and ``metrics.csv`` (a row per case and class)."""
        metrics = metrics_of("instances")
        rows = (
            [case, name, *each.numbers().values(), *(each.scores[key] for key in metrics)]
            for case, classes in self.cases.items()
            for name, each in classes.items()
        )
        head = ["case", "class", *NUMBERS, *metrics]
        return write_results(self.contract, folder, self.to_dict(), head, rows)

    def _summary(self, name: str) -> dict[str, Any]:
        cases = self.of_class(name)
        empty = sum(each.num_reference + each.num_prediction == 0 for each in cases)
        at_thresholds = {
            f"{threshold:.2f}": mean(each.ap_at[index] for each in cases)
            for index, threshold in enumerate(IOU_THRESHOLDS)
        }
        return {
            "mean": {metric: self.mean(metric, name) for metric in metrics_of("instances")},
            "pooled": self.pooled(name),
            "ap_at": at_thresholds,
            "count_error": self.count_error(name),
            **{count: self.number(count, name) for count in NUMBERS},
            "cases": len(cases) - empty,
            "not_applicable": empty,
        }


def evaluate_instances(
    predictions: str | Path,
    references: str | Path,
    *,
    class_maps: tuple[str | Path, str | Path] | None = None,
    classes: LabelClasses | None = None,
    missing: Missing = "error",
    num_workers: int = 1,
) -> InstanceEvaluation:
    """Score every predicted instance map against the true one of its name.

    Parameters
    ----------
    predictions, references
        Folders of instance maps (or one file each), in which the value of an object is its number, and 0 is
        the background. Files belong together when their names agree, with or without one of ``ENDINGS``.
    class_maps
        Folders of label maps of the same names for the predicted and the true objects. The class of an object
        is the one that most of its pixels have; only objects of one class are matched.
    classes
        Meaning of the values in the class maps. By default each value is a class, called as the files call
        it where they agree, or by its value. Pixels that are ``ignore`` in the map of the true objects are
        left out, and with them predicted objects of which most lie there.
    missing
        Treatment of references without a prediction: refuse them, or score them as if nothing was predicted.
    num_workers
        Number of parallel processes.

    Returns
    -------
    InstanceEvaluation
        The scores, with a failure for each case that is damaged or inconsistent.

    Raises
    ------
    UsageError
        If ``num_workers`` is below 1, or classes are named without class maps.
    DataError
        If a folder is empty, two files in it have the same name up to the suffix, or predictions or class
        maps are missing (all of them are listed).
    """
    if num_workers < 1:
        raise UsageError(f"num_workers must be at least 1, not {num_workers}")
    if classes is not None and class_maps is None:
        raise UsageError(
            "instance maps hold no classes", hint="give the folders of label maps that hold the classes"
        )
    files, extra = pair_up(predictions, references, missing=missing, endings=ENDINGS)
    cases = [InstanceFiles(each.case, each.prediction, each.reference) for each in files]
    if class_maps is not None:
        cases = _with_class_maps(cases, *class_maps)
    work = partial(evaluate_case, classes=classes)
    outcomes, failures = evaluate_cases(work, cases, num_workers=num_workers)
    scored = {case: scores for case, (scores, _) in outcomes.items()}
    names = {name: name for name in ([ALL_OBJECTS] if classes is None else classes.values)}
    if classes is None and class_maps is not None:
        found = {name for scores in scored.values() for name in scores}
        names = names_of_values(found, [each for _, given in outcomes.values() for each in given])
    nothing = InstanceScores.of(measure_overlap(np.zeros((1, 1), int), np.zeros((1, 1), int)))
    return InstanceEvaluation(
        class_names=tuple(names.values()),
        cases={
            case: {name: scores.get(key, nothing) for key, name in names.items()}
            for case, scores in scored.items()
        },
        missing=tuple(each.case for each in files if each.prediction is None),
        failures=failures,
        extra=extra,
    )


def evaluate_case(
    files: InstanceFiles, classes: LabelClasses | None = None
) -> tuple[dict[str, InstanceScores], tuple[tuple[int, str], ...]]:
    """Return the scores of a case by class, or value, and the names that class maps give values.

    A missing prediction counts as empty.

    Raises
    ------
    GeometryError
        If the maps lie on different grids.
    DataError
        If a file is damaged, or a class map holds undeclared values.
    """
    truth = read_labels(files.reference)
    if files.prediction is None:
        reference = truth.data[0]
        prediction = np.zeros(reference.shape, np.uint8)
    else:
        predicted, truth = on_one_grid(read_labels(files.prediction), truth)
        reference, prediction = truth.data[0], predicted.data[0]
    if files.reference_classes is None:
        return {ALL_OBJECTS: InstanceScores.of(measure_overlap(prediction, reference))}, ()
    labels = []
    names: list[tuple[int, str]] = []
    for path in (files.prediction_classes, files.reference_classes):
        if path is None:  # there is no prediction
            labels.append(np.zeros(reference.shape, np.uint8))
            continue
        read = on_grid_of(truth, read_labels(path))
        if classes is not None:
            check_declared(read.data[0], classes.declared, path)
        labels.append(read.data[0])
        names[:0] = given_names(read)  # the true ones first, as in evaluations of classes
    if classes is not None and classes.ignore is not None:
        unknown = labels[1] == classes.ignore
        prediction, reference = without_unknown(prediction, unknown), np.where(unknown, 0, reference)
    layers = [class_of_objects(*pair) for pair in zip((prediction, reference), labels, strict=True)]
    if classes is None:
        values = sorted(value for value in {*label_values(layers[0]), *label_values(layers[1])} if value)
        classes = LabelClasses.from_values(values)
    scores = {
        name: InstanceScores.of(
            measure_overlap(prediction * np.isin(layers[0], wanted), reference * np.isin(layers[1], wanted))
        )
        for name, wanted in classes.values.items()
    }
    return scores, tuple(names)


def _with_class_maps(
    files: Sequence[InstanceFiles], predicted: str | Path, referenced: str | Path
) -> list[InstanceFiles]:
    found, _ = pair_up(predicted, referenced, missing="worst", endings=ENDINGS)
    by_case = {each.case: each for each in found}
    absent = [
        each.case
        for each in files
        if each.case not in by_case or (each.prediction and not by_case[each.case].prediction)
    ]
    if absent:
        raise DataError(
            f"{len(absent)} cases have no class map: {', '.join(absent)}",
            where=predicted,
            hint="give a class map of the same name for every instance map",
        )
    return [
        replace(
            each,
            prediction_classes=by_case[each.case].prediction,
            reference_classes=by_case[each.case].reference,
        )
        for each in files
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
