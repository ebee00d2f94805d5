"""MONAI's SegResNet, UNETR and SwinUNETR, with the arguments of the paper's comparison.

MONAI is needed only when one of them is built: ``pip install swin-umamba[compare]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from swin_umamba.baselines.inputs import check_input
from swin_umamba.errors import DataError, UsageError
from swin_umamba.extras import extra_module


def monai_networks() -> Any:
    """Import MONAI's networks; raise ``UsageError`` if it is not installed."""
    need = "SegResNet, UNETR and SwinUNETR need MONAI"
    return extra_module("monai.networks.nets", need, "compare", otherwise=", or leave these networks out")


class MonaiNetwork(nn.Module, ABC):
    """Base class: a MONAI network with one head, behind the constructor that nnU-Net calls.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image and of the logits.
    patch_size
        (height, width) of the images.
    deep_supervision, strides
        Only for nnU-Net; there is one head.
    **kwargs
        Arguments of MONAI's class that differ from those of the comparison.

    Raises
    ------
    UsageError
        If MONAI is not installed.
    DataError
        In ``forward``, if the network cannot segment images of that size.
    """

    multiple: int

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        patch_size: Sequence[int],
        deep_supervision: bool | None = None,
        strides: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.patch_size = tuple(patch_size)
        self.multiples: tuple[int, ...] = (self.multiple, self.multiple)
        with _LinspaceOnCpu():
            self.network = self.build(input_channels, num_classes, kwargs)

    @abstractmethod
    def build(self, in_channels: int, out_channels: int, kwargs: dict[str, Any]) -> nn.Module:
        """Return MONAI's network."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, input_channels, height, width) to logits (batch, num_classes, height, width)."""
        check_input(x, type(self).__name__, self.input_channels, self.multiples)
        logits: Tensor = self.network(x)
        return logits


class _LinspaceOnCpu(TorchFunctionMode):
    """MONAI reads back its drop-path rates while building, and tensors on a meta device have no values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        more = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **more})


class SegResNet(MonaiNetwork):
    """Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", arXiv 1810.11654."""

    multiple = 8

    def build(self, in_channels: int, out_channels: int, kwargs: dict[str, Any]) -> nn.Module:
        """Return MONAI's SegResNet with 32 filters at full resolution."""
        arguments = {"init_filters": 32, "blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1), **kwargs}
        network: nn.Module = monai_networks().SegResNet(
            spatial_dims=2, in_channels=in_channels, out_channels=out_channels, **arguments
        )
        return network


class UNETR(MonaiNetwork):
    """Hatamizadeh et al., arXiv 2103.10504; learnt position embeddings tie it to one image size."""

    multiple = 16

    def build(self, in_channels: int, out_channels: int, kwargs: dict[str, Any]) -> nn.Module:
        """Return MONAI's UNETR, a ViT-B/16 with a convolutional decoder."""
        if any(side % self.multiple for side in self.patch_size):
            raise UsageError(
                f"UNETR cannot be built for patches of {self.patch_size[0]}x{self.patch_size[1]}",
                hint=f"give sides that are multiples of {self.multiple}",
            )
        arguments = {"feature_size": 16, "hidden_size": 768, "mlp_dim": 3072, "num_heads": 12, **kwargs}
        network: nn.Module = monai_networks().UNETR(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            img_size=self.patch_size,
            **arguments,
        )
        # Newer versions give each block a norm that only cross-attention uses: parameters without a gradient.
        vit: Any = network.vit
        for block in vit.blocks:
            if hasattr(block, "norm_cross_attn") and not block.with_cross_attention:
                block.norm_cross_attn = nn.Identity()
        return network

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, input_channels, *patch_size) to logits (batch, num_classes, *patch_size)."""
        check_input(x, type(self).__name__, self.input_channels, self.multiples)
        if tuple(x.shape[-2:]) != self.patch_size:
            raise DataError(
                f"this UNETR segments images of {self.patch_size[0]}x{self.patch_size[1]} pixels only, "
                f"not of {x.shape[-2]}x{x.shape[-1]}",
                hint="predict tile by tile, with tiles of the patch size",
            )
        logits: Tensor = self.network(x)
        return logits


class SwinUNETR(MonaiNetwork):
    """Hatamizadeh et al., arXiv 2201.01266."""

    multiple = 32

    def build(self, in_channels: int, out_channels: int, kwargs: dict[str, Any]) -> nn.Module:
        """Return MONAI's SwinUNETR with 48 features and windows of 7."""
        arguments = {"feature_size": 48, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24), **kwargs}
        network: nn.Module = monai_networks().SwinUNETR(
            spatial_dims=2, in_channels=in_channels, out_channels=out_channels, **arguments
        )
        return network
