"""Attention in windows that may be shifted: Swin's, but without an attention mask, as in nnFormer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def partition_windows(x: Tensor, window_size: int) -> Tensor:
    """Cut (batch, height, width, channels) into (batch * windows, window_size ** 2, channels).

    Windows, and pixels in them, are in row-major order. Height and width must be multiples of the window.
    """
    x = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def merge_windows(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Undo ``partition_windows`` for a map of that height and width."""
    rows, columns = height // window_size, width // window_size
    x = windows.unflatten(1, (window_size, window_size)).unflatten(0, (-1, rows, columns))
    y: Tensor = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return y


def apply_to_windows(
    function: Callable[..., Tensor], maps: Sequence[Tensor], window_size: int, shift: int
) -> Tensor:
    """Apply a function to the windows of maps and put its result back where the pixels came from.

    Maps are padded with zeros, below and on the right, to multiples of the window, and then shifted
    cyclically. As in nnFormer there is no attention mask: padding takes part, and a window at the border of
    a shifted map sees pixels of the opposite border.

    Parameters
    ----------
    function
        Function that maps the windows of each map, (batch * windows, window_size ** 2, channels), to that
        shape.
    maps
        Maps (batch, height, width, channels), all of one shape.
    window_size
        Edge of a window in pixels.
    shift
        Pixels by which the maps move up and to the left.
    """
    height, width = maps[0].shape[1:3]
    below, right = -height % window_size, -width % window_size
    windows = []
    for each in maps:
        padded = F.pad(each, (0, 0, 0, right, 0, below))
        windows.append(partition_windows(padded.roll((-shift, -shift), (1, 2)), window_size))
    x = merge_windows(function(*windows), window_size, height + below, width + right)
    return x.roll((shift, shift), (1, 2))[:, :height, :width]


class RelativePositionBias(nn.Module):
    """A learnt bias for each head and each offset between two pixels of a window.

    Parameters
    ----------
    num_heads
        Attention heads.
    window_size
        Edge of a window in pixels.

    References
    ----------
    Liu et al., "Swin Transformer", arXiv 2103.14030, equation 4.
    """

    index: Tensor

    def __init__(self, num_heads: int, window_size: int) -> None:
        super().__init__()
        offsets = 2 * window_size - 1
        self.table = nn.Parameter(torch.empty(offsets**2, num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        pixels = torch.cartesian_prod(torch.arange(window_size), torch.arange(window_size))
        # Query minus key, offset so that the most negative value is 0.
        rows, columns = (pixels[:, None] - pixels[None] + window_size - 1).unbind(-1)
        self.register_buffer("index", rows * offsets + columns, persistent=False)

    def forward(self) -> Tensor:
        """Return (num_heads, pixels, pixels): for each head, query and key."""
        return self.table[self.index].permute(2, 0, 1)


class WindowAttention(nn.Module):
    """Multi-head attention among the pixels of a window, with relative position bias.

    Parameters
    ----------
    dim
        Channels, a multiple of the heads.
    num_heads
        Attention heads.
    window_size
        Edge of a window in pixels.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.position_bias = RelativePositionBias(num_heads, window_size)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (windows, pixels, dim) to the same shape."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        y: Tensor = self.proj(_attend(query, key, value, self.position_bias()))
        return y


class WindowCrossAttention(nn.Module):
    """Window attention whose keys and values come from another map; the query is not projected.

    Parameters
    ----------
    dim, num_heads, window_size
        As for ``WindowAttention``.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.kv = nn.Linear(dim, 2 * dim)
        self.position_bias = RelativePositionBias(num_heads, window_size)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        """Map two tensors (windows, pixels, dim) to one of the same shape."""
        key, value = self.kv(other).chunk(2, dim=-1)
        y: Tensor = self.proj(_attend(query, key, value, self.position_bias()))
        return y


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend with as many heads as the bias has; everything else is (windows, pixels, dim)."""
    query, key, value = (x.unflatten(-1, (len(bias), -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
