"""Networks are built and compared with the weights before memory is taken for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.trained import network as module
from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.network import build_network, check_model

MakeModel = Callable[..., Path]


def change(folder: Path, configuration: dict[str, Any], arguments: dict[str, Any]) -> Path:
    plans = json.loads((folder / "plans.json").read_text())
    own = plans["configurations"]["2d"]
    own |= configuration
    own["architecture"]["arch_kwargs"] |= arguments
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


@pytest.mark.parametrize(
    ("network", "configuration", "arguments", "message"),
    [
        ("plain_unet", {}, {"features_per_stage": [65536, 65536]}, "do not fit PlainConvUNet"),  # 288 GiB
        ("plain_unet", {}, {"n_conv_per_stage": [60_000, 60_000]}, "more than 1[0-9]{3} layers"),
        ("plain_unet", {}, {"kernel_sizes": [[60_001, 60_001], [3, 3]]}, "do not fit PlainConvUNet"),
        ("plain_unet", {}, {"features_per_stage": [10**6, 8]}, r"features_per_stage\[0\] is 1000000; it has"),
        ("swin_umamba", {}, {"features_per_stage": [65536] * 4}, "do not fit PlannedSwinUMamba"),
        ("swin_umamba", {}, {"depths": [60_000] * 4}, "240000 blocks, more than 1000"),
        ("swin_umamba", {}, {"d_state": 65536}, "do not fit PlannedSwinUMamba"),
        (
            "plain_unet",
            {"patch_size": [200_000, 200_000]},
            {},
            r"patch_size\[0\] is 200000; it has to be a w",
        ),
        ("plain_unet", {"patch_size": [65536, 65536]}, {}, "134,217,728 voxels at most"),
        ("plain_unet", {"patch_size": [-3, 0]}, {}, r"patch_size\[0\] is -3; it has to be a whole number"),
        ("plain_unet", {"patch_size": [33, 32]}, {}, "cannot be built from the plans"),
        (
            "plain_unet",
            {"patch_size": [32, 32, 32], "spacing": [1, 1, 1]},
            {},
            "cannot be built from the plans",
        ),
    ],
)
def test_what_plans_may_not_ask_for(
    make_model: MakeModel, network: str, configuration: Any, arguments: Any, message: str
) -> None:
    folder = change(make_model(network=network), configuration, arguments)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        check_model(load_trained_model(folder))
    assert time.process_time() - start < 20


def test_the_memory_of_a_patch_is_compared_with_what_is_free(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change(make_model(), {"patch_size": [64, 96]}, {})
    largest = 4 * 2 * 64 * 96 * 4  # four features of the first stage, twice where the decoder joins them
    for free, fits in ((None, True), (largest, True), (largest - 1, False)):
        monkeypatch.setattr(module, "free_memory", lambda device, free=free: free)
        if fits:
            Predictor.from_folder(folder, device="cpu")
        else:
            with pytest.raises(CheckpointError, match=r"\(64, 96\) needs 0.0 GiB of memory or more"):
                Predictor.from_folder(folder, device="cpu")
            check_model(load_trained_model(folder))  # nothing is predicted


@pytest.mark.parametrize("name", ["plain_unet", "plain_unet_3d", "swin_umamba", "swin_umamba_d"])
def test_the_outline_leaves_nothing_behind(make_model: MakeModel, name: str) -> None:
    patch = {"patch_size": (32,) * 3, "spacing": (1.0,) * 3} if name.endswith("3d") else {}
    model = load_trained_model(make_model(network=name, **patch))
    built = build_network(ModelPlans(model), torch.device("cpu"))
    assert {each.device.type for each in (*built.parameters(), *built.buffers())} == {"cpu"}
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"
    assert all(torch.equal(built.state_dict()[key], value) for key, value in model.parameters[0].items())
