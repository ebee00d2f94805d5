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
