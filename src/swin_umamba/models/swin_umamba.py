"""Swin-UMamba: a VMamba encoder with a convolutional U-Net decoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from swin_umamba.errors import UsageError
from swin_umamba.models.backbones import DEFAULT_BACKBONE, PATCH_SIZE
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.modules.residual_block import InstanceNorm, ResidualBlock, UpBlock, named_conv

STEM_KERNEL, STEM_STRIDE = 7, 2


class SwinUMamba(SegmentationNetwork):
    """Swin-UMamba, with skips at every resolution from 1/1 to 1/16.

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
        Channels of each encoder stage (1/4, 1/8, 1/16, 1/32); None for the backbone's own. The stem and the
        full-resolution decoder have half as many as the first stage.
    d_state
        Size of the hidden state of the scan.
    drop_path_rate
        Stochastic-depth rate of the last encoder block; it grows linearly from 0 at the first. None for the
        backbone's own, 0.2 for VMamba-Tiny.
    use_last_stage
        Let the decoder start from the encoder's last stage (1/32), as in version 2 of the paper. False is the
        network of version 1, ``create_model("swin_umamba_v1")``: it has no ``decoder6``, and its bottleneck
        is the output of ``encoder5`` at 1/16. The parameters of the last stage still exist, as in the public
        checkpoints, but they have no influence and get no gradients.
    deep_supervision
        Return the logits of four heads (1/1, 1/2, 1/4, 1/8) instead of the finest alone.
    activation_checkpointing
        Trade time for memory while training: recompute the inside of each VSS block in the backward pass.
    backend
        Name of the scan backend; None chooses by device.

    Raises
    ------
    UsageError
        If a size is not positive, the number of stages is not four, or the rate is not in [0, 1).

    References
    ----------
    Liu et al., "Swin-UMamba: Mamba-based UNet with ImageNet-based pretraining", arXiv 2402.03302,
    section 2 (version 2). What is known of the network of version 1 (40.4 million parameters) comes from the
    public code of that time: it has no ``decoder6``, ``encoder5`` feeds ``decoder5``, and all other names and
    shapes are the same. Norms and activations, which have no parameters, are taken from version 2.
    """

    deep_supervision_scales = (1.0, 1 / 2, 1 / 4, 1 / 8)

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
        use_last_stage: bool = True,
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
        self.deep_supervision = deep_supervision
        dim1, dim2, dim3, dim4 = self.features_per_stage
        dim0 = dim1 // 2
        self.encoder1 = _residual_layer(in_channels, dim0)
        self.encoder2 = _residual_layer(dim0, dim1)
        self.encoder3 = _residual_layer(dim1, dim2)
        self.encoder4 = _residual_layer(dim2, dim3)
        self.encoder5 = _residual_layer(dim3, dim4)
        # Each decoder ends at the resolution of the encoder numbered one lower; the order of construction is
        # that of the public state dict.
        self.decoder6 = UpBlock(dim4, dim4) if use_last_stage else None
        self.decoder5 = UpBlock(dim4, dim3)
        self.decoder4 = UpBlock(dim3, dim2)
        self.decoder3 = UpBlock(dim2, dim1)
        self.decoder2 = UpBlock(dim1, dim0)
        self.decoder1 = _residual_layer(dim0, dim0)
        self.out_layers = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=named_conv(nn.Conv2d(dim, num_classes, 1))))
            for dim in (dim0, dim1, dim2, dim3)
        )

    def build_stem(self) -> tuple[int, int]:
        """Build the stem, at half the size of the image; return its channels and the encoder's patch size."""
        dim1 = self.features_per_stage[0]
        dim0 = dim1 // 2
        if dim0 < 1:
            raise UsageError(
                f"the first of features_per_stage is {dim1}; half of it are the features of the image's size",
                hint="give at least 2",
            )
        self.stem = nn.Sequential(
            nn.Conv2d(self.in_channels, dim0, STEM_KERNEL, stride=STEM_STRIDE, padding=STEM_KERNEL // 2),
            InstanceNorm(dim0, affine=True),
        )
        return dim0, PATCH_SIZE // STEM_STRIDE

    @property
    def features_at_full_size(self) -> int:
        """Channels where the last step up joins the skip of the image's size."""
        return 2 * (self.features_per_stage[0] // 2)

    def segment(self, x: Tensor) -> list[Tensor]:
        """Map (batch, in_channels, 32i, 32j) to the logits of the heads in use, finest first."""
        stem = self.stem(x)
        stages = self.vssm_encoder(stem, num_stages=3 if self.decoder6 is None else 4)
        stage1, stage2, stage3, *last = (feature.permute(0, 3, 1, 2) for feature in stages)
        at16 = self.encoder5(stage3)
        if self.decoder6 is not None:
            at16 = self.decoder6(*last, at16)
        at8 = self.decoder5(at16, self.encoder4(stage2))
        at4 = self.decoder4(at8, self.encoder3(stage1))
        at2 = self.decoder3(at4, self.encoder2(stem))
        at1 = self.decoder1(self.decoder2(at2, self.encoder1(x)))
        features = [at1, at2, at4, at8] if self.deep_supervision else [at1]
        return [head(feature) for head, feature in zip(self.out_layers, features, strict=False)]


def _residual_layer(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layer=ResidualBlock(in_channels, out_channels)))
