"""The encoder of VMamba's second generation, in tiny, small and base, in the layout of its public weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from swin_umamba.models.vmamba import Pyramid, init_linear
from swin_umamba.modules.patching import ConvolutionMerging, ConvolutionStem
from swin_umamba.modules.vss_block import VSSBlockV2


class VMambaV2Encoder(Pyramid):
    """VMamba's second generation without its classifier.

    Sides that are no multiples of the stride are rounded up at each step, so every size works.

    Parameters
    ----------
    in_channels
        Channels of the input.
    patch_size
        Stride of the first stage, 4 or 2.
    features_per_stage, **arguments
        As for ``Pyramid``; the channels of the first stage must be even.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166 (version 3), and its public code.
    """

    patch_embed: ConvolutionStem

    def __init__(
        self, in_channels: int, patch_size: int, *, features_per_stage: Sequence[int], **arguments: Any
    ) -> None:
        embedding = ConvolutionStem(in_channels, features_per_stage[0], patch_size)
        super().__init__(embedding, features_per_stage=features_per_stage, block=VSSBlockV2, **arguments)
        # The public state dict has each down-sampling in the stage before it.
        for layer, (fine, coarse) in zip(self.layers, pairwise(features_per_stage), strict=False):
            layer.downsample = ConvolutionMerging(fine, coarse)
        self.apply(init_linear)

    def merge(self, stage: int, x: Tensor) -> Tensor:
        """Halve the resolution by a convolution; an odd side is rounded up."""
        layer: Any = self.layers[stage - 1]
        merged: Tensor = layer.downsample(x)
        return merged

    def with_stem(self, x: Tensor) -> list[Tensor]:
        """Return what lies between the two convolutions of the stem, then the output of each stage.

        Returns
        -------
        list of Tensor
            (batch, height/2, width/2, features_per_stage[0]/2), for patch size 4, and the output of
            ``forward``.
        """
        stem, x = self.patch_embed.both(x)
        return [stem, *self.stages(x)]


ENCODER = VMambaV2Encoder
"""Class of the encoder for the records of this family."""
