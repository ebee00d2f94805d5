"""The two steps of a user's work with nnU-Net: plan a data set, train a network."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.files import check_output_folder
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset, environment_variable
from swin_umamba.nnunet.options import TrainingOptions, check_patch_size

if TYPE_CHECKING:
    from swin_umamba.nnunet.robust_trainer import RobustTrainer

logger = logging.getLogger(__name__)

DEFAULT_WORKERS = 2
NUM_FOLDS = 5


@dataclass(frozen=True)
class PlanResult:
    """What ``plan`` has decided and written.

    Attributes
    ----------
    plans_file
        The plans.
    preprocessed_folder
        The preprocessed cases.
    num_cases
        How many there are.
    patch_size
        (height, width) in pixels.
    batch_size
        Patches per step.
    """

    plans_file: Path
    preprocessed_folder: Path
    num_cases: int
    patch_size: tuple[int, int]
    batch_size: int


@dataclass(frozen=True)
class TrainResult:
    """What ``train`` has written.

    Attributes
    ----------
    fold_folder
        Checkpoints, log and validation of the fold; its parent is the model folder.
    epochs
        Number of epochs trained altogether.
    validation_dice
        Mean foreground Dice of the validation cases; NaN if no case has foreground or the validation was
        skipped.
    skipped_steps
        Steps left out because loss or gradients were not finite.
    """

    fold_folder: Path
    epochs: int
    validation_dice: float
    skipped_steps: int


def plan(
    dataset: Dataset,
    *,
    patch_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    plans_name: str = PLANS_NAME,
    workers: int | None = None,
    nonfinite: Literal["refuse", "zero"] = "refuse",
) -> PlanResult:
    """Check a raw data set, decide on patch and batch size, and preprocess it.

    Parameters
    ----------
    dataset
        From ``find_dataset``.
    patch_size
        (height, width) in pixels, multiples of 32; by default the rule of the paper's plans.
    batch_size
        By default the same rule.
    plans_name
        Name of the plans file.
    workers
        Processes; by default two, or as many as there are processors.
    nonfinite
        Refuse images with NaN or infinite voxels, or take those voxels for zero.

    Raises
    ------
    DataError
        If anything is wrong with the data; nothing is written then.
    UsageError
        If an option is impossible.
    OutputError
        If the preprocessed folder cannot be written to.
    """
    from swin_umamba.nnunet.integrity import check_dataset

    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size is {batch_size}", cure="give a whole number of at least 1")
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}", cure="give 0 or more")
    if patch_size is not None:
        check_patch_size(patch_size)
    check_output_folder(dataset.preprocessed_folder)
    cases = check_dataset(dataset, nonfinite)
    dataset.folders.export()
    workers = min(DEFAULT_WORKERS, os.cpu_count() or 1) if workers is None else workers
    # nnU-Net's planner takes the number of augmentation processes for a number of threads and dies of 0.
    with stdout_to_log(), environment_variable("nnUNet_n_proc_DA", 1):
        from swin_umamba.nnunet.preprocessing import extract_fingerprint, preprocess

        extract_fingerprint(dataset, cases, workers, nonfinite)
        plans = _make_plans(dataset, plans_name, patch_size, batch_size)

        folder = preprocess(dataset, cases, plans_name, workers, nonfinite)
    configuration = plans["configurations"]["2d"]
    height, width = configuration["patch_size"]
    return PlanResult(
        plans_file=dataset.preprocessed_folder / f"{plans_name}.json",
        preprocessed_folder=folder,
        num_cases=len(cases),
        patch_size=(height, width),
        batch_size=configuration["batch_size"],
    )


def train(
    dataset: Dataset, *, plans_name: str = PLANS_NAME, continue_training: bool = False, **options: Any
) -> TrainResult:
    """Train one fold and validate it.

    Parameters
    ----------
    dataset
        From ``find_dataset``; must have been planned.
    plans_name
        Name of the plans file.
    continue_training
        Go on from the newest checkpoint that can be loaded, with the options of the first run.
    **options
        Fields of ``TrainingOptions``. When a run goes on, they may only contradict the stored ones where
        that makes no other experiment of it.

    Raises
    ------
    UsageError
        If an option is impossible or contradicts the run that is to go on.
    TrainingError
        If the data are not planned, there is a training of the fold already, or training fails. If it fails
        before the first step, no file or folder is left behind.
    OutputError
        If the results folder cannot be written to.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM (then as ``Terminated``), when the state has been saved.
    """
    given = TrainingOptions(**options)
    if given.tensorboard:
        from swin_umamba.nnunet.event_files import require_tensorboard

        require_tensorboard()
    dataset.folders.export()
    plans, description = _read_planned(dataset, plans_name)
    check_output_folder(dataset.folders.results)
    with stdout_to_log(), _no_traces_of_failed_starts(dataset.folders.results) as started:
        trainer = _make_trainer(plans, description, given)
        started.append(trainer)
        _check_fold(dataset, trainer, given.fold)
        fold_folder = Path(trainer.output_folder)
        if continue_training:
            _continue(trainer, fold_folder, options)
        else:
            trainer.configure(given)
        if trainer.current_epoch < trainer.num_epochs:
            logger.info(
                "training %s, fold %s, on %s: %s", given.trainer, given.fold, trainer.device, fold_folder
            )
            trainer.run_training()
        else:
            logger.info("all %d epochs are trained already; validating", trainer.num_epochs)
        if not trainer.options.skip_validation:
            trainer.perform_actual_validation(trainer.options.npz)
    return TrainResult(
        fold_folder=fold_folder,
        epochs=trainer.current_epoch,
        validation_dice=float("nan") if trainer.options.skip_validation else _validation_dice(fold_folder),
        skipped_steps=trainer.guard.skipped,
    )


def _validation_dice(fold_folder: Path) -> float:
    summary = json.loads((fold_folder / "validation" / "summary.json").read_text(encoding="utf-8"))
    return float(summary["foreground_mean"]["Dice"])


@contextlib.contextmanager
def _no_traces_of_failed_starts(results: Path) -> Iterator[list[RobustTrainer]]:
    """Remove the log and the folders that a trainer has made if it fails before it trains.

    nnU-Net's trainers make them when they are constructed. Yields a list for the trainer.
    """
    existed = results.exists()
    trainers: list[RobustTrainer] = []
    try:
        yield trainers
    except BaseException:
        for trainer in trainers:
            if not trainer.has_trained:
                Path(trainer.log_file).unlink(missing_ok=True)
                _remove_empty_folders(Path(trainer.output_folder), results, include_top=not existed)
        raise


def _remove_empty_folders(folder: Path, top: Path, *, include_top: bool) -> None:
    """Remove ``folder`` and its parents up to ``top`` as long as they are empty."""
    with contextlib.suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
        if include_top:
            top.rmdir()


@contextlib.contextmanager
def stdout_to_log() -> Iterator[None]:
    """Send what nnU-Net prints in the block to the log, at level debug."""
    with contextlib.redirect_stdout(_LogStream()):
        yield


class _LogStream:
    """A text stream whose lines go to the log."""

    def __init__(self) -> None:
        self.rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                logger.debug("nnU-Net: %s", line)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def _make_plans(
    dataset: Dataset, plans_name: str, patch_size: tuple[int, int] | None, batch_size: int | None
) -> dict[str, Any]:
    from swin_umamba.nnunet.planner import SwinUMambaPlanner

    # nnU-Net copies dataset.json with its permissions; a read-only one could not be overwritten.
    (dataset.preprocessed_folder / "dataset.json").unlink(missing_ok=True)
    planner = SwinUMambaPlanner(
        dataset.name, patch_size=patch_size, batch_size=batch_size, plans_name=plans_name
    )
    return planner.plan_experiment()


def _read_planned(dataset: Dataset, plans_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = dataset.preprocessed_folder
    plans_file = folder / f"{plans_name}.json"
    cure = f"run: swin-umamba plan {dataset.name}"
    if not plans_file.is_file() or not (folder / "dataset.json").is_file():
        raise TrainingError("the data set has not been planned", where=plans_file, cure=cure)
    try:
        plans = json.loads(plans_file.read_text(encoding="utf-8"))
        description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        identifier = plans["configurations"]["2d"]["data_identifier"]
    except (ValueError, KeyError) as error:
        raise DataError(f"the plans are damaged: {error}", where=plans_file, cure=cure) from error
    if not (folder / identifier).is_dir():
        raise TrainingError("the data set has not been preprocessed", where=folder / identifier, cure=cure)
    return plans, description


def _make_trainer(
    plans: dict[str, Any], description: dict[str, Any], options: TrainingOptions
) -> RobustTrainer:
    from swin_umamba.nnunet.trainers import find_trainer
    from swin_umamba.ops.backend import resolve_device

    trainer_class = find_trainer(options.trainer)
    device = resolve_device(options.device)
    return trainer_class(plans, options.configuration, options.fold, description, device)


def _check_fold(dataset: Dataset, trainer: RobustTrainer, fold: int | str) -> None:
    if fold == "all" or (dataset.preprocessed_folder / "splits_final.json").is_file():
        return
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = trainer.preprocessed_dataset_folder
    num_cases = len(infer_dataset_class(folder).get_identifiers(folder))
    if num_cases < NUM_FOLDS:
        raise TrainingError(
            f"{num_cases} training cases are too few for {NUM_FOLDS} folds",
            where=folder,
            cure="give --fold all, which trains and validates on all cases, or add cases",
        )


def _continue(trainer: RobustTrainer, fold_folder: Path, given: dict[str, Any]) -> None:
    from swin_umamba.nnunet.resume import newest_checkpoint
    from swin_umamba.nnunet.training_state import stored_options

    checkpoint = newest_checkpoint(fold_folder)
    if checkpoint is None:
        raise TrainingError(
            "there is no checkpoint to go on from",
            where=fold_folder,
            cure="start without --continue, or check trainer, fold and folders",
        )
    stored = stored_options(checkpoint) or trainer.options
    # The fold folder is the one of this trainer, configuration and fold; all else must agree or may change.
    options = replace(stored, trainer=type(trainer).__name__, fold=trainer.fold).continued_with(given)
    trainer.configure(options)
    trainer.load_checkpoint(checkpoint)
    logger.info("going on after epoch %d of %d", trainer.current_epoch, trainer.num_epochs)
