"""The shapes are those of the network that is built."""

from __future__ import annotations

import torch

from swin_umamba import create_model
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.vmamba_shapes import encoder_shapes


def test_shapes_are_the_encoders() -> None:
    for record in CATALOG.values():
        with torch.device("meta"):
            network = create_model("swin_umamba_d", in_channels=record.in_channels, num_classes=2)
        shapes = encoder_shapes(record.depths, record.features_per_stage, record.in_channels)
        assert shapes == {
            name: tuple(value.shape) for name, value in network.vssm_encoder.state_dict().items()
        }
