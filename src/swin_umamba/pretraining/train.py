"""Pretraining from beginning to end: data in, a backbone out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from swin_umamba.distributed.processes import device_of_rank, joined_processes
from swin_umamba.errors import CheckpointError, TrainingError, UsageError
from swin_umamba.files import check_output_folder
from swin_umamba.pretraining.classifier import public_state_dict
from swin_umamba.pretraining.images import find_images
from swin_umamba.pretraining.options import PretrainOptions
from swin_umamba.pretraining.run import Accuracy, PretrainingRun
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

CHECKPOINT, BACKBONE = "checkpoint_latest.pth", "backbone.pth"
STATE = "pretraining"
"""Key of a checkpoint's content."""


@dataclass(frozen=True)
class PretrainResult:
    """Result of ``pretrain``.

    Attributes
    ----------
    backbone
        File of the weights with the best validation, in the layout of the public checkpoints.
    epochs
        Epochs trained in total.
    num_classes
        Classes of the classifier.
    best_top1
        Accuracy of the weights in ``backbone``.
    last
        Accuracy after the last epoch; None if no epoch was left to train.
    """

    backbone: Path
    epochs: int
    num_classes: int
    best_top1: float
    last: Accuracy | None


def pretrain(
    data: str | Path,
    output: str | Path,
    *,
    continue_training: bool = False,
    overwrite: bool = False,
    network_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> PretrainResult:
    """Train a classifier, whose encoder is that of the networks, on folders of pictures.

    Parameters
    ----------
    data
        Folder of the images, see ``find_images``.
    output
        Folder for ``backbone.pth``, the weights with the best validation, and ``checkpoint_latest.pth``.
    continue_training
        Continue from ``checkpoint_latest.pth`` with the options of the first run.
    overwrite
        Replace an earlier run.
    network_kwargs
        Arguments of ``BackboneClassifier``; the networks need the defaults.
    **options
        Fields of ``PretrainOptions``.

    Raises
    ------
    UsageError
        If an option has an impossible value or contradicts the run to be continued.
    DataError
        If an image or a class folder is invalid.
    TrainingError
        If the output folder holds a run, or none to resume from, or the loss is not finite.
    CheckpointError
        If the checkpoint is unsafe, damaged, or from another run.
    OutputError
        If the output folder cannot be written to.
    """
    output = Path(output)
    chosen, state = _options(output / CHECKPOINT, continue_training, overwrite, options)
    check_output_folder(output)
    images = find_images(data, validation_fraction=chosen.validation_fraction, seed=chosen.seed)
    last: Accuracy | None = None
    with joined_processes(partial(device_of_rank, chosen.device)) as processes:
        run = PretrainingRun(images, chosen, processes, network_kwargs or {})
        if state is not None:
            run.restore(state)
        if processes.is_first:
            _announce(run)
        while run.epoch < chosen.epochs:
            loss = run.train_epoch()
            last = run.validate()
            better = last.top1 >= run.best_top1
            run.best_top1 = max(last.top1, run.best_top1)
            if processes.is_first:
                _write(run, output, better=better)
                _log_epoch(run, loss, last)  # after _write: an epoch that is logged is already saved
    return PretrainResult(output / BACKBONE, run.epoch, len(images.classes), run.best_top1, last)


def _options(
    checkpoint: Path, continue_training: bool, overwrite: bool, given: Mapping[str, Any]
) -> tuple[PretrainOptions, dict[str, Any] | None]:
    """Return the options of the run, and its state if it is continued."""
    if not continue_training:
        if checkpoint.exists() and not overwrite:
            raise TrainingError(
                "the output folder holds a run already",
                where=checkpoint.parent,
                hint="resume with --continue, replace it with --overwrite, or give another folder",
            )
        return PretrainOptions(**given), None
    if not checkpoint.exists():
        raise TrainingError(
            "there is no checkpoint to resume from",
            where=checkpoint.parent,
            hint="start without --continue, or check the output folder",
        )
    state = load_checkpoint(checkpoint).get(STATE)
    if not isinstance(state, dict) or not isinstance(state.get("options"), dict):
        raise CheckpointError(
            "this is not a checkpoint of pretraining", where=checkpoint, hint="start again with --overwrite"
        )
    try:
        stored = PretrainOptions.from_stored(state["options"])
    except (TypeError, UsageError) as error:
        raise CheckpointError(
            f"the options of the run are damaged: {error}",
            where=checkpoint,
            hint="start again with --overwrite",
        ) from error
    return stored.continued_with(given), state


def _announce(run: PretrainingRun) -> None:
    images = run.images
    logger.info(
        "%d training and %d validation images of %d classes; %d steps of %d images per epoch, learning rate "
        "%.3g after %d epochs of warm-up",
        len(images.training),
        len(images.validation),
        len(images.classes),
        run.steps_per_epoch,
        run.options.batch_size * run.options.accumulate * run.processes.size,
        run.maximal_learning_rate,
        run.options.warmup(),
    )
    if run.epoch:
        logger.info("continuing after epoch %d", run.epoch)


def _log_epoch(run: PretrainingRun, loss: float, accuracy: Accuracy) -> None:
    logger.info(
        "epoch %d/%d: loss %.4f, top-1 %.2f %%, top-5 %.2f %%",
        run.epoch,
        run.options.epochs,
        loss,
        100 * accuracy.top1,
        100 * accuracy.top5,
    )


def _write(run: PretrainingRun, output: Path, *, better: bool) -> None:
    if better:
        content = {
            "model": public_state_dict(run.validated_model()),
            "epoch": run.epoch,
            "top1": run.best_top1,
            "classes": list(run.images.classes),
        }
        save_checkpoint(output / BACKBONE, content)
    save_checkpoint(output / CHECKPOINT, {STATE: run.state()})
