"""The VMamba encoder: a pyramid of VSS stages, in the layout of the public ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from swin_umamba.modules.patching import PatchEmbed, PatchMerging
from swin_umamba.modules.vss_block import VSSLayer

TRUNCATED_NORMAL_STD = 0.02


def drop_path_schedule(first: float, last: float, depths: Sequence[int]) -> list[list[float]]:
    """Spread stochastic-depth rates linearly over the blocks of all stages, from ``first`` to ``last``."""
    steps = max(sum(depths) - 1, 1)
    # Rounding may not make a rate negative.
    rates = [max(first + (last - first) * index / steps, 0.0) for index in range(sum(depths))]
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [rates[start : start + depth] for start, depth in zip(starts, depths, strict=True)]


class VMambaEncoder(nn.Module):
    """VMamba without its classifier.

    Parameters
    ----------
    in_channels
        Channels of the input.
    patch_size
        Edge of an embedded patch; the first stage works at 1/patch_size.
    depths
        VSS blocks of each stage.
    features_per_stage
        Channels of each stage.
    d_state
        Size of the hidden state of the scan.
    drop_path_rate
        Stochastic-depth rate of the last block; it grows linearly from 0 at the first.
    activation_checkpointing
        Trade time for memory while training: recompute the inside of each block in the backward pass.
    backend
        Name of the scan backend; None chooses by device.
    """

    def __init__(
        self,
        in_channels: int,
        patch_size: int,
        *,
        depths: Sequence[int],
        features_per_stage: Sequence[int],
        d_state: int,
        drop_path_rate: float,
        activation_checkpointing: bool,
        backend: str | None,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, features_per_stage[0], patch_size)
        rates = drop_path_schedule(0.0, drop_path_rate, depths)
        self.layers = nn.ModuleList(
            VSSLayer(
                dim,
                stage_rates,
                d_state=d_state,
                activation_checkpointing=activation_checkpointing,
                backend=backend,
            )
            for dim, stage_rates in zip(features_per_stage, rates, strict=True)
        )
        self.downsamples = nn.ModuleList(
            PatchMerging(fine, coarse) for fine, coarse in pairwise(features_per_stage)
        )
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
            channels-last and not normalised.
        """
        x = self.patch_embed(x)
        features = []
        for stage, layer in enumerate(self.layers):
            if stage == num_stages:
                break
            if stage > 0:
                x = self.downsamples[stage - 1](x)
            x = layer(x)
            features.append(x)
        return features


ENCODER = VMambaEncoder
"""Class of the encoder for the records of this family."""


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as VMamba does; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=TRUNCATED_NORMAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
