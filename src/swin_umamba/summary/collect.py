"""Collect a report: from a model or fold folder, or from a folder of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from swin_umamba import __version__
from swin_umamba.data.image_io import list_images
from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.classes import LabelClasses, in_output_order
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.nnunet.environment import Folders
from swin_umamba.report.contents import (
    CalibrationSummary,
    CasePictures,
    Facts,
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
    case_pictures,
    chosen_cases,
    confusion_matrix,
    find_files,
)
from swin_umamba.summary.confidence import calibration_of, predicted_cases
from swin_umamba.summary.scores import (
    joined,
    read_json,
    scores_of_evaluation,
    scores_of_validation,
    summarize,
)
from swin_umamba.summary.software import software_now
from swin_umamba.summary.training import data_facts, read_fold
from swin_umamba.trained.model import default_folds, is_model_folder

BOUNDS = (
    f"At most {CASES_OF_A_RANK} cases each of the worst, median and best are shown, and {MAX_SLICES} slices "
    "of a volume, evenly from the first to the last with a label; fewer where outlines are long.",
    f"Pictures are at most {FLAT_SIDE} pixels wide and high, slices of volumes {VOLUME_SIDE}, with WebP "
    "compression; labels are scaled with nearest neighbour. Scores are of the full resolution.",
    f"The confusion matrix counts at most {MAX_CONFUSION_CASES} cases.",
    "The intervals come from 2000 samples of the cases with replacement; they know nothing of what another "
    "training would give.",
)


@dataclass(frozen=True)
class Sources:
    """Where the parts of a report are, as far as somebody said so; None is to be looked for.

    Attributes
    ----------
    metrics
        ``metrics.json`` of an evaluation.
    predictions, references, images
        Folders.
    dataset_json
        The class names.
    """

    metrics: Path | None = None
    predictions: Path | None = None
    references: Path | None = None
    images: Path | None = None
    dataset_json: Path | None = None


def collect_report(path: str | Path, sources: Sources | None = None) -> Report:
    """Collect everything for a report that a folder holds.

    Parameters
    ----------
    path
        A model folder, a fold folder in one, or a folder with ``metrics.json`` or label maps.
    sources
        What lies elsewhere.

    Returns
    -------
    Report
        What is missing or damaged is named in it.

    Raises
    ------
    UsageError
        There is no such folder, or nothing to report in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError("there is no such folder", where=path, cure="give a model, fold or result folder")
    given = sources or Sources()
    is_fold = path.resolve().name.startswith("fold_") and is_model_folder(path.resolve().parent)
    collector = _Collector(given)
    if is_fold or is_model_folder(path):
        collector.read_model(path.resolve().parent if is_fold else path.resolve(), path if is_fold else None)
    else:
        collector.read_evaluation(path)
    return collector.report(path.resolve())


class _Collector:
    """Puts together the parts of a report."""

    def __init__(self, given: Sources) -> None:
        self.given = given
        self.facts: list[Facts] = []
        self.curves: list[TrainingCurves] = []
        self.calibrations: list[CalibrationSummary] = []
        self.predicted: tuple[PredictedCase, ...] = ()
        self.failures: list[tuple[str, str]] = []
        self.missing: list[str] = []
        self.scores: Scores | None = None
        self.classes: LabelClasses | None = None
        self.predictions = [given.predictions] if given.predictions is not None else []
        self.references, self.images = given.references, given.images
        self.num_channels = 1
        self.is_training = False

    def read_model(self, model: Path, fold: Path | None) -> None:
        """Read the folds of a model folder, or one of them."""
        self.is_training = True
        self.read_classes(self.given.dataset_json or model / "dataset.json")
        self.facts += data_facts(model, self.missing)
        available = sorted(each.name for each in model.glob("fold_*") if each.is_dir())
        folds = [fold.resolve()] if fold is not None else [model / name for name in default_folds(available)]
        for each in folds:
            record = read_fold(each, list(in_output_order(self.classes.values)) if self.classes else [])
            self.curves += [] if record.curves is None else [record.curves]
            self.facts += record.facts
            self.failures += record.failures
            self.missing += record.missing
            if (calibration := calibration_of(each, self.missing)) is not None:
                self.calibrations.append(calibration)
        if self.given.metrics is not None:
            self.read_metrics(self.given.metrics)
        self.read_records()
        if self.given.metrics is None and not self.predictions:
            self.read_validation(folds)
            self.find_raw(model)

    def read_validation(self, folds: list[Path]) -> None:
        """Read the validations of folds."""
        names: dict[str, str] = {}
        for name, values in (self.classes.values if self.classes else {}).items():
            names[str(values[0]) if len(values) == 1 else str(values)] = name
        parts = []
        for fold in folds:
            summary = fold / "validation" / "summary.json"
            if not summary.is_file():
                self.missing.append(f"{fold.name}: the validation, as it was skipped or is not finished")
                continue
            try:
                parts.append(scores_of_validation(read_json(summary), names, where=summary))
                self.predictions.append(fold / "validation")
            except DataError as error:
                self.missing.append(f"{fold.name}: the validation ({error.what})")
        if parts:
            try:
                self.scores = joined(parts)
            except DataError as error:
                self.missing.append(f"the scores of all folds together ({error.what})")

    def find_raw(self, model: Path) -> None:
        """Look for the raw images and labels of the model's data set where nnU-Net keeps them."""
        for folders in Folders.of_model(model):
            raw = folders.raw / model.parent.name
            if raw.is_dir():
                self.references = self.references or _if_folder(raw / "labelsTr")
                self.images = self.images or _if_folder(raw / "imagesTr")

    def read_evaluation(self, folder: Path) -> None:
        """Read a folder of results."""
        if not self.predictions:
            found = _if_folder(folder / "predictions") or (folder if _holds_images(folder) else None)
            self.predictions = [] if found is None else [found]
        names = ("references", "labels", "labelsTs", "labelsTr")
        self.references = self.references or next(filter(None, (_if_folder(folder / n) for n in names)), None)
        beside = [folder, *self.predictions]
        if self.references is not None:
            beside.append(self.references.resolve().parent)
        described = [self.given.dataset_json, *(each / "dataset.json" for each in beside)]
        for each in described:
            if each is not None and (each == self.given.dataset_json or each.is_file()):
                self.read_classes(each)
                break
        if self.images is None:
            self.images = next(
                filter(None, (_if_folder(folder / n) for n in ("images", "imagesTs", "imagesTr"))), None
            )
        if self.images is None and self.references is not None:
            sibling = self.references.resolve()
            self.images = _if_folder(sibling.with_name(sibling.name.replace("labels", "images")))
        self.read_records()
        metrics = self.given.metrics or folder / "metrics.json"
        if metrics.is_file():
            self.read_metrics(metrics)
        elif self.predictions and self.references is not None:
            self.evaluate()
        elif not self.predictions:
            raise UsageError(
                "the folder holds neither a training, nor metrics.json, nor label maps",
                where=folder,
                cure="give a model folder, a fold folder, or what evaluate -o has written",
            )
        else:
            self.missing.append("scores: give the folder of true label maps with --references")

    def read_records(self) -> None:
        """Read what predict recorded in the folder of predictions."""
        if self.predictions:
            self.predicted, failed = predicted_cases(self.predictions[0], self.missing)
            self.failures += [(name, f"not predicted: {why}") for name, why in failed]

    def evaluate(self) -> None:
        """Score the predictions, as nobody has written scores."""
        assert self.references is not None
        result = evaluate_folders(self.predictions[0], self.references, classes=self.classes, missing="worst")
        read = scores_of_evaluation(result.to_dict(), where=self.predictions[0])
        self.scores, self.failures = read.scores, [*self.failures, *read.failures]

    def read_metrics(self, path: Path) -> None:
        """Read the scores of an evaluation."""
        try:
            read = scores_of_evaluation(read_json(path), where=path)
            self.scores, self.failures = read.scores, [*self.failures, *read.failures]
        except DataError as error:
            self.missing.append(f"scores: {path.name}: {error.what}")

    def read_classes(self, path: Path) -> None:
        """Read the class names, and how many channels an image has."""
        try:
            self.classes = LabelClasses.from_dataset_json(path)
            self.num_channels = max(1, len(dict(read_json(path).get("channel_names", {"0": ""}))))
        except (DataError, TypeError, ValueError) as error:
            what = error.what if isinstance(error, DataError) else "its channel_names are damaged"
            self.missing.append(f"the class names: {path.name}: {what}")

    def label_values(self) -> dict[str, int]:
        """Return the label value of each class that is one value; class names that are numbers are values."""
        if self.classes is not None:
            return {name: values[0] for name, values in self.classes.values.items() if len(values) == 1}
        names = self.scores.class_names if self.scores is not None else ()
        return {name: int(name) for name in names if name.isdecimal() and int(name) > 0}

    def pictures(self) -> tuple[list[CasePictures], dict[str, int]]:
        """Read the files of the cases to look at, and add the confusion matrix."""
        files = None
        try:
            parts = [
                find_files(each, self.references, self.images, self.num_channels) for each in self.predictions
            ]
            merged = {name: path for part in parts for name, path in part.predictions.items()}
            entropies = {name: path for part in parts for name, path in part.entropies.items()}
            if parts:
                files = replace(parts[0], predictions=merged, entropies=entropies)
        except DataError as error:
            self.missing.append(f"pictures: {error.what} ({error.where})")
        if files is None:
            return [], {}
        pictures = []
        for name, rank, score in chosen_cases(self.scores, files):
            try:
                pictures.append(case_pictures(name, rank, score, files))
            except DataError as error:
                self.missing.append(f"pictures of case {name}: {error.what}")
        self.confusion = confusion_matrix(
            files, {value: name for name, value in self.label_values().items()}, self.failures
        )
        values = {
            int(value)
            for case in pictures
            for each in case.slices
            for labels in (each.truth, each.prediction)
            if labels is not None
            for value in set(labels.ravel().tolist())
            if value > 0
        }
        return pictures, {f"label {value}": value for value in sorted(values)}

    def report(self, path: Path) -> Report:
        """Return the report of all that was read."""
        self.confusion = None
        pictures, found = self.pictures()
        classes = self.label_values()
        classes |= {name: value for name, value in found.items() if value not in classes.values()}
        for what, there, cure in (
            ("training facts and curves", self.is_training, "give a model folder for them"),
            ("scores", self.scores is not None, "validate the fold, or evaluate with -o and give --metrics"),
            ("predictions", self.predictions, "give their folder with --predictions"),
            ("true label maps", self.references, "give their folder with --references"),
            ("images", self.images, "give their folder with --images"),
            ("the confusion matrix", self.confusion, "it needs predictions, true label maps and class names"),
        ):
            if not there:
                self.missing.append(f"{what}: {cure}")
        parts = (
            path.parts[-3 if path.name.startswith("fold_") else -2 :] if self.is_training else path.parts[-1:]
        )
        return Report(
            title=f"Report on {', '.join(parts)}",
            subtitle=f"Made by swin-umamba {__version__} on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
            classes=classes,
            facts=(*self.facts, software_now()),
            curves=tuple(self.curves),
            scores=self.scores,
            summary=() if self.scores is None else summarize(self.scores),
            cases=tuple(pictures),
            confusion=self.confusion,
            calibrations=tuple(self.calibrations),
            predicted=self.predicted,
            failures=tuple(self.failures),
            missing=tuple(dict.fromkeys(self.missing)),
            notes=BOUNDS,
        )


def _if_folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _holds_images(folder: Path) -> bool:
    try:
        return bool(list_images(folder))
    except DataError:
        return False
