"""The trainers under the names of the published code, and the search for a trainer by name."""

from __future__ import annotations

import os
from pathlib import Path

from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.extensions import load_class
from swin_umamba.nnunet.architecture import PlannedSwinUMamba, PlannedSwinUMambaD, PlannedSwinUMambaDObjects
from swin_umamba.nnunet.training.object_trainer import ObjectTrainer
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.swin_umamba_trainer import NO_WEIGHTS, SwinUMambaTrainer
from swin_umamba.options import declared_options

EXTERNAL_TRAINERS = "nnUNet_extTrainer"
"""nnU-Net's variable for folders with the user's own trainers."""

__all__ = [
    "nnUNetTrainerSwinUMamba",
    "nnUNetTrainerSwinUMambaD",
    "nnUNetTrainerSwinUMambaDObjects",
    "nnUNetTrainerSwinUMambaDScratch",
    "nnUNetTrainerSwinUMambaScratch",
]


class nnUNetTrainerSwinUMamba(SwinUMambaTrainer):
    """SwinUMamba from an ImageNet encoder or a trained model."""

    network_class = PlannedSwinUMamba


class nnUNetTrainerSwinUMambaD(SwinUMambaTrainer):
    """SwinUMambaD from an ImageNet encoder or a trained model."""

    network_class = PlannedSwinUMambaD


class nnUNetTrainerSwinUMambaScratch(SwinUMambaTrainer):
    """SwinUMamba from random weights."""

    network_class = PlannedSwinUMamba
    starts_pretrained = False


class nnUNetTrainerSwinUMambaDScratch(SwinUMambaTrainer):
    """SwinUMambaD from random weights, without deep supervision as in the published code."""

    network_class = PlannedSwinUMambaD
    starts_pretrained = False
    supervises_deeply = False


class nnUNetTrainerSwinUMambaDObjects(ObjectTrainer):
    """SwinUMambaD that learns the depth within objects, too, from an ImageNet encoder or a trained model."""

    network_class = PlannedSwinUMambaDObjects


class nnUNetTrainer(RobustTrainer):
    """nnU-Net's own network and recipe, for comparison.

    It has the name of nnU-Net's trainer, to which the model then belongs; the shim for nnU-Net's own commands
    does not export it.
    """

    def initialize(self) -> None:
        """Build network, optimizer and loss.

        Raises
        ------
        UsageError
            If an option was given that only the trainers of Swin-UMamba have.
        """
        given = [
            each.name
            for each in declared_options(TrainingOptions)
            if each.ours_only and getattr(self.options, each.name) not in (each.default, False, NO_WEIGHTS)
        ]
        if given:
            raise UsageError(
                f"nnU-Net's own trainer has no {' and '.join(given)}",
                hint="leave the options out, or choose a trainer of Swin-UMamba",
            )
        super().initialize()


TRAINERS: dict[str, type[RobustTrainer]] = {
    trainer.__name__: trainer
    for trainer in (
        nnUNetTrainerSwinUMamba,
        nnUNetTrainerSwinUMambaD,
        nnUNetTrainerSwinUMambaScratch,
        nnUNetTrainerSwinUMambaDScratch,
        nnUNetTrainerSwinUMambaDObjects,
        nnUNetTrainer,
    )
}


def find_trainer(given: str) -> type[RobustTrainer]:
    """Return the trainer class that a user names.

    nnU-Net's own search imports every module of its training tree, and with them packages that may be broken
    on this machine; this search imports only what the user names.

    Parameters
    ----------
    given
        One of ``TRAINERS``; ``package.module:Class`` or ``folder/file.py:Class``; or the name of a class in a
        folder that ``nnUNet_extTrainer`` names.

    Raises
    ------
    UsageError
        If there is no such trainer, it is not a subclass of ours, or it has the name of one of ours.
    """
    if given in TRAINERS:
        return TRAINERS[given]
    found = load_class(given, "--trainer") if ":" in given else find_external_trainer(given)
    if found is None:
        raise unknown_name("trainer", given, TRAINERS, where="--trainer")
    if issubclass(found, RobustTrainer) and TRAINERS.get(found.__name__, found) is found:
        return found
    raise UsageError(
        f"{given} is not a subclass of one of our trainers, or has the same name as one",
        where="--trainer",
        hint="derive it from a class of swin_umamba.nnunet.trainers, and give it a unique name",
    )


def find_external_trainer(name: str) -> type | None:
    """Return the class of that name in the folders of ``nnUNet_extTrainer``; None if there is none.

    Parameters
    ----------
    name
        Name of a class. It only selects from folders that the user has named, so it may also come from the
        file of a model.

    Raises
    ------
    UsageError
        If a module in such a folder cannot be imported.
    """
    for folder in os.environ.get(EXTERNAL_TRAINERS, "").split(os.pathsep):
        if name.isidentifier() and folder.strip() and Path(folder).is_dir():
            try:
                found = recursive_find_python_class(folder, name, None)
            except Exception as error:  # whatever the user's code raises
                raise UsageError(
                    f"a module there cannot be imported ({type(error).__name__}: {error})",
                    where=f"{EXTERNAL_TRAINERS}={folder}",
                    hint="correct the module, or remove the folder from the variable",
                ) from error
            if isinstance(found, type):
                return found
    return None
