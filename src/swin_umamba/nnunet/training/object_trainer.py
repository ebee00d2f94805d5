"""The recipe for touching objects: besides classes, the network learns the depth within each object."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.errors import TrainingError, UsageError
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.targets import DEPTH_SCALE
from swin_umamba.nnunet.environment import raw_folder
from swin_umamba.nnunet.training.object_targets import (
    HINT,
    CasesWithInstances,
    classes_of_targets,
    prepare_instances,
    with_object_targets,
)
from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer

DEPTH_WEIGHT = 5.0
"""Weight of the mean squared error of the depth, which is small compared with Dice and cross-entropy."""


class ObjectTrainer(SwinUMambaTrainer):
    """Trains a network with a head for the depth within objects, whose data set has ``instancesTr``.

    Classes and depths are computed from the instance maps after augmentation. Validation and prediction by
    stock nnU-Net use the classes only.
    """

    def initialize(self) -> None:
        """Build network, optimizer and loss for a data set of objects.

        Raises
        ------
        TrainingError
            If its labels have no boundary between objects.
        """
        try:
            self.object_classes = ObjectClasses.of(self.dataset_json["labels"])
        except UsageError as error:
            raise TrainingError(error.what, where="dataset.json", hint=HINT) from error
        if self.object_classes.boundary is None:
            raise TrainingError("the data set has no class boundary", where="dataset.json", hint=HINT)
        super().initialize()

    def get_tr_and_val_datasets(self) -> tuple[CasesWithInstances, Any]:
        """Return the training cases with their objects, and the validation cases."""
        training, validation = super().get_tr_and_val_datasets()
        name = self.plans_manager.dataset_name
        folder = Path(self.preprocessed_dataset_folder)
        with self.processes.first_alone():
            with_instances = prepare_instances(
                training,
                raw_folder(name),
                folder.with_name(f"{folder.name}_instances"),
                self.plans_manager.transpose_forward,
            )
        return with_instances, validation

    def training_transforms(self, transforms: ComposeTransforms) -> ComposeTransforms:
        """Return augmentations that end in classes and depths."""
        return with_object_targets(transforms, self.object_classes, self.label_manager.ignore_label)

    def build_loss(self) -> nn.Module:
        """Return nnU-Net's loss of the classes, plus the error of the depth if there is one."""
        return LossOfObjects(super().build_loss(), self.label_manager.ignore_label)

    def training_outputs(self) -> AbstractContextManager[None]:
        """Let the network return depths, too."""
        context: AbstractContextManager[None] = self.bare_network().returning_depth()
        return context


class LossOfObjects(nn.Module):
    """The loss of the classes, and the mean squared error of the depth if output and target have it.

    Parameters
    ----------
    of_classes
        Loss that takes logits and labels, or lists of both.
    ignore
        Value of pixels to ignore; None if there is none.
    """

    def __init__(self, of_classes: nn.Module, ignore: int | None) -> None:
        super().__init__()
        self.of_classes, self.ignore = of_classes, ignore

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        output
            Logits (batch, classes, height, width), with the depth as an additional channel during training;
            or a list, finest first, whose first entry has the depth.
        target
            Labels (batch, 1, height, width), with the depth in thousandths as a second channel during
            training; or a list of these.
        """
        finest = target if isinstance(target, Tensor) else target[0]
        if finest.shape[1] == 1:
            loss: Tensor = self.of_classes(output, target)
            return loss
        first = output if isinstance(output, Tensor) else output[0]
        logits, depth = first[:, :-1], first[:, -1]
        rest = logits if isinstance(output, Tensor) else [logits, *output[1:]]
        known = torch.ones_like(depth) if self.ignore is None else (finest[:, 0] != self.ignore).float()
        error = F.mse_loss(depth.float(), finest[:, 1] / DEPTH_SCALE, reduction="none") * known
        mean = error.sum() / known.sum().clamp(min=1)
        total: Tensor = self.of_classes(rest, classes_of_targets(target)) + DEPTH_WEIGHT * mean
        return total
