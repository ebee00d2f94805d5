"""The networks as plans name them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.nnunet.architecture import (
    NetworkClass,
    PlannedSwinUMamba,
    PlannedSwinUMambaD,
    architecture_entry,
)

TINY = {"depths": [1, 1, 1, 1], "features_per_stage": [8, 16, 24, 32], "d_state": 2}
BOTH = [(PlannedSwinUMamba, SwinUMamba), (PlannedSwinUMambaD, SwinUMambaD)]


@pytest.mark.parametrize(("planned", "network"), BOTH)
def test_strides_give_nnunet_the_scales_of_the_heads(planned: NetworkClass, network: type) -> None:
    strides = np.array(architecture_entry(planned, {})["arch_kwargs"]["strides"])
    scales = (1 / np.cumprod(strides, axis=0))[:-1]
    assert scales[:, 0].tolist() == scales[:, 1].tolist() == list(network.deep_supervision_scales)


@pytest.mark.parametrize(("planned", "network"), BOTH)
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_nnunet_builds_the_network_from_the_entry(
    planned: NetworkClass, network: type, deep_supervision: bool
) -> None:
    entry = architecture_entry(planned, TINY)
    assert entry["_kw_requires_import"] == []
    built = get_network_from_plans(
        entry["network_class_name"], entry["arch_kwargs"], [], 1, 4, deep_supervision=deep_supervision
    ).eval()
    assert isinstance(built, network)
    assert set(built.state_dict()) == set(network(1, 4, **TINY).state_dict())
    with torch.no_grad():
        output = built(torch.zeros(1, 1, 32, 64))
    heads = output if deep_supervision else [output]
    assert len(heads) == (4 if deep_supervision else 1)
    assert heads[0].shape == (1, 4, 32, 64)
