"""Short trainings of tiny networks, for the tests of what a training starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.trainers import find_trainer
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.weights.checkpoint import load_checkpoint

PLAIN, DAGGER = "nnUNetTrainerSwinUMamba", "nnUNetTrainerSwinUMambaD"
SIZES: dict[str, Any] = {"depths": [1, 1, 1, 1], "features_per_stage": [8, 16, 24, 32], "d_state": 2}
ONE_STEP: dict[str, Any] = {
    "epochs": 1,
    "iterations_per_epoch": 1,
    "validation_iterations": 1,
    "device": "cpu",
    "workers": 0,
    "seed": 5,
}
SHORT = {**ONE_STEP, "skip_validation": True}


def make_trainer(
    dataset: Dataset, name: str, *, num_channels: int = 3, labels: tuple[str, ...] = (), **options: Any
) -> RobustTrainer:
    """Return a trainer, not yet initialized, of the data set or of one with other channels or labels."""
    dataset.folders.export()
    plans = json.loads((dataset.preprocessed_folder / "SwinUMambaPlans.json").read_text())
    description = json.loads((dataset.preprocessed_folder / "dataset.json").read_text())
    description["channel_names"] = {str(number): f"c{number}" for number in range(num_channels)}
    if labels:
        description["labels"] = {label: number for number, label in enumerate(labels)}
    trainer = find_trainer(name)(plans, "2d", 0, description, torch.device("cpu"))
    trainer.configure(TrainingOptions(**options))
    return trainer


def weights_of(model_folder: Path) -> dict[str, torch.Tensor]:
    """Return the final weights of fold 0."""
    return load_checkpoint(model_folder / "fold_0" / "checkpoint_final.pth")["network_weights"]
