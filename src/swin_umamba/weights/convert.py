"""ImageNet weights of VMamba-Tiny for the encoder of the networks.

The functions know no network: they match names and shapes of two state dicts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from swin_umamba.errors import CheckpointError
from swin_umamba.weights.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

ENCODER = "vssm_encoder."
PATCH_EMBED = "patch_embed."

_NEW_SPELLING = [
    (re.compile(r"^patch_embed\.0\."), "patch_embed.proj."),
    (re.compile(r"^patch_embed\.2\."), "patch_embed.norm."),
    (re.compile(r"^(layers\.\d+\.blocks\.\d+)\.norm\."), r"\1.ln_1."),
    (re.compile(r"^(layers\.\d+\.blocks\.\d+)\.op\."), r"\1.self_attention."),
    (re.compile(r"^classifier\.(norm|head)\."), r"\1."),
]
"""VMamba renamed its layers in 2024; the same weights exist under both names."""

_NEWER_ARCHITECTURE = re.compile(
    r"^patch_embed\.[57]\.|\.norm2\.|\.mlp\.|^layers\.\d+\.downsample\.[13]\.|\.op\.out_act|\.op\.x_proj\."
)
_GET_THE_RIGHT_FILE = (
    "use the first-generation VMamba-Tiny classifier: vssmtiny_dp01_ckpt_epoch_292.pth, "
    "also known as vmamba_tiny_e292.pth"
)
_SHOWN_KEYS = 5


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor.

    Attributes
    ----------
    loaded
        Names of the model's tensors that came from the file.
    skipped
        Name in the file and the reason why the model does not use it.
    missing
        Names of the model's tensors that keep their initial values.
    """

    loaded: tuple[str, ...]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]


def load_imagenet_weights(model: nn.Module, path: str | Path) -> LoadReport:
    """Put the ImageNet weights of a VMamba-Tiny checkpoint into the encoder of ``model``.

    Parameters
    ----------
    model
        A network whose encoder is called ``vssm_encoder``.
    path
        The checkpoint: a dict with the state dict under "model", or the state dict itself.

    Returns
    -------
    LoadReport
        What was loaded, skipped and left as initialised.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or is not a VMamba checkpoint that fits the encoder. The model is then
        unchanged.
    """
    source = find_state_dict(load_checkpoint(path), path)
    converted, report = convert_imagenet_weights(source, model.state_dict(), path)
    model.load_state_dict(converted, strict=False)
    logger.info(
        "%s: loaded %d tensors, skipped %d; %d tensors of the network keep their initial values",
        path,
        len(report.loaded),
        len(report.skipped),
        len(report.missing),
    )
    return report


def find_state_dict(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a VMamba checkpoint: its entry "model", or the checkpoint itself.

    Raises
    ------
    CheckpointError
        If there is no state dict, or the file is a segmentation checkpoint of nnU-Net.
    """
    if "network_weights" in checkpoint:
        raise CheckpointError(
            "this is a trained segmentation model of nnU-Net, not an ImageNet checkpoint",
            where=path,
            cure="to fine-tune from it, give it to nnUNetv2_train with -pretrained_weights instead",
        )
    state_dict = checkpoint.get("model", checkpoint)
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise CheckpointError("the file holds no state dict", where=path, cure=_GET_THE_RIGHT_FILE)
    strangers = [str(key) for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(
            f"the file is no state dict; these entries are not tensors: {_list(strangers)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    return dict(state_dict)


def convert_imagenet_weights(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor], path: str | Path
) -> tuple[dict[str, Tensor], LoadReport]:
    """Map the state dict of a VMamba-Tiny classifier to names of a network's encoder.

    Parameters
    ----------
    source
        State dict of the classifier, in either of VMamba's spellings.
    target
        State dict of the network; only names and shapes are read.
    path
        The file, for messages.

    Returns
    -------
    dict
        The tensors of ``source`` that the network uses, under its names.
    LoadReport
        What became of every tensor.

    Raises
    ------
    CheckpointError
        If a name or shape cannot be explained, or a tensor that the encoder needs is not there.

    Notes
    -----
    This is exactly the published mapping. The classifier's head and final norm are left out. The
    patch embedding is used where its shape fits, that is by Swin-UMamba-dagger on images with three
    channels. Swin-UMamba embeds its stem instead of the image and starts with a new patch embedding,
    except for the bias of its norm (see ``_reason_to_skip``).
    """
    renamed = _to_first_spelling(source, path)
    converted: dict[str, Tensor] = {}
    skipped: dict[str, str] = {}
    seen: set[str] = set()
    unknown: list[str] = []
    for name, (key, tensor) in renamed.items():
        target_name = ENCODER + re.sub(r"^layers\.(\d+)\.downsample\.", r"downsamples.\1.", name)
        seen.add(target_name)
        if reason := _reason_to_skip(name, renamed, target):
            skipped[key] = reason
        elif target_name not in target:
            unknown.append(key)
        elif tensor.shape != target[target_name].shape:
            unknown.append(f"{key} {tuple(tensor.shape)}, expected {tuple(target[target_name].shape)}")
        else:
            converted[target_name] = tensor
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} tensors of the file do not fit the encoder: {_list(unknown)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    if needed := [name for name in target if name.startswith(ENCODER) and name not in seen]:
        raise CheckpointError(
            f"the file lacks {len(needed)} tensors of the encoder: {_list(needed)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    missing = tuple(name for name in target if name not in converted)
    return converted, LoadReport(tuple(converted), skipped, missing)


def _to_first_spelling(source: Mapping[str, Tensor], path: str | Path) -> dict[str, tuple[str, Tensor]]:
    """Map the name in VMamba's first spelling to the name in the file and the tensor."""
    newer = [key for key in source if _NEWER_ARCHITECTURE.search(key)]
    if newer:
        raise CheckpointError(
            f"the file is of a newer VMamba architecture, which the encoder is not: {_list(newer)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    renamed: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in source.items():
        name = key
        for pattern, replacement in _NEW_SPELLING:
            name = pattern.sub(replacement, name)
        if name in renamed:
            raise CheckpointError(
                f"the file holds the same tensor twice, as {renamed[name][0]} and {key}",
                where=path,
                cure=_GET_THE_RIGHT_FILE,
            )
        renamed[name] = (key, tensor)
    return renamed


def _reason_to_skip(
    name: str, source: Mapping[str, tuple[str, Tensor]], target: Mapping[str, Tensor]
) -> str | None:
    if name.startswith(("norm.", "head.")):
        return "belongs to the classifier, not to the encoder"
    projection = PATCH_EMBED + "proj.weight"
    if not name.startswith(PATCH_EMBED) or projection not in source or ENCODER + projection not in target:
        return None
    theirs, ours = source[projection][1].shape, target[ENCODER + projection].shape
    if theirs[2:] == ours[2:]:
        if theirs[1] == ours[1]:
            return None
        return f"embeds images with {theirs[1]} channels, the network's have {ours[1]}"
    # The published code of Swin-UMamba means to skip the whole patch embedding but lists norm.weight twice
    # and norm.bias never, so the bias is loaded. Its results were obtained that way, so it stays.
    if name == PATCH_EMBED + "norm.bias":
        return None
    return f"embeds the image in {theirs[2]}x{theirs[3]} patches, the network its stem in {ours[2]}x{ours[3]}"


def _list(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return shown if len(keys) <= _SHOWN_KEYS else f"{shown} and {len(keys) - _SHOWN_KEYS} more"
