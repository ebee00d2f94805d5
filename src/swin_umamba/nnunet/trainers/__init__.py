"""The trainers under the names of the published code, and how our commands find a trainer by name."""

from __future__ import annotations

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.nnunet.architecture import PlannedSwinUMamba, PlannedSwinUMambaD
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.swin_umamba_trainer import NO_WEIGHTS, SwinUMambaTrainer
from swin_umamba.options import declared_options

__all__ = [
    "nnUNetTrainerSwinUMamba",
    "nnUNetTrainerSwinUMambaD",
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


class nnUNetTrainer(RobustTrainer):
    """nnU-Net's own network and recipe, for comparison.

    Has the name of nnU-Net's trainer, so that the model belongs to it; the shim for nnU-Net's own commands
    does not export it.
    """

    def initialize(self) -> None:
        """Build network, optimizer and loss.

        Raises
        ------
        UsageError
            If an option was given that only the trainers of Swin-UMamba know.
        """
        given = [
            each.name
            for each in declared_options(TrainingOptions)
            if each.ours_only and getattr(self.options, each.name) not in (each.default, False, NO_WEIGHTS)
        ]
        if given:
            raise UsageError(
                f"nnU-Net's own trainer does not know {' and '.join(given)}",
                cure="leave the options out, or choose a trainer of Swin-UMamba",
            )
        super().initialize()


TRAINERS: dict[str, type[RobustTrainer]] = {
    trainer.__name__: trainer
    for trainer in (
        nnUNetTrainerSwinUMamba,
        nnUNetTrainerSwinUMambaD,
        nnUNetTrainerSwinUMambaScratch,
        nnUNetTrainerSwinUMambaDScratch,
        nnUNetTrainer,
    )
}


def find_trainer(name: str) -> type[RobustTrainer]:
    """Return a trainer class by name.

    nnU-Net's own search imports every module of its training tree, and with them packages that may be broken
    on this machine; this one imports nothing.

    Raises
    ------
    UsageError
        If there is no trainer of that name.
    """
    if name not in TRAINERS:
        raise unknown_name("trainer", name, TRAINERS)
    return TRAINERS[name]
