"""The names of the trainers, as users give them and as the folders of trained models carry them.

Plain data, so that ``--help`` needs no torch. The classes stand in ``nnunet/trainers``.
"""

from __future__ import annotations

SWIN_UMAMBA = "nnUNetTrainerSwinUMamba"
SWIN_UMAMBA_D = "nnUNetTrainerSwinUMambaD"
SWIN_UMAMBA_SCRATCH = "nnUNetTrainerSwinUMambaScratch"
SWIN_UMAMBA_D_SCRATCH = "nnUNetTrainerSwinUMambaDScratch"
NNUNET = "nnUNetTrainer"

PRETRAINED_TRAINER_NAMES = (SWIN_UMAMBA, SWIN_UMAMBA_D)
"""Those that need weights to start from."""
PUBLISHED_TRAINER_NAMES = (*PRETRAINED_TRAINER_NAMES, SWIN_UMAMBA_SCRATCH, SWIN_UMAMBA_D_SCRATCH)
"""Those of the published code."""
TRAINER_NAMES = (*PUBLISHED_TRAINER_NAMES, NNUNET)
"""All that ``train`` takes: the published ones, and nnU-Net's own for comparison."""
