"""The names of the trainers, as given by users and used in the folders of trained models.

Plain data, so that ``--help`` needs no torch. The classes are in ``nnunet/trainers``.
"""

from __future__ import annotations

SWIN_UMAMBA = "nnUNetTrainerSwinUMamba"
SWIN_UMAMBA_D = "nnUNetTrainerSwinUMambaD"
SWIN_UMAMBA_SCRATCH = "nnUNetTrainerSwinUMambaScratch"
SWIN_UMAMBA_D_SCRATCH = "nnUNetTrainerSwinUMambaDScratch"
SWIN_UMAMBA_D_OBJECTS = "nnUNetTrainerSwinUMambaDObjects"
SWIN_UMAMBA_DD = "nnUNetTrainerSwinUMambaDD"
SWIN_UMAMBA_DD_SCRATCH = "nnUNetTrainerSwinUMambaDDScratch"
NNUNET = "nnUNetTrainer"

PRETRAINED_TRAINER_NAMES = (SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_OBJECTS, SWIN_UMAMBA_DD)
"""Trainers that need weights to start from."""
PUBLISHED_TRAINER_NAMES = (SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_SCRATCH, SWIN_UMAMBA_D_SCRATCH)
"""Trainers of the published code."""
EXPERIMENT_TRAINER_NAMES = (*PUBLISHED_TRAINER_NAMES, NNUNET)
"""The published trainers, and nnU-Net's own for comparison."""
TRAINER_NAMES = (
    *PUBLISHED_TRAINER_NAMES,
    SWIN_UMAMBA_D_OBJECTS,
    SWIN_UMAMBA_DD,
    SWIN_UMAMBA_DD_SCRATCH,
    NNUNET,
)
"""All trainers that ``train`` accepts: those, the one for touching objects, and those of SwinUMambaDD."""

ANY_BACKBONE_TRAINER_NAMES = (
    SWIN_UMAMBA_D,
    SWIN_UMAMBA_D_SCRATCH,
    SWIN_UMAMBA_D_OBJECTS,
    SWIN_UMAMBA_DD,
    SWIN_UMAMBA_DD_SCRATCH,
)
"""Trainers that take any backbone, those of SwinUMambaDD any with a stem at half resolution."""
TRAINER_BACKBONES = ("vmamba_tiny_s1l8", "vmamba_tiny_s2l5", "vmamba_small_s2l15", "vmamba_base_s2l15")
"""Backbones for which nnU-Net's own commands find a trainer, too."""


def name_with_backbone(trainer: str, backbone: str) -> str:
    """Return the name of a trainer with another backbone, which becomes part of the model folder's name."""
    return f"{trainer}_{backbone}"
