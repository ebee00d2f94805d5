"""Score a folder of predicted label maps against a folder of reference label maps."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from swin_umamba.data.image_io import check_same_grid, image_stem, list_images, read_labels
from swin_umamba.errors import DataError, SwinUMambaError, UsageError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.metrics import dice, image_diagonal, surface_distances
from swin_umamba.evaluation.results import NOT_APPLICABLE, CaseFailure, CaseScores, ClassScore, Evaluation
from swin_umamba.progress import progress

logger = logging.getLogger(__name__)

DEFAULT_TOLERANCE = 2.0

_Pair = tuple[str, Path | None, Path]


def evaluate_folders(
    predictions: str | Path,
    references: str | Path,
    *,
    classes: LabelClasses | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    missing: Literal["error", "worst"] = "error",
    num_workers: int = 1,
) -> Evaluation:
    """Compute Dice, NSD and HD95 of every case and class.

    Files belong together when their names agree up to the suffix; the formats may differ.

    Parameters
    ----------
    predictions, references
        Folders of label maps (or one file each).
    classes
        What to score; see :meth:`LabelClasses.from_dataset_json`. Without it, every value above 0 found
        in any file is a class.
    tolerance
        Of the NSD, in mm (pixels for pictures).
    missing
        What to do about references without a prediction: refuse, or score them as if nothing was predicted.
    num_workers
        Processes that evaluate cases at the same time.

    Returns
    -------
    Evaluation
        With a failure for each case that is damaged or inconsistent; the other cases are scored.

    Raises
    ------
    UsageError
        ``tolerance`` or ``num_workers`` is out of range.
    DataError
        A folder is empty, two files of a folder have the same name up to the suffix, or predictions are
        missing (all of them are listed).
    """
    if not (np.isfinite(tolerance) and tolerance >= 0) or num_workers < 1:
        raise UsageError(
            f"tolerance must be a number from 0 and num_workers from 1, not {tolerance} and {num_workers}"
        )
    pairs, extra = _pair_up(predictions, references, missing)
    outcomes = _evaluate_all(pairs, classes, tolerance, num_workers)
    cases = [outcome for outcome in outcomes if isinstance(outcome, CaseScores)]
    names = tuple(classes.values) if classes else _found_names(cases)
    return Evaluation(
        class_names=names,
        tolerance=tolerance,
        cases=tuple(_with_classes(case, names) for case in cases),
        failures=tuple(outcome for outcome in outcomes if isinstance(outcome, CaseFailure)),
        extra=extra,
    )


def evaluate_case(
    case: str, prediction: Path | None, reference: Path, classes: LabelClasses | None, tolerance: float
) -> CaseScores:
    """Score one case; without a prediction, as if it were empty.

    Raises
    ------
    GeometryError
        Prediction and reference lie on different grids.
    DataError
        A file is damaged or holds label values that are not declared.
    """
    truth = read_labels(reference)
    true_labels = truth.data[0]
    if prediction is None:
        labels = np.zeros_like(true_labels)
    else:
        predicted = read_labels(prediction)
        check_same_grid(predicted, truth)
        labels = predicted.data[0]
    if classes is None:
        scored = LabelClasses.from_values([*_values(labels), *_values(true_labels)])
    else:
        scored = classes
        _check_declared(true_labels, classes, reference)
        _check_declared(labels, classes, prediction or reference)
    if scored.ignore is not None:
        annotated = true_labels != scored.ignore
        labels, true_labels = labels * annotated, true_labels * annotated
    scores = {
        name: score_class(_mask(labels, values), _mask(true_labels, values), truth.spacing, tolerance)
        for name, values in scored.values.items()
    }
    return CaseScores(case, scores, missing=prediction is None)


def score_class(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance: float
) -> ClassScore:
    """Return all scores of two boolean masks on one grid."""
    found, there = bool(prediction.any()), bool(reference.any())
    if not found and not there:
        return NOT_APPLICABLE
    if not (found and there):
        return ClassScore(dice=0.0, nsd=0.0, hd95=image_diagonal(reference.shape, spacing))
    distances = surface_distances(prediction, reference, spacing)
    return ClassScore(
        dice=dice(prediction, reference), nsd=distances.within(tolerance), hd95=distances.hausdorff_95()
    )


def _pair_up(
    predictions: str | Path, references: str | Path, missing: Literal["error", "worst"]
) -> tuple[list[_Pair], tuple[str, ...]]:
    """Return the files of each referenced case, and the predictions that are left over."""
    predicted, referenced = _by_stem(predictions), _by_stem(references)
    absent = sorted(referenced.keys() - predicted.keys())
    if absent and missing == "error":
        raise DataError(
            f"{len(absent)} of {len(referenced)} cases have no prediction: {', '.join(absent)}",
            where=predictions,
            cure="predict them too, or score them as empty with missing='worst' (--missing worst)",
        )
    extra = tuple(sorted(predicted.keys() - referenced.keys()))
    if extra:
        logger.warning("%d predictions without a reference are left out: %s", len(extra), ", ".join(extra))
    pairs: list[_Pair] = [(stem, predicted.get(stem), referenced[stem]) for stem in sorted(referenced)]
    return pairs, extra


def _evaluate_all(
    pairs: list[_Pair], classes: LabelClasses | None, tolerance: float, num_workers: int
) -> list[CaseScores | CaseFailure]:
    work = partial(_outcome, classes=classes, tolerance=tolerance)
    if num_workers == 1:
        return [work(pair) for pair in progress(pairs, "evaluating")]
    # Spawned, not forked: the calling program may hold threads and a GPU.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(pairs)), mp_context=context) as pool:
        try:
            return list(progress(pool.map(work, pairs), "evaluating", total=len(pairs)))
        except BrokenProcessPool as error:
            raise SwinUMambaError(
                "a process of the evaluation was killed, perhaps for lack of memory",
                cure="use fewer workers (--num-workers 1)",
            ) from error


def _outcome(pair: _Pair, classes: LabelClasses | None, tolerance: float) -> CaseScores | CaseFailure:
    case, prediction, reference = pair
    try:
        return evaluate_case(case, prediction, reference, classes, tolerance)
    except DataError as error:
        return CaseFailure(case, str(error))


def _by_stem(folder: str | Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in list_images(folder):
        other = files.setdefault(image_stem(path), path)
        if other is not path:
            raise DataError(
                f"two files are named for the case {image_stem(path)}",
                where=f"{other} and {path}",
                cure="remove one of them",
            )
    return files


def _check_declared(labels: np.ndarray, classes: LabelClasses, path: Path) -> None:
    unknown = sorted(set(_values(labels)) - classes.declared)
    if unknown:
        raise DataError(
            f"the label map holds values that are not declared: {', '.join(map(str, unknown))}",
            where=path,
            cure=f"correct it, or the classes; declared: {', '.join(map(str, sorted(classes.declared)))}",
        )


def _values(labels: np.ndarray) -> list[int]:
    return np.unique(labels).tolist()


def _mask(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return labels == values[0] if len(values) == 1 else np.isin(labels, values)


def _found_names(cases: Iterable[CaseScores]) -> tuple[str, ...]:
    return tuple(sorted({name for case in cases for name in case.classes}, key=int))


def _with_classes(case: CaseScores, names: tuple[str, ...]) -> CaseScores:
    scores = {name: case.classes.get(name, NOT_APPLICABLE) for name in names}
    return CaseScores(case.case, scores, case.missing)
