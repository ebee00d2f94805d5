"""Conversion of classifiers' weights for the encoder of the networks.

The functions know nothing of networks: they match the names and shapes of two state dicts.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swin_umamba.errors import CheckpointError, in_short
from swin_umamba.weights.backbone import ENCODER, BackboneRecord
from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
from swin_umamba.weights.catalog import refuse_another_backbone, shapes_of
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.fine_tune import adapt_input_channels, differ_in_channels

logger = logging.getLogger(__name__)

_OF_A_FOLD = re.compile(r"fold_\w+/", re.ASCII)
"""Start of the names in an exported model."""
STEM = "stem.0.weight"
"""A network with this tensor feeds its encoder features at half the size instead of the image."""


@dataclass(frozen=True)
class LoadReport:
    """Outcome for every tensor.

    Attributes
    ----------
    loaded
        Names of the model's tensors taken unchanged from the file.
    adapted
        Name of each tensor of the model that was derived from the file's, and how.
    skipped
        Name in the file of each tensor that the model does not use, and why.
    missing
        Names of the model's tensors that keep their initial values.
    """

    loaded: tuple[str, ...]
    adapted: Mapping[str, str]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as text: the counts, then each tensor or part that differs from the file."""
        parts = Counter(".".join(name.split(".")[: 2 if ENCODER in name else 1]) for name in self.missing)
        return [
            f"{len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.skipped)} of the file skipped, {len(self.missing)} of the network as initialised",
            *(f"  adapted: {name}: {how}" for name, how in self.adapted.items()),
            *(f"  skipped: {name}: {why}" for name, why in self.skipped.items()),
            *(f"  as initialised: {_part(part, count)}" for part, count in parts.items()),
        ]


def load_imagenet_weights(
    model: nn.Module,
    path: str | Path,
    *,
    backbone: BackboneRecord = VMAMBA_TINY,
    adapt_first_convolution: bool = False,
) -> LoadReport:
    """Load a classifier's weights into the encoder of ``model``.

    Parameters
    ----------
    model
        Network whose encoder is called ``vssm_encoder``.
    path
        Checkpoint: a dict with the state dict under "model", or the state dict itself.
    backbone, adapt_first_convolution
        As for ``convert_imagenet_weights``.

    Returns
    -------
    LoadReport
        Tensors loaded, adapted, skipped and left as initialised.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or is not a checkpoint that fits the encoder; the model is left unchanged.
    """
    source = find_state_dict(load_checkpoint(path), path, backbone)
    converted, report = convert_imagenet_weights(
        source,
        model.state_dict(),
        path,
        backbone=backbone,
        adapt_first_convolution=adapt_first_convolution,
    )
    model.load_state_dict(converted, strict=False)
    logger.info("The network starts from %s: %s", path, "\n".join(report.lines()))
    return report


def find_state_dict(
    checkpoint: Mapping[str, Any], path: str | Path, backbone: BackboneRecord = VMAMBA_TINY
) -> dict[str, Tensor]:
    """Return the state dict of a classifier's checkpoint: its entry "model", or the checkpoint itself.

    Raises
    ------
    CheckpointError
        If there is no state dict, or the file is a trained model, a whole network or the state of a
        pretraining run.
    """
    if "network_weights" in checkpoint or any(_OF_A_FOLD.match(str(key)) for key in checkpoint):
        raise CheckpointError(
            "this is a trained segmentation model of nnU-Net, not an ImageNet checkpoint",
            where=path,
            hint="to fine-tune from it: swin-umamba train --pretrained FILE; to predict with it: "
            "swin-umamba predict -m FILE; for its network in Python: Predictor.from_folder(FILE).networks[0]",
        )
    if isinstance(checkpoint.get("pretraining"), Mapping):
        raise CheckpointError(
            "this is the state that swin-umamba pretrain --continue resumes from, not the weights it made",
            where=path,
            hint="give backbone.pth, which lies beside it",
        )
    state_dict = checkpoint.get("model", checkpoint)
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise CheckpointError("the file holds no state dict", where=path, hint=backbone.advice)
    others = [str(key) for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(
            f"the file is not a state dict; these entries are not tensors: {in_short(others)}",
            where=path,
            hint=backbone.advice,
        )
    beside = [str(key) for key in state_dict if ENCODER not in str(key)]
    if beside and len(beside) < len(state_dict):
        raise CheckpointError(
            f"this is the state dict of a whole network, not of an encoder alone: {in_short(beside)}",
            where=path,
            hint="in Python, make the network without pretrained, and give it to load_state_dict",
        )
    return dict(state_dict)


def convert_imagenet_weights(
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    path: str | Path,
    *,
    backbone: BackboneRecord = VMAMBA_TINY,
    adapt_first_convolution: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Map a classifier's state dict to the names of a network's encoder.

    Parameters
    ----------
    source
        State dict of the classifier in any spelling of the backbone, or the result of an earlier call.
    target
        State dict of the network; only names and shapes are read.
    path
        The file, for messages.
    backbone
        Backbone of the network.
    adapt_first_convolution
        If the network embeds images as the classifier does, but with a different number of channels, derive
        its first convolution from the classifier's (``adapt_input_channels``) and load the rest of the patch
        embedding. False leaves all of it random, as the published code does, unless the record says
        otherwise.

    Returns
    -------
    dict
        Tensors of ``source`` that the network uses, under its names.
    LoadReport
        Outcome for every tensor.

    Raises
    ------
    CheckpointError
        If the weights are those of another backbone, a name or shape cannot be explained, or a tensor that
        the encoder needs is missing or holds NaN or infinity.

    Notes
    -----
    The default is exactly the published mapping. The classifier's head and final norm are left out. The
    patch embedding is used where its shape fits, i.e. by Swin-UMamba-dagger on images with three channels.
    Swin-UMamba embeds the output of its stem instead of the image and starts with a new patch embedding,
    except for the bias of its norm (see ``taken_anyway`` in the record of VMamba-Tiny).
    """
    _check_source(source, path, backbone)
    adapt_first_convolution = adapt_first_convolution or backbone.adapts_channels
    ours = bool(source) and all(key.startswith(ENCODER) for key in source)
    renamed = _renamed(source, path, backbone)
    converted: dict[str, Tensor] = {}
    adapted: dict[str, str] = {}
    skipped: dict[str, str] = {}
    unknown: list[str] = []
    for name, (key, tensor) in renamed.items():
        target_name = ENCODER + name
        expected = target.get(target_name)
        if adapt_first_convolution and _differs_in_channels(name, tensor, target, backbone):
            channels = target[target_name].shape[1]
            converted[target_name] = adapt_input_channels(tensor, channels)
            adapted[target_name] = f"{tensor.shape[1]} input channels in the file, {channels} here"
        elif reason := _reason_to_skip(name, renamed, target, backbone, adapt_first_convolution):
            skipped[key] = reason
        elif expected is None:
            unknown.append(key)
        elif tensor.shape == expected.shape:
            converted[target_name] = tensor
        elif _may_be_reshaped(name, tensor, expected, backbone):
            converted[target_name] = tensor.reshape(expected.shape)
        else:
            unknown.append(f"{key} {tuple(tensor.shape)}, expected {tuple(expected.shape)}")
    _refuse(unknown, "{} tensors of the file do not fit the encoder", path, backbone)
    seen = {ENCODER + name for name in renamed}
    needed = [name for name in target if name.startswith(ENCODER) and name not in seen]
    if ours and backbone.first_convolution not in renamed:  # made for one that starts with a new embedding
        needed = [name for name in needed if not name.startswith(ENCODER + backbone.patch_embedding)]
    _refuse(needed, "the file lacks {} tensors of the encoder", path, backbone)
    whole = [name for name, value in converted.items() if not value.is_floating_point()]
    again = "the file is damaged, or was changed after the training: get it again"
    _refuse(whole, "{} tensors do not hold floating-point numbers", path, backbone, again)
    spoilt = [name for name, value in converted.items() if not torch.isfinite(value).all()]
    _refuse(spoilt, "{} tensors hold NaN or infinity", path, backbone, again)
    loaded = tuple(name for name in converted if name not in adapted)
    missing = tuple(name for name in target if name not in converted)
    return converted, LoadReport(loaded, adapted, skipped, missing)


def _check_source(source: Mapping[str, Tensor], path: str | Path, backbone: BackboneRecord) -> None:
    refuse_another_backbone(source, backbone, path, backbone.advice)
    if foreign := backbone.foreign(source):
        what, names = foreign
        rest = {key: value for key, value in shapes_of(source).items() if key not in names}
        if backbone.recognises(rest):
            raise CheckpointError(
                f"the file is of {backbone.title}, but for tensors of {what}: {in_short(names)}",
                where=path,
                hint="give the file as it was published, or leave these tensors out of it",
            )
        raise CheckpointError(
            f"the file is of {what}, which the encoder is not: {in_short(names)}",
            where=path,
            hint=backbone.advice,
        )


def _refuse(
    names: Sequence[str], problem: str, path: str | Path, backbone: BackboneRecord, hint: str | None = None
) -> None:
    """Raise ``CheckpointError`` if any tensor has the problem, a sentence with a slot for their number."""
    if names:
        raise CheckpointError(
            f"{problem.format(len(names))}: {in_short(names)}", where=path, hint=hint or backbone.advice
        )


def _renamed(
    source: Mapping[str, Tensor], path: str | Path, backbone: BackboneRecord
) -> dict[str, tuple[str, Tensor]]:
    """Map the encoder's name for each tensor to its name in the file and the tensor."""
    renamed: dict[str, tuple[str, Tensor]] = {}
    ours = all(key.startswith(ENCODER) for key in source)
    for key, tensor in source.items():
        name = backbone.own_name(key.removeprefix(ENCODER) if ours else key)
        if name in renamed:
            raise CheckpointError(
                f"the file holds the same tensor twice, as {renamed[name][0]} and {key}",
                where=path,
                hint=backbone.advice,
            )
        renamed[name] = (key, tensor)
    return renamed


def _reason_to_skip(
    name: str,
    source: Mapping[str, tuple[str, Tensor]],
    target: Mapping[str, Tensor],
    backbone: BackboneRecord,
    adapt_first_convolution: bool,
) -> str | None:
    if name.startswith(backbone.classifier):
        return "belongs to the classifier, not to the encoder"
    projection = backbone.first_convolution
    if not name.startswith(backbone.patch_embedding) or ENCODER + projection not in target:
        return None
    theirs = source[projection][1].shape if projection in source else None
    ours = target[ENCODER + projection].shape
    if STEM in target:
        if theirs is None or name in backbone.taken_anyway:
            return None
        return f"embeds the image in {_by(theirs)} patches, the network its stem in {_by(ours)}"
    if theirs is None:
        return "the file lacks the rest of the patch embedding"
    if theirs[1:2] == ours[1:2] or theirs[2:] != ours[2:] or adapt_first_convolution:
        return None
    return f"embeds images with {theirs[1]} channels, the network's have {ours[1]}"


def _differs_in_channels(
    name: str, tensor: Tensor, target: Mapping[str, Tensor], backbone: BackboneRecord
) -> bool:
    """Return whether this is the kernel that sees the image, with a different number of channels."""
    is_first = name == backbone.first_convolution and ENCODER + name in target and STEM not in target
    return is_first and differ_in_channels(tensor, target[ENCODER + name])


def _may_be_reshaped(name: str, tensor: Tensor, expected: Tensor, backbone: BackboneRecord) -> bool:
    pattern = backbone.may_be_reshaped
    if pattern is None or not re.search(pattern, name) or tensor.numel() != expected.numel():
        return False
    # The last axis longer than 1 must stay, or the tensor could be a transposed one.
    return _last_axis(tensor) == _last_axis(expected)


def _last_axis(tensor: Tensor) -> int:
    return next((size for size in reversed(tensor.shape) if size > 1), 1)


def _by(kernel: Sequence[int]) -> str:
    return "x".join(str(side) for side in kernel[2:])


def _part(part: str, count: int) -> str:
    in_encoder = part.startswith(ENCODER)
    why = "nothing in the file fits it" if in_encoder else "new, as the classifier has none"
    return f"{part} ({count} tensor{'s' if count > 1 else ''}): {why}"
