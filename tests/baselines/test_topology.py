"""The stages of U-Nets by size of the patch, against nnU-Net's planner."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.baselines.topology import unet_features, unet_strides


@pytest.mark.parametrize("patch_size", [(320, 320), (384, 640), (512, 512), (64, 64), (128, 320), (32, 256)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.75), (1.0, 4.0)])
def test_agrees_with_the_planner(patch_size: tuple[int, int], spacing: tuple[float, float]) -> None:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, _, padded, _ = get_pool_and_conv_props(spacing, patch_size, 4, 999)
    assert tuple(padded) == patch_size
    assert unet_strides(patch_size, spacing) == [list(stride) for stride in strides]


def test_does_not_halve_odd_sides() -> None:
    strides = unet_strides((352, 96))
    assert np.prod(strides, axis=0).tolist() == [32, 16]


def test_features_double_up_to_512() -> None:
    assert unet_features(7) == [32, 64, 128, 256, 512, 512, 512]
