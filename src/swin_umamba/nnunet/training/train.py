"""The second step of working with nnU-Net: train a network and validate it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.files import check_output_folder
from swin_umamba.json_files import LARGEST_RESULTS, read_json
from swin_umamba.nnunet.dataset_json import check_description
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.plans_table import read_plans
from swin_umamba.nnunet.stdout import stdout_to_log
from swin_umamba.nnunet.training.devices import resolve_devices
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.options import options_as_keywords
from swin_umamba.schema import Provenance

if TYPE_CHECKING:
    import torch

    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

logger = logging.getLogger(__name__)

SUMMARY = Path("validation") / "summary.json"
"""nnU-Net's scores of the validation, below the fold folder."""


@dataclass(frozen=True)
class TrainResult:
    """Results of ``train``.

    Attributes
    ----------
    fold_folder
        Checkpoints, log and validation of the fold; its parent is the model folder.
    epochs
        Total number of trained epochs.
    validation_dice
        Mean foreground Dice of the validation cases; NaN if no case has foreground or the validation was
        skipped.
    skipped_steps
        Number of steps skipped because loss or gradients were not finite.
    """

    fold_folder: Path
    epochs: int
    validation_dice: float
    skipped_steps: int


@options_as_keywords(TrainRequest)
def train(dataset: Dataset, request: TrainRequest) -> TrainResult:
    """Train one fold and validate it.

    Parameters
    ----------
    dataset
        Data set, from ``find_dataset``; it must have been planned.
    **request
        Fields of ``TrainRequest``. When a run is resumed, they may only differ from the stored ones if that
        does not change the experiment.

    Raises
    ------
    UsageError
        If an option is impossible or contradicts the run to be continued, or the splits lack the fold.
    TrainingError
        If the data are not planned, the fold already has a training, or training fails. If it fails before
        the first step, no file or folder remains.
    OutputError
        If the results folder cannot be written to.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM (then as ``Terminated``), once the state has been saved.
    """
    if request.folds_parallel is not None:
        raise UsageError(
            f"fold {request.fold} is one fold, and none can be trained beside it",
            where="--folds-parallel",
            hint="give several: --fold 0 1 2 3 4; or leave it out",
        )
    return train_with(None, dataset, request)


def train_with(
    trainer_class: type[RobustTrainer] | None, dataset: Dataset, request: TrainRequest
) -> TrainResult:
    """Train like ``train``, with a trainer that has no public name; None uses the named one."""
    from swin_umamba.distributed.processes import joined_processes, num_started
    from swin_umamba.ops.backend import current_device

    if request.devices is not None and num_started() == 1:
        devices = resolve_devices(request.devices, request.device)
        if len(devices) > 1:
            return _train_on(devices, trainer_class, dataset, request)
    given = request.for_the_run()
    if given.tensorboard:
        from swin_umamba.nnunet.record.event_files import require_tensorboard

        require_tensorboard()
    dataset.folders.export()
    plans, description = read_planned(dataset, request.plans_name)
    check_output_folder(dataset.folders.results)
    with (
        joined_processes(lambda local, size: _device_of_rank(request, local, size)) as processes,
        stdout_to_log(),
        current_device(processes.device),
        _no_traces_of_failed_starts(dataset.folders.results) as started,
    ):
        from swin_umamba.nnunet.trainers import find_trainer

        make = trainer_class or find_trainer(request.trainer, request.backbone)
        trainer = make(plans, request.configuration, request.fold, description, processes.device)
        started.append(trainer)
        trainer.options = replace(trainer.options, force_unlock=given.force_unlock)
        with trainer.locked():
            _train(trainer, request)
            processes.barrier()  # the first one writes the scores
    fold_folder = Path(trainer.output_folder)
    return TrainResult(
        fold_folder=fold_folder,
        epochs=trainer.current_epoch,
        validation_dice=float("nan") if trainer.options.skip_validation else validation_dice(fold_folder)[0],
        skipped_steps=trainer.guard.skipped,
    )


def _train_on(
    devices: Sequence[torch.device],
    trainer_class: type[RobustTrainer] | None,
    dataset: Dataset,
    request: TrainRequest,
) -> TrainResult:
    """Train in as many processes of this host as there are devices."""
    from swin_umamba.distributed.launch import run_on_ranks

    logger.info("starting %d processes, on %s", len(devices), ", ".join(map(str, devices)))
    result: TrainResult = run_on_ranks(train_with, (trainer_class, dataset, request), len(devices))
    return result


def _device_of_rank(request: TrainRequest, local: int, size: int) -> torch.device:
    """Return the device of this process, number ``local`` of ``size`` on this host."""
    from swin_umamba.distributed.processes import device_of_rank

    if request.devices is not None:
        devices = resolve_devices(request.devices, request.device)
        if len(devices) != size:
            raise UsageError(
                f"{size} processes were started on this host, for {len(devices)} devices",
                where="--devices",
                hint="leave it out: each process takes the device of its number",
            )
        return devices[local]
    return device_of_rank(request.device, local, size)


def _train(trainer: RobustTrainer, request: TrainRequest) -> None:
    trainer.check_data()
    fold_folder = Path(trainer.output_folder)
    if request.continue_training:
        _continue(trainer, fold_folder, request.given_for_the_run())
    else:
        trainer.configure(replace(request.for_the_run(), trainer=type(trainer).__name__))
    if trainer.current_epoch < trainer.num_epochs:
        logger.info(
            "training %s, fold %s, on %s: %s",
            type(trainer).__name__,
            trainer.fold,
            trainer.device,
            fold_folder,
        )
        trainer.run_training()
    else:
        logger.info("all %d epochs are trained already; validating", trainer.num_epochs)
    if not trainer.options.skip_validation:
        trainer.perform_actual_validation(trainer.options.npz)


def validation_dice(fold_folder: Path) -> tuple[float, dict[str, float]]:
    """Return the Dice of a fold's validation: the mean of all classes, and each one by its value.

    A Dice is NaN if no case has the class.
    """
    path = fold_folder / SUMMARY
    hint = "validate the fold again with --continue"
    summary = read_json(path, dict, largest=LARGEST_RESULTS, hint=hint, nan=True)
    try:
        classes = {value: float(scores["Dice"]) for value, scores in summary["mean"].items()}
        return float(summary["foreground_mean"]["Dice"]), classes
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError("this is not a summary of a validation", where=path, hint=hint) from error


@contextlib.contextmanager
def _no_traces_of_failed_starts(results: Path) -> Iterator[list[RobustTrainer]]:
    """Remove the log and the folders of a trainer that fails before it trains.

    nnU-Net's trainers make them in their constructors. Yields a list for the trainer. Logs are named by the
    second of their start, so a log may belong to another training that is still running.
    """
    existed = results.exists()
    earlier = set(results.glob("*/*/fold_*/training_log_*"))
    trainers: list[RobustTrainer] = []
    try:
        yield trainers
    except BaseException:
        for trainer in trainers:
            if not trainer.has_trained and trainer.processes.is_first:
                if (log := Path(trainer.log_file)) not in earlier:
                    log.unlink(missing_ok=True)
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


def read_planned(dataset: Dataset, plans_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return plans and description of a planned data set; raise ``TrainingError`` if it is not planned."""
    folder = dataset.preprocessed_folder
    plans_file = folder / f"{plans_name}.json"
    hint = f"run: swin-umamba plan {dataset.name}"
    if not plans_file.is_file() or not (folder / "dataset.json").is_file():
        raise TrainingError("the data set has not been planned", where=plans_file, hint=hint)
    plans = read_plans(plans_file, "2d", hint)
    description = read_json(folder / "dataset.json", dict, hint=hint, nan=True)
    check_description(description, Provenance(folder / "dataset.json", hint))
    identifier = plans["configurations"]["2d"]["data_identifier"]
    if not (folder / identifier).is_dir():
        raise TrainingError("the data set has not been preprocessed", where=folder / identifier, hint=hint)
    return plans, description


def _continue(trainer: RobustTrainer, fold_folder: Path, given: dict[str, Any]) -> None:
    from swin_umamba.nnunet.resume.checkpoints import newest_checkpoint
    from swin_umamba.nnunet.resume.training_state import stored_options

    checkpoint = newest_checkpoint(fold_folder)
    if checkpoint is None:
        raise TrainingError(
            "there is no checkpoint to resume from",
            where=fold_folder,
            hint="start without --continue, or check trainer, fold and folders",
        )
    stored = stored_options(checkpoint) or trainer.options
    # The fold folder is the one of this trainer, configuration and fold; all other options must agree or may
    # change.
    given = {name: value for name, value in given.items() if name != "trainer"}
    options = replace(stored, trainer=type(trainer).__name__, fold=trainer.fold).continued_with(given)
    trainer.configure(options)
    trainer.load_checkpoint(checkpoint)
    logger.info("continuing after epoch %d of %d", trainer.current_epoch, trainer.num_epochs)
