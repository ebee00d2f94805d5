"""nnU-Net's U-Nets as entries of plans."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from swin_umamba.baselines.nnunet_unets import plain_unet_entry, residual_unet_entry


def build(entry: dict[str, Any]) -> torch.nn.Module:
    stages = entry["arch_kwargs"]["n_stages"]
    entry["arch_kwargs"]["features_per_stage"] = list(range(2, 2 + stages))
    return get_network_from_plans(
        entry["network_class_name"],
        entry["arch_kwargs"],
        entry["_kw_requires_import"],
        2,
        3,
        deep_supervision=True,
    )


@pytest.mark.parametrize("make_entry", [plain_unet_entry, residual_unet_entry])
def test_shapes_and_gradients(make_entry: Any) -> None:
    network = build(make_entry((64, 48)))
    heads = network(torch.randn(1, 2, 64, 48))
    assert [tuple(head.shape[-2:]) for head in heads] == [(64, 48), (32, 24), (16, 12)]
    sum(head.square().sum() for head in heads).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with pytest.raises(RuntimeError, match="must match"):
        network(torch.randn(1, 2, 65, 48))


def test_residual_blocks_per_stage() -> None:
    arguments = residual_unet_entry((320, 320))["arch_kwargs"]
    assert arguments["n_blocks_per_stage"] == [1, 3, 4, 6, 6, 6, 6]
    assert arguments["n_conv_per_stage_decoder"] == [1] * 6


def test_convolutions_per_stage() -> None:
    entry = plain_unet_entry((512, 512))["arch_kwargs"]
    assert (entry["n_stages"], entry["features_per_stage"][-1]) == (8, 512)
    assert entry["n_conv_per_stage"] == [2] * 8
    assert entry["n_conv_per_stage_decoder"] == [2] * 7
