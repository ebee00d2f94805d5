"""A model folder as nnU-Net writes it, with a tiny network and random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_umamba.weights.checkpoint import save_checkpoint

PLAIN_UNET = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
PLAIN_UNET_3D = {
    **PLAIN_UNET,
    "arch_kwargs": {
        **PLAIN_UNET["arch_kwargs"],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    },
}
SWIN_UMAMBA = {
    "network_class_name": "swin_umamba.nnunet.architecture.PlannedSwinUMamba",
    "arch_kwargs": {
        "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]],
        "depths": [1, 1, 1, 1],
        "features_per_stage": [8, 8, 16, 16],
        "d_state": 2,
    },
    "_kw_requires_import": [],
}
SWIN_UMAMBA_D = {
    **SWIN_UMAMBA,
    "network_class_name": "swin_umamba.nnunet.architecture.PlannedSwinUMambaD",
    "arch_kwargs": {**SWIN_UMAMBA["arch_kwargs"], "strides": [[1, 1], [4, 4], [2, 2], [2, 2], [2, 2]]},
}
ARCHITECTURES = {
    "plain_unet": PLAIN_UNET,
    "plain_unet_3d": PLAIN_UNET_3D,
    "swin_umamba": SWIN_UMAMBA,
    "swin_umamba_d": SWIN_UMAMBA_D,
}


def make_plans(
    architecture: dict[str, Any],
    patch_size: Sequence[int],
    spacing: Sequence[float],
    channels: int,
    configuration: str,
) -> dict[str, Any]:
    """Return the part of nnU-Net's plans that prediction reads."""
    order = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset999_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 1.0, 1.0],
        "original_median_shape_after_transp": [1, 64, 64],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(channel): {"mean": 1.0, "std": 1.0, "percentile_00_5": 0.0, "percentile_99_5": 2.0}
            for channel in range(channels)
        },
        "configurations": {
            configuration: {
                "data_identifier": f"nnUNetPlans_{configuration}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(patch_size),
                "median_image_size_in_voxels": [64.0] * len(patch_size),
                "spacing": list(spacing),
                "normalization_schemes": ["ZScoreNormalization"] * channels,
                "use_mask_for_norm": [False] * channels,
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": order,
                "resampling_fn_seg_kwargs": {**order, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**order, "order": 1},
                "architecture": architecture,
                "batch_dice": True,
            }
        },
    }


def make_model_folder(
    root: Path,
    *,
    network: str = "plain_unet",
    patch_size: Sequence[int] = (32, 32),
    spacing: Sequence[float] = (1.0, 1.0),
    channels: Sequence[str] = ("grey",),
    labels: dict[str, Any] | None = None,
    regions_class_order: Sequence[int] | None = None,
    folds: Sequence[int | str] = (0,),
    checkpoint: str = "checkpoint_final.pth",
    trainer: str = "nnUNetTrainer",
    file_ending: str = ".png",
) -> Path:
    """Write a model folder below ``root`` and return its path."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    architecture = ARCHITECTURES[network]
    configuration = "2d" if len(patch_size) == 2 else "3d_fullres"
    folder = root / f"{trainer}__nnUNetPlans__{configuration}"
    labels = labels or {"background": 0, "small": 1, "large": 2}
    dataset_json: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels,
        "numTraining": 4,
        "file_ending": file_ending,
    }
    if regions_class_order is not None:
        dataset_json["regions_class_order"] = list(regions_class_order)
    plans = make_plans(architecture, patch_size, spacing, len(channels), configuration)
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    heads = LabelManager(labels, regions_class_order).num_segmentation_heads
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        built = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            len(channels),
            heads,
            deep_supervision=True,
        )
        (folder / f"fold_{fold}").mkdir()
        save_checkpoint(
            folder / f"fold_{fold}" / checkpoint,
            {
                "network_weights": built.state_dict(),
                "trainer_name": trainer,
                "init_args": {
                    "plans": plans,
                    "configuration": configuration,
                    "fold": fold,
                    "dataset_json": dataset_json,
                    "device": torch.device("cpu"),
                },
                "inference_allowed_mirroring_axes": tuple(range(len(patch_size))),
            },
        )
    return folder


MakeModel = Callable[..., Path]


@pytest.fixture
def make_model_at() -> MakeModel:
    """Return a function that writes a model folder below a folder and returns its path."""
    return make_model_folder


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model folder and returns its path."""
    return partial(make_model_folder, tmp_path)
