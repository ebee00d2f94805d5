"""The cases of an evaluation: matching predictions to references, and running a function for every case."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from swin_umamba.data.image_io import image_stem, list_images
from swin_umamba.errors import DataError, SwinUMambaError, in_short
from swin_umamba.evaluation.results import CaseFailure
from swin_umamba.metric_table import Metric, own_metrics, register_metrics
from swin_umamba.progress import progress
from swin_umamba.pseudonyms import Pseudonyms, current, shown, use

logger = logging.getLogger(__name__)

Missing = Literal["error", "worst"]
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case; ``prediction`` is None if there is none."""

    case: str
    prediction: Path | None
    reference: Path


Files = TypeVar("Files", bound=CaseFiles)


def pair_up(
    predictions: str | Path,
    references: str | Path,
    *,
    missing: Missing,
    reference_ending: str = "",
    endings: Sequence[str] = (),
) -> tuple[list[CaseFiles], tuple[str, ...]]:
    """Return the files of each case with a reference, and the names of predictions without one.

    Files belong together when their names agree up to the suffix.

    Parameters
    ----------
    predictions, references
        Folders of label maps (or one file each).
    missing
        Treatment of references without a prediction: refuse them, or return them without one.
    reference_ending
        Ending before the suffix that only the names of references may have, such as ``_label``.
    endings
        Endings before the suffix that the names of both may have, at most one.

    Raises
    ------
    DataError
        A folder is empty, two files of a folder are for the same case, or predictions are missing (all of
        them are listed).
    """
    predicted, referenced = (
        files_by_stem(predictions, endings),
        files_by_stem(references, (reference_ending, *endings)),
    )
    absent = sorted(referenced.keys() - predicted.keys())
    extra = tuple(sorted(predicted.keys() - referenced.keys()))
    if absent and missing == "error":
        hint = "predict them too, or score them as empty with missing='worst' (--missing worst)"
        if extra:
            hint = (
                f"no reference has the name of {in_short(extra, 3)}: if these are the same images, predict "
                f"those of imagesTr or imagesTs, which convert has renamed; else {hint}"
            )
        raise DataError(
            f"{len(absent)} of {len(referenced)} cases have no prediction: {', '.join(absent)}",
            where=predictions,
            hint=hint,
        )
    if extra:
        logger.warning("%d predictions without a reference are left out: %s", len(extra), ", ".join(extra))
    cases = [CaseFiles(stem, predicted.get(stem), referenced[stem]) for stem in sorted(referenced)]
    return cases, extra


def evaluate_cases(
    work: Callable[[Files], Outcome], cases: Sequence[Files], *, num_workers: int
) -> tuple[dict[str, Outcome], tuple[CaseFailure, ...]]:
    """Return ``work(case)`` by the name of each case, in order; a ``DataError`` fails its case alone.

    Raises
    ------
    SwinUMambaError
        A worker process died.
    """
    attempt = partial(_attempt, work)
    if num_workers == 1:
        outcomes = [attempt(case) for case in progress(cases, "evaluating")]
    else:
        # Workers are spawned, not forked: the calling program may have threads and use a GPU.
        with ProcessPoolExecutor(
            min(num_workers, len(cases)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(own_metrics(), current()),
        ) as pool:
            try:
                outcomes = list(progress(pool.map(attempt, cases), "evaluating", total=len(cases)))
            except BrokenProcessPool as error:
                raise SwinUMambaError(
                    "a process of the evaluation was killed, perhaps for lack of memory",
                    hint="use fewer workers (--num-workers 1)",
                ) from error
    pairs = zip(cases, outcomes, strict=True)
    scored = {case.case: outcome for case, outcome in pairs if not isinstance(outcome, CaseFailure)}
    return scored, tuple(outcome for outcome in outcomes if isinstance(outcome, CaseFailure))


def _attempt(work: Callable[[Files], Outcome], files: Files) -> Outcome | CaseFailure:
    try:
        return work(files)
    except DataError as error:
        return CaseFailure(files.case, str(error))


def label_values(labels: np.ndarray) -> list[int]:
    """Return the values of a label map, sorted."""
    if labels.dtype == np.uint8:  # counting is several times faster than sorting in np.unique
        values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    else:
        values = np.unique(labels)
    return [int(value) for value in values]


def check_declared(labels: np.ndarray, declared: Iterable[int], path: Path) -> None:
    """Refuse a label map with undeclared values.

    Raises
    ------
    DataError
        If there are any; the message names the values, the file and the declared values.
    """
    declared = sorted(declared)
    unknown = sorted(set(label_values(labels)) - set(declared))
    if unknown:
        raise DataError(
            f"the label map holds values that are not declared: {', '.join(map(str, unknown))}",
            where=path,
            hint=f"correct the file or the classes; declared: {', '.join(map(str, declared))} (swin-umamba "
            "convert folder makes class numbers of grey values and colours)",
        )


def _begin(metrics: list[Metric], pseudonyms: Pseudonyms | None) -> None:
    register_metrics(metrics)
    use(pseudonyms)


def files_by_stem(folder: str | Path, endings: Sequence[str]) -> dict[str, Path]:
    """Return the files of a folder by name, without suffix and without one of the endings.

    Raises
    ------
    DataError
        The folder is empty, or two files have the same name.
    """
    files: dict[str, Path] = {}
    for path in list_images(folder):
        stem = image_stem(path)
        stem = shown(stem.removesuffix(next((each for each in endings if each and stem.endswith(each)), "")))
        other = files.setdefault(stem, path)
        if other is not path:
            raise DataError(
                f"two files belong to the case {stem}", where=f"{other} and {path}", hint="remove one of them"
            )
    return files
