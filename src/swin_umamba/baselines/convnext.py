"""SwinUMambaDD with the blocks of ConvNeXt: a control of equal cost without any scan."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swin_umamba.models.network import Planned
from swin_umamba.models.swin_umamba_dd import SwinUMambaDD
from swin_umamba.models.vmamba import TRUNCATED_NORMAL_STD
from swin_umamba.modules.vss_block import MLP, DropPath, VSSBlockV2, VSSLayer

KERNEL = 7
LAYER_SCALE = 1e-6
ENCODER_DEPTHS = (3, 3, 9, 3)
"""Those of ConvNeXt-T; they make the encoder as large and as costly as ``vmamba_tiny_s1l8``, to 2 %."""


class ConvNeXtBlock(nn.Module):
    """A 7x7 depthwise convolution, a norm and an MLP, scaled by channel: a residual, channels-last.

    Parameters
    ----------
    dim
        Channels.
    drop_path
        Stochastic-depth probability.

    References
    ----------
    Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545, figure 4 and appendix A.1.
    """

    def __init__(self, dim: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim)
        self.scale = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)
        for layer in (self.conv, self.mlp.fc1, self.mlp.fc2):
            nn.init.trunc_normal_(layer.weight, std=TRUNCATED_NORMAL_STD)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height, width, dim) to the same shape."""
        y = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = self.scale * self.mlp(self.norm(y))
        z: Tensor = x + self.drop_path(y)
        return z


class SwinUMambaDDConvNeXt(Planned, SwinUMambaDD):
    """SwinUMambaDD with ConvNeXt's blocks in encoder and decoder, as many as make its cost the same.

    Stem, steps between stages, skips and heads are those of SwinUMambaDD. With 1 channel and 14 classes it
    has 1 % more parameters and 2 % fewer multiply-accumulates.

    Parameters
    ----------
    input_channels, num_classes, **kwargs
        As for ``Planned`` and SwinUMambaDD.
    """

    decoder_depths = (3, 2, 3, 1)

    def __init__(self, input_channels: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(input_channels, num_classes, **{"depths": ENCODER_DEPTHS, **kwargs})
        for layer in self.vssm_encoder.modules():
            if isinstance(layer, VSSLayer):
                layer.blocks = nn.ModuleList(_replacement(block) for block in layer.blocks)

    def _blocks(self, d_state: int, backend: str | None) -> dict[str, Any]:
        return {"block": ConvNeXtBlock}


def _replacement(block: nn.Module) -> ConvNeXtBlock:
    assert isinstance(block, VSSBlockV2)
    return ConvNeXtBlock(block.norm.normalized_shape[0], drop_path=block.drop_path.drop_prob)
