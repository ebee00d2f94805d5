"""Networks by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.tiny_network import TINY
from payload import Payload
from swin_umamba.compare.networks import NETWORKS
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.models.registry import create_model, list_models
from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.models.swin_umamba_dd import SwinUMambaDD
from swin_umamba.nnunet.architecture import STRIDES, architecture_entry
from swin_umamba.nnunet.trainers import TRAINERS
from swin_umamba.weights import download
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.fine_tune import network_of


def test_names_and_classes() -> None:
    assert list_models() == ["swin_umamba", "swin_umamba_d", "swin_umamba_dd", "swin_umamba_v1"]
    assert type(create_model("swin_umamba", 1, 2, **TINY)) is SwinUMamba
    assert type(create_model("swin_umamba_d", 1, 2, **TINY)) is SwinUMambaD
    assert type(create_model("swin_umamba_dd", 1, 2, **TINY)) is SwinUMambaDD


@pytest.mark.parametrize("name", list_models())
def test_a_network_has_a_place_in_every_list(name: str) -> None:
    network = create_model(name, 1, 2, **TINY)
    planned = [each for each in STRIDES if isinstance(network, each.__bases__)]
    assert len(planned) == 1
    entries = [each.entry((64, 64), (1.0, 1.0)) for each in NETWORKS.values()]
    assert architecture_entry(planned[0], {}) in entries
    assert any(getattr(each, "network_class", None) is planned[0] for each in TRAINERS.values())
    assert network_of(network.state_dict()) == type(network).__name__
    pytest.importorskip("huggingface_hub")
    from swin_umamba.models import hub

    assert issubclass(getattr(hub, type(network).__name__), type(network))


@pytest.mark.parametrize("wrong", ["swinumamba", "swin_umamba_ddd", "SwinUMamba"])
def test_an_unknown_name_is_refused_with_close_ones(wrong: str) -> None:
    with pytest.raises(UsageError, match="swin_umamba") as caught:
        create_model(wrong)
    assert "swin_umamba_d" in str(caught.value.hint)


@pytest.fixture
def donor() -> SwinUMambaD:
    return create_model("swin_umamba_d", 3, 2, **TINY)


@pytest.fixture
def imagenet(donor: SwinUMambaD, tmp_path: Path) -> Path:
    """A file in the layout of the public checkpoint, with the encoder of ``donor``."""
    classifier = {
        key.replace("downsamples.0", "layers.0.downsample")
        .replace("downsamples.1", "layers.1.downsample")
        .replace("downsamples.2", "layers.2.downsample"): value
        for key, value in donor.vssm_encoder.state_dict().items()
    }
    torch.save({"model": classifier, "epoch": 292}, tmp_path / "imagenet.pth")
    return tmp_path / "imagenet.pth"


def assert_same_encoder(network: Any, donor: SwinUMambaD) -> None:
    for key, value in donor.vssm_encoder.state_dict().items():
        assert torch.equal(network.vssm_encoder.state_dict()[key], value), key


def test_pretrained_weights_reach_the_encoder(imagenet: Path, donor: SwinUMambaD) -> None:
    assert_same_encoder(create_model("swin_umamba_d", 3, 5, pretrained=imagenet, **TINY), donor)


def test_pretrained_weights_by_name(
    imagenet: Path, donor: SwinUMambaD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path))
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", "1")
    record = replace(CATALOG["vmamba_tiny_v0cls"], sha256=None, size=None)
    monkeypatch.setattr(download, "CATALOG", {record.name: record})
    with pytest.raises(CheckpointError, match="OFFLINE"):
        create_model("swin_umamba_d", pretrained="vmamba_tiny_v0cls", **TINY)
    (tmp_path / "weights").mkdir()
    imagenet.rename(tmp_path / "weights" / record.file_name)
    assert_same_encoder(create_model("swin_umamba_d", 3, 5, pretrained="vmamba_tiny_v0cls", **TINY), donor)


def test_the_first_convolution_is_adapted_on_request_only(imagenet: Path, donor: SwinUMambaD) -> None:
    kernel = donor.vssm_encoder.patch_embed.proj.weight
    adapted = create_model("swin_umamba_d", 1, 2, pretrained=imagenet, adapt_first_convolution=True, **TINY)
    torch.testing.assert_close(adapted.vssm_encoder.patch_embed.proj.weight, kernel.sum(1, keepdim=True))
    published = create_model("swin_umamba_d", 1, 2, pretrained=imagenet, **TINY)
    difference = published.vssm_encoder.patch_embed.proj.weight - kernel.sum(1, keepdim=True)
    assert difference.abs().max() > 0.01
    with pytest.raises(UsageError, match="there are none"):
        create_model("swin_umamba_d", 1, 2, adapt_first_convolution=True, **TINY)


def test_a_payload_in_pretrained_weights_does_not_run(tmp_path: Path) -> None:
    torch.save({"model": Payload(os.system, f"touch {tmp_path}/canary")}, tmp_path / "imagenet.pth")
    with pytest.raises(CheckpointError, match="system"):
        create_model("swin_umamba", pretrained=tmp_path / "imagenet.pth", **TINY)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("switch", [True, False])
def test_pretrained_is_no_switch(switch: bool) -> None:
    with pytest.raises(UsageError, match=f"not {switch}") as caught:
        create_model("swin_umamba", pretrained=switch, **TINY)
    assert "vssmtiny_dp01_ckpt_epoch_292" in str(caught.value.hint)


def test_missing_pretrained_weights_raise(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"imagenet\.pth"):
        create_model("swin_umamba", pretrained=tmp_path / "imagenet.pth", **TINY)
