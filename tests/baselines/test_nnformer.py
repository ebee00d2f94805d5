"""nnFormer in 2D: parameters by closed form, shapes, blocks by value, gradients, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.baselines.nnformer import (
    CrossAttentionBlock,
    CrossAttentionDecoderLevel,
    Downsampling,
    NNFormer,
    Stem,
    TransformerBlock,
)
from swin_umamba.baselines.window_attention import apply_to_windows
from swin_umamba.errors import DataError, UsageError

PARAMETER_TOLERANCE = 0.005


def tiny(**kwargs: object) -> NNFormer:
    return NNFormer(2, 3, embed_dim=4, num_heads=(1, 2, 2, 4), window_size=3, **kwargs)


# Weights and biases of all layers added up by hand, windows of 7, 1 channel, 14 classes.
@pytest.mark.parametrize(
    ("embed_dim", "num_heads", "millions"),
    [(96, (3, 6, 12, 24), 28.7), (128, (4, 8, 16, 32), 50.8), (144, (6, 12, 24, 48), 64.3)],
)
def test_parameters(embed_dim: int, num_heads: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        network = NNFormer(1, 14, embed_dim, num_heads)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=PARAMETER_TOLERANCE)


def test_default_is_the_width_nearest_to_the_paper() -> None:
    with torch.device("meta"):
        network = NNFormer(1, 14)
    assert sum(parameter.numel() for parameter in network.parameters()) == 64_332_522


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (36, 44), (4, 20)])
def test_heads(size: tuple[int, int]) -> None:
    network = tiny(deep_supervision=True).eval()
    x = torch.randn(2, 2, *size)
    heads = network(x)
    height, width = size
    sizes = [(height // scale, width // scale) for scale in (1, 2, 4)]
    assert [tuple(head.shape) for head in heads] == [(2, 3, *each) for each in sizes]
    network.deep_supervision = False
    torch.testing.assert_close(network(x), heads[0])


def test_gradients_reach_every_parameter() -> None:
    network = tiny(deep_supervision=True).eval()
    sum((head * torch.randn_like(head)).sum() for head in network(torch.randn(2, 2, 64, 64))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name


def test_stem_by_value() -> None:
    stem = Stem(2, 6).double()
    image = torch.randn(1, 2, 12, 8, dtype=torch.float64)
    x = image
    for number, (conv, stride) in enumerate(zip(stem.convs, (2, 1, 2, 1), strict=True)):
        x = F.conv2d(x, conv.weight, conv.bias, stride, padding=1)
        x = F.gelu(x) if number < 3 else x
        x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)
    torch.testing.assert_close(stem(image), x.permute(0, 2, 3, 1))


def test_downsampling_by_value() -> None:
    layer = Downsampling(4).double()
    x = torch.randn(1, 5, 6, 4, dtype=torch.float64)
    normed = F.layer_norm(F.gelu(x), (4,)).permute(0, 3, 1, 2)
    expected = F.conv2d(normed, layer.conv.weight, layer.conv.bias, 2, padding=1)
    assert expected.shape == (1, 8, 3, 3)
    torch.testing.assert_close(layer(x), expected.permute(0, 2, 3, 1))


def test_cross_attention_block_by_value() -> None:
    block = CrossAttentionBlock(4, 2, 3).double()
    torch.nn.init.normal_(block.norm1.weight)
    upsampled, skip = torch.randn(2, 1, 6, 5, 4, dtype=torch.float64)
    attended = apply_to_windows(block.attention, [block.norm1(upsampled), block.norm1(skip)], 3, 0)
    x = upsampled + skip + attended
    torch.testing.assert_close(block(upsampled, skip), x + block.mlp(block.norm2(x)))


def test_every_second_block_is_shifted_and_depth_is_dropped_more_and_more() -> None:
    network = NNFormer(1, 2, embed_dim=4, num_heads=(1, 2, 2, 4), window_size=7)
    encoder = [block for level in network.levels for block in level]
    assert all(isinstance(block, TransformerBlock) for block in encoder)
    assert [block.shift for block in encoder] == [0, 3] * 4
    rates = [block.drop_path.drop_prob for block in encoder]
    assert rates == pytest.approx([0.2 * number / 7 for number in range(8)])
    decoder = [
        level.block for level in network.decoder_levels if isinstance(level, CrossAttentionDecoderLevel)
    ]
    assert [(block.shift, block.drop_path.drop_prob) for block in decoder] == [(3, 0.0)] * 3


def test_shifted_blocks_see_across_the_borders_of_windows() -> None:
    x = torch.randn(1, 6, 6, 4, dtype=torch.float64)
    changed = x.clone()
    changed[0, 2, 2, 0] += 1.0
    reached = {}
    for shift in (0, 1):
        block = TransformerBlock(4, 2, 3, shift).double()
        difference = (block(changed) - block(x)).abs().sum(-1)[0]
        reached[shift] = {tuple(pixel) for pixel in difference.nonzero().tolist()}
    assert reached[0] == {(row, column) for row in range(3) for column in range(3)}
    assert reached[1] == {(row, column) for row in range(1, 4) for column in range(1, 4)}


def test_relative_position_tables_start_small() -> None:
    tables = [p for name, p in NNFormer(1, 2, 16, (2, 4, 4, 8)).named_parameters() if name.endswith("table")]
    assert len(tables) == 4 * 2 + 3 * 2
    spread = torch.cat([table.flatten() for table in tables]).std().item()
    assert spread == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "shape", [(1, 2, 18, 16), (1, 2, 16, 17), (1, 3, 16, 16), (2, 16, 16), (1, 2, 0, 16)]
)
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"multiple of 4|images of shape \(batch, 2"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("embed_dim", "num_heads"), [(5, (1, 2, 2, 4)), (6, (4, 6, 6, 6)), (4, (1, 2, 2)), (4, (0, 1, 1, 1))]
)
def test_refuses_heads_that_do_not_fit(embed_dim: int, num_heads: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="attention heads"):
        NNFormer(1, 2, embed_dim, num_heads)
