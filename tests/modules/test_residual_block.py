"""The convolutional blocks against their formulas."""

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.modules.residual_block import InstanceNorm, ResidualBlock, UpBlock


def normalise(x: torch.Tensor) -> torch.Tensor:
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.01 * x)


@pytest.mark.parametrize("in_channels", [3, 6])
@pytest.mark.parametrize("training", [False, True])
def test_residual_block(in_channels: int, training: bool) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(in_channels, 6).double().train(training)
    x = torch.randn(2, in_channels, 5, 4, dtype=torch.float64)
    weights = block.state_dict()
    inner = leaky(normalise(F.conv2d(x, weights["conv1.conv.weight"], padding=1)))
    inner = normalise(F.conv2d(inner, weights["conv2.conv.weight"], padding=1))
    shortcut = normalise(F.conv2d(x, weights["conv3.conv.weight"])) if in_channels != 6 else x
    before = x.clone()
    torch.testing.assert_close(block(x), leaky(inner + shortcut))
    assert torch.equal(x, before)
    assert ("conv3.conv.weight" in weights) == (in_channels != 6)


def test_up_block_appends_the_skip_after_the_upsampled() -> None:
    torch.manual_seed(0)
    block = UpBlock(6, 4)
    x, skip = torch.randn(2, 6, 3, 2), torch.randn(2, 4, 6, 4)
    kernel = block.transp_conv.conv.weight  # (in, out, 2, 2)
    upsampled = torch.zeros(2, 4, 6, 4)
    for row in range(6):
        for column in range(4):
            upsampled[:, :, row, column] = x[:, :, row // 2, column // 2] @ kernel[:, :, row % 2, column % 2]
    expected = block.conv_block(torch.cat([upsampled, skip], dim=1))
    torch.testing.assert_close(block(x, skip), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
def test_instance_norm_survives_a_large_mean(mean: float, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(5, affine=True)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = (torch.randn(2, 5, 40, 30) + mean).to(memory_format=memory_format)
    exact = normalise(x.double()) * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    error = (norm(x) - exact).abs().max()
    assert error < 2e-6 * (1 + mean / 5)  # float32 spacing at the mean, relative to a deviation of one
