"""nnU-Net's plain and residual-encoder U-Nets, as entries of its plans; the networks are stock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swin_umamba.baselines.topology import unet_features, unet_strides

PACKAGE = "dynamic_network_architectures.architectures.unet"
CONVOLUTIONS_PER_STAGE = 2
RESIDUAL_BLOCKS = (1, 3, 4, 6)
"""Blocks of the first encoder stages; all further ones have as many as the last of these."""


def plain_unet_entry(patch_size: Sequence[int], spacing: Sequence[float] = (1.0, 1.0)) -> dict[str, Any]:
    """Return the ``architecture`` entry that nnU-Net's default planner makes for a patch.

    Parameters
    ----------
    patch_size
        (height, width) in pixels.
    spacing
        Size of a pixel along both.
    """
    entry = _common_entry("PlainConvUNet", patch_size, spacing)
    stages = entry["arch_kwargs"]["n_stages"]
    entry["arch_kwargs"] |= {
        "n_conv_per_stage": [CONVOLUTIONS_PER_STAGE] * stages,
        "n_conv_per_stage_decoder": [CONVOLUTIONS_PER_STAGE] * (stages - 1),
    }
    return entry


def residual_unet_entry(patch_size: Sequence[int], spacing: Sequence[float] = (1.0, 1.0)) -> dict[str, Any]:
    """Return the ``architecture`` entry that nnU-Net's residual-encoder planners make for a patch.

    Parameters
    ----------
    patch_size
        (height, width) in pixels.
    spacing
        Size of a pixel along both.

    References
    ----------
    Isensee et al., "nnU-Net Revisited", arXiv 2404.09556.
    """
    entry = _common_entry("ResidualEncoderUNet", patch_size, spacing)
    stages = entry["arch_kwargs"]["n_stages"]
    blocks = [*RESIDUAL_BLOCKS, *[RESIDUAL_BLOCKS[-1]] * stages][:stages]
    entry["arch_kwargs"] |= {"n_blocks_per_stage": blocks, "n_conv_per_stage_decoder": [1] * (stages - 1)}
    return entry


def _common_entry(class_name: str, patch_size: Sequence[int], spacing: Sequence[float]) -> dict[str, Any]:
    strides = unet_strides(patch_size, spacing)
    return {
        "network_class_name": f"{PACKAGE}.{class_name}",
        "arch_kwargs": {
            "n_stages": len(strides),
            "features_per_stage": unet_features(len(strides)),
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * len(strides),
            "strides": strides,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
