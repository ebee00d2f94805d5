"""The classifier of a backbone, in which ImageNet weights of the encoder are trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from swin_umamba.errors import UsageError
from swin_umamba.models.backbones import DEFAULT_BACKBONE, build_encoder, find_backbone
from swin_umamba.models.vmamba import init_linear

DEFAULT_DROP_PATH_RATE = 0.1
"""That of VMamba-Tiny's ImageNet training, half of what its segmentation networks have."""


class BackboneClassifier(nn.Module):
    """A backbone with a classifier: encoder, layer norm, mean over the image, linear head.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Channels of the logits.
    backbone
        Name of the encoder, see ``list_backbones()``.
    depths
        Blocks of each stage; None for the backbone's own.
    features_per_stage
        Channels of each stage; None for the backbone's own.
    drop_path_rate
        Stochastic-depth rate of the last block; it grows linearly from 0 at the first. None for the
        backbone's own, and 0.1 for VMamba-Tiny.
    **arguments
        Further arguments of the encoder.

    Raises
    ------
    UsageError
        If there is no such backbone, or its record does not say what the layers of its classifier are called.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166, section 4.1 (version 1).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        backbone: str = DEFAULT_BACKBONE,
        depths: Sequence[int] | None = None,
        features_per_stage: Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.record = find_backbone(backbone)
        if not self.record.classifier:
            raise UsageError(
                f"the backbone {backbone} has no classifier to train",
                hint="name the prefix of its classifier's tensors in its record: classifier=('head.',)",
            )
        if drop_path_rate is None and backbone == DEFAULT_BACKBONE:
            drop_path_rate = DEFAULT_DROP_PATH_RATE
        self.encoder = build_encoder(
            self.record,
            in_channels,
            depths=depths,
            features_per_stage=features_per_stage,
            drop_path_rate=drop_path_rate,
            **arguments,
        )
        last = (features_per_stage or self.record.features_per_stage)[-1]
        self.norm = nn.LayerNorm(last)
        self.head = nn.Linear(last, num_classes)
        init_linear(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, 32i, 32j) to logits (batch, num_classes)."""
        coarsest = self.encoder(x)[-1]
        logits: Tensor = self.head(self.norm(coarsest).mean(dim=(1, 2)))
        return logits


def public_state_dict(classifier: BackboneClassifier) -> dict[str, Tensor]:
    """Return the state dict under the names of the backbone's first public checkpoints, on the CPU.

    Only names differ: VMamba's public networks keep each down-sampling in the stage before it and have no
    separate encoder.
    """
    prefixes = classifier.record.classifier
    prefix = "" if {"norm.", "head."} <= set(prefixes) else prefixes[0]
    renamed = {}
    for name, value in classifier.state_dict().items():
        if name.startswith("encoder."):
            name = re.sub(r"^downsamples\.(\d+)\.", r"layers.\1.downsample.", name.removeprefix("encoder."))
        else:
            name = prefix + name
        renamed[name] = value.detach().cpu()
    return renamed
