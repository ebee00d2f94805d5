"""The VMamba encoder: a pyramid of VSS stages, in the layout of the public ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

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


class Pyramid(nn.Module):
    """What the encoders of both generations share: an embedding of patches, and stages of blocks after it.

    Parameters
    ----------
    patch_embed
        Module that maps images to the input of the first stage.
    depths
        Blocks of each stage.
    features_per_stage
        Channels of each stage.
    drop_path_rate
        Stochastic-depth rate of the last block; it grows linearly from 0 at the first.
    **arguments
        Further arguments of each ``VSSLayer``.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        *,
        depths: Sequence[int],
        features_per_stage: Sequence[int],
        drop_path_rate: float,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        rates = drop_path_schedule(0.0, drop_path_rate, depths)
        self.layers = nn.ModuleList(
            VSSLayer(dim, stage_rates, **arguments)
            for dim, stage_rates in zip(features_per_stage, rates, strict=True)
        )

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
        return self.stages(self.patch_embed(x), num_stages)

    def stages(self, x: Tensor, num_stages: int | None = None) -> list[Tensor]:
        """Return the output of each stage for an embedded image."""
        features: list[Tensor] = []
        for stage, layer in enumerate(self.layers[:num_stages]):
            x = layer(self.merge(stage, x) if stage else x)
            features.append(x)
        return features

    def merge(self, stage: int, x: Tensor) -> Tensor:
        """Map the output of the stage before to the input of a stage, at half the resolution."""
        raise NotImplementedError


class VMambaEncoder(Pyramid):
    """VMamba without its classifier.

    Parameters
    ----------
    in_channels
        Channels of the input.
    patch_size
        Edge of an embedded patch; the first stage works at 1/patch_size.
    features_per_stage, **arguments
        As for ``Pyramid``.
    """

    patch_embed: PatchEmbed

    def __init__(
        self, in_channels: int, patch_size: int, *, features_per_stage: Sequence[int], **arguments: Any
    ) -> None:
        embedding = PatchEmbed(in_channels, features_per_stage[0], patch_size)
        super().__init__(embedding, features_per_stage=features_per_stage, **arguments)
        self.downsamples = nn.ModuleList(
            PatchMerging(fine, coarse) for fine, coarse in pairwise(features_per_stage)
        )
        self.apply(init_linear)

    def merge(self, stage: int, x: Tensor) -> Tensor:
        """Merge patches of 2 x 2; a last odd row or column is left out."""
        merged: Tensor = self.downsamples[stage - 1](x)
        return merged


ENCODER = VMambaEncoder
"""Class of the encoder for the records of this family."""


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as VMamba does; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=TRUNCATED_NORMAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
