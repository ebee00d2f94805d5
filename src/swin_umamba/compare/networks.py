"""The networks of the comparison, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from swin_umamba.baselines.conv_twin import SwinUMambaDConv
from swin_umamba.baselines.convnext import SwinUMambaDDConvNeXt
from swin_umamba.baselines.monai_networks import UNETR, SegResNet, SwinUNETR, monai_networks
from swin_umamba.baselines.nnformer import HEAD_STRIDES, NNFormer
from swin_umamba.baselines.nnunet_unets import plain_unet_entry, residual_unet_entry
from swin_umamba.baselines.topology import unet_strides
from swin_umamba.baselines.umamba import UMambaBot, UMambaEnc
from swin_umamba.compare.recipe import NNUNET, SEGRESNET, SWIN_UMAMBA, SWIN_UNETR, UNETR_RECIPE, Recipe
from swin_umamba.errors import unknown_name
from swin_umamba.nnunet.architecture import (
    STRIDES,
    PlannedSwinUMamba,
    PlannedSwinUMambaD,
    PlannedSwinUMambaDD,
    Strides,
    architecture_entry,
)
from swin_umamba.trainer_names import TRAINER_BACKBONES

Entry = Callable[[Sequence[int], Sequence[float]], dict[str, Any]]


@dataclass(frozen=True)
class ComparedNetwork:
    """A network of the comparison.

    Attributes
    ----------
    name, title
        Name on the command line, and title in tables.
    entry
        Function that returns the ``architecture`` entry of the plans, given (height, width) of the patch and
        the pixel size along both.
    recipe
        Optimizer and schedule it was published with.
    supervises_deeply
        Whether it has heads at several resolutions.
    pretrained
        Whether it starts from ImageNet weights.
    needs_monai
        Whether MONAI must be installed.
    note
        Remark that a reader of a table must know.
    """

    name: str
    title: str
    entry: Entry
    recipe: Recipe
    supervises_deeply: bool = True
    pretrained: bool = False
    needs_monai: bool = False
    note: str = ""

    def build(
        self, in_channels: int, num_classes: int, patch_size: Sequence[int], device: str = "cpu"
    ) -> nn.Module:
        """Return the network with random weights, and with deep supervision if it has that.

        Parameters
        ----------
        in_channels, num_classes
            Channels of the image and of the logits.
        patch_size
            (height, width) in pixels.
        device
            ``meta`` gives a network that takes no memory, for counting.

        Raises
        ------
        UsageError
            If the network needs a package that is missing.
        """
        entry = self.entry(patch_size, (1.0, 1.0))
        return build_from_entry(entry, in_channels, num_classes, self.supervises_deeply, device)


def build_from_entry(
    entry: Mapping[str, Any], in_channels: int, num_classes: int, deep_supervision: bool, device: str = "cpu"
) -> nn.Module:
    """Return the network described by an ``architecture`` entry of plans, with random weights."""
    with torch.device(device):
        network: nn.Module = get_network_from_plans(
            entry["network_class_name"],
            entry["arch_kwargs"],
            entry["_kw_requires_import"],
            in_channels,
            num_classes,
            allow_init=device != "meta",
            deep_supervision=deep_supervision,
        )
    return network.to(device)


def _own_entry(
    network_class: type[nn.Module], patch_size: Sequence[int], spacing: Sequence[float]
) -> dict[str, Any]:
    """Return an entry whose strides follow the patch."""
    return architecture_entry(network_class, {}, unet_strides(patch_size, spacing))


def _monai_entry(
    network_class: type[nn.Module], patch_size: Sequence[int], spacing: Sequence[float]
) -> dict[str, Any]:
    sides = [int(side) for side in patch_size]
    return architecture_entry(network_class, {"patch_size": sides}, unet_strides(patch_size, spacing))


def _fixed_entry(
    network_class: type[nn.Module], strides: Strides | None, *_: Any, **network_kwargs: Any
) -> dict[str, Any]:
    return architecture_entry(network_class, network_kwargs, strides)


def _with_and_without_weights(
    name: str, title: str, network_class: type[nn.Module]
) -> tuple[ComparedNetwork, ComparedNetwork]:
    entry = partial(_fixed_entry, network_class, None)
    return (
        ComparedNetwork(name, title, entry, SWIN_UMAMBA),
        ComparedNetwork(f"{name}_pretrained", f"{title}, pretrained", entry, SWIN_UMAMBA, pretrained=True),
    )


_TWIN = partial(_fixed_entry, SwinUMambaDConv, STRIDES[PlannedSwinUMambaD])
_CONVNEXT = partial(_fixed_entry, SwinUMambaDDConvNeXt, STRIDES[PlannedSwinUMambaDD])
_NNFORMER = partial(_fixed_entry, NNFormer, HEAD_STRIDES)

_NNFORMER_NOTE = (
    "the paper's 2D form (60 million parameters, 50.2 GFLOPs) is not known. This one is the public 3D "
    "network without its third axis; its width (144 channels), windows (7) and heads are our choice"
)

NETWORKS: dict[str, ComparedNetwork] = {
    network.name: network
    for network in (
        *_with_and_without_weights("swin_umamba", "SwinUMamba", PlannedSwinUMamba),
        *_with_and_without_weights("swin_umamba_d", "SwinUMambaD", PlannedSwinUMambaD),
        *(
            ComparedNetwork(
                f"swin_umamba_d_{backbone.removeprefix('vmamba_')}",
                f"SwinUMambaD with {backbone}",
                partial(_fixed_entry, PlannedSwinUMambaD, None, backbone=backbone),
                SWIN_UMAMBA,
            )
            for backbone in TRAINER_BACKBONES
        ),
        *_with_and_without_weights("swin_umamba_dd", "SwinUMambaDD", PlannedSwinUMambaDD),
        ComparedNetwork(
            "swin_umamba_d_conv", "SwinUMambaD, 7x7 convolution for the scan", _TWIN, SWIN_UMAMBA
        ),
        ComparedNetwork("swin_umamba_dd_convnext", "SwinUMambaDD, ConvNeXt's blocks", _CONVNEXT, SWIN_UMAMBA),
        ComparedNetwork("nnunet", "nnU-Net", plain_unet_entry, NNUNET),
        ComparedNetwork("nnunet_resenc", "nnU-Net ResEnc", residual_unet_entry, NNUNET),
        ComparedNetwork("umamba_bot", "U-Mamba_Bot", partial(_own_entry, UMambaBot), NNUNET),
        ComparedNetwork("umamba_enc", "U-Mamba_Enc", partial(_own_entry, UMambaEnc), NNUNET),
        ComparedNetwork("nnformer", "nnFormer, 2D stand-in", _NNFORMER, NNUNET, note=_NNFORMER_NOTE),
        *(
            ComparedNetwork(
                name,
                title,
                partial(_monai_entry, network_class),
                recipe,
                supervises_deeply=False,
                needs_monai=True,
            )
            for name, title, network_class, recipe in (
                ("segresnet", "SegResNet", SegResNet, SEGRESNET),
                ("unetr", "UNETR", UNETR, UNETR_RECIPE),
                ("swin_unetr", "SwinUNETR", SwinUNETR, SWIN_UNETR),
            )
        ),
    )
}


def find_network(name: str) -> ComparedNetwork:
    """Return a network by name.

    Raises
    ------
    UsageError
        If there is no network of that name.
    """
    if name not in NETWORKS:
        raise unknown_name("network to compare", name, NETWORKS)
    return NETWORKS[name]


def require_packages(networks: Sequence[ComparedNetwork]) -> None:
    """Raise ``UsageError`` if one of the networks needs a missing package."""
    if any(network.needs_monai for network in networks):
        monai_networks()
