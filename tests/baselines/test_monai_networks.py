"""The networks of MONAI behind nnU-Net's constructor."""

from __future__ import annotations

import sys

import pytest
import torch

from swin_umamba.baselines.monai_networks import UNETR, MonaiNetwork, SegResNet, SwinUNETR
from swin_umamba.errors import DataError, UsageError

TINY = {
    SegResNet: {"init_filters": 8},
    UNETR: {"hidden_size": 24, "mlp_dim": 32, "num_heads": 2},
    SwinUNETR: {"feature_size": 12, "num_heads": (1, 1, 2, 2)},
}
NETWORKS = pytest.mark.parametrize("network_class", list(TINY))


def tiny(network_class: type[MonaiNetwork]) -> MonaiNetwork:
    pytest.importorskip("monai")
    return network_class(2, 3, patch_size=[64, 96], deep_supervision=False, **TINY[network_class])


@NETWORKS
def test_shapes_and_gradients(network_class: type[MonaiNetwork]) -> None:
    network = tiny(network_class)
    logits = network(torch.randn(1, 2, 64, 96))
    assert logits.shape == (1, 3, 64, 96)
    logits.square().sum().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@NETWORKS
@pytest.mark.parametrize("shape", [(1, 2, 64, 100), (1, 3, 64, 96), (2, 64, 96)])
def test_refuses_other_shapes(network_class: type[MonaiNetwork], shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"multiple of|images of shape \(batch, 2"):
        tiny(network_class)(torch.zeros(shape))


def test_unetr_keeps_to_its_patch() -> None:
    with pytest.raises(DataError, match="64x96 pixels only, not of 64x64"):
        tiny(UNETR)(torch.zeros(1, 2, 64, 64))
    with pytest.raises(UsageError, match="multiples of 16"):
        UNETR(1, 2, patch_size=[64, 72])


def test_absence_of_monai_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(UsageError, match=r"swin-umamba\[compare\]"):
        SegResNet(1, 2, patch_size=[64, 64])
