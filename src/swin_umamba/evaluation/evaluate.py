"""Score a folder of predicted label maps against a folder of reference label maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from swin_umamba.data.image_io import check_label_names, on_one_grid, read_labels
from swin_umamba.data.instance_labels import MAPS_LOOKED_AT, number_objects, number_of_objects
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
from swin_umamba.evaluation.metrics import MaskPair
from swin_umamba.evaluation.results import CaseScores, Evaluation
from swin_umamba.metric_table import metrics_of

DEFAULT_TOLERANCE = 2.0
MOST_CLASSES = 64
"""Largest number of values in a map that can be classes."""


def evaluate_folders(
    predictions: str | Path,
    references: str | Path,
    *,
    classes: LabelClasses | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    missing: Missing = "error",
    num_workers: int = 1,
    fraction: float | None = None,
) -> Evaluation:
    """Compute Dice, NSD and HD95 of every case and class.

    Files belong together when their names agree up to the suffix; the formats may differ.

    Parameters
    ----------
    predictions, references
        Folders of label maps (or one file each).
    classes
        Classes to score, see :meth:`LabelClasses.from_dataset_json`; by default, every value above 0 in any
        file is a class, called as the segmentations call it, or by its value.
    tolerance
        Tolerance of the NSD, in mm (pixels for pictures).
    missing
        Treatment of references without a prediction: refuse them, or score them as if nothing was predicted.
    num_workers
        Number of parallel processes.
    fraction
        Threshold for DICOM segmentations of fractions; see ``read_labels``.

    Returns
    -------
    Evaluation
        The scores, with a failure for each case that is damaged or inconsistent.

    Raises
    ------
    UsageError
        If ``tolerance`` or ``num_workers`` is out of range.
    DataError
        If a folder is empty, two files in it have the same name up to the suffix, or predictions are missing
        (all of them are listed); or if no classes are named and the references hold instances.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0) or num_workers < 1:
        raise UsageError(
            f"tolerance must be a number from 0 and num_workers from 1, not {tolerance} and {num_workers}"
        )
    files, extra = pair_up(predictions, references, missing=missing)
    if classes is None:
        refuse_instances([case.reference for case in files])
    work = partial(evaluate_case, classes=classes, tolerance=tolerance, fraction=fraction)
    scored, failures = evaluate_cases(work, files, num_workers=num_workers)
    found = {name for case in scored.values() for name in case.classes}
    given = (each for case in scored.values() for each in case.names)
    names = {name: name for name in classes.values} if classes else names_of_values(found, given)
    not_applicable = dict.fromkeys(metrics_of("masks"), math.nan)
    return Evaluation(
        class_names=tuple(names.values()),
        tolerance=tolerance,
        cases=tuple(
            replace(
                case, classes={name: case.classes.get(key, not_applicable) for key, name in names.items()}
            )
            for case in scored.values()
        ),
        failures=failures,
        extra=extra,
        label_values={name: classes.values[key] if classes else (int(key),) for key, name in names.items()},
    )


def refuse_instances(references: Sequence[Path]) -> None:
    """Refuse references whose values number the objects of each map, unless classes are named.

    They do if a map has more values than there can be classes, or if the values of all inspected maps count
    connected objects from 1 without a gap, and their number differs between maps.

    Raises
    ------
    DataError
        If they do; the message says how objects are scored.
    """
    counts: list[int | None] = []
    for path in references[:MAPS_LOOKED_AT]:
        try:
            labels = read_labels(path).data[0]
        except DataError:  # the error is raised when the file is evaluated
            continue
        values = len(label_values(labels))
        counts.append(number_of_objects(labels) if values <= MOST_CLASSES else values)
        if values > MOST_CLASSES:
            raise _refusal(path, values)
    if number_objects(counts):
        raise _refusal(references[0], max(count or 0 for count in counts))


def _refusal(path: Path, number: int) -> DataError:
    return DataError(
        f"the references seem to number objects, {number} in a map, and no classes are named",
        where=path,
        hint="score maps of objects with --instances, predictions of the classes background, interior and "
        "boundary with --protocol microscopy; if the values are classes, name them with --labels or "
        "--dataset-json",
    )


def evaluate_case(
    files: CaseFiles, classes: LabelClasses | None, tolerance: float, fraction: float | None = None
) -> CaseScores:
    """Score one case; a missing prediction counts as empty.

    Raises
    ------
    GeometryError
        If prediction and reference lie on different grids.
    DataError
        If a file is damaged, or holds undeclared label values.
    """
    truth = read_labels(files.reference, fraction=fraction)
    predicted = truth
    if files.prediction is not None:
        predicted, truth = on_one_grid(read_labels(files.prediction, fraction=fraction), truth)
    true_labels = truth.data[0]
    labels = np.zeros_like(true_labels) if files.prediction is None else predicted.data[0]
    if classes is None:
        scored = LabelClasses.from_values([*label_values(labels), *label_values(true_labels)])
    else:
        scored = classes
        check_declared(true_labels, classes.declared, files.reference)
        check_declared(labels, classes.declared, files.prediction or files.reference)
        for image in (truth, predicted):
            check_label_names(image, classes.values)
    if scored.ignore is not None:
        annotated = true_labels != scored.ignore
        labels, true_labels = labels * annotated, true_labels * annotated
    scores = {
        name: MaskPair(_mask(labels, values), _mask(true_labels, values), truth.spacing, tolerance).scores()
        for name, values in scored.values.items()
    }
    named = (*given_names(truth), *given_names(predicted))
    return CaseScores(files.case, scores, files.prediction is None, named)


def _mask(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return labels == values[0] if len(values) == 1 else np.isin(labels, values)
