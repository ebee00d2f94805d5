"""U-Mamba_Bot and U-Mamba_Enc: nnU-Net's U-Net with residual blocks and Mamba layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from swin_umamba.baselines.inputs import check_input
from swin_umamba.baselines.topology import unet_features
from swin_umamba.errors import UsageError
from swin_umamba.modules.mamba import Mamba
from swin_umamba.modules.residual_block import NEGATIVE_SLOPE, init_conv

BLOCKS_PER_STAGE = 2
MIN_STAGES = 2

Pair = tuple[int, int]


class ConvNormAct(nn.Sequential):
    """3x3 convolution with bias, instance norm, LeakyReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: Pair = (1, 1)) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1),
            nn.InstanceNorm2d(out_channels, affine=True),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )


class PooledResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut that average-pools if the block has a stride.

    Parameters
    ----------
    in_channels, out_channels
        If they differ, the shortcut has a 1x1 convolution without bias and an instance norm.
    stride
        Stride along (height, width).

    References
    ----------
    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", arXiv 1812.01187,
    section 4 (ResNet-D).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Pair = (1, 1)) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, stride)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(out_channels, affine=True)
        shortcut: list[nn.Module] = []
        if max(stride) > 1:
            shortcut.append(nn.AvgPool2d(stride, stride))
        if in_channels != out_channels:
            shortcut.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            shortcut.append(nn.InstanceNorm2d(out_channels, affine=True))
        self.shortcut = nn.Sequential(*shortcut)
        self.act = nn.LeakyReLU(NEGATIVE_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride)."""
        y: Tensor = self.act(self.norm2(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y


class MambaLayer(nn.Module):
    """Layer norm and Mamba over the pixels in row-major order, in one direction and without a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mamba = Mamba(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to the same shape."""
        tokens = self.mamba(self.norm(x.flatten(2).transpose(1, 2)))
        y: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return y


class ResidualDecoderLevel(nn.Module):
    """Up-sample, append the skip, two residual blocks."""

    def __init__(self, below: int, channels: int, stride: Pair) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(below, channels, stride, stride=stride)
        self.blocks = _stage(2 * channels, channels, (1, 1))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map the level below, and the skip of this one, to the shape of the skip."""
        y: Tensor = self.blocks(torch.cat([self.up(x), skip], dim=1))
        return y


class UMamba(nn.Module):
    """U-Mamba as of January 2024, the version in the comparison of the Swin-UMamba paper.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image and of the logits.
    strides
        Strides of each encoder stage along (height, width), as planned by nnU-Net; they determine the number
        of stages.
    features_per_stage
        Channels of each stage; by default 32, doubling up to 512.
    deep_supervision
        Return the logits of every decoder level, finest first, instead of the finest alone.

    Raises
    ------
    UsageError
        If there are fewer than two stages.
    DataError
        In ``forward``, if a side of the image is not a multiple of the product of the strides.

    References
    ----------
    Ma et al., "U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation", arXiv 2401.04722.
    Parameter counts agree with table 2 of arXiv 2402.03302: 63 (Bot) and 67 million (Enc).
    """

    mamba_after_every_stage: bool

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        strides: Sequence[Sequence[int]],
        features_per_stage: Sequence[int] | None = None,
        deep_supervision: bool | None = None,
    ) -> None:
        super().__init__()
        if len(strides) < MIN_STAGES:
            raise UsageError(
                f"{type(self).__name__} needs at least {MIN_STAGES} stages, but got strides {list(strides)}",
                hint="give larger images, whose sides can be halved",
            )
        features = list(features_per_stage or unet_features(len(strides)))
        steps: list[Pair] = [(stride[0], stride[1]) for stride in strides]
        self.input_channels = input_channels
        self.multiples = [math.prod(stride[axis] for stride in strides) for axis in range(2)]
        self.deep_supervision = bool(deep_supervision)
        self.stem = ConvNormAct(input_channels, features[0])
        self.stages = nn.ModuleList(
            _stage(previous, current, stride)
            for previous, current, stride in zip([features[0], *features], features, steps, strict=False)
        )
        last = len(features) - 1
        self.mamba_layers = nn.ModuleList(
            MambaLayer(channels) if self.mamba_after_every_stage or stage == last else nn.Identity()
            for stage, channels in enumerate(features)
        )
        self.decoder_levels = nn.ModuleList(
            ResidualDecoderLevel(features[stage + 1], features[stage], steps[stage + 1])
            for stage in reversed(range(last))
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(features[stage], num_classes, 1) for stage in reversed(range(last))
        )
        self.apply(init_conv)
        if self.mamba_after_every_stage:
            self.apply(_init_last_norm)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (batch, input_channels, height, width) to logits, or to a list of them, finest first."""
        check_input(x, type(self).__name__, self.input_channels, self.multiples)
        x = self.stem(x)
        skips = []
        for stage, mamba in zip(self.stages, self.mamba_layers, strict=True):
            x = mamba(stage(x))
            skips.append(x)
        skips.pop()
        logits = []
        for level, head in zip(self.decoder_levels, self.heads, strict=True):
            x = level(x, skips.pop())
            if self.deep_supervision or not skips:
                logits.append(head(x))
        return logits[::-1] if self.deep_supervision else logits[-1]


class UMambaBot(UMamba):
    """One Mamba layer, at the bottleneck, whose output replaces the bottleneck's feature."""

    mamba_after_every_stage = False


class UMambaEnc(UMamba):
    """A Mamba layer after every encoder stage; its output goes to the next stage and is also the skip."""

    mamba_after_every_stage = True


def _stage(in_channels: int, out_channels: int, stride: Pair) -> nn.Sequential:
    first = PooledResidualBlock(in_channels, out_channels, stride)
    rest = (PooledResidualBlock(out_channels, out_channels) for _ in range(BLOCKS_PER_STAGE - 1))
    return nn.Sequential(first, *rest)


def _init_last_norm(module: nn.Module) -> None:
    """Make every residual block start as its shortcut."""
    if isinstance(module, PooledResidualBlock):
        nn.init.zeros_(module.norm2.weight)
        nn.init.zeros_(module.norm2.bias)
