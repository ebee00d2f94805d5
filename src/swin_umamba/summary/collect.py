"""Collect a report: from a model or fold folder, or from a folder of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from swin_umamba import __version__
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.classes import LabelClasses, in_output_order
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.inference.objects import INSTANCES
from swin_umamba.pseudonyms import hidden
from swin_umamba.report.contents import (
    CalibrationSummary,
    CasePictures,
    Facts,
    ObjectOverview,
    PredictedCase,
    Report,
    Scores,
    TrainingCurves,
)
from swin_umamba.summary.cases import (
    CASES_OF_A_RANK,
    FLAT_SIDE,
    MAX_CONFUSION_CASES,
    MAX_SLICES,
    VOLUME_SIDE,
    FilesByCase,
    case_pictures,
    chosen_cases,
    confusion_matrix,
    find_files,
)
from swin_umamba.summary.confidence import calibration_of, predicted_cases
from swin_umamba.summary.objects import read_objects_table
from swin_umamba.summary.places import (
    Gaps,
    Places,
    Sources,
    description_of_evaluation,
    holds_images,
    places_of_evaluation,
    places_of_training,
    read_classes,
)
from swin_umamba.summary.scores import (
    joined,
    read_results,
    scores_of_evaluation,
    scores_of_validation,
    summarize,
)
from swin_umamba.summary.software import software_now
from swin_umamba.summary.training import cross_validation_facts, data_facts, read_fold
from swin_umamba.trained.model_files import default_folds, is_model_folder

BOUNDS = (
    f"At most {CASES_OF_A_RANK} cases each of the worst, median and best are shown, and {MAX_SLICES} slices "
    "of a volume, evenly from the first to the last with a label; fewer where outlines are long.",
    f"Pictures are at most {FLAT_SIDE} pixels wide and high, slices of volumes {VOLUME_SIDE}, with WebP "
    "compression; labels are scaled with nearest neighbour. Scores are of the full resolution.",
    f"The confusion matrix counts at most {MAX_CONFUSION_CASES} cases.",
    "The intervals come from 2000 samples of the cases with replacement, and do not include "
    "the variation between trainings.",
)


@dataclass(frozen=True)
class _Training:
    """Records of the folds of a model."""

    facts: tuple[Facts, ...] = ()
    curves: tuple[TrainingCurves, ...] = ()
    calibrations: tuple[CalibrationSummary, ...] = ()


@dataclass(frozen=True)
class _Results:
    """Scores, and the files of their cases."""

    places: Places
    scores: Scores | None = None
    classes: LabelClasses | None = None
    num_channels: int = 1
    predicted: tuple[PredictedCase, ...] = ()

    @property
    def of_objects(self) -> bool:
        """Whether objects were evaluated, so that the folders hold instance maps."""
        return self.scores is not None and bool(self.scores.objects)


def collect_report(path: str | Path, sources: Sources | None = None) -> Report:
    """Collect the contents of a report from a folder.

    Parameters
    ----------
    path
        Model folder, fold folder, or folder with ``metrics.json`` or label maps.
    sources
        Paths of parts that are not in this folder.

    Returns
    -------
    Report
        The contents; the report names what is missing or damaged.

    Raises
    ------
    UsageError
        If there is no such folder, or nothing to report in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError("there is no such folder", where=path, hint="give a model, fold or result folder")
    given, gaps, path = sources or Sources(), Gaps(), path.resolve()
    is_fold = path.name.startswith("fold_") and is_model_folder(path.parent)
    model = path.parent if is_fold else path
    training = None
    # Label maps with probabilities have plans and a description beside them, too, for nnUNetv2_ensemble.
    if is_model_folder(model) and (any(model.glob("fold_*")) or not holds_images(model)):
        training, results = _read_model(model, path if is_fold else None, given, gaps)
    else:
        results = _read_evaluation(path, given, gaps)
    return _report(path, training, results, gaps)


def _read_model(model: Path, fold: Path | None, given: Sources, gaps: Gaps) -> tuple[_Training, _Results]:
    """Read the folds of a model folder, or one of them."""
    classes, num_channels = read_classes(given.dataset_json or model / "dataset.json", gaps)
    facts = [*data_facts(model, gaps.missing), *cross_validation_facts(model, gaps.missing)]
    available = sorted(each.name for each in model.glob("fold_*") if each.is_dir())
    folds = [fold] if fold is not None else [model / name for name in default_folds(available)]
    curves, calibrations = [], []
    for each in folds:
        record = read_fold(each, list(in_output_order(classes.values)) if classes else [])
        curves += [] if record.curves is None else [record.curves]
        facts += record.facts
        gaps.failures += record.failures
        gaps.missing += record.missing
        if (calibration := calibration_of(each, gaps.missing)) is not None:
            calibrations.append(calibration)
    scores = None if given.metrics is None else _read_metrics(given.metrics, gaps)
    if given.predictions is not None:
        places = Places((given.predictions,), given.references, given.images)
    elif given.metrics is not None:
        places = Places((), given.references, given.images)
    else:
        scores, validations = _read_validations(folds, classes, gaps)
        places = places_of_training(model, validations, given)
    predicted = _read_records(given.predictions, gaps)
    results = _Results(places, scores, classes, num_channels, predicted)
    return _Training(tuple(facts), tuple(curves), tuple(calibrations)), results


def _read_validations(
    folds: Sequence[Path], classes: LabelClasses | None, gaps: Gaps
) -> tuple[Scores | None, list[Path]]:
    """Return the scores of the validations of folds, and the folders that hold them."""
    names: dict[str, str] = {}
    for name, values in (classes.values if classes else {}).items():
        names[str(values[0]) if len(values) == 1 else str(values)] = name
    parts, folders = [], []
    for fold in folds:
        summary = fold / "validation" / "summary.json"
        if not summary.is_file():
            gaps.missing.append(f"{fold.name}: the validation, as it was skipped or is not finished")
            continue
        try:
            parts.append(scores_of_validation(read_results(summary), names, where=summary))
            folders.append(fold / "validation")
        except DataError as error:
            gaps.missing.append(f"{fold.name}: the validation ({error.what})")
    try:
        return joined(parts) if parts else None, folders
    except DataError as error:
        gaps.missing.append(f"the scores of all folds together ({error.what})")
        return None, folders


def _read_evaluation(folder: Path, given: Sources, gaps: Gaps) -> _Results:
    """Read a folder of results, which must hold some; score the predictions if there are no scores yet."""
    places = places_of_evaluation(folder, given)
    predictions = places.predictions[0] if places.predictions else None
    description = description_of_evaluation(folder, places, given)
    classes, num_channels = (None, 1) if description is None else read_classes(description, gaps)
    predicted = _read_records(predictions, gaps)
    metrics, scores = given.metrics or folder / "metrics.json", None
    if metrics.is_file():
        scores = _read_metrics(metrics, gaps)
    elif predictions is None:
        raise UsageError(
            "the folder holds neither a training, nor metrics.json, nor label maps",
            where=folder,
            hint="give a model folder, a fold folder, or what evaluate -o has written",
        )
    elif places.references is None:
        gaps.missing.append("scores: give the folder of true label maps with --references")
    else:
        result = evaluate_folders(predictions, places.references, classes=classes, missing="worst")
        read = scores_of_evaluation(result.to_dict(), where=predictions)
        scores = read.scores
        gaps.failures += read.failures
    return _Results(places, scores, classes, num_channels, predicted)


def _read_records(predictions: Path | None, gaps: Gaps) -> tuple[PredictedCase, ...]:
    if predictions is None:
        return ()
    predicted, failed = predicted_cases(predictions, gaps.missing)
    gaps.failures += [(name, f"not predicted: {why}") for name, why in failed]
    return predicted


def _read_metrics(path: Path, gaps: Gaps) -> Scores | None:
    try:
        read = scores_of_evaluation(read_results(path), where=path)
    except DataError as error:
        gaps.missing.append(f"scores: {path.name}: {error.what}")
        return None
    gaps.failures += read.failures
    return read.scores


def _label_values(results: _Results) -> dict[str, int]:
    """Return the label value of each class with a single value."""
    if results.classes is not None:
        return {name: values[0] for name, values in results.classes.values.items() if len(values) == 1}
    return {} if results.scores is None else dict(results.scores.label_values)


def _find_files(results: _Results, gaps: Gaps) -> FilesByCase | None:
    """Return the files of all cases; None if there are no predictions or a folder cannot be read."""
    places = results.places
    try:
        parts = [
            find_files(
                each, places.references, places.images, results.num_channels, of_objects=results.of_objects
            )
            for each in places.predictions
        ]
    except DataError as error:
        gaps.missing.append(f"pictures: {error.what} ({error.where})")
        return None
    if not parts:
        return None
    merged = {name: path for part in parts for name, path in part.predictions.items()}
    entropies = {name: path for part in parts for name, path in part.entropies.items()}
    objects = {name: path for part in parts for name, path in part.objects.items()}
    return replace(parts[0], predictions=merged, entropies=entropies, objects=objects)


def _pictures(scores: Scores | None, files: FilesByCase, gaps: Gaps) -> list[CasePictures]:
    pictures = []
    for name, rank, score in chosen_cases(scores, files):
        try:
            pictures.append(case_pictures(name, rank, score, files))
        except DataError as error:
            gaps.missing.append(f"pictures of case {name}: {error.what}")
    return pictures


def _drawn_values(pictures: Sequence[CasePictures]) -> list[int]:
    maps = (labels for case in pictures for each in case.slices for labels in (each.truth, each.prediction))
    found = {int(value) for labels in maps if labels is not None for value in set(labels.ravel().tolist())}
    return sorted(value for value in found if value > 0)


def _objects(places: Places, gaps: Gaps) -> ObjectOverview | None:
    """Return the table of the objects of the predictions; instance maps may be in a folder within theirs."""
    for folder in places.predictions:
        for each in (folder, folder.parent) if folder.name == INSTANCES else (folder,):
            if (found := read_objects_table(each, gaps.missing)) is not None:
                return found
    return None


def _report(path: Path, training: _Training | None, results: _Results, gaps: Gaps) -> Report:
    classes = _label_values(results)
    files = _find_files(results, gaps)
    pictures = [] if files is None else _pictures(results.scores, files, gaps)
    names = {value: name for name, value in classes.items()}
    confusion = None if files is None else confusion_matrix(files, names, gaps.failures)
    classes |= {f"label {value}": value for value in _drawn_values(pictures) if value not in names}
    places = results.places
    for what, there, hint in (
        ("training facts and curves", training, "give a model folder for them"),
        ("scores", results.scores is not None, "validate the fold, or evaluate with -o and give --metrics"),
        ("predictions", places.predictions, "give their folder with --predictions"),
        ("true label maps", places.references, "give their folder with --references"),
        ("images", places.images, "give their folder with --images"),
        (
            "the confusion matrix",
            confusion or results.of_objects,
            "it needs predictions, true label maps and class names",
        ),
    ):
        if not there:
            gaps.missing.append(f"{what}: {hint}")
    of_training = training or _Training()
    depth = 1 if training is None else 3 if path.name.startswith("fold_") else 2
    return Report(
        title=f"Report on {', '.join(path.parts[-depth:])}",
        subtitle=f"Made by swin-umamba {__version__} on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        classes=classes,
        facts=(*of_training.facts, software_now()),
        curves=of_training.curves,
        scores=results.scores,
        summary=() if results.scores is None else summarize(results.scores),
        cases=tuple(pictures),
        confusion=confusion,
        calibrations=of_training.calibrations,
        predicted=results.predicted,
        objects=_objects(places, gaps),
        failures=tuple((hidden(name), hidden(why)) for name, why in gaps.failures),
        missing=tuple(dict.fromkeys(map(hidden, gaps.missing))),
        notes=BOUNDS,
    )
