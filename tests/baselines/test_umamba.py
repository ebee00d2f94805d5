"""U-Mamba: shapes, order of tokens, blocks by value, gradients, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.baselines.umamba import MambaLayer, PooledResidualBlock, UMamba, UMambaBot, UMambaEnc
from swin_umamba.errors import DataError

STRIDES = [[1, 1], [2, 2], [2, 1]]
NETWORKS = pytest.mark.parametrize("network_class", [UMambaBot, UMambaEnc])


def tiny(network_class: type[UMamba], **kwargs: object) -> UMamba:
    return network_class(2, 3, STRIDES, features_per_stage=[4, 6, 8], **kwargs)


@NETWORKS
def test_heads_have_the_sizes_that_the_strides_say(network_class: type[UMamba]) -> None:
    network = tiny(network_class, deep_supervision=True)
    x = torch.randn(2, 2, 24, 10)
    heads = network(x)
    assert [tuple(head.shape) for head in heads] == [(2, 3, 24, 10), (2, 3, 12, 5)]
    network.deep_supervision = False
    torch.testing.assert_close(network(x), heads[0])


@NETWORKS
def test_gradients_reach_every_parameter(network_class: type[UMamba]) -> None:
    network = tiny(network_class, deep_supervision=True)
    for module in network.modules():
        if isinstance(module, PooledResidualBlock):  # U-Mamba_Enc starts with closed blocks
            torch.nn.init.ones_(module.norm2.weight)
    sum((head * torch.randn_like(head)).sum() for head in network(torch.randn(1, 2, 16, 16))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.ndim < 2 or bool(parameter.grad.any()), name


def test_number_of_mamba_layers() -> None:
    def count(network: UMamba) -> int:
        return sum(isinstance(module, MambaLayer) for module in network.modules())

    assert (count(tiny(UMambaBot)), count(tiny(UMambaEnc))) == (1, 3)


def test_only_the_encoder_form_starts_with_closed_blocks() -> None:
    for network_class, closed in ((UMambaBot, False), (UMambaEnc, True)):
        blocks = [each for each in tiny(network_class).modules() if isinstance(each, PooledResidualBlock)]
        assert len(blocks) == 10
        assert all((not block.norm2.weight.any()) == closed for block in blocks)


def test_tokens_run_row_by_row_and_only_forwards() -> None:
    layer = MambaLayer(4).double()
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0, 1, 2] += 1.0
    difference = (layer(changed) - layer(x)).abs().sum(1)[0].flatten()
    assert bool((difference[: 1 * 5 + 2] == 0).all())
    assert bool((difference[1 * 5 + 2 :] > 0).all())


@pytest.mark.parametrize(("channels", "stride"), [((3, 3), (1, 1)), ((3, 3), (2, 2)), ((3, 5), (2, 1))])
def test_residual_block_by_value(channels: tuple[int, int], stride: tuple[int, int]) -> None:
    block = PooledResidualBlock(*channels, stride).double()
    x = torch.randn(2, channels[0], 8, 6, dtype=torch.float64)
    conv1 = block.conv1[0]
    main = F.leaky_relu(F.instance_norm(F.conv2d(x, conv1.weight, conv1.bias, stride, 1)), 0.01)
    main = F.instance_norm(F.conv2d(main, block.conv2.weight, block.conv2.bias, padding=1))
    shortcut = F.avg_pool2d(x, stride) if max(stride) > 1 else x
    if channels[0] != channels[1]:
        weight = next(p for p in block.shortcut.parameters() if p.ndim == 4)
        shortcut = F.instance_norm(F.conv2d(shortcut, weight))
    torch.testing.assert_close(block(x), F.leaky_relu(main + shortcut, 0.01))


@NETWORKS
@pytest.mark.parametrize(
    "shape", [(1, 2, 18, 16), (1, 2, 16, 17), (1, 3, 16, 16), (2, 16, 16), (1, 2, 0, 16)]
)
def test_refuses_other_shapes(network_class: type[UMamba], shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"multiple of 4|images of shape \(batch, 2"):
        tiny(network_class)(torch.zeros(shape))
