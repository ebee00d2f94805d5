"""The convolutional twin of SwinUMambaD: the control that shows what the scan is worth."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.models.network import Planned
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.modules.residual_block import init_conv
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.modules.vss_block import VSSBlock

KERNEL = 7


class ConvMixer(nn.Module):
    """SS2D with a 7x7 depthwise convolution in place of the four scans and all their parameters.

    Projections, 3x3 depthwise convolution, norm and gate are those of the given SS2D.

    Parameters
    ----------
    ss2d
        Source of these layers, which are reused, not copied.
    """

    def __init__(self, ss2d: SS2D) -> None:
        super().__init__()
        d_inner = ss2d.conv2d.out_channels
        self.in_proj = ss2d.in_proj
        self.conv2d = ss2d.conv2d
        self.mixer = nn.Conv2d(d_inner, d_inner, KERNEL, padding=KERNEL // 2, groups=d_inner)
        self.out_norm = ss2d.out_norm
        self.out_proj = ss2d.out_proj
        # Like every other convolution of the network.
        init_conv(self.mixer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, d_model) to the same shape."""
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = self.mixer(F.silu(self.conv2d(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)
        y: Tensor = self.out_proj(self.out_norm(x) * F.silu(z))
        return y


class SwinUMambaDConv(Planned, SwinUMambaD):
    """SwinUMambaD without any scan; everything else (depths, widths, heads, initialisation) is the same.

    Parameters
    ----------
    input_channels, num_classes, **kwargs
        As for ``Planned`` and SwinUMambaD.
    """

    def __init__(self, input_channels: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(input_channels, num_classes, **kwargs)
        for block in list(self.modules()):
            if isinstance(block, VSSBlock):
                block.self_attention = ConvMixer(block.self_attention)  # type: ignore[assignment]
