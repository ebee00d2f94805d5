"""The encoder of VMamba's second generation, in tiny, small and base, in the layout of its public weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from swin_umamba.models.vmamba import drop_path_schedule, init_linear
from swin_umamba.modules.patching import ConvolutionMerging, ConvolutionStem
from swin_umamba.modules.vss_block import VSSBlockV2, VSSLayer


class VMambaV2Encoder(nn.Module):
    """VMamba's second generation without its classifier.

    Sides that are no multiples of the stride are rounded up at each step, so every size works.

    Parameters
    ----------
    in_channels
        Channels of the input.
    patch_size
        Stride of the first stage, 4 or 2.
    depths
        Blocks of each stage.
    features_per_stage
        Channels of each stage; the first must be even.
    ratio
        Channels of a scan relative to those of its stage.
    d_state
        Size of the hidden state of the scan.
    drop_path_rate
        Stochastic-depth rate of the last block; it grows linearly from 0 at the first.
    activation_checkpointing
        Trade time for memory while training: recompute the inside of each block in the backward pass.
    backend
        Name of the scan backend; None chooses by device.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166 (version 3), and its public code.
    """

    def __init__(
        self,
        in_channels: int,
        patch_size: int,
        *,
        depths: Sequence[int],
        features_per_stage: Sequence[int],
        ratio: int,
        d_state: int,
        drop_path_rate: float,
        activation_checkpointing: bool,
        backend: str | None,
    ) -> None:
        super().__init__()
        self.patch_embed = ConvolutionStem(in_channels, features_per_stage[0], patch_size)
        rates = drop_path_schedule(0.0, drop_path_rate, depths)
        self.layers = nn.ModuleList(
            VSSLayer(
                dim,
                stage_rates,
                block=VSSBlockV2,
                activation_checkpointing=activation_checkpointing,
                d_state=d_state,
                ratio=ratio,
                backend=backend,
            )
            for dim, stage_rates in zip(features_per_stage, rates, strict=True)
        )
        # The public state dict has each down-sampling in the stage before it.
        for layer, (fine, coarse) in zip(self.layers, pairwise(features_per_stage), strict=False):
            layer.downsample = ConvolutionMerging(fine, coarse)
        self.apply(init_linear)

    def forward(self, x: Tensor, num_stages: int | None = None) -> list[Tensor]:
        """Return the output of each stage, finest first.

        Parameters
        ----------
        x
            Input (batch, in_channels, height, width).
        num_stages
            Number of stages to compute, finest first; all by default.

        Returns
        -------
        list of Tensor
            Stage i: (batch, height/(patch_size * 2**i), width/(patch_size * 2**i), features_per_stage[i]),
            sides rounded up, channels-last and not normalised.
        """
        return self._stages(self.patch_embed(x), num_stages)

    def with_stem(self, x: Tensor) -> list[Tensor]:
        """Return what lies between the two convolutions of the stem, then the output of each stage.

        Returns
        -------
        list of Tensor
            (batch, height/2, width/2, features_per_stage[0]/2), for patch size 4, and the output of
            ``forward``.
        """
        stem, x = self.patch_embed.both(x)
        return [stem, *self._stages(x, None)]

    def _stages(self, x: Tensor, num_stages: int | None) -> list[Tensor]:
        features: list[Tensor] = []
        merge: nn.Module = nn.Identity()
        for layer in self.layers[:num_stages]:
            x = layer(merge(x))
            features.append(x)
            merge = getattr(layer, "downsample", merge)
        return features


ENCODER = VMambaV2Encoder
"""Class of the encoder for the records of this family."""
