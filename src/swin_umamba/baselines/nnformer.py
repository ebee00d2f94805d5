"""nnFormer flattened to 2D: a U-Net of transformer blocks whose decoder attends to the skips.

The 2D form in the comparison of arXiv 2402.03302 (60 million parameters, 50.2 GFLOPs) is not known, and the
public nnFormer is 3D only. This is therefore a stand-in: the public structure without its third axis, with
width, heads and windows chosen here. See ``NNFormer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.baselines.inputs import check_input
from swin_umamba.baselines.window_attention import WindowAttention, WindowCrossAttention, apply_to_windows
from swin_umamba.errors import UsageError
from swin_umamba.modules.vss_block import DropPath

LEVELS = 4
BLOCKS_PER_LEVEL = 2
MAX_DROP_PATH = 0.2
MLP_RATIO = 4
PATCH_SIZE = 4

HEAD_STRIDES = ((1, 1), (2, 2), (2, 2), (8, 8))
"""nnU-Net takes the heads' sizes from these: 1, 1/2 and 1/4 of the image. The last leads to the coarsest map,
which has no head."""


class TransformerBlock(nn.Module):
    """Pre-norm window attention and MLP, each with a residual.

    Parameters
    ----------
    dim, num_heads, window_size
        As for ``WindowAttention``.
    shift
        Pixels by which the windows are shifted.
    drop_path
        Stochastic-depth probability.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shift: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window_size, self.shift = window_size, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _mlp(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to the same shape."""
        attended = apply_to_windows(self.attention, [self.norm1(x)], self.window_size, self.shift)
        x = x + self.drop_path(attended)
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class CrossAttentionBlock(nn.Module):
    """The first block of a decoder level: the upsampled map gives the queries, the skip keys and values.

    Parameters
    ----------
    dim, num_heads, window_size
        As for ``WindowAttention``.

    References
    ----------
    Zhou et al., "nnFormer: Interleaved Transformer for Volumetric Segmentation", arXiv 2109.03201 (skip
    attention).
    """

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowCrossAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _mlp(dim)

    def forward(self, upsampled: Tensor, skip: Tensor) -> Tensor:
        """Map two tensors (batch, height, width, dim) to one of the same shape."""
        maps = [self.norm1(upsampled), self.norm1(skip)]
        x = skip + upsampled + apply_to_windows(self.attention, maps, self.window_size, shift=0)
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Stem(nn.Module):
    """Four 3x3 convolutions, each followed by a layer norm, that take an image to 1/4 of its resolution.

    Parameters
    ----------
    in_channels
        Channels of the image.
    dim
        Channels of the output; the first two convolutions have half as many.
    """

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        steps = ((in_channels, half, 2), (half, half, 1), (half, dim, 2), (dim, dim, 1))
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=stride, padding=1) for before, after, stride in steps
        )
        self.norms = nn.ModuleList(nn.LayerNorm(after) for _, after, _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, height / 4, width / 4, dim)."""
        x = x.permute(0, 2, 3, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = _channels_last(conv, x)
            # The last convolution has no activation.
            x = norm(x if conv is self.convs[-1] else F.gelu(x))
        return x


class Downsampling(nn.Module):
    """GELU, layer norm, and a 3x3 convolution that halves the resolution and doubles the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to (batch, ceil(height / 2), ceil(width / 2), 2 * dim)."""
        return _channels_last(self.conv, self.norm(F.gelu(x)))


class CrossAttentionDecoderLevel(nn.Module):
    """Upsample, attend to the skip, attend in shifted windows.

    Parameters
    ----------
    dim, num_heads, window_size
        Sizes of this level, as for ``WindowAttention``; the level below has twice the channels.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * dim)
        self.up = nn.ConvTranspose2d(2 * dim, dim, 2, stride=2)
        self.cross_block = CrossAttentionBlock(dim, num_heads, window_size)
        self.block = TransformerBlock(dim, num_heads, window_size, window_size // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map the level below, and the skip of this one, to the shape of the skip."""
        x = _channels_last(self.up, self.norm(x))
        # If the skip's side is odd, upsampling overshoots by one.
        x = x[:, : skip.shape[1], : skip.shape[2]]
        y: Tensor = self.block(self.cross_block(x, skip))
        return y


class NNFormer(nn.Module):
    """nnFormer in 2D: the public structure, at a width chosen here.

    From the public 3D network: stem to 1/4 of the resolution, four encoder and three decoder levels of two
    blocks, convolutions between levels, attention in shifted windows without a mask, cross-attention to the
    skips, one transposed convolution from each decoder level to logits, and the initialisation.

    Chosen here: 144 channels, which in 2D give 64.3 million parameters, closer to the 60 million of the
    paper's unknown network than 96 (28.7) or 128 (50.8); windows of 7 at every level; 6, 12, 24 and 48 heads
    and deep supervision, as in the public settings for Synapse; stochastic depth only in the encoder. Maps
    with an odd side, which the public network does not encounter, are rounded up on the way down and cropped
    on the way up.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image and of the logits.
    embed_dim
        Channels of the first level, an even number; they double from level to level.
    num_heads
        Attention heads of the four levels; each must divide the channels of its level.
    window_size
        Edge of the windows in pixels of a map.
    deep_supervision
        Return logits at 1, 1/2 and 1/4 of the resolution instead of only the first.
    strides
        Only for nnU-Net, which reads the sizes of the heads from the plans.

    Raises
    ------
    UsageError
        If the channels cannot be divided among the heads.
    DataError
        In ``forward``, if a side of the image is not a multiple of 4.

    References
    ----------
    Zhou et al., "nnFormer: Interleaved Transformer for Volumetric Segmentation", arXiv 2109.03201.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        embed_dim: int = 144,
        num_heads: Sequence[int] = (6, 12, 24, 48),
        window_size: int = 7,
        deep_supervision: bool | None = None,
        strides: Any = None,
    ) -> None:
        super().__init__()
        dims = [embed_dim * 2**level for level in range(LEVELS)]
        _check_heads(dims, num_heads)
        self.input_channels = input_channels
        self.deep_supervision = bool(deep_supervision)
        self.stem = Stem(input_channels, embed_dim)
        rates = torch.linspace(0, MAX_DROP_PATH, LEVELS * BLOCKS_PER_LEVEL, device="cpu").tolist()
        self.levels = nn.ModuleList(
            nn.Sequential(
                *(
                    TransformerBlock(dim, heads, window_size, block % 2 * (window_size // 2), rates.pop(0))
                    for block in range(BLOCKS_PER_LEVEL)
                )
            )
            for dim, heads in zip(dims, num_heads, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims)
        self.downsamplings = nn.ModuleList(Downsampling(dim) for dim in dims[:-1])
        self.decoder_levels = nn.ModuleList(
            CrossAttentionDecoderLevel(dims[level], num_heads[level], window_size)
            for level in reversed(range(LEVELS - 1))
        )
        self.heads = nn.ModuleList(
            nn.ConvTranspose2d(dim, num_classes, PATCH_SIZE, stride=PATCH_SIZE) for dim in reversed(dims[:-1])
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (batch, input_channels, height, width) to logits, or to a list of them, finest first."""
        check_input(x, type(self).__name__, self.input_channels, (PATCH_SIZE, PATCH_SIZE))
        height, width = x.shape[-2:]
        x = self.stem(x)
        skips = []
        for number, (level, norm) in enumerate(zip(self.levels, self.norms, strict=True)):
            x = level(self.downsamplings[number - 1](x) if number else x)
            skips.append(norm(x))
        x = skips.pop()
        logits = []
        for level, head in zip(self.decoder_levels, self.heads, strict=True):
            x = level(x, skips.pop())
            if self.deep_supervision or not skips:
                # Coarse maps whose side was rounded up cover more than the image.
                scale = 2 ** len(skips)
                logits.append(head(x.permute(0, 3, 1, 2))[..., : height // scale, : width // scale])
        return logits[::-1] if self.deep_supervision else logits[-1]


def _channels_last(conv: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return y


def _mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, MLP_RATIO * dim), nn.GELU(), nn.Linear(MLP_RATIO * dim, dim))


def _check_heads(dims: Sequence[int], num_heads: Sequence[int]) -> None:
    fits = len(num_heads) == len(dims) and all(heads > 0 for heads in num_heads)
    if not fits or dims[0] % 2 or any(dim % heads for dim, heads in zip(dims, num_heads, strict=True)):
        raise UsageError(
            f"nnFormer cannot divide {dims} channels among {list(num_heads)} attention heads",
            hint=f"give an even width and {LEVELS} numbers of heads that divide the channels of their levels",
        )
