"""Rows 15 and 20: checkpoints that hold code, and weights that are not those of the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.models.registry import create_model
from swin_umamba.weights.convert import load_imagenet_weights
from weights.vmamba_files import SMALL, vmamba_classifier


def renamed(weights: dict[str, torch.Tensor], key: str) -> None:
    weights[f"{key}_renamed"] = weights.pop(key)


def dropped(weights: dict[str, torch.Tensor], key: str) -> None:
    del weights[key]


def reshaped(weights: dict[str, torch.Tensor], key: str) -> None:
    weights[key] = torch.zeros(5, 5)


@pytest.mark.parametrize("change", [renamed, dropped, reshaped])
@pytest.mark.parametrize("key", ["layers.1.blocks.0.self_attention.Ds", "patch_embed.norm.bias"])
def test_row_20_pretrained_weights_that_do_not_fit(tmp_path: Path, change: Any, key: str) -> None:
    weights = vmamba_classifier(**SMALL)
    change(weights, key)
    torch.save({"model": weights}, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=re.escape(key.rsplit(".", 1)[1])) as caught:
        load_imagenet_weights(network, tmp_path / "vmamba.pth")
    assert caught.value.where == str(tmp_path / "vmamba.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_row_20_the_report_accounts_for_every_tensor(tmp_path: Path) -> None:
    weights = vmamba_classifier(**SMALL)
    torch.save({"model": weights}, tmp_path / "vmamba.pth")
    network = create_model("swin_umamba", 1, 2, **SMALL)
    report = load_imagenet_weights(network, tmp_path / "vmamba.pth")
    assert set(report.loaded) | set(report.missing) == set(network.state_dict())
    assert len(report.loaded) + len(report.skipped) == len(weights)
    assert all(report.skipped.values()), "each with its reason"
