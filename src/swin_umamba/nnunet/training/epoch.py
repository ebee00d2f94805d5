"""One epoch of a training, shown while it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer


def run_epoch(trainer: RobustTrainer) -> None:
    """Train and validate for one epoch through the steps that nnU-Net's trainers have."""
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()  # may decide on the number of steps
    steps, validation_steps = trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch
    dice = trainer.logger.get_value("mean_fg_dice", step=None)
    with trainer.progress.epoch(
        trainer.current_epoch,
        trainer.num_epochs,
        steps=steps,
        validation_steps=validation_steps,
        pseudo_dice=dice[-1] if dice else math.nan,
        shown=trainer.local_rank == 0,
    ) as shown:
        outputs = []
        for _ in range(steps):
            outputs.append(trainer.train_step(trainer.next_batch(trainer.dataloader_train)))
            shown.trained(float(outputs[-1]["loss"]))
        trainer.on_train_epoch_end(outputs)
        shown.begin_validation()
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            outputs = []
            for _ in range(validation_steps):
                outputs.append(trainer.validation_step(trainer.next_batch(trainer.dataloader_val)))
                shown.validated()
            trainer.on_validation_epoch_end(outputs)
        shown.begin_saving()
        trainer.on_epoch_end()
    if trainer.local_rank == 0:
        trainer.progress.log_epoch(trainer.logger.get_checkpoint(), trainer.num_epochs)
