"""The VMamba-Tiny classifier, in which ImageNet weights of the encoder are trained."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from swin_umamba.models.vmamba import TRUNCATED_NORMAL_STD, VMambaEncoder

PATCH_SIZE = 4


class VMambaClassifier(nn.Module):
    """VMamba with its classifier: encoder, layer norm, mean over the image, linear head.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Channels of the logits.
    depths
        VSS blocks of each stage.
    features_per_stage
        Channels of each stage.
    d_state
        Size of the hidden state of the scan.
    drop_path_rate
        Stochastic-depth rate of the last block; it grows linearly from 0 at the first.
    backend
        Name of the scan backend; None chooses by device.

    References
    ----------
    Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166, section 4.1 (version 1).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        depths: Sequence[int] = (2, 2, 9, 2),
        features_per_stage: Sequence[int] = (96, 192, 384, 768),
        d_state: int = 16,
        drop_path_rate: float = 0.1,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = VMambaEncoder(
            in_channels,
            PATCH_SIZE,
            depths=depths,
            features_per_stage=features_per_stage,
            d_state=d_state,
            drop_path_rate=drop_path_rate,
            activation_checkpointing=False,
            backend=backend,
        )
        self.norm = nn.LayerNorm(features_per_stage[-1])
        self.head = nn.Linear(features_per_stage[-1], num_classes)
        nn.init.trunc_normal_(self.head.weight, std=TRUNCATED_NORMAL_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, 32i, 32j) to logits (batch, num_classes)."""
        coarsest = self.encoder(x)[-1]
        logits: Tensor = self.head(self.norm(coarsest).mean(dim=(1, 2)))
        return logits


def public_state_dict(classifier: VMambaClassifier) -> dict[str, Tensor]:
    """Return the state dict under the names of VMamba's first public checkpoints, on the CPU.

    Only names differ: the public network keeps each down-sampling in the stage before it and has no separate
    encoder.
    """
    renamed = {}
    for name, value in classifier.state_dict().items():
        name = name.removeprefix("encoder.")
        name = re.sub(r"^downsamples\.(\d+)\.", r"layers.\1.downsample.", name)
        renamed[name] = value.detach().cpu()
    return renamed
