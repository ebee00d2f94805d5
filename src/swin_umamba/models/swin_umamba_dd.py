"""SwinUMambaDD: the whole pretrained stem and blocks of VMamba's second generation up to half resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from swin_umamba.errors import UsageError
from swin_umamba.models.swin_umamba_d import DECODER_DROP_PATH_RATE, DecodedByVSS, VSSDecoder
from swin_umamba.models.vmamba import init_linear
from swin_umamba.modules.residual_block import init_conv
from swin_umamba.modules.vss_block import VSSBlockV2
from swin_umamba.weights.backbone import BackboneRecord
from swin_umamba.weights.catalog import BACKBONES

STEM_STRIDE = 2


class SwinUMambaDD(DecodedByVSS):
    """Swin-UMamba-dagger with one more step: the pretrained stem is a skip at half resolution.

    It is in no paper. Two things differ from ``SwinUMambaD``: the decoder goes on to half the size of the
    image, where it takes the features between the two convolutions of the encoder's stem, and it has the
    blocks of VMamba's second generation, whose scans have one state instead of 16.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Channels of the logits: classes including background, or regions.
    backbone
        Name of an encoder whose stem works at half resolution, see ``list_backbones()``.
    depths
        Blocks of each encoder stage; None for the backbone's own.
    features_per_stage
        Channels of each encoder stage (1/4, 1/8, 1/16, 1/32); None for the backbone's own.
    d_state
        Size of the hidden state of the decoder's scans.
    drop_path_rate
        Stochastic-depth rate at the bottleneck; it falls linearly to 0 at the first block of the encoder
        and the last block of the decoder. None for the backbone's own in the encoder, and 0.2 in the decoder.
    deep_supervision
        Return the logits of five heads (1/1, 1/2, 1/4, 1/8, 1/16) instead of the finest alone.
    activation_checkpointing
        Trade time for memory while training: recompute the inside of each block in the backward pass.
    backend
        Name of the scan backend; None chooses by device.

    Raises
    ------
    UsageError
        If the backbone has no such stem, a size is not positive, the number of stages is not four, or the
        rate is not in [0, 1).
    """

    deep_supervision_scales = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    default_backbone = "vmamba_tiny_s1l8"
    decoder_depths: ClassVar[Sequence[int]] = (2, 2, 2, 1)

    @classmethod
    def check_backbone(cls, record: BackboneRecord) -> None:
        """Raise a UsageError unless the backbone has a stem at half resolution."""
        if record.stem_features is None:
            known = [name for name, each in BACKBONES.items() if each.stem_features is not None]
            raise UsageError(
                f"the backbone {record.name} has no stem at half resolution",
                hint=f"choose one of {', '.join(known)}; or the network swin_umamba_d, which needs none",
            )

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        *,
        backbone: str = default_backbone,
        depths: Sequence[int] | None = None,
        features_per_stage: Sequence[int] | None = None,
        d_state: int = 1,
        drop_path_rate: float | None = None,
        deep_supervision: bool = False,
        activation_checkpointing: bool = False,
        backend: str | None = None,
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
        record, features = self.backbone, self.features_per_stage
        assert record.stem_features is not None
        stem = record.stem_features * features[0] // record.features_per_stage[0]
        self.decoder = VSSDecoder(
            num_classes,
            features_per_stage=(stem, *features),
            drop_path_rate=DECODER_DROP_PATH_RATE if drop_path_rate is None else drop_path_rate,
            deep_supervision=deep_supervision,
            activation_checkpointing=activation_checkpointing,
            scale=STEM_STRIDE,
            depths=self.decoder_depths,
            **self._blocks(d_state, backend),
        )
        # As in the encoder, so that blocks begin close to the identity.
        self.decoder.stages.apply(init_linear)
        self.decoder.seg_layers.apply(init_conv)

    def _blocks(self, d_state: int, backend: str | None) -> dict[str, Any]:
        """Return the class and the arguments of the decoder's blocks."""
        return {"block": VSSBlockV2, "d_state": d_state, "backend": backend}

    def segment(self, x: Tensor) -> list[Tensor]:
        """Map (batch, in_channels, 32i, 32j) to the logits of the heads in use, finest first."""
        encoder: Any = self.vssm_encoder
        logits: list[Tensor] = self.decoder(encoder.with_stem(x))
        return logits
