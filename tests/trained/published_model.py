"""Model folders in the layout of the published code: old plans, its trainers, full-size networks."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swin_umamba.models.registry import create_model
from trained.model_folder import make_plans

PATCH_SIZE = (32, 64)
LABELS = {"background": 0, "liver": 1, "spleen": 2}
_OF_TODAY = make_plans({}, PATCH_SIZE, (1.0, 1.0), 1, "2d")
_TWO_DIMENSIONS = _OF_TODAY["configurations"]["2d"]
del _TWO_DIMENSIONS["architecture"]  # these plans name a network by flat entries
OLD_PLANS: dict[str, Any] = {
    **_OF_TODAY,
    "dataset_name": "Dataset702_AbdomenMR",
    "original_median_shape_after_transp": [4, 32, 64],
    "configurations": {
        "2d": {
            **_TWO_DIMENSIONS,
            "batch_size": 30,
            "median_image_size_in_voxels": [32.0, 64.0],
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 32,
            "n_conv_per_stage_encoder": [2, 2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2, 2],
            "num_pool_per_axis": [3, 3],
            "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2], [2, 2]],
            "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3], [3, 3]],
            "unet_max_num_features": 512,
        },
        "3d_fullres": {"preprocessor_name": "DefaultPreprocessor", "UNet_class_name": "PlainConvUNet"},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    },
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0, "std": 1.0}},
}
DATASET_JSON = {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": 60, "file_ending": ".nii.gz"}
TRAINERS = {
    "swin_umamba": "nnUNetTrainerSwinUMamba",
    "swin_umamba_v1": "nnUNetTrainerSwinUMamba",
    "swin_umamba_d": "nnUNetTrainerSwinUMambaD",
}


def full_size_weights(network: str) -> dict[str, Tensor]:
    """Return a state dict of a full-size network whose tensors share one storage, as large as the largest."""
    with torch.device("meta"):
        shapes = {
            key: value.shape for key, value in create_model(network, 1, len(LABELS)).state_dict().items()
        }
    noise = 0.05 * torch.randn(max(shape.numel() for shape in shapes.values()))
    return {key: noise[: shape.numel()].view(shape) for key, shape in shapes.items()}


def published_checkpoint(weights: dict[str, Tensor], trainer: str, plans: dict[str, Any]) -> dict[str, Any]:
    """Return what the old code saves, with NumPy numbers in the log."""
    return {
        "network_weights": weights,
        "optimizer_state": {
            "state": {0: {"step": torch.tensor(25_000.0), "exp_avg": torch.zeros(1)}},
            "param_groups": [{"lr": 9.8e-05, "params": [0]}],
        },
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.5)]]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 100,
        "init_args": {
            "plans": plans,
            "configuration": "2d",
            "fold": "all",
            "dataset_json": DATASET_JSON,
            "unpack_dataset": True,
            "device": torch.device("cpu"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": (0, 1),
    }


def save_as_numpy_1_did(content: dict[str, Any], path: Path) -> None:
    """Save with ``torch.save``, with NumPy's unpickling function under its name before NumPy 2."""
    new = path.with_suffix(".new")
    torch.save(content, new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data or b"numpy.core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(member, data)
    new.unlink()


def make_published_model(
    parent: Path,
    network: str,
    *,
    weights: dict[str, Tensor] | None = None,
    checkpoints: Sequence[str] = ("checkpoint_99.pth",),
) -> Path:
    """Write a model folder below ``parent`` and return its path."""
    trainer = TRAINERS[network]
    folder = parent / f"{trainer}__nnUNetPlans__2d"
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(OLD_PLANS))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "fold_all/training_log_2024_3_6.txt").write_text("Epoch 0\n")
    content = published_checkpoint(weights or full_size_weights(network), trainer, OLD_PLANS)
    for name in checkpoints:
        save_as_numpy_1_did(content, folder / "fold_all" / name)
    return folder
