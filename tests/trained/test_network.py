"""Networks are built and compared with the weights before memory is taken for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.network import build_network

MakeModel = Callable[..., Path]


@pytest.mark.parametrize("name", ["plain_unet", "plain_unet_3d", "swin_umamba", "swin_umamba_d"])
def test_the_outline_leaves_nothing_behind(make_model: MakeModel, name: str) -> None:
    patch = {"patch_size": (32,) * 3, "spacing": (1.0,) * 3} if name.endswith("3d") else {}
    model = load_trained_model(make_model(network=name, **patch))
    built = build_network(ModelPlans(model), torch.device("cpu"))
    assert {each.device.type for each in (*built.parameters(), *built.buffers())} == {"cpu"}
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"
    assert all(torch.equal(built.state_dict()[key], value) for key, value in model.parameters[0].items())
