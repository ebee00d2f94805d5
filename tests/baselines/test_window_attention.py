"""Window attention: windows by value, shift, position bias, attention against the formula, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin_umamba.baselines.window_attention import (
    RelativePositionBias,
    WindowAttention,
    WindowCrossAttention,
    apply_to_windows,
    merge_windows,
    partition_windows,
)


def numbered(height: int, width: int) -> Tensor:
    """Return a map whose pixels are 1, 2, 3 ... in row-major order."""
    return torch.arange(1.0, height * width + 1).reshape(1, height, width, 1)


def test_windows_by_value() -> None:
    windows = partition_windows(numbered(4, 6), 2)
    assert windows.shape == (6, 4, 1)
    assert windows[1].flatten().tolist() == [3, 4, 9, 10]
    assert windows[3].flatten().tolist() == [13, 14, 19, 20]


@pytest.mark.parametrize("size", [(6, 9), (3, 3), (12, 3)])
def test_windows_round_trip(size: tuple[int, int]) -> None:
    x = torch.randn(2, *size, 5)
    windows = partition_windows(x, 3)
    assert windows.shape == (2 * size[0] * size[1] // 9, 9, 5)
    assert torch.equal(merge_windows(windows, 3, *size), x)


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("size", [(14, 7), (9, 16), (1, 5)])
def test_shift_and_padding_are_undone_exactly(size: tuple[int, int], shift: int) -> None:
    x, other = torch.randn(2, 2, *size, 3)
    assert torch.equal(apply_to_windows(lambda windows: windows, [x], 7, shift), x)
    assert torch.equal(apply_to_windows(lambda windows, others: others, [x, other], 7, shift), other)


def test_shifted_windows_by_value() -> None:
    seen = []

    def note(windows: Tensor) -> Tensor:
        seen.append(windows[..., 0].tolist())
        return windows

    apply_to_windows(note, [numbered(4, 4)], 2, 1)
    # The last window joins the four corners: there is no mask between them.
    assert seen.pop() == [[6, 7, 10, 11], [8, 5, 12, 9], [14, 15, 2, 3], [16, 13, 4, 1]]
    apply_to_windows(note, [numbered(2, 3)], 2, 0)
    assert seen.pop() == [[1, 2, 4, 5], [3, 0, 6, 0]]


def test_position_bias_is_looked_up_by_offset() -> None:
    window, heads = 3, 2
    bias = RelativePositionBias(heads, window)
    found = bias()
    assert found.shape == (heads, 9, 9)
    for query in range(9):
        for key in range(9):
            row = query // window - key // window + window - 1
            column = query % window - key % window + window - 1
            assert torch.equal(found[:, query, key], bias.table[row * (2 * window - 1) + column])
    assert bias.index.unique().numel() == len(bias.table)
    assert "index" not in bias.state_dict()


def attention_by_formula(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return softmax(q k / sqrt(d) + bias) v, head by head."""
    heads = []
    for head, (q, k, v) in enumerate(
        zip(*(x.chunk(len(bias), dim=-1) for x in (query, key, value)), strict=True)
    ):
        scores = torch.einsum("wqc,wkc->wqk", q, k) / q.shape[-1] ** 0.5 + bias[head]
        heads.append(torch.einsum("wqk,wkc->wqc", scores.softmax(-1), v))
    return torch.cat(heads, dim=-1)


def test_self_attention_by_value() -> None:
    attention = WindowAttention(6, 2, 2).double()
    torch.nn.init.normal_(attention.position_bias.table)
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    query, key, value = (x @ attention.qkv.weight.T + attention.qkv.bias).split(6, dim=-1)
    expected = attention.proj(attention_by_formula(query, key, value, attention.position_bias()))
    torch.testing.assert_close(attention(x), expected)


def test_cross_attention_by_value() -> None:
    attention = WindowCrossAttention(6, 3, 2).double()
    torch.nn.init.normal_(attention.position_bias.table)
    query, other = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    key, value = (other @ attention.kv.weight.T + attention.kv.bias).split(6, dim=-1)
    expected = attention.proj(attention_by_formula(query, key, value, attention.position_bias()))
    torch.testing.assert_close(attention(query, other), expected)


def test_gradients() -> None:
    attention = WindowAttention(4, 2, 2).double()
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: apply_to_windows(attention, [x], 2, 1), (x,))
    attention(torch.randn(2, 4, 4, dtype=torch.float64)).square().sum().backward()
    table = attention.position_bias.table
    assert table.grad is not None
    assert bool((table.grad != 0).all())
