"""The control with ConvNeXt's blocks: what a block computes, and that it costs what it is compared with."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.baselines.convnext import ConvNeXtBlock, SwinUMambaDDConvNeXt
from swin_umamba.compare.complexity import count_macs, measure_complexity
from swin_umamba.compare.networks import NETWORKS
from swin_umamba.models.backbones import encoder_on_meta
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.weights.catalog import BACKBONES

COST_TOLERANCE = 0.05
TINY = {"depths": (1, 2, 1, 1), "features_per_stage": (8, 12, 16, 20)}


def test_a_block_is_what_the_paper_says() -> None:
    torch.manual_seed(0)
    block = ConvNeXtBlock(6).double()
    assert block.scale.unique().tolist() == pytest.approx([1e-6])
    for parameter in block.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x = torch.randn(2, 9, 10, 6, dtype=torch.float64)
    # The convolution, pixel by pixel, of the image with three rows and columns of zeros around it.
    wide = F.pad(x, (0, 0, 3, 3, 3, 3))
    y = block.conv.bias + sum(
        wide[:, row : row + 9, column : column + 10] * block.conv.weight[:, 0, row, column]
        for row in range(7)
        for column in range(7)
    )
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    y = y * block.norm.weight + block.norm.bias
    y = F.gelu(y @ block.mlp.fc1.weight.T + block.mlp.fc1.bias) @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    torch.testing.assert_close(block(x), x + block.scale * y, rtol=1e-10, atol=1e-10)


def test_it_costs_what_it_is_compared_with() -> None:
    control, ours = (
        measure_complexity(NETWORKS[name].build, 1, 14, (320, 320))
        for name in ("swin_umamba_dd_convnext", "swin_umamba_dd")
    )
    assert control.parameters == pytest.approx(ours.parameters, rel=COST_TOLERANCE)
    assert control.macs == pytest.approx(ours.macs, rel=COST_TOLERANCE)


def test_its_encoder_costs_what_v2_tiny_does() -> None:
    with torch.device("meta"):
        control = SwinUMambaDDConvNeXt(3, 2).vssm_encoder
        image = torch.empty(1, 3, 320, 320)
    tiny = encoder_on_meta(BACKBONES["vmamba_tiny_s1l8"], 3)
    parameters = [sum(each.numel() for each in network.parameters()) for network in (control, tiny)]
    macs = [count_macs(network, image) for network in (control, tiny)]
    for ours, theirs in (parameters, macs):
        assert ours == pytest.approx(theirs, rel=COST_TOLERANCE)


def test_no_scan_is_in_it_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = SwinUMambaDDConvNeXt(1, 3, deep_supervision=True, **TINY)
    assert not any(isinstance(module, SS2D) for module in network.modules())
    blocks = [module for module in network.modules() if isinstance(module, ConvNeXtBlock)]
    assert len(blocks) == 5 + sum(network.decoder_depths)
    assert blocks[4].drop_path.drop_prob == pytest.approx(0.2)
    heads = network.eval()(torch.randn(1, 1, 64, 64))
    assert [head.shape[-1] for head in heads] == [64, 32, 16, 8, 4]
    sum((head.square().sum() for head in heads), torch.zeros(())).backward()
    assert all(isinstance(p.grad, torch.Tensor) and p.grad.abs().max() > 0 for p in network.parameters())
