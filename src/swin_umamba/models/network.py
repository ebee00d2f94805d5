"""The common base of the networks: the encoder and its freezing, the input contract, padding and cropping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from swin_umamba.errors import DataError, UsageError
from swin_umamba.models.backbones import DEFAULT_BACKBONE, PATCH_SIZE, build_encoder, find_backbone
from swin_umamba.weights.backbone import BackboneRecord

STRIDE = 32
"""The coarsest stage works at 1/32 of the input size."""

FLOAT32_BYTES = 4
MOST_BLOCKS = 1000
"""Limit per encoder: depths come from untrusted files, and a block takes memory even without weights."""


class SegmentationNetwork(nn.Module, ABC):
    """Base class of the networks, which builds the encoder, checks and pads the input, and crops the logits.

    The derived class adds the decoder. Parameters are those of ``SwinUMamba``.

    Attributes
    ----------
    default_backbone
        Name of the encoder unless another one is asked for.
    deep_supervision
        If true, ``forward`` returns the logits of all heads, finest first; otherwise only those of the
        finest head, as one tensor. May be changed at any time; the parameters do not depend on it.
    deep_supervision_scales
        Size of each head's logits relative to the input.
    backbone
        Record of the encoder.
    features_per_stage
        Channels of the encoder's stages.
    """

    default_backbone: ClassVar[str] = DEFAULT_BACKBONE
    deep_supervision: bool
    deep_supervision_scales: tuple[float, ...]
    vssm_encoder: nn.Module

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        backbone: str,
        depths: Sequence[int] | None,
        features_per_stage: Sequence[int] | None,
        d_state: int,
        drop_path_rate: float | None,
        activation_checkpointing: bool,
        backend: str | None,
    ) -> None:
        super().__init__()
        self.backbone = record = find_backbone(backbone)
        self.check_backbone(record)
        features = tuple(record.features_per_stage if features_per_stage is None else features_per_stage)
        stages = len(record.strides)
        if depths is not None and "depths" not in record.arguments:
            raise UsageError(f"the backbone {backbone} has no depths to choose", hint="leave depths out")
        blocks = record.arguments.get("depths", (1,) * stages) if depths is None else depths
        if len(blocks) != stages or len(features) != stages:
            raise UsageError(
                f"the network has {stages} stages, but depths is {tuple(blocks)} and "
                f"features_per_stage is {features}",
                hint=f"give {stages} values for each",
            )
        if min(in_channels, num_classes, d_state, *blocks, *features) < 1:
            raise UsageError(
                f"in_channels {in_channels}, num_classes {num_classes}, depths {tuple(blocks)}, "
                f"features_per_stage {features} and d_state {d_state} must all be positive",
                hint="give at least 1 for each",
            )
        if sum(blocks) > MOST_BLOCKS:
            raise UsageError(
                f"the network would have {sum(blocks)} blocks, more than {MOST_BLOCKS}",
                hint="give smaller depths",
            )
        if drop_path_rate is not None and not 0 <= drop_path_rate < 1:
            raise UsageError(
                f"drop_path_rate is {drop_path_rate}", hint="give a probability from 0 to below 1"
            )
        self.features_per_stage = features
        self.in_channels = in_channels
        self.num_classes = num_classes
        channels, patch_size = self.build_stem()
        self.vssm_encoder = build_encoder(
            record,
            channels,
            patch_size,
            depths=depths,
            features_per_stage=features_per_stage,
            d_state=d_state,
            drop_path_rate=drop_path_rate,
            activation_checkpointing=activation_checkpointing,
            backend=backend,
        )

    @classmethod
    def check_backbone(cls, record: BackboneRecord) -> None:
        """Raise a UsageError if the decoder cannot use a backbone; by default it can use all."""

    def build_stem(self) -> tuple[int, int]:
        """Build what comes before the encoder, if anything; return the encoder's channels and patch size."""
        return self.in_channels, PATCH_SIZE

    @abstractmethod
    def segment(self, x: Tensor) -> list[Tensor]:
        """Map a padded image to the logits of all heads, or of the finest alone without deep supervision."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment a batch of images of any size from 32x32 up.

        Sizes that are not multiples of 32 are padded on the right and at the bottom by repeating the border,
        and the logits are cropped back.

        Parameters
        ----------
        x
            Images (batch, in_channels, height, width), floating, of the parameters' dtype or under autocast.

        Returns
        -------
        Tensor or list of Tensor
            Logits (batch, num_classes, height, width). With deep supervision a list, finest first, in which
            item i has the size (round(height * scale_i), round(width * scale_i)).

        Raises
        ------
        DataError
            If the shape is not (batch, in_channels, height >= 32, width >= 32).
        """
        self.check_input(x)
        height, width = x.shape[-2:]
        pad_bottom, pad_right = -height % STRIDE, -width % STRIDE
        if pad_bottom or pad_right:
            x = F.pad(x, (0, pad_right, 0, pad_bottom), mode="replicate")
        heads = self.segment(x)
        if pad_bottom or pad_right:
            scales = self.deep_supervision_scales
            heads = [
                head[..., : round(height * scale), : round(width * scale)]
                for head, scale in zip(heads, scales, strict=False)
            ]
        return heads if self.deep_supervision else heads[0]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return what can be frozen or learn at its own rate: the encoder except its patch embedding.

        Most images do not have the three channels that ImageNet weights embed.
        """
        embedding, named = self.backbone.patch_embedding, self.vssm_encoder.named_parameters()
        return [parameter for name, parameter in named if not name.startswith(embedding)]

    def freeze_encoder(self) -> None:
        """Stop training ``encoder_parameters``."""
        for parameter in self.encoder_parameters():
            parameter.requires_grad = False

    def unfreeze_encoder(self) -> None:
        """Train every parameter of the encoder."""
        for parameter in self.vssm_encoder.parameters():
            parameter.requires_grad = True

    @property
    @abstractmethod
    def features_at_full_size(self) -> int:
        """Channels of the widest features at the size of the padded image."""

    def memory_at_full_size(self, height: int, width: int) -> int:
        """Return the bytes of the largest float32 array of an image's size: no prediction takes less.

        Parameters
        ----------
        height, width
            Size of the image, in pixels.
        """
        rows, columns = (side + -side % STRIDE for side in (height, width))
        return rows * columns * max(self.features_at_full_size, self.num_classes) * FLOAT32_BYTES

    def check_input(self, x: Tensor) -> None:
        """Raise a DataError unless images have the shape that ``forward`` takes."""
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise DataError(
                f"the network takes images of shape (batch, {self.in_channels}, height, width), "
                f"but got {tuple(x.shape)}",
                hint="give the number of channels that the network was built for, and 2D images",
            )
        if min(x.shape[-2:]) < STRIDE:
            raise DataError(
                f"an image of {x.shape[-2]}x{x.shape[-1]} pixels is smaller than {STRIDE}x{STRIDE}",
                hint=f"pad or resample the image to at least {STRIDE} pixels in each direction",
            )


class Planned(nn.Module):
    """A network that is built from the arguments that nnU-Net passes to a network.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the images and of the logits.
    deep_supervision
        Whether ``forward`` returns the logits of all heads; None means no.
    strides
        Ignored by the network; nnU-Net reads the sizes of the heads from it.
    **kwargs
        Further arguments of the network.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        deep_supervision: bool | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_channels, num_classes, deep_supervision=bool(deep_supervision), **kwargs)
