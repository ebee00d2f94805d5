"""Weights of a trained segmentation network as the starting point of another training run.

The functions know nothing of networks: they match the names and shapes of two state dicts. Where the new task
has other channels or classes, the layers that touch the image are adapted and the heads start afresh;
everything else must fit exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError, in_short
from swin_umamba.weights.backbone import ENCODER, BackboneRecord
from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
from swin_umamba.weights.catalog import recognise_backbone, refuse_another_backbone, shapes_of

# The convolutions of Swin-UMamba that see the image itself; in Swin-UMamba-dagger it is the encoder's first.
_FIRST_CONVOLUTION = re.compile(r"stem\.0\.weight|encoder1\.layer\.conv[13]\.conv\.weight")
# Swin-UMamba's first residual block has a projection shortcut unless the image has as many channels as it.
_SHORTCUT = "encoder1.layer.conv3.conv.weight"
_HEAD = re.compile(r"(out_layers\.\d+\.conv\.conv|decoder\.seg_layers\.\d+)\.(weight|bias)")
# The first one that a state dict has: SwinUMambaDD expands once more than SwinUMambaD.
_SIGNATURES = {
    "SwinUMamba": "stem.0.weight",
    "SwinUMambaDD": "decoder.expand_layers.4.expand.weight",
    "SwinUMambaD": "decoder.expand_layers.0.expand.weight",
}
_LAST_BLOCK_OF_SWIN_UMAMBA = "decoder6."


@dataclass(frozen=True)
class FineTuneReport:
    """Outcome for every tensor.

    Attributes
    ----------
    loaded
        Names of the tensors taken unchanged from the file.
    adapted
        Name of each tensor that was derived from the file's, and how.
    reinitialised
        Name of each tensor that keeps its initial value, and why.
    skipped
        Name of each tensor in the file that the network has no use for, and why.
    """

    loaded: tuple[str, ...]
    adapted: Mapping[str, str]
    reinitialised: Mapping[str, str]
    skipped: Mapping[str, str]

    def lines(self) -> list[str]:
        """Return the report as text: the counts, then each tensor that was not loaded unchanged."""
        counts = (
            f"{len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.reinitialised)} re-initialised, {len(self.skipped)} of the file skipped, 0 missing"
        )
        return [
            counts,
            *(f"  adapted: {name}: {how}" for name, how in self.adapted.items()),
            *(f"  re-initialised: {name}: {why}" for name, why in self.reinitialised.items()),
            *(f"  skipped: {name}: {why}" for name, why in self.skipped.items()),
        ]


def is_segmentation_checkpoint(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a file's content is a trained segmentation network.

    That is a training checkpoint of nnU-Net, an exported model file, or a bare state dict.
    """
    weights = {str(name).rpartition("/")[2]: value for name, value in checkpoint.items()}
    return "network_weights" in weights or network_of(weights) is not None


def network_of(state_dict: Mapping[str, Any]) -> str | None:
    """Return the class of the network that a state dict belongs to; None if it is none of ours."""
    whole = any(name.startswith(ENCODER) for name in state_dict)
    if not whole and recognise_backbone(shapes_of(state_dict)) is not None:
        return None  # a classifier, whatever its layers are called
    return next((name for name, key in _SIGNATURES.items() if key in state_dict), None)


def find_segmentation_weights(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint.

    It is the entry "network_weights", or the checkpoint itself; in an exported model file its names begin
    with ``fold_0/`` and so on.

    Raises
    ------
    CheckpointError
        If there is no state dict, it spans several folds, or it holds anything but finite floating-point
        tensors.
    """
    weights = checkpoint.get("network_weights", checkpoint)
    if not isinstance(weights, Mapping) or not weights:
        raise CheckpointError(
            "the file holds no weights of a segmentation network", where=path, hint="give another checkpoint"
        )
    unknown = [
        str(name)
        for name, value in weights.items()
        if not isinstance(value, Tensor) or not value.is_floating_point()
    ]
    if unknown:
        raise CheckpointError(
            f"these entries are not floating-point tensors: {in_short(unknown)}",
            where=path,
            hint="give a checkpoint of a training, or a file that holds its state dict alone",
        )
    spoilt = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if spoilt:
        raise CheckpointError(
            f"{len(spoilt)} tensors hold NaN or infinity: {in_short(spoilt)}",
            where=path,
            hint="give an earlier checkpoint of that training",
        )
    folds = {name.rpartition("/")[0] for name in weights}
    if len(folds) > 1:
        raise CheckpointError(
            f"the file holds the weights of {len(folds)} folds, and a training starts from one",
            where=path,
            hint="export one fold, or give the checkpoint of one",
        )
    return {name.rpartition("/")[2]: value for name, value in weights.items()}


def convert_segmentation_weights(
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    path: str | Path,
    *,
    same_classes: bool | None = None,
    backbone: BackboneRecord = VMAMBA_TINY,
) -> tuple[dict[str, Tensor], FineTuneReport]:
    """Match the state dict of a trained network to one with other channels or classes.

    Parameters
    ----------
    source, target
        State dicts of the trained and the new network; only names and shapes of the latter are read.
    path
        The file, for messages.
    same_classes
        Whether the heads stand for the same classes; None if unknown, when equal numbers suffice.
    backbone
        Backbone of the new network.

    Returns
    -------
    dict
        Tensors for the new network to load.
    FineTuneReport
        Outcome for every tensor.

    Raises
    ------
    CheckpointError
        If other channels or classes do not explain a tensor of either.
    """
    refuse_another_backbone(source, backbone, path, "give another checkpoint")
    converted: dict[str, Tensor] = {}
    adapted: dict[str, str] = {}
    reinitialised: dict[str, str] = {}
    misfits, skipped = _without_a_place(source, target)
    for name, ours in target.items():
        theirs = source.get(name)
        if theirs is None:
            if name == _SHORTCUT:
                reinitialised[name] = "the shortcut of the file is the identity"
            else:
                misfits.append(f"{name} (not in the file)")
        elif reason := _reason_for_a_new_head(name, theirs, ours, same_classes):
            reinitialised[name] = reason
        elif theirs.shape == ours.shape:
            converted[name] = theirs
        elif _sees_the_image(name, backbone) and differ_in_channels(theirs, ours):
            converted[name] = adapt_input_channels(theirs, ours.shape[1])
            adapted[name] = f"{theirs.shape[1]} input channels in the file, {ours.shape[1]} here"
        else:
            misfits.append(f"{name} {tuple(theirs.shape)}, expected {tuple(ours.shape)}")
    if misfits:
        raise CheckpointError(
            f"{len(misfits)} tensors do not fit the network: {in_short(misfits)}",
            where=path,
            hint=_hint(source, target),
        )
    loaded = tuple(name for name in converted if name not in adapted)
    return converted, FineTuneReport(loaded, adapted, reinitialised, skipped)


def adapt_input_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Change the number of input channels of a first convolution's kernel.

    For one channel the kernel is summed, so that a grey image gives what its copy in every channel gave. For
    several, the channels are repeated in turn and scaled by old / new, which preserves the response's size.

    Parameters
    ----------
    weight
        Kernel (out, old, height, width).
    in_channels
        New number of channels.

    Returns
    -------
    Tensor
        Kernel (out, in_channels, height, width).
    """
    old = weight.shape[1]
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    turns = torch.arange(in_channels) % old
    return weight[:, turns] * (old / in_channels)


def differ_in_channels(theirs: Tensor, ours: Tensor) -> bool:
    """Return whether kernels (out, in, height, width) differ in the number of input channels alone."""
    same_rest = theirs.ndim == 4 and theirs.shape[0] == ours.shape[0] and theirs.shape[2:] == ours.shape[2:]
    return same_rest and 0 < theirs.shape[1] != ours.shape[1]


def _without_a_place(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[list[str], dict[str, str]]:
    """Return the names in the file that the network lacks: the unexplained ones, and those with a reason."""
    unknown = [name for name in source if name not in target]
    if _SHORTCUT not in unknown or "stem.0.weight" not in target:
        return unknown, {}
    unknown.remove(_SHORTCUT)
    return unknown, {_SHORTCUT: "the image has as many channels as the block, whose shortcut is the identity"}


def _reason_for_a_new_head(name: str, theirs: Tensor, ours: Tensor, same_classes: bool | None) -> str | None:
    if not _HEAD.fullmatch(name) or theirs.shape[1:] != ours.shape[1:]:
        return None
    if theirs.shape != ours.shape:
        return f"{theirs.shape[0]} classes in the file, {ours.shape[0]} here"
    return "the classes of the file have other names or another order" if same_classes is False else None


def _sees_the_image(name: str, backbone: BackboneRecord) -> bool:
    return name == ENCODER + backbone.first_convolution or _FIRST_CONVOLUTION.fullmatch(name) is not None


def _hint(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    theirs, ours = network_of(source), network_of(target)
    if theirs is not None and ours is not None and theirs != ours:
        return f"the file is of {theirs}, this training of {ours}: choose the trainer of the same network"
    if theirs == "SwinUMamba" and not any(name.startswith(_LAST_BLOCK_OF_SWIN_UMAMBA) for name in source):
        return (
            "the file is of the first published version, which lacks the deepest decoder block; "
            "give a checkpoint of the later one"
        )
    return "give a checkpoint of the same network with the same depths and numbers of features"
