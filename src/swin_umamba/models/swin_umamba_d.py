"""Swin-UMamba-dagger: a VMamba encoder with a VSS decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swin_umamba.errors import UsageError
from swin_umamba.models.backbones import DEFAULT_BACKBONE, PATCH_SIZE
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.models.vmamba import VMambaEncoder, drop_path_schedule
from swin_umamba.modules.half_precision import call_layer
from swin_umamba.modules.patching import PatchExpand
from swin_umamba.modules.residual_block import init_conv
from swin_umamba.modules.vss_block import VSSBlock, VSSLayer
from swin_umamba.ops.linear import linear

DECODER_DEPTH = 2
DECODER_DROP_PATH_RATE = 0.2


class DecodedByVSS(SegmentationNetwork):
    """Base class of the networks whose decoder is a ``VSSDecoder``; they take any backbone.

    The derived class adds the decoder. Parameters are those of ``SwinUMambaD``.
    """

    decoder: VSSDecoder

    @property
    def deep_supervision(self) -> bool:
        """Whether ``forward`` returns all heads. It is stored on the decoder, where nnU-Net looks for it."""
        return self.decoder.deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        self.decoder.deep_supervision = enabled

    @property
    def features_at_full_size(self) -> int:
        """Channels of the last expansion."""
        last = self.decoder.expand_layers[-1]
        assert isinstance(last, PatchExpand)
        return int(last.norm.normalized_shape[0])

    @property
    def has_depth_head(self) -> bool:
        """Whether the network has a head for the depth within objects."""
        return self.decoder.depth_head is not None

    @contextmanager
    def returning_depth(self) -> Iterator[None]:
        """Return the depth after the finest logits, as one more channel, in the block.

        Raises
        ------
        UsageError
            If the network has no head for it.
        """
        if not self.has_depth_head:
            raise UsageError("the network has no head for the depth within objects")
        self.decoder.returns_depth = True
        try:
            yield
        finally:
            self.decoder.returns_depth = False


class SwinUMambaD(DecodedByVSS):
    """Swin-UMamba-dagger: everything runs at 1/4 of the input size and below.

    The last step to full resolution is a learnt pixel shuffle. With 1 channel and 14 classes the network has
    27.5 million parameters where ``SwinUMamba`` has 59.9, and 28 % of its multiply-accumulates, but 1.6 times
    those of its scans, since its decoder scans, too. On a CPU that makes it three times as fast; on a GPU,
    where scans take a larger part of the time, neither has been timed yet.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Channels of the logits: classes including background, or regions.
    backbone
        Name of the encoder, see ``list_backbones()``.
    depths
        Blocks of each encoder stage; None for the backbone's own.
    features_per_stage
        Channels of each stage (1/4, 1/8, 1/16, 1/32); None for the backbone's own.
    d_state
        Size of the hidden state of the scan.
    drop_path_rate
        Stochastic-depth rate at the bottleneck; it falls linearly to 0 at the first block of the encoder
        and the last block of the decoder. None for the backbone's own in the encoder, 0.2 for VMamba-Tiny,
        and 0.2 in the decoder.
    deep_supervision
        Return the logits of four heads (1/1, 1/4, 1/8, 1/16) instead of the finest alone.
    activation_checkpointing
        Trade time for memory while training: recompute the inside of each VSS block in the backward pass.
    backend
        Name of the scan backend; None chooses by device.
    depth_head
        Add a head for the depth within objects (``instances.targets``). Its output is one more channel after
        the finest logits, but only within ``returning_depth()``, so that the network is an ordinary one of
        classes for all other code.

    Raises
    ------
    UsageError
        If a size is not positive, the number of stages is not four, or the rate is not in [0, 1).

    References
    ----------
    Liu et al., "Swin-UMamba: Mamba-based UNet with ImageNet-based pretraining", arXiv 2402.03302,
    section 2 (version 2).
    """

    deep_supervision_scales = (1.0, 1 / 4, 1 / 8, 1 / 16)

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        *,
        backbone: str = DEFAULT_BACKBONE,
        depths: Sequence[int] | None = None,
        features_per_stage: Sequence[int] | None = None,
        d_state: int = 16,
        drop_path_rate: float | None = None,
        deep_supervision: bool = False,
        activation_checkpointing: bool = False,
        backend: str | None = None,
        depth_head: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            num_classes,
            backbone=backbone,
            depths=depths,
            features_per_stage=features_per_stage,
            d_state=d_state,
            drop_path_rate=drop_path_rate,
            activation_checkpointing=activation_checkpointing,
            backend=backend,
        )
        self.decoder = VSSDecoder(
            num_classes,
            features_per_stage=self.features_per_stage,
            d_state=d_state,
            drop_path_rate=DECODER_DROP_PATH_RATE if drop_path_rate is None else drop_path_rate,
            deep_supervision=deep_supervision,
            activation_checkpointing=activation_checkpointing,
            backend=backend,
            depth_head=depth_head,
        )
        if isinstance(self.vssm_encoder, VMambaEncoder):  # as in the published code; others keep their own
            self.vssm_encoder.apply(init_conv)
        self.decoder.apply(init_conv)
        if self.decoder.depth_head is not None:
            # Random depths would drown the classes in the first steps.
            nn.init.zeros_(self.decoder.depth_head.weight)
        if isinstance(self.vssm_encoder, VMambaEncoder):
            _init_patch_bias(self.vssm_encoder.patch_embed.proj)

    def segment(self, x: Tensor) -> list[Tensor]:
        """Map (batch, in_channels, 32i, 32j) to the logits of the heads in use, finest first."""
        logits: list[Tensor] = self.decoder(self.vssm_encoder(x))
        return logits


class VSSDecoder(nn.Module):
    """Decoder from the coarsest stage up: expand, append the skip, reduce, VSS blocks; finally expand alone.

    Parameters
    ----------
    num_classes
        Channels of the logits.
    features_per_stage
        Channels of the skips and the coarsest stage, finest first.
    drop_path_rate
        Stochastic-depth rate of the first, coarsest block; it falls linearly to 0 at the last.
    deep_supervision
        Return the logits of every resolution instead of the finest alone.
    activation_checkpointing
        Recompute the inside of each VSS block in the backward pass.
    depth_head
        Add a head for the depth within objects.
    scale
        Size of the image relative to the finest skip.
    depths
        Blocks at each resolution, coarsest first; two by default.
    block
        Class of the blocks.
    **arguments
        Further arguments of the blocks.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        features_per_stage: Sequence[int],
        drop_path_rate: float,
        deep_supervision: bool,
        activation_checkpointing: bool,
        depth_head: bool = False,
        scale: int = PATCH_SIZE,
        depths: Sequence[int] | None = None,
        block: Callable[..., nn.Module] = VSSBlock,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.returns_depth = False
        coarse_to_fine = list(reversed(features_per_stage))
        dims = coarse_to_fine[1:]
        finest = dims[-1]
        rates = drop_path_schedule(drop_path_rate, 0.0, depths or [DECODER_DEPTH] * len(dims))
        # The order of construction is that of the public state dict.
        self.stages = nn.ModuleList(
            VSSLayer(
                dim, stage_rates, block=block, activation_checkpointing=activation_checkpointing, **arguments
            )
            for dim, stage_rates in zip(dims, rates, strict=True)
        )
        self.expand_layers = nn.ModuleList(
            PatchExpand(coarse, fine) for coarse, fine in zip(coarse_to_fine, dims, strict=False)
        )
        self.expand_layers.append(PatchExpand(finest, finest, scale=scale))
        self.seg_layers = nn.ModuleList(nn.Conv2d(dim, num_classes, 1) for dim in (*dims, finest))
        self.concat_back_dim = nn.ModuleList(nn.Linear(2 * dim, dim) for dim in dims)
        self.depth_head = nn.Conv2d(finest, 1, 1) if depth_head else None

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the channels-last skips and the coarsest stage, finest first, to logits.

        Returns the heads finest first, (batch, num_classes, h, w) each: full resolution, then, under deep
        supervision, the resolutions of the skips.
        """
        x = features[-1]
        heads = []
        for stage, skip in enumerate(reversed(features[:-1])):
            x = self.expand_layers[stage](x)
            x = call_layer(self.concat_back_dim[stage], torch.cat([x, skip], dim=-1))
            x = self.stages[stage](x)
            if self.deep_supervision:
                heads.append(self._logits(stage, x))
        heads.append(self._full_resolution_logits(x))
        return heads[::-1]

    def _logits(self, head: int, x: Tensor) -> Tensor:
        logits: Tensor = self.seg_layers[head](x.permute(0, 3, 1, 2))
        return logits

    def _full_resolution_logits(self, x: Tensor) -> Tensor:
        # The head is a 1x1 convolution: applied before the pixels move to their places, it leaves a few
        # classes to move instead of all channels.
        head, expand = self.seg_layers[-1], self.expand_layers[-1]
        assert isinstance(head, nn.Conv2d)
        assert isinstance(expand, PatchExpand)
        weight, bias = head.weight, head.bias
        if self.returns_depth:
            assert self.depth_head is not None
            assert bias is not None
            assert self.depth_head.bias is not None
            weight = torch.cat([weight, self.depth_head.weight])
            bias = torch.cat([bias, self.depth_head.bias])
        logits = linear(expand.project(x), weight.flatten(1), bias)
        return logits.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _init_patch_bias(proj: nn.Conv2d) -> None:
    """Give the patch embedding a small random bias: PyTorch's default for a convolution.

    The published code starts it at zero, as for all other convolutions. Then a flat black region, such as the
    border that a rotated training image gets, stays exactly zero through the whole encoder; there each layer
    norm multiplies the gradient by 1 / sqrt(eps) = 316, and the first gradients overflow float32.
    """
    assert proj.bias is not None
    bound = (proj.in_channels * proj.kernel_size[0] * proj.kernel_size[1]) ** -0.5
    nn.init.uniform_(proj.bias, -bound, bound)
