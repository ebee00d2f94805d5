"""nnU-Net's trainer with stored options, and with checkpoints from which a run resumes exactly.

Checkpoints are written atomically, read without running code from them, and contain the state of all random
generators. An interrupted run saves the state between two epochs.
"""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from swin_umamba.distributed.processes import current_processes, num_started
from swin_umamba.errors import CheckpointError, TrainingError, UsageError
from swin_umamba.nnunet.environment import raw_folder
from swin_umamba.nnunet.preprocessed import check_origin
from swin_umamba.nnunet.record.event_files import require_tensorboard
from swin_umamba.nnunet.resume.checkpoints import (
    CheckpointFolder,
    FoldLock,
    existing_checkpoints,
    newest_checkpoint,
)
from swin_umamba.nnunet.resume.same_experiment import check_cases, check_plans, fingerprints_of_cases
from swin_umamba.nnunet.resume.training_state import (
    copied_to_cpu,
    own_state,
    random_state,
    restore_weights,
    seed_everything,
    stored_options,
    stored_own_state,
    weights_state,
)
from swin_umamba.nnunet.splits import SPLITS_FILE, keep_splits_in_step
from swin_umamba.nnunet.training.optimizer_step import StepGuard
from swin_umamba.nnunet.training.options import TrainingOptions, options_from_environment
from swin_umamba.ops.precision import scaler_for, training_precision
from swin_umamba.weights.checkpoint import load_checkpoint


class ResumableTrainer(nnUNetTrainer):
    """Set-up and checkpoints of a run; ``RobustTrainer`` adds the training loop.

    Parameters
    ----------
    plans, configuration, fold, dataset_json, device
        As passed by nnU-Net. Options that nnU-Net's command lacks are read from ``SWIN_UMAMBA_...``
        variables; ``configure`` replaces them.
    """

    # nnU-Net sets these in its constructor without types.
    network: nn.Module
    is_ddp: bool
    output_folder_base: str
    _best_ema: float | None
    grad_scaler: torch.amp.GradScaler | None

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's own default
    ) -> None:
        _refuse_torchrun()
        options = TrainingOptions(**options_from_environment())
        _require_packages(options)  # before nnU-Net creates its folder and its log
        plans = deepcopy(plans)
        self.continues = bool(plans.setdefault("continue_training", False))
        with warnings.catch_warnings():  # several ranks on a CPU: nnU-Net takes their device to be a GPU
            warnings.filterwarnings(
                "ignore", "torch.cuda.amp.GradScaler is enabled, but CUDA is not available"
            )
            super().__init__(plans, configuration, fold, dataset_json, device)
        if not self.is_ddp or device.type != "cuda" or device.index is not None:
            self.device = device  # nnU-Net would take the GPU of the rank's number, alone the first one
        self.processes = current_processes(self.device)
        self.starts_fresh = True
        self.has_trained = False
        self.guard = StepGuard(1) if self.device.type == "cpu" else StepGuard()
        self.random_states: list[dict[str, Any]] = []  # of all ranks if there are several
        self.resumed_random_states: list[dict[str, Any]] = []
        self.batches_drawn = [0, 0]  # for training, for validation
        self.cases: dict[str, str | None] = {}  # fingerprints of the cases of the fold
        folder = Path(self.output_folder)
        self.checkpoints = CheckpointFolder(folder)
        self.lock = FoldLock(folder)
        self.configure(options)

    def configure(self, options: TrainingOptions) -> None:
        """Set the options; must be called before ``initialize``."""
        _require_packages(options)
        self.options = options
        self.precision = training_precision(options.precision, self.device)
        self.grad_scaler = scaler_for(self.precision, self.device, self.grad_scaler)
        self.num_epochs = options.epochs
        self.num_iterations_per_epoch = options.iterations_per_epoch
        self.num_val_iterations_per_epoch = options.validation_iterations
        if options.learning_rate is not None:
            self.initial_lr = options.learning_rate
        # One is saved with the model, the other is read during training.
        saved = self.plans_manager.plans["configurations"][self.configuration_name]
        for configuration in (saved, self.configuration_manager.configuration):
            if options.batch_size is not None:
                configuration["batch_size"] = options.batch_size
            if options.patch_size is not None:
                configuration["patch_size"] = list(options.patch_size)

    def initialize(self) -> None:
        """Build network, optimizer and loss, with a seed if one was given."""
        if self.starts_fresh:
            self.refuse_to_overwrite()
            if self.options.seed is not None:
                seed_everything(self.options.seed)
        super().initialize()

    def refuse_to_overwrite(self) -> None:
        """Raise ``TrainingError`` if the fold folder contains checkpoints that may not be replaced."""
        if existing_checkpoints(Path(self.output_folder)) and not self.options.overwrite:
            raise TrainingError(
                "this fold already has a training",
                where=self.output_folder,
                hint="resume with --continue (nnUNetv2_train: --c), or replace it with --overwrite "
                "(nnUNetv2_train: SWIN_UMAMBA_OVERWRITE=1)",
            )

    def unwrapped_network(self) -> nn.Module:
        """Return the network without the wrapper of distributed training."""
        network = self.network
        return network.module if isinstance(network, DistributedDataParallel) else network

    def bare_network(self) -> Any:
        """Return the network without the wrappers of distributed training and compilation."""
        network = self.unwrapped_network()
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def _do_i_compile(self) -> bool:
        # Stock nnU-Net compiles by default; here, only on request.
        return "nnUNet_compile" in os.environ and super()._do_i_compile()

    def state(self, next_epoch: int) -> dict[str, Any]:
        """Return the content of a checkpoint, where ``next_epoch`` is the first epoch still to be trained.

        Tensors are those of the trainer and not copies.
        """
        nnunets_own = {
            "logging": self.logger.get_checkpoint(),
            "_best_ema": self._best_ema,
            "current_epoch": next_epoch,
            "init_args": self.my_init_kwargs,
            "trainer_name": type(self).__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
        }
        return {
            **weights_state(self.bare_network(), self.optimizer, self.grad_scaler),
            **nnunets_own,
            **own_state(
                self.options,
                self.loss,
                self.batches_drawn,
                self.guard.skipped,
                self.cases,
                self.random_states or [random_state(self.device)],
            ),
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state in a checkpoint; the trainer must be initialized.

        The states of the random generators are only stored, as nothing before the training may advance them.

        Raises
        ------
        CheckpointError
            If the checkpoint is for another network or loss, or incomplete.
        """
        steps = (self.num_iterations_per_epoch, self.num_val_iterations_per_epoch)
        try:
            restore_weights(checkpoint, self.bare_network(), self.optimizer, self.grad_scaler)
            self.current_epoch = checkpoint["current_epoch"]
            self.logger.load_checkpoint(deepcopy(checkpoint["logging"]))
            self._best_ema = checkpoint["_best_ema"]
            self.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
            own = stored_own_state(checkpoint, steps, self.loss)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit this training: {str(error).splitlines()[-1].strip()}",
                where=self.output_folder,
                hint="continue with the trainer, plans and options of the first run",
            ) from error
        self.batches_drawn = own.batches_drawn
        self.resumed_random_states = own.random_states
        self.guard.skipped = own.skipped_steps
        self.cases = own.cases

    def check_data(self) -> None:
        """Compare the preprocessed data and the splits with their recorded origin.

        Raises
        ------
        TrainingError
            If they belong to other plans, raw files or cases, or there are too few cases for folds.
        UsageError
            If the splits lack the fold.
        DataError
            If the splits are damaged.
        """
        folder = Path(self.preprocessed_dataset_folder)
        raw = raw_folder(self.plans_manager.dataset_name)
        check_origin(folder, self.plans_manager.plans, self.configuration_name, raw)
        if self.fold == "all":
            return
        cases = infer_dataset_class(str(folder)).get_identifiers(str(folder))
        splits = Path(self.preprocessed_dataset_folder_base) / SPLITS_FILE
        keep_splits_in_step(splits, cases, Path(self.output_folder).parent, [self.fold])

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the names of the training and of the validation cases of the fold.

        Raises
        ------
        TrainingError, UsageError, DataError
            As ``check_data``, and if a continued run was started with other cases.
        """
        self.check_data()
        train, validation = super().do_split()
        cases = fingerprints_of_cases(train, validation, self.preprocessed_dataset_folder)
        check_cases(self.cases, cases, self.output_folder)
        self.cases = cases
        return train, validation

    def locked(self) -> AbstractContextManager[None]:
        """Return a context in which no other training may write to the fold folder.

        Raises
        ------
        TrainingError
            On entering, if another training is running.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            return nullcontext()
        return self.lock.held(force=self.options.force_unlock)

    def snapshot(self) -> dict[str, Any] | None:
        """Return a copy of the state between two epochs in main memory; None if this process saves none."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return None
        copy: dict[str, Any] | None = copied_to_cpu(self.state(next_epoch=self.current_epoch))
        return copy

    def save_resume_point(self) -> None:
        """Save the state at the end of the last complete epoch as the latest checkpoint."""
        epochs = self.checkpoints.save_resume_point()
        if epochs is not None:
            self.print_to_log_file(
                f"Stopped. Saved the state after {epochs} epochs; "
                "resume with --continue (nnUNetv2_train: --c)."
            )

    def save_checkpoint(self, filename: str) -> None:
        """Save at the end of an epoch, which nnU-Net does before it counts the epoch."""
        if self.local_rank == 0 and not self.disable_checkpointing:
            state = self.state(next_epoch=self.current_epoch + 1)
            self.checkpoints.write(Path(filename).name, state)

    def load_checkpoint(self, filename_or_checkpoint: str | dict[str, Any]) -> None:
        """Restore a run from a checkpoint file or its content.

        When nnU-Net's command continues a run, it chooses a file by its own rule; the newest loadable
        checkpoint in the folder is used instead.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be loaded or is for another network.
        TrainingError
            If it was trained with other plans.
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
        check_plans(checkpoint.get("init_args", {}), self.my_init_kwargs, self.output_folder)
        if not self.was_initialized:
            self.initialize()
        self.restore(checkpoint)


def _require_packages(options: TrainingOptions) -> None:
    if options.tensorboard:
        require_tensorboard()


def _refuse_torchrun() -> None:
    """Refuse to run as one of several processes that would train independently into the same folder."""
    processes = num_started()
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if processes > 1 and not distributed:
        raise UsageError(
            f"torchrun has started {processes} processes, which would all train into the same folder",
            where="WORLD_SIZE",
            hint="use torchrun --nproc-per-node N -m swin_umamba train ..., or swin-umamba train --devices N",
        )
