"""The two convolutional blocks of Swin-UMamba's decoder: residual block and up-sampling block."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.modules.half_precision import call_with_copies, copies_for_autocast

NEGATIVE_SLOPE = 0.01


def named_conv(conv: nn.Module) -> nn.Sequential:
    """Wrap a convolution so that its parameters are called ``conv.weight``, as in the public checkpoints."""
    return nn.Sequential(OrderedDict(conv=conv))


def init_conv(module: nn.Module) -> None:
    """Initialise a convolution as nnU-Net does; leave any other module as it is."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm; on the CPU through PyTorch's group norm, which is several times faster there.

    Elsewhere, group norm would leave half precision under autocast. On the CPU it needs channels-first
    memory: on channels-last it subtracts large numbers from each other and loses the variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, num_features, height, width) to the same shape."""
        if x.device.type == "cpu":
            return F.group_norm(x.contiguous(), self.num_features, self.weight, self.bias, self.eps)
        return super().forward(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm and a shortcut; LeakyReLU after the first and after the sum.

    The norms have no parameters and use the statistics of each image, in training and in evaluation.

    Parameters
    ----------
    in_channels, out_channels
        If they differ, the shortcut is a normalised 1x1 convolution, otherwise the identity.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = named_conv(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False))
        self.norm1 = InstanceNorm(out_channels)
        self.conv2 = named_conv(nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False))
        self.norm2 = InstanceNorm(out_channels)
        self.conv3: nn.Sequential | None = None
        if in_channels != out_channels:
            self.conv3 = named_conv(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.norm3 = InstanceNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        layers = (self.conv1, self.conv2) if self.conv3 is None else (self.conv1, self.conv2, self.conv3)
        copies = copies_for_autocast(x.device, *layers)
        shortcut = x if self.conv3 is None else self.norm3(call_with_copies(self.conv3, x, copies))
        x = F.leaky_relu(self.norm1(call_with_copies(self.conv1, x, copies)), NEGATIVE_SLOPE, inplace=True)
        x = self.norm2(call_with_copies(self.conv2, x, copies))
        return F.leaky_relu(x + shortcut, NEGATIVE_SLOPE, inplace=True)


class UpBlock(nn.Module):
    """Double the resolution with a transposed convolution, append the skip, and fuse both residually.

    Parameters
    ----------
    in_channels
        Channels of the coarse input.
    out_channels
        Channels of the skip and of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.transp_conv = named_conv(nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False))
        self.conv_block = ResidualBlock(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) and (batch, out_channels, 2h, 2w) to the shape of the skip."""
        y: Tensor = self.conv_block(torch.cat([self.transp_conv(x), skip], dim=1))
        return y
