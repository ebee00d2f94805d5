"""A more robust version of nnU-Net's trainer: the loop of training and validation.

The recipe is defined by the subclass. Differences from stock nnU-Net: a run that is stopped saves its state
first and resumes exactly (``resume.resumable_trainer``), a non-finite step is skipped and counted, and the
final validation needs no further processes.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from swin_umamba.errors import TrainingError
from swin_umamba.memory import is_out_of_memory
from swin_umamba.nnunet.environment import environment_variable
from swin_umamba.nnunet.record.debug_file import DEBUG_FILE, forget_the_machine, named_places
from swin_umamba.nnunet.record.metrics_file import names_of_classes
from swin_umamba.nnunet.record.training_progress import TrainingProgress
from swin_umamba.nnunet.record.training_record import TrainingRecord
from swin_umamba.nnunet.resume.training_state import reproducibility
from swin_umamba.nnunet.training.batches import BatchStream, batch_streams, worker_death
from swin_umamba.nnunet.training.distributed_trainer import DistributedTrainer
from swin_umamba.nnunet.training.gpu_memory import training_out_of_memory
from swin_umamba.nnunet.training.optimizer_step import UnreadLosses
from swin_umamba.nnunet.training.pseudo_dice import counts_of
from swin_umamba.nnunet.training.shared_memory import bytes_of_batch
from swin_umamba.nnunet.training.validation import FoldValidation
from swin_umamba.ops.precision import autocast, rounding_of_float32
from swin_umamba.progress import bars_aside


class RobustTrainer(DistributedTrainer):
    """Base class of the trainers, with the same interface as nnU-Net's own.

    Parameters
    ----------
    plans, configuration, fold, dataset_json, device
        As for ``DistributedTrainer``.
    """

    @cached_property
    def record(self) -> TrainingRecord:
        """What is written about the training besides its checkpoints."""
        classes = names_of_classes(self.dataset_json["labels"], self.label_manager)
        return TrainingRecord(Path(self.output_folder), classes)

    @cached_property
    def progress(self) -> TrainingProgress:
        """What is shown of the epochs."""
        return TrainingProgress()

    def plot_network_architecture(self) -> None:
        """Do nothing: here, stock nnU-Net needs a package that no longer works, and prints a long message."""

    # ---- data

    def get_dataloaders(self) -> tuple[BatchStream, ...]:
        """Return the training and the validation batches, made by the chosen number of processes."""
        with environment_variable("nnUNet_n_proc_DA", 0):
            loaders = [augmenter.data_loader for augmenter in super().get_dataloaders()]
        loaders[0].transforms = self.training_transforms(loaders[0].transforms)
        return batch_streams(
            loaders,
            seed=self.options.seed,
            rank=self.local_rank,
            first=self.batches_drawn,
            workers=self.options.workers,
            pin_memory=self.device.type == "cuda",
            batch_bytes=bytes_of_batch(
                self.batch_size,
                self.num_input_channels,
                len(self.label_manager.foreground_regions) + 1 if self.label_manager.has_regions else 1,
                self.configuration_manager.patch_size,
            ),
        )

    def training_transforms(self, transforms: ComposeTransforms) -> ComposeTransforms:
        """Return the augmentations of training patches: a hook for subclasses.

        Parameters
        ----------
        transforms
            nnU-Net's augmentations, whose list ``transforms.transforms`` may be changed. Each takes and
            returns ``image`` (channels, height, width) and ``segmentation``; the last ones turn labels into
            the targets of the loss. They must be picklable and draw from the global generators of Python,
            NumPy or PyTorch, which are seeded for each batch.
        """
        return transforms

    def build_loss(self) -> nn.Module:
        """Return the loss: a hook for subclasses.

        It takes logits (batch, classes, height, width) and labels (batch, 1, height, width). With deep
        supervision it takes lists of both, finest first; then nnU-Net's ``DeepSupervisionWrapper`` around a
        loss of one pair gives each resolution its weight.
        """
        loss: nn.Module = super()._build_loss()
        return loss

    def _build_loss(self) -> nn.Module:
        return self.build_loss()

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        """Return nnU-Net's augmentations, with a blur that does not depend on the load of the machine."""
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        for transform in transforms.transforms:
            # The stock blur measures two implementations and uses the faster one, so that equal seeds give
            # different last digits.
            inner = getattr(transform, "transform", transform)
            if hasattr(inner, "benchmark"):
                inner.benchmark = False
        return transforms

    def next_batch(self, loader: Any) -> dict[str, Any]:
        """Return the next batch."""
        batch: dict[str, Any] = next(loader)
        self.batches_drawn[0 if loader is self.dataloader_train else 1] += 1
        return batch

    def agreed_batch(self, loader: Any) -> dict[str, Any]:
        """Return the next batch, and ask the other ranks whether they have theirs."""
        return self.agreement.before_step(lambda: self.next_batch(loader))

    def ended_processes(self, seconds: float) -> dict[int, int]:
        """Return the exit codes of the data loading processes that have failed; see ``BatchStream.ended``."""
        loaders = [loader for loader in (self.dataloader_train, self.dataloader_val) if loader is not None]
        return {number: code for loader in loaders for number, code in loader.ended(seconds).items()}

    def close_data_loaders(self) -> None:
        """End the remaining data loading processes."""
        for loader in (self.dataloader_train, self.dataloader_val):
            if loader is not None:
                loader.close()

    # ---- the loop

    def run_training(self) -> None:
        """Train all remaining epochs; save if anything stops the training, including Ctrl-C and SIGTERM."""
        with (
            self.locked(),
            self.agreement.listening(),
            reproducibility(self.options, self.device),
            rounding_of_float32(self.device, self.precision),
        ):
            try:
                self.on_train_start()
                self.agreement.defer_signals()
                for _ in range(self.current_epoch, self.num_epochs):
                    self.run_epoch()
                self.on_train_end()
            except BaseException as error:
                cause = self.stop(error, self._explained(error))
                if cause is error:
                    raise
                raise cause from error
            finally:
                self.close_data_loaders()
                self.record.close()

    def _explained(self, error: BaseException) -> BaseException:
        """Return an error that says what the user can do, if we know."""
        death = worker_death(error, self.preprocessed_dataset_folder, self.ended_processes)
        if death is not None:
            return death
        if is_out_of_memory(error):
            configuration = self.configuration_manager
            size = configuration.batch_size, configuration.patch_size
            return training_out_of_memory(error, self.device, *size, self.output_folder)
        return error

    def run_epoch(self) -> None:
        """Train and validate for one epoch with the steps of nnU-Net's trainers, and show the progress."""
        self.on_epoch_start()
        self.on_train_epoch_start()  # may set the number of steps
        dice = self.logger.get_value("mean_fg_dice", step=None)
        with self.progress.epoch(
            self.current_epoch,
            self.num_epochs,
            steps=self.num_iterations_per_epoch,
            validation_steps=self.num_val_iterations_per_epoch,
            pseudo_dice=dice[-1] if dice else math.nan,
            shown=self.local_rank == 0,
        ) as shown:
            outputs, losses = [], UnreadLosses()
            for _ in range(self.num_iterations_per_epoch):
                outputs.append(self.train_step(self.agreed_batch(self.dataloader_train)))
                self.agreement.settle()
                shown.trained(*losses.add(outputs[-1]))
            losses.read()
            self.on_train_epoch_end(outputs)
            shown.begin_validation()
            with torch.no_grad():
                self.on_validation_epoch_start()
                outputs = []
                for _ in range(self.num_val_iterations_per_epoch):
                    outputs.append(self.validation_step(self.agreed_batch(self.dataloader_val)))
                    self.agreement.settle()
                    shown.validated()
                self.on_validation_epoch_end(outputs)
            shown.begin_saving()
            self.on_epoch_end()
        if self.local_rank == 0:
            self.progress.log_epoch(self.logger.get_checkpoint(), self.num_epochs)

    def print_to_log_file(self, *args: Any, **kwargs: Any) -> None:
        """Write a line to nnU-Net's log and to stdout, above a progress bar, with folders by name."""
        with bars_aside():
            super().print_to_log_file(*(named_places(each, self._folders()) for each in args), **kwargs)

    def on_train_start(self) -> None:
        """Prepare everything, with the random generators as they were if resuming; then begin the record."""
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
            if self.starts_fresh:  # only after it is known that the folder can be written to
                self.checkpoints.remove_earlier_run()
        self.gather_random_states()
        self.checkpoints.resume_point = self.snapshot()

    def _save_debug_information(self) -> None:
        """Write nnU-Net's ``debug.json``, without information on this machine and its user."""
        super()._save_debug_information()
        if self.local_rank == 0:
            forget_the_machine(Path(self.output_folder) / DEBUG_FILE, self._folders())

    def _folders(self) -> dict[str, Path]:
        return {
            "nnUNet_results": Path(self.output_folder_base).parents[1],
            "nnUNet_preprocessed": Path(self.preprocessed_dataset_folder_base).parent,
        }

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take an optimizer step, or skip it if loss or gradients are not finite; nothing waits for a GPU."""
        data, target = self._on_device(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.distribute()
        with self.training_outputs():
            with autocast(self.device, self.precision):
                output = self.network(data)
                self.agreement.settle()  # from here on, ranks wait for each other
                loss = self.loss(output, target)
            self.guard.step(
                loss,
                list(self.network.parameters()),
                self.optimizer,
                self.grad_scaler,
                distributed=self.is_ddp,
            )
        return {"loss": loss.detach()}

    def validation_step(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return loss and counts for the pseudo-Dice of a batch, in the precision of the training."""
        data, target = self._on_device(batch)
        with autocast(self.device, self.precision):
            output = self.unwrapped_network()(data)
            self.agreement.settle()
            loss = self.loss(output, target)
        if self.enable_deep_supervision:
            output, target = output[0], target[0]
        labels = self.label_manager
        counts = counts_of(output, target, has_regions=labels.has_regions, ignore_label=labels.ignore_label)
        return {"loss": loss.detach().cpu().numpy(), **counts}

    def _on_device(self, batch: dict[str, Any]) -> tuple[Tensor, Any]:
        """Return images and targets of a batch where the network is."""
        target = batch["target"]
        if isinstance(target, list):
            target = [each.to(self.device, non_blocking=True) for each in target]
        else:
            target = target.to(self.device, non_blocking=True)
        return batch["data"].to(self.device, non_blocking=True), target

    def on_train_epoch_end(self, train_outputs: list[dict[str, np.ndarray]]) -> None:
        """Log the mean loss of the steps that were taken, of all ranks."""
        self.guard.check()
        outputs = self.of_all_ranks(train_outputs)
        finite = [output for output in outputs if np.isfinite(output["loss"])]
        with self.as_nnunets(distributed=False):
            super().on_train_epoch_end(finite or outputs)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log the pseudo-Dice of all ranks; without any foreground its moving average is unchanged."""
        with self.as_nnunets(distributed=False):
            super().on_validation_epoch_end(self.of_all_ranks(val_outputs))
        averages = self.logger.get_value("ema_fg_dice", step=None)
        if math.isnan(averages[-1]) and len(averages) > 1:
            mean = self.logger.get_value("mean_fg_dice", step=-1)
            averages[-1] = averages[-2] if math.isnan(mean) else mean

    def on_epoch_end(self) -> None:
        """End the epoch as nnU-Net does, then record it and save a checkpoint if one is due."""
        self.gather_random_states()
        super().on_epoch_end()
        if self._best_ema is not None and math.isnan(self._best_ema):
            self._best_ema = None  # no value would ever be better than NaN
        if self.local_rank == 0:
            self.record.add_epoch(self.logger.get_checkpoint(), self.guard.skipped)
        if (state := self.snapshot()) is not None:
            self.checkpoints.end_epoch(state, save_every=self.options.save_every)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict the validation cases and write predictions and scores to the folder ``validation``."""
        with self.locked(), self.agreement.listening(), reproducibility(self.options, self.device):
            self._validate(save_probabilities)

    def _validate(self, save_probabilities: bool) -> None:
        _, keys = self.do_split()
        if not keys:
            raise TrainingError("the fold has no validation cases", where=self.output_folder)
        preprocessed = self.preprocessed_dataset_folder
        fold = FoldValidation(
            plans=self.plans_manager,
            configuration=self.configuration_manager,
            dataset_json=self.dataset_json,
            mirror_axes=self.inference_allowed_mirroring_axes,
            device=self.device,
            precision=self.precision,
            open_cases=lambda keys: self.dataset_class(preprocessed, keys),
            references=Path(self.preprocessed_dataset_folder_base) / "gt_segmentations",
            folder=Path(self.output_folder) / "validation",
            save_probabilities=save_probabilities,
        )
        self.set_deep_supervision_enabled(False)
        self.network.eval()
        try:
            fold.predict(self.unwrapped_network(), sorted(keys), self.processes)
        finally:
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
        if self.local_rank == 0:
            summary = fold.summarize(sorted(keys))
            self.print_to_log_file("Mean Validation Dice: ", summary["foreground_mean"]["Dice"])
        self.processes.barrier()
