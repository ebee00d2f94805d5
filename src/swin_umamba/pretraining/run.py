"""A pretraining run: its network, optimizer and data, one epoch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, DistributedSampler, Subset

from swin_umamba.distributed.processes import Processes
from swin_umamba.errors import CheckpointError, TrainingError
from swin_umamba.ops.fused_optimizer import fused_on, restore_optimizer
from swin_umamba.ops.precision import autocast, rounding_of_float32
from swin_umamba.pretraining.augmentation import mix
from swin_umamba.pretraining.classifier import BackboneClassifier
from swin_umamba.pretraining.images import Batch, ImageDataset, LabelledImages, Sample, batches, collate
from swin_umamba.pretraining.options import PretrainOptions
from swin_umamba.progress import progress

WARMUP_START, FINAL_FRACTION = 1e-3, 1e-2
"""The learning rate at the first step and after the last, relative to the maximum."""

MAX_GRADIENT_NORM = 5.0
STATE_SPACE_PARAMETERS = ("A_logs", "Ds", "dt_projs_bias")
"""Decaying them would change the memory of the scan (Gu & Dao, arXiv 2312.00752, reference code)."""


@dataclass(frozen=True)
class Accuracy:
    """Shares of validation images, from 0 to 1.

    Attributes
    ----------
    top1, top5
        Share whose class has the largest logit, or one of the five largest.
    """

    top1: float
    top5: float


class PretrainingRun:
    """Everything that changes during training.

    Parameters
    ----------
    images
        Images to train on.
    options
        Recipe of the training.
    processes
        This process and the others.
    network_kwargs
        Arguments of ``BackboneClassifier``, for tests with small networks.

    Attributes
    ----------
    epoch
        Number of epochs trained.
    best_top1
        Best top-1 accuracy in validation so far; -1 before the first.
    """

    def __init__(
        self,
        images: LabelledImages,
        options: PretrainOptions,
        processes: Processes,
        network_kwargs: Mapping[str, Any],
    ) -> None:
        self.images, self.options, self.processes = images, options, processes
        self.epoch = 0
        self.best_top1 = -1.0
        torch.manual_seed(options.seed)
        self.classifier = BackboneClassifier(
            options.in_channels,
            len(images.classes),
            backbone=options.backbone,
            drop_path_rate=options.drop_path_rate,
            **network_kwargs,
        ).to(processes.device)
        self.average: AveragedModel | None = None
        if options.ema_decay > 0:
            self.average = AveragedModel(self.classifier, multi_avg_fn=moving_average(options.ema_decay))
        self.network: nn.Module = self.classifier
        if processes.size > 1:
            cuda = processes.device.type == "cuda"
            self.network = DistributedDataParallel(
                self.classifier, device_ids=[processes.device.index] if cuda else None
            )
        self.maximal_learning_rate = options.maximal_learning_rate(processes.size)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.classifier, options.weight_decay),
            lr=self.maximal_learning_rate,
            fused=fused_on(processes.device),
        )
        self.mixed_precision = options.mixed_precision and processes.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed_precision)
        self.loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.training_data = self._dataset(images.training, augmented=True)
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            self.training_data, processes.size, processes.rank, shuffle=True, seed=options.seed
        )
        # Every process validates its share of the images.
        validation = self._dataset(images.validation, augmented=False)
        share = range(processes.rank, len(validation), processes.size)
        self.training_loader = self._loader(self.training_data, self.sampler)
        self.validation_loader = self._loader(Subset(validation, share), None)
        self.steps_per_epoch = math.ceil(len(self.training_loader) / options.accumulate)

    def train_epoch(self) -> float:
        """Train for one epoch and return the mean loss over all processes.

        Raises
        ------
        TrainingError
            If a loss is not finite or, in half precision, if none is.
        DataError
            If an image cannot be read.
        """
        # Set for each epoch, so that a resumed run needs no state of the generators.
        torch.manual_seed(self._seed_of_epoch())
        self.sampler.set_epoch(self.epoch)
        self.training_data.epoch = self.epoch
        self.network.train()
        losses = torch.zeros(2, dtype=torch.float64)
        for number, group in enumerate(progress(self._groups(), f"epoch {self.epoch + 1}", unit="step")):
            step = self.epoch * self.steps_per_epoch + number
            self._set_learning_rate(step)
            losses += self._train_step(group, np.random.default_rng([self._seed_of_epoch(), number]))
        total, count = self.processes.sum(losses.to(self._sum_device())).tolist()
        if count == 0:
            raise self._not_finite()
        self.epoch += 1
        mean_loss: float = total / count
        return mean_loss

    @torch.no_grad()
    def validate(self) -> Accuracy:
        """Classify the validation images with the averaged weights, if there are any."""
        model = self.validated_model()
        model.eval()
        top = min(5, len(self.images.classes))
        counts = torch.zeros(3, dtype=torch.float64, device=self._sum_device())
        for images, labels in batches(self.validation_loader):
            with self._autocast():
                logits = model(images.to(self.processes.device))
            correct = logits.float().topk(top).indices.cpu() == labels[:, None]
            counts += torch.tensor([correct[:, 0].sum(), correct.sum(), len(labels)], device=counts.device)
        first, best, total = self.processes.sum(counts).tolist()
        return Accuracy(first / total, best / total)

    def validated_model(self) -> BackboneClassifier:
        """Return the classifier with the averaged weights or, without averaging, the one being trained."""
        model = self.classifier if self.average is None else self.average.module
        assert isinstance(model, BackboneClassifier)
        return model

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return {
            "options": self.options.as_dict(),
            "classes": list(self.images.classes),
            "num_images": len(self.images.training),
            "num_processes": self.processes.size,
            "epoch": self.epoch,
            "best_top1": self.best_top1,
            "network": self.classifier.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Raises
        ------
        CheckpointError
            If the state belongs to other data, another number of processes, or another network.
        """
        now = self.state()
        for name in ("classes", "num_images", "num_processes"):
            if state.get(name) != now[name]:
                raise CheckpointError(
                    f"the run was started with {name} {state.get(name)}, now it is {now[name]}",
                    hint="continue with the same images and the same number of processes",
                )
        try:
            self.classifier.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            restore_optimizer(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.best_top1 = int(state["epoch"]), float(state["best_top1"])
            if not (0 <= self.epoch <= self.options.epochs and -1 <= self.best_top1 <= 1):
                raise ValueError(f"epoch {self.epoch}, best top-1 accuracy {self.best_top1}")
        except (AttributeError, OverflowError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit this run: {str(error).splitlines()[-1].strip()}",
                hint="start again with --overwrite",
            ) from error

    def _train_step(self, group: Sequence[Batch], rng: np.random.Generator) -> Tensor:
        """Take one optimizer step on several batches; return sum and number of their finite losses."""
        sums = torch.zeros(2, dtype=torch.float64)
        for number, (images, labels) in enumerate(group):
            images, targets = mix(
                images.to(self.processes.device, non_blocking=True),
                labels.to(self.processes.device, non_blocking=True),
                len(self.images.classes),
                mixup=self.options.mixup,
                cutmix=self.options.cutmix,
                rng=rng,
            )
            with (
                self._without_synchronising(number < len(group) - 1),
                rounding_of_float32(self.processes.device, "float32"),
            ):
                with self._autocast():
                    loss = self.loss(self.network(images), targets)
                self.scaler.scale(loss / len(group)).backward()
            value = loss.item()
            if math.isfinite(value):
                sums += torch.tensor([value, 1.0], dtype=torch.float64)
            elif not self.mixed_precision:  # the scaler would skip the step
                raise self._not_finite()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.classifier.parameters(), MAX_GRADIENT_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.classifier)
        return sums

    def _not_finite(self) -> TrainingError:
        return TrainingError(
            f"the loss is not finite in epoch {self.epoch + 1}",
            hint="start again with a lower --learning-rate; what complete epochs have written is intact",
        )

    def _groups(self) -> Iterator[list[Batch]]:
        """Yield the batches of each optimizer step; the last step of an epoch may have fewer."""
        source = batches(self.training_loader)
        while group := list(islice(source, self.options.accumulate)):
            yield group

    def _set_learning_rate(self, step: int) -> None:
        total, warmup = (
            epochs * self.steps_per_epoch for epochs in (self.options.epochs, self.options.warmup())
        )
        rate = self.maximal_learning_rate * learning_rate_fraction(step, warmup, total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _seed_of_epoch(self) -> int:
        state = np.random.SeedSequence([self.options.seed, self.epoch, self.processes.rank])
        return int(state.generate_state(1)[0])

    def _dataset(self, samples: tuple[Sample, ...], *, augmented: bool) -> ImageDataset:
        return ImageDataset(
            samples,
            in_channels=self.options.in_channels,
            image_size=self.options.image_size,
            augmented=augmented,
            smallest_crop=self.options.smallest_crop,
            colour_jitter=self.options.colour_jitter,
            seed=self.options.seed,
        )

    def _loader(self, dataset: Any, sampler: DistributedSampler[Any] | None) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.options.batch_size,
            sampler=sampler,
            num_workers=self.options.workers,
            collate_fn=collate,
            pin_memory=self.processes.device.type == "cuda",
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.processes.device, "float16" if self.mixed_precision else "float32")

    def _without_synchronising(self, without: bool) -> AbstractContextManager[Any]:
        return self.network.no_sync() if without and self.processes.size > 1 else nullcontext()  # type: ignore[operator]

    def _sum_device(self) -> torch.device:
        # NCCL sums on the device only; MPS has no float64.
        return self.processes.device if self.processes.size > 1 else torch.device("cpu")


def learning_rate_fraction(step: int, warmup: int, total: int) -> float:
    """Return the learning rate of a step relative to the maximum: a linear rise, then half a cosine."""
    if step < warmup:
        return WARMUP_START + (1 - WARMUP_START) * step / warmup
    done = (step - warmup) / max(total - warmup, 1)
    return FINAL_FRACTION + (1 - FINAL_FRACTION) / 2 * (1 + math.cos(math.pi * done))


def moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return the update of an exponential moving average of weights.

    In the first updates the decay is only (1 + n) / (10 + n): with 0.9999 from the start, the average over a
    short training run would be its random initial weights.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        number = int(num_averaged)
        weight = 1 - min(decay, (1 + number) / (10 + number))
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, weight)

    return update


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices and kernels, which are decayed, and everything else, which is not."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_weight = parameter.ndim > 1 and not name.endswith(STATE_SPACE_PARAMETERS)
        (decayed if is_weight else others).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
