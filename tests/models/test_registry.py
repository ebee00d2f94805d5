"""Networks by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_network import TINY

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.models.registry import create_model, list_models
from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD


def test_names_and_classes() -> None:
    assert list_models() == ["swin_umamba", "swin_umamba_d", "swin_umamba_v1"]
    assert type(create_model("swin_umamba", 1, 2, **TINY)) is SwinUMamba
    assert type(create_model("swin_umamba_d", 1, 2, **TINY)) is SwinUMambaD


@pytest.mark.parametrize("wrong", ["swinumamba", "swin_umamba_dd", "SwinUMamba"])
def test_an_unknown_name_is_refused_with_close_ones(wrong: str) -> None:
    with pytest.raises(UsageError, match="swin_umamba") as caught:
        create_model(wrong)
    assert "swin_umamba_d" in str(caught.value.cure)


def test_pretrained_weights_reach_the_encoder(tmp_path: Path) -> None:
    donor = create_model("swin_umamba_d", 3, 2, **TINY)
    classifier = {
        key.replace("downsamples.0", "layers.0.downsample")
        .replace("downsamples.1", "layers.1.downsample")
        .replace("downsamples.2", "layers.2.downsample"): value
        for key, value in donor.vssm_encoder.state_dict().items()
    }
    torch.save({"model": classifier, "epoch": 292}, tmp_path / "imagenet.pth")
    network = create_model("swin_umamba_d", 3, 5, pretrained=tmp_path / "imagenet.pth", **TINY)
    for key, value in donor.vssm_encoder.state_dict().items():
        assert torch.equal(network.vssm_encoder.state_dict()[key], value), key


@pytest.mark.parametrize("switch", [True, False])
def test_pretrained_is_no_switch(switch: bool) -> None:
    with pytest.raises(UsageError, match=f"not {switch}") as caught:
        create_model("swin_umamba", pretrained=switch, **TINY)
    assert "vssmtiny_dp01_ckpt_epoch_292" in str(caught.value.cure)


def test_missing_pretrained_weights_raise(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"imagenet\.pth"):
        create_model("swin_umamba", pretrained=tmp_path / "imagenet.pth", **TINY)
