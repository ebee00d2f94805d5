"""The names of the trainers, as given by users and used in the folders of trained models.

Plain data, so that ``--help`` needs no torch. The classes are in ``nnunet/trainers``.
"""

from __future__ import annotations

SWIN_UMAMBA = "nnUNetTrainerSwinUMamba"
SWIN_UMAMBA_D = "nnUNetTrainerSwinUMambaD"
SWIN_UMAMBA_SCRATCH = "nnUNetTrainerSwinUMambaScratch"
SWIN_UMAMBA_D_SCRATCH = "nnUNetTrainerSwinUMambaDScratch"
SWIN_UMAMBA_D_OBJECTS = "nnUNetTrainerSwinUMambaDObjects"
NNUNET = "nnUNetTrainer"

PRETRAINED_TRAINER_NAMES = (SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_OBJECTS)
"""Trainers that need weights to start from."""
PUBLISHED_TRAINER_NAMES = (SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_SCRATCH, SWIN_UMAMBA_D_SCRATCH)
"""Trainers of the published code."""
EXPERIMENT_TRAINER_NAMES = (*PUBLISHED_TRAINER_NAMES, NNUNET)
"""The published trainers, and nnU-Net's own for comparison."""
TRAINER_NAMES = (*PUBLISHED_TRAINER_NAMES, SWIN_UMAMBA_D_OBJECTS, NNUNET)
"""All trainers that ``train`` accepts: those, and the one for touching objects."""

DAGGER_TRAINER_NAMES = (SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_D_OBJECTS)
"""Trainers that take any backbone."""
TRAINER_BACKBONES = ("vmamba_tiny_s1l8", "vmamba_tiny_s2l5", "vmamba_small_s2l15", "vmamba_base_s2l15")
"""Backbones for which nnU-Net's own commands find a trainer, too."""


def name_with_backbone(trainer: str, backbone: str) -> str:
    """Return the name of a trainer with another backbone, which becomes part of the model folder's name."""
    return f"{trainer}_{backbone}"
