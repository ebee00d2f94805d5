"""The trainers under the names of the published code, and the search for a trainer by name."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.extensions import load_class
from swin_umamba.models.backbones import find_backbone
from swin_umamba.models.swin_umamba_d import DecodedByVSS
from swin_umamba.nnunet.architecture import (
    PlannedSwinUMamba,
    PlannedSwinUMambaD,
    PlannedSwinUMambaDD,
    PlannedSwinUMambaDObjects,
)
from swin_umamba.nnunet.training.object_trainer import ObjectTrainer
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.swin_umamba_trainer import NO_WEIGHTS, SwinUMambaTrainer
from swin_umamba.options import declared_options
from swin_umamba.trainer_names import ANY_BACKBONE_TRAINER_NAMES, TRAINER_BACKBONES, name_with_backbone

EXTERNAL_TRAINERS = "nnUNet_extTrainer"
"""nnU-Net's variable for folders with the user's own trainers."""

__all__ = [
    "nnUNetTrainerSwinUMamba",
    "nnUNetTrainerSwinUMambaD",
    "nnUNetTrainerSwinUMambaDD",
    "nnUNetTrainerSwinUMambaDDScratch",
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


class nnUNetTrainerSwinUMambaDD(SwinUMambaTrainer):
    """SwinUMambaDD from an ImageNet encoder or a trained model."""

    network_class = PlannedSwinUMambaDD


class nnUNetTrainerSwinUMambaDDScratch(SwinUMambaTrainer):
    """SwinUMambaDD from random weights."""

    network_class = PlannedSwinUMambaDD
    starts_pretrained = False


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
        nnUNetTrainerSwinUMambaDD,
        nnUNetTrainerSwinUMambaDDScratch,
        nnUNetTrainer,
    )
}

_WITH_BACKBONES: dict[tuple[type[RobustTrainer], str], type[RobustTrainer]] = {}


def find_trainer(given: str, backbone: str | None = None) -> type[RobustTrainer]:
    """Return the trainer class that a user names.

    nnU-Net's own search imports every module of its training tree, and with them packages that may be broken
    on this machine; this search imports only what the user names.

    Parameters
    ----------
    given
        One of ``TRAINERS``, or one of those that take any backbone with ``_BACKBONE`` after its name;
        ``package.module:Class`` or ``folder/file.py:Class``; or the name of a class in a folder that
        ``nnUNet_extTrainer`` names.
    backbone
        Name of the encoder, see ``with_backbone``; None for the trainer's own.

    Raises
    ------
    UsageError
        If there is no such trainer, it is not a subclass of ours, it has the name of one of ours, or it does
        not take the backbone.
    """
    found = _find_class(given)
    return found if backbone is None else with_backbone(found, backbone)


def _find_class(given: str) -> type[RobustTrainer]:
    if given in TRAINERS:
        return TRAINERS[given]
    found = load_class(given, "--trainer") if ":" in given else find_external_trainer(given)
    if found is None:
        base, _, backbone = given.partition("_")
        if backbone and base in TRAINERS:
            return with_backbone(TRAINERS[base], backbone)
        raise unknown_name("trainer", given, TRAINERS, where="--trainer")
    if issubclass(found, RobustTrainer) and TRAINERS.get(found.__name__, found) is found:
        return found
    raise UsageError(
        f"{given} is not a subclass of one of our trainers, or has the same name as one",
        where="--trainer",
        hint="derive it from a class of swin_umamba.nnunet.trainers, and give it a unique name",
    )


def with_backbone(trainer: type[RobustTrainer], backbone: str) -> type[RobustTrainer]:
    """Return a trainer with another encoder.

    Its name, which becomes part of the model folder's, ends with the backbone's, so that two backbones never
    share a folder. The plans of its models name the backbone: to predict with them takes no trainer.

    Parameters
    ----------
    trainer
        Trainer of a network that takes any backbone.
    backbone
        One of ``list_backbones()``.

    Raises
    ------
    UsageError
        If there is no such backbone, or the trainer has a backbone of its own or takes none.
    """
    record = find_backbone(backbone)
    network = getattr(trainer, "network_class", None)
    if network is None or not issubclass(network, DecodedByVSS):
        raise UsageError(
            f"the network of {trainer.__name__} takes no other backbone",
            where="--backbone",
            hint=f"choose one of the trainers {', '.join(ANY_BACKBONE_TRAINER_NAMES)}",
        )
    assert issubclass(trainer, SwinUMambaTrainer)
    network.check_backbone(record)
    own = trainer.network_kwargs.get("backbone")
    if backbone == (network.default_backbone if own is None else own):
        return trainer
    if own is not None:
        raise UsageError(
            f"{trainer.__name__} has the backbone {own}, and {backbone} was asked for",
            where="--backbone",
            hint="choose the trainer without a backbone in its name, or leave --backbone out",
        )
    if "__" in backbone:
        raise UsageError(
            f"the backbone {backbone} cannot be part of a folder's name, whose parts nnU-Net divides by __",
            where="--backbone",
            hint="register it under another name",
        )
    if (trainer, backbone) in _WITH_BACKBONES:
        return _WITH_BACKBONES[trainer, backbone]
    attributes = {
        "__doc__": f"{trainer.__name__} with the backbone {backbone}.",
        "__module__": __name__,
        "network_kwargs": {**trainer.network_kwargs, "backbone": backbone},
    }
    made = type(name_with_backbone(trainer.__name__, backbone), (trainer,), attributes)
    return _WITH_BACKBONES.setdefault((trainer, backbone), made)


def trainers_with_backbones() -> dict[str, type[RobustTrainer]]:
    """Return the trainers of ours with another backbone of ours by name, for nnU-Net's own commands."""
    pairs = product(ANY_BACKBONE_TRAINER_NAMES, TRAINER_BACKBONES)
    made = [with_backbone(TRAINERS[name], backbone) for name, backbone in pairs]
    return {trainer.__name__: trainer for trainer in made}


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
