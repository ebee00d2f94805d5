"""nnU-Net's trainer without its weak spots.

The recipe stays whatever the subclass says. What differs from stock: checkpoints are written atomically and
read without running code from them, a run stopped from outside saves first and goes on exactly where it was,
a non-finite step is skipped and counted, and the final validation needs no further processes.
"""

from __future__ import annotations

import math
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from swin_umamba.errors import OutputError, TrainingError
from swin_umamba.interrupt import terminate_as_interrupt
from swin_umamba.nnunet.environment import environment_variable
from swin_umamba.nnunet.record.event_files import require_tensorboard
from swin_umamba.nnunet.record.metrics_file import names_of_classes
from swin_umamba.nnunet.record.training_progress import TrainingProgress
from swin_umamba.nnunet.record.training_record import TrainingRecord
from swin_umamba.nnunet.resume.checkpoints import CheckpointFolder
from swin_umamba.nnunet.resume.newest import existing_checkpoints, newest_checkpoint
from swin_umamba.nnunet.resume.training_state import (
    copied_to_cpu,
    deterministic_algorithms,
    restore_random_state,
    restore_training_state,
    seed_everything,
    stored_options,
    training_state,
)
from swin_umamba.nnunet.training.batches import BatchStream, batch_streams, worker_death
from swin_umamba.nnunet.training.epoch import run_epoch
from swin_umamba.nnunet.training.optimizer_step import StepGuard
from swin_umamba.nnunet.training.options import TrainingOptions, options_from_environment
from swin_umamba.nnunet.training.validation import validate
from swin_umamba.ops.precision import autocast, training_precision
from swin_umamba.progress import bars_aside
from swin_umamba.weights.checkpoint import load_checkpoint


class RobustTrainer(nnUNetTrainer):
    """Base class of the trainers; called by nnU-Net exactly like its own.

    Parameters
    ----------
    plans, configuration, fold, dataset_json, device
        As nnU-Net gives them. Options that nnU-Net's command lacks are read from ``SWIN_UMAMBA_...``
        variables; ``configure`` replaces them.
    """

    # nnU-Net sets these in its constructor, without types.
    network: nn.Module
    _best_ema: float | None

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's own default
    ) -> None:
        options = TrainingOptions(**options_from_environment())
        _require_packages(options)  # before nnU-Net makes its folder and its log
        plans = deepcopy(plans)
        self.continues = bool(plans.setdefault("continue_training", False))
        super().__init__(plans, configuration, fold, dataset_json, device)
        if not self.is_ddp:
            self.device = device  # nnU-Net would turn cuda:1 into cuda:0
        self.starts_fresh = True
        self.has_trained = False
        self.guard = StepGuard()
        self.resumed_random_state: dict[str, Any] | None = None
        self.batches_drawn = [0, 0]  # for training, for validation
        folder = Path(self.output_folder)
        self.checkpoints = CheckpointFolder(folder)
        self.record = TrainingRecord(folder, names_of_classes(dataset_json["labels"], self.label_manager))
        self.progress = TrainingProgress()
        self.configure(options)

    def configure(self, options: TrainingOptions) -> None:
        """Set the options; only before ``initialize``."""
        _require_packages(options)
        self.options = options
        self.precision = training_precision(options.precision, self.device)
        if self.precision != "float16":
            self.grad_scaler = None  # only the range of float16 is too small for gradients
        self.num_epochs = options.epochs
        self.num_iterations_per_epoch = options.iterations_per_epoch
        self.num_val_iterations_per_epoch = options.validation_iterations
        if options.learning_rate is not None:
            self.initial_lr = options.learning_rate
        # One is saved beside the model, the other is read during training.
        saved = self.plans_manager.plans["configurations"][self.configuration_name]
        for configuration in (saved, self.configuration_manager.configuration):
            if options.batch_size is not None:
                configuration["batch_size"] = options.batch_size
            if options.patch_size is not None:
                configuration["patch_size"] = list(options.patch_size)

    def initialize(self) -> None:
        """Build network, optimizer and loss; seeded if asked for."""
        if self.starts_fresh:
            self.refuse_to_overwrite()
            if self.options.seed is not None:
                seed_everything(self.options.seed)
        super().initialize()

    def refuse_to_overwrite(self) -> None:
        """Raise ``TrainingError`` if the fold folder holds checkpoints that nobody allowed to replace."""
        if existing_checkpoints(Path(self.output_folder)) and not self.options.overwrite:
            raise TrainingError(
                "there is a training of this fold already",
                where=self.output_folder,
                cure="go on with --continue (nnUNetv2_train: --c), or replace it with --overwrite "
                "(nnUNetv2_train: SWIN_UMAMBA_OVERWRITE=1)",
            )

    def bare_network(self) -> Any:
        """Return the network without the wrappers of distributed training and compilation."""
        network = self.network
        if isinstance(network, DistributedDataParallel):
            network = network.module
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def _do_i_compile(self) -> bool:
        # Stock compiles by default; here only where it was asked for.
        return "nnUNet_compile" in os.environ and super()._do_i_compile()

    def plot_network_architecture(self) -> None:
        """Do nothing: stock fails here without a package that no longer works, and says so at length."""

    # ---- data

    def get_dataloaders(self) -> tuple[BatchStream, ...]:
        """Return the training and the validation batches, made by the chosen number of processes."""
        with environment_variable("nnUNet_n_proc_DA", 0):
            in_this_process = super().get_dataloaders()
        return batch_streams(
            [augmenter.data_loader for augmenter in in_this_process],
            seed=self.options.seed,
            rank=self.local_rank,
            first=self.batches_drawn,
            workers=self.options.workers,
            pin_memory=self.device.type == "cuda",
        )

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        """Return nnU-Net's augmentations, with blurring that does not depend on the machine's load."""
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        for transform in transforms.transforms:
            # The blur times two implementations and takes the faster one, so that equal seeds differ in the
            # last digits.
            inner = getattr(transform, "transform", transform)
            if hasattr(inner, "benchmark"):
                inner.benchmark = False
        return transforms

    def next_batch(self, loader: Any) -> dict[str, Any]:
        """Return the next batch."""
        batch = next(loader)
        self.batches_drawn[0 if loader is self.dataloader_train else 1] += 1
        return batch

    # ---- the loop

    def run_training(self) -> None:
        """Train all epochs that are left; save if anything stops it, Ctrl-C and SIGTERM among it."""
        with terminate_as_interrupt(), deterministic_algorithms(self.options.deterministic, self.device):
            try:
                self.on_train_start()
                for _ in range(self.current_epoch, self.num_epochs):
                    run_epoch(self)
                self.on_train_end()
            except BaseException as error:
                if not isinstance(error, OutputError):  # it would fail again
                    self.save_resume_point()
                if death := worker_death(error, self.preprocessed_dataset_folder, self.ended_processes()):
                    raise death from error
                raise
            finally:
                self.close_data_loaders()
                self.record.close()

    def print_to_log_file(self, *args: Any, **kwargs: Any) -> None:
        """Write a line to nnU-Net's log and to stdout, above a progress bar."""
        with bars_aside():
            super().print_to_log_file(*args, **kwargs)

    def on_train_start(self) -> None:
        """Prepare everything; then, on resuming, set the random generators to where they were."""
        super().on_train_start()
        self.has_trained = True
        if self.local_rank == 0:
            self.record.start(
                self.options,
                self.logger.get_checkpoint(),
                fresh=self.starts_fresh,
                skipped_steps=self.guard.skipped,
                device=self.device,
            )
            if self.starts_fresh:  # not before it is known that the folder can be written to
                self.checkpoints.remove_earlier_run()
        if self.resumed_random_state is not None:
            restore_random_state(self.resumed_random_state)
        self.checkpoints.resume_point = self.snapshot()

    def train_step(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Take one optimizer step, or skip it if loss or gradients are not finite."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"]
        if isinstance(target, list):
            target = [each.to(self.device, non_blocking=True) for each in target]
        else:
            target = target.to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            loss = self.loss(self.network(data), target)
        self.guard.step(
            loss,
            list(self.network.parameters()),
            self.optimizer,
            self.grad_scaler,
            distributed=self.is_ddp,
        )
        return {"loss": loss.detach().cpu().numpy()}

    def on_train_epoch_end(self, train_outputs: list[dict[str, np.ndarray]]) -> None:
        """Log the mean loss of the steps that were taken."""
        finite = [output for output in train_outputs if np.isfinite(output["loss"])]
        super().on_train_epoch_end(finite or train_outputs)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log the pseudo-Dice; without any foreground in the batches its moving average stays as it was."""
        super().on_validation_epoch_end(val_outputs)
        averages = self.logger.get_value("ema_fg_dice", step=None)
        if math.isnan(averages[-1]) and len(averages) > 1:
            mean = self.logger.get_value("mean_fg_dice", step=-1)
            averages[-1] = averages[-2] if math.isnan(mean) else mean

    def on_epoch_end(self) -> None:
        """Close the epoch as nnU-Net does, then record it and save what is due."""
        super().on_epoch_end()
        if self._best_ema is not None and math.isnan(self._best_ema):
            self._best_ema = None  # nothing would ever be better than NaN
        if self.local_rank == 0:
            self.record.add_epoch(self.logger.get_checkpoint(), self.guard.skipped)
        if (state := self.snapshot()) is not None:
            self.checkpoints.end_epoch(state, save_every=self.options.save_every)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict the validation cases and write predictions and scores to the folder ``validation``."""
        self.set_deep_supervision_enabled(False)
        self.network.eval()
        try:
            summary = validate(self, save_probabilities)
        finally:
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
        if summary is not None:
            self.print_to_log_file("Mean Validation Dice: ", summary["foreground_mean"]["Dice"])

    def ended_processes(self) -> dict[int, int]:
        """Return the exit codes of the data loading processes that have failed."""
        loaders = [loader for loader in (self.dataloader_train, self.dataloader_val) if loader is not None]
        return {number: code for loader in loaders for number, code in loader.ended().items()}

    def close_data_loaders(self) -> None:
        """End the data loading processes, if there are any left."""
        for loader in (self.dataloader_train, self.dataloader_val):
            if loader is not None:
                loader.close()

    # ---- checkpoints

    def snapshot(self) -> dict[str, Any] | None:
        """Return a copy in main memory of the state between two epochs; None if this process saves none."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return None
        return copied_to_cpu(training_state(self, next_epoch=self.current_epoch))

    def save_resume_point(self) -> None:
        """Save the state at the end of the last complete epoch as the latest checkpoint."""
        epochs = self.checkpoints.save_resume_point()
        if epochs is not None:
            self.print_to_log_file(
                f"Stopped. Saved the state after {epochs} epochs; "
                "go on with --continue (nnUNetv2_train: --c)."
            )

    def save_checkpoint(self, filename: str) -> None:
        """Save during an epoch's end, which nnU-Net does before it counts the epoch."""
        if self.local_rank == 0 and not self.disable_checkpointing:
            state = training_state(self, next_epoch=self.current_epoch + 1)
            self.checkpoints.write(Path(filename).name, state)

    def load_checkpoint(self, filename_or_checkpoint: str | dict[str, Any]) -> None:
        """Restore a run from a checkpoint file or its content.

        When nnU-Net's command continues a run, it names a file by its own rule; then the newest loadable
        checkpoint of the folder is taken instead.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be loaded or is of another network.
        """
        self.starts_fresh = False
        if isinstance(filename_or_checkpoint, dict):
            checkpoint = filename_or_checkpoint
        else:
            newest = None
            if self.continues and not self.has_trained:
                newest = newest_checkpoint(Path(self.output_folder))
            checkpoint = newest or load_checkpoint(filename_or_checkpoint)
            stored = stored_options(checkpoint)
            if stored is not None and not self.was_initialized:
                self.configure(stored.continued_with(options_from_environment()))
        if not self.was_initialized:
            self.initialize()
        restore_training_state(self, checkpoint)


def _require_packages(options: TrainingOptions) -> None:
    if options.tensorboard:
        require_tensorboard()
