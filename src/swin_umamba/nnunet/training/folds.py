"""Several folds of a cross-validation, one after the other or side by side, and what they found together."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from swin_umamba.errors import TrainingError, UsageError
from swin_umamba.evaluation.results import none_for_nan
from swin_umamba.json_files import write_contract
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.options import TrainingOptions, TrainRequest
from swin_umamba.nnunet.training.parallel_folds import places_for, train_in_parallel, write_what_all_read
from swin_umamba.nnunet.training.train import SUMMARY, TrainResult, train, validation_dice
from swin_umamba.options import declared_options, options_as_keywords

logger = logging.getLogger(__name__)

CROSS_VALIDATION_FILE = "cross_validation.json"
_OF_ALL = ("devices", "folds_parallel")
"""Options that say where folds are trained, not how."""


@dataclass(frozen=True)
class ClassDice:
    """Dice of a class (or the mean of all) in a cross-validation.

    Attributes
    ----------
    folds
        Mean over the validation cases of each fold, by fold; NaN where the class does not occur.
    """

    folds: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over the folds in which the class occurs; NaN if there are none."""
        known = self._known()
        return fmean(known) if known else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over those folds (n - 1); NaN if there are fewer than two."""
        known = self._known()
        return stdev(known) if len(known) > 1 else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, None for NaN."""
        return {
            "mean": none_for_nan(self.mean),
            "deviation": none_for_nan(self.deviation),
            "folds": {str(fold): none_for_nan(value) for fold, value in self.folds.items()},
        }

    def _known(self) -> list[float]:
        return [value for value in self.folds.values() if not math.isnan(value)]


@dataclass(frozen=True)
class CrossValidation:
    """The validations of several folds.

    Attributes
    ----------
    results
        What each training came to, by fold.
    classes
        Dice of each class, by its name.
    foreground
        Mean Dice of all classes.
    """

    results: Mapping[int, TrainResult]
    classes: Mapping[str, ClassDice]
    foreground: ClassDice

    @property
    def model_folder(self) -> Path:
        """Folder that contains the folds."""
        return next(iter(self.results.values())).fold_folder.parent

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folds": list(self.results),
            "classes": {name: dice.as_dict() for name, dice in self.classes.items()},
            "foreground": self.foreground.as_dict(),
        }


@options_as_keywords(TrainRequest)
def train_folds(dataset: Dataset, folds: Sequence[int | str], request: TrainRequest) -> CrossValidation:
    """Train and validate folds; write ``cross_validation.json`` beside them.

    With ``devices`` there is a fold on each of them, with ``folds_parallel`` so many on one: in processes of
    their own, and one that fails does not stop the others. Otherwise one follows the other in this process.

    With ``continue_training`` folds that are finished stay as they are, those that were begun are resumed,
    and the missing ones are trained with the options of the first that exists.

    Parameters
    ----------
    dataset
        Data set, from ``find_dataset``; it must have been planned.
    folds
        Numbers of folds, each once.
    **request
        Options as for ``train``, but for ``fold``.

    Raises
    ------
    UsageError
        If a fold is given twice or the splits lack it, or ``all`` is among others; or if options are
        impossible or contradict those of the folds that exist.
    TrainingError, OutputError, KeyboardInterrupt
        As for ``train``; the folds trained until then remain. If a fold has a training that may not be
        replaced, before the first one starts.
    """
    if len(set(folds)) < len(folds) or not all(isinstance(fold, int) for fold in folds):
        raise UsageError(
            f"the folds are {', '.join(map(str, folds))}",
            where="--fold",
            hint="give each number once, or all alone",
        )
    model = _model_folder(dataset, request)
    jobs = _jobs([int(fold) for fold in folds], model, request)
    results = {fold: job for fold, job in jobs.items() if isinstance(job, TrainResult)}
    for fold in results:
        logger.info("fold %d is finished already", fold)
    missing = {fold: job for fold, job in jobs.items() if not isinstance(job, TrainResult)}
    if missing:
        write_what_all_read(dataset, missing, model, request)  # refuses folds before the first one is trained
    if missing and (places := places_for(request)):
        results |= train_in_parallel(dataset, model, missing, places, request)
    else:
        for number, (fold, job) in enumerate(missing.items(), start=1):
            logger.info("fold %d, %d of %d", fold, number, len(missing))
            results[fold] = train(dataset, fold=fold, **job)
    found = _cross_validation({fold: results[fold] for fold in jobs}, dataset)
    write_contract("cross-validation", found.model_folder / CROSS_VALIDATION_FILE, found.as_dict())
    return found


def _model_folder(dataset: Dataset, request: TrainRequest) -> Path:
    from swin_umamba.nnunet.trainers import find_trainer

    trainer = find_trainer(request.trainer, request.backbone).__name__
    return (
        dataset.folders.results / dataset.name / f"{trainer}__{request.plans_name}__{request.configuration}"
    )


@dataclass(frozen=True)
class _Begun:
    """A fold that has a checkpoint: its options, and its result if it is finished."""

    options: TrainingOptions
    result: TrainResult | None


def _jobs(folds: list[int], model: Path, request: TrainRequest) -> dict[int, TrainResult | Mapping[str, Any]]:
    """Return the result of each finished fold, and the options of ``train`` for each other one."""
    from swin_umamba.nnunet.resume.checkpoints import existing_checkpoints

    trained = [fold for fold in folds if existing_checkpoints(model / f"fold_{fold}")]
    given = {name: value for name, value in request.given.items() if name not in _OF_ALL}
    if not request.continue_training:
        if trained and not request.overwrite:
            raise TrainingError(
                f"these folds have a training already: {', '.join(map(str, trained))}",
                where=model,
                hint="finish what is missing with --continue, or replace all with --overwrite",
            )
        return dict.fromkeys(folds, given)
    begun = {fold: _begun(model / f"fold_{fold}", request) for fold in trained}
    fresh = {**given, "continue_training": False}
    if begun:
        fresh = _options_of_all(begun, model) | fresh
    jobs: dict[int, TrainResult | Mapping[str, Any]] = {}
    for fold in folds:
        jobs[fold] = (begun[fold].result or given) if fold in begun else fresh
    return jobs


def _begun(folder: Path, request: TrainRequest) -> _Begun:
    """Read the state of a fold that has a checkpoint."""
    from swin_umamba.nnunet.resume.checkpoints import newest_checkpoint
    from swin_umamba.nnunet.resume.training_state import OWN_ENTRY, stored_options

    checkpoint = newest_checkpoint(folder)
    options = None if checkpoint is None else stored_options(checkpoint)
    if checkpoint is None or options is None:
        raise TrainingError(
            "this training was not started with swin-umamba",
            where=folder,
            hint="give only the other folds, or replace all with --overwrite",
        )
    given = request.given_for_the_run()
    given.pop("trainer", None)  # the folder is that of its class
    options = options.continued_with(given)
    epochs = int(checkpoint["current_epoch"])
    skip = options.skip_validation
    if epochs < options.epochs or not (skip or (folder / SUMMARY).is_file()):
        return _Begun(options, None)
    dice = math.nan if skip else validation_dice(folder)[0]
    return _Begun(options, TrainResult(folder, epochs, dice, checkpoint[OWN_ENTRY].get("skipped_steps", 0)))


def _options_of_all(begun: Mapping[int, _Begun], model: Path) -> dict[str, Any]:
    """Return the options that the folds have in common; refuse folds of different experiments."""
    fixed = [each.name for each in declared_options(TrainingOptions) if not each.may_change]
    (first, start), *others = [(fold, each.options) for fold, each in begun.items()]
    for fold, options in others:
        differing = [
            f"{name} is {getattr(start, name)!r} and {getattr(options, name)!r}"
            for name in fixed
            if name != "fold" and getattr(options, name) != getattr(start, name)
        ]
        if differing:
            raise UsageError(
                f"folds {first} and {fold} were trained with different options: {'; '.join(differing)}",
                where=model,
                hint="train one of them again with --overwrite",
            )
    return {name: getattr(start, name) for name in start.as_dict() if name not in ("fold", "overwrite")}


def _cross_validation(results: Mapping[int, TrainResult], dataset: Dataset) -> CrossValidation:
    labels = dataset.description()["labels"]
    names = {str(value): name for name, value in labels.items() if isinstance(value, int)}
    classes: dict[str, dict[int, float]] = {}
    for fold, result in results.items():
        if math.isnan(result.validation_dice):  # there may be no validation
            continue
        for value, dice in validation_dice(result.fold_folder)[1].items():
            classes.setdefault(names.get(value, value), {})[fold] = dice
    foreground = ClassDice({fold: result.validation_dice for fold, result in results.items()})
    return CrossValidation(results, {name: ClassDice(dice) for name, dice in classes.items()}, foreground)
