"""ImageNet weights of VMamba-Tiny for the encoder of the networks.

The functions know no network: they match names and shapes of two state dicts.
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
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.fine_tune import adapt_input_channels

logger = logging.getLogger(__name__)

ENCODER = "vssm_encoder."
PATCH_EMBED = "patch_embed."
PROJECTION = PATCH_EMBED + "proj.weight"
MOST_VALUES = 2**28
"""Ten times what VMamba-Tiny has. One stored value can stand for any number of them in a hostile file."""
PATCH_SIZE = 4
"""Edge of the patches that the classifier embeds."""

_NEW_SPELLING = [
    (re.compile(r"^patch_embed\.0\."), "patch_embed.proj."),
    (re.compile(r"^patch_embed\.2\."), "patch_embed.norm."),
    (re.compile(r"^(layers\.\d+\.blocks\.\d+)\.norm\."), r"\1.ln_1."),
    (re.compile(r"^(layers\.\d+\.blocks\.\d+)\.op\."), r"\1.self_attention."),
    (re.compile(r"^classifier\.(norm|head)\."), r"\1."),
]
"""VMamba renamed its layers in 2024; the same weights exist under both names."""
_OUR_SPELLING = [
    (re.compile(rf"^{re.escape(ENCODER)}"), ""),
    (re.compile(r"^downsamples\.(\d+)\."), r"layers.\1.downsample."),
]
"""And under those of our networks, in files that ``swin-umamba weights convert`` writes."""

_NEWER_ARCHITECTURE = re.compile(
    r"^patch_embed\.[57]\.|\.norm2\.|\.mlp\.|^layers\.\d+\.downsample\.[13]\.|\.op\.out_act|\.op\.x_proj\."
)
_GET_THE_RIGHT_FILE = (
    "use the first-generation VMamba-Tiny classifier: vssmtiny_dp01_ckpt_epoch_292.pth, "
    "also known as vmamba_tiny_e292.pth"
)


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor.

    Attributes
    ----------
    loaded
        Names of the model's tensors that are those of the file.
    adapted
        Name of a tensor of the model and how it was made from that of the file.
    skipped
        Name in the file and the reason why the model does not use it.
    missing
        Names of the model's tensors that keep their initial values.
    """

    loaded: tuple[str, ...]
    adapted: Mapping[str, str]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as text: the counts, then each tensor or part that is not as in the file."""
        parts = Counter(".".join(name.split(".")[: 2 if ENCODER in name else 1]) for name in self.missing)
        return [
            f"{len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.skipped)} of the file skipped, {len(self.missing)} of the network as initialised",
            *(f"  adapted: {name}: {how}" for name, how in self.adapted.items()),
            *(f"  skipped: {name}: {why}" for name, why in self.skipped.items()),
            *(f"  as initialised: {_part(part, count)}" for part, count in parts.items()),
        ]


def load_imagenet_weights(
    model: nn.Module, path: str | Path, *, adapt_first_convolution: bool = False
) -> LoadReport:
    """Put the ImageNet weights of a VMamba-Tiny checkpoint into the encoder of ``model``.

    Parameters
    ----------
    model
        A network whose encoder is called ``vssm_encoder``.
    path
        The checkpoint: a dict with the state dict under "model", or the state dict itself.
    adapt_first_convolution
        As for ``convert_imagenet_weights``.

    Returns
    -------
    LoadReport
        What was loaded, adapted, skipped and left as initialised.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or is not a VMamba checkpoint that fits the encoder. The model is then
        unchanged.
    """
    source = find_state_dict(load_checkpoint(path), path)
    converted, report = convert_imagenet_weights(
        source, model.state_dict(), path, adapt_first_convolution=adapt_first_convolution
    )
    model.load_state_dict(converted, strict=False)
    logger.info("The network starts from %s: %s", path, "\n".join(report.lines()))
    return report


def find_state_dict(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a VMamba checkpoint: its entry "model", or the checkpoint itself.

    Raises
    ------
    CheckpointError
        If there is no state dict, or the file is a segmentation checkpoint of nnU-Net, or the state of a
        pretraining.
    """
    if "network_weights" in checkpoint:
        raise CheckpointError(
            "this is a trained segmentation model of nnU-Net, not an ImageNet checkpoint",
            where=path,
            cure="to fine-tune from it: swin-umamba train --pretrained FILE; to predict with it: "
            "swin-umamba predict -m FILE",
        )
    if isinstance(checkpoint.get("pretraining"), Mapping):
        raise CheckpointError(
            "this is the state that swin-umamba pretrain --continue goes on from, not the weights it made",
            where=path,
            cure="give backbone.pth, which lies beside it",
        )
    state_dict = checkpoint.get("model", checkpoint)
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise CheckpointError("the file holds no state dict", where=path, cure=_GET_THE_RIGHT_FILE)
    strangers = [str(key) for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(
            f"the file is no state dict; these entries are not tensors: {in_short(strangers)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    return dict(state_dict)


def convert_imagenet_weights(
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    path: str | Path,
    *,
    adapt_first_convolution: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Map the state dict of a VMamba-Tiny classifier to names of a network's encoder.

    Parameters
    ----------
    source
        State dict of the classifier in either of VMamba's spellings, or what an earlier call returned.
    target
        State dict of the network; only names and shapes are read.
    path
        The file, for messages.
    adapt_first_convolution
        Where the network embeds images as the classifier does, but with another number of channels, make its
        first convolution from the classifier's (``adapt_input_channels``) and take over the rest of the patch
        embedding. False leaves all of it random, as the published code does.

    Returns
    -------
    dict
        The tensors of ``source`` that the network uses, under its names.
    LoadReport
        What became of every tensor.

    Raises
    ------
    CheckpointError
        If a name or shape cannot be explained, a tensor that the encoder needs is not there, or holds NaN or
        infinity, or there are more than ``MOST_VALUES`` values.

    Notes
    -----
    The default is exactly the published mapping. The classifier's head and final norm are left out. The
    patch embedding is used where its shape fits, that is by Swin-UMamba-dagger on images with three
    channels. Swin-UMamba embeds its stem instead of the image and starts with a new patch embedding,
    except for the bias of its norm (see ``_reason_to_skip``).
    """
    if (values := sum(tensor.numel() for tensor in source.values())) > MOST_VALUES:
        raise CheckpointError(
            f"the file's tensors claim {values:,} values, far more than VMamba-Tiny has",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    ours = bool(source) and all(key.startswith(ENCODER) for key in source)
    renamed = _to_first_spelling(source, path, [*_OUR_SPELLING, *_NEW_SPELLING] if ours else _NEW_SPELLING)
    converted: dict[str, Tensor] = {}
    adapted: dict[str, str] = {}
    skipped: dict[str, str] = {}
    seen: set[str] = set()
    unknown: list[str] = []
    for name, (key, tensor) in renamed.items():
        target_name = ENCODER + re.sub(r"^layers\.(\d+)\.downsample\.", r"downsamples.\1.", name)
        seen.add(target_name)
        if adapt_first_convolution and _differs_in_channels(name, renamed, target):
            channels = target[target_name].shape[1]
            converted[target_name] = adapt_input_channels(tensor, channels)
            adapted[target_name] = f"{tensor.shape[1]} input channels in the file, {channels} here"
        elif reason := _reason_to_skip(name, renamed, target, adapt_first_convolution):
            skipped[key] = reason
        elif target_name not in target:
            unknown.append(key)
        elif tensor.shape != target[target_name].shape:
            unknown.append(f"{key} {tuple(tensor.shape)}, expected {tuple(target[target_name].shape)}")
        else:
            converted[target_name] = tensor
    _refuse(unknown, "{} tensors of the file do not fit the encoder", path)
    needed = [name for name in target if name.startswith(ENCODER) and name not in seen]
    if ours and PROJECTION not in renamed:  # made for a network that starts with a new patch embedding
        needed = [name for name in needed if not name.startswith(ENCODER + PATCH_EMBED)]
    _refuse(needed, "the file lacks {} tensors of the encoder", path)
    spoilt = [name for name, value in converted.items() if not torch.isfinite(value).all()]
    _refuse(spoilt, "{} tensors hold NaN or infinity", path)
    loaded = tuple(name for name in converted if name not in adapted)
    missing = tuple(name for name in target if name not in converted)
    return converted, LoadReport(loaded, adapted, skipped, missing)


def _refuse(names: Sequence[str], problem: str, path: str | Path) -> None:
    """Raise ``CheckpointError`` if any tensor has the problem, a sentence with a place for their number."""
    if names:
        raise CheckpointError(
            f"{problem.format(len(names))}: {in_short(names)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )


def is_newer_architecture(state_dict: Mapping[str, Any]) -> bool:
    """Return whether the names are those of VMamba's networks since March 2024, which do not fit ours."""
    return any(_NEWER_ARCHITECTURE.search(key) for key in state_dict)


def _to_first_spelling(
    source: Mapping[str, Tensor], path: str | Path, rules: list[tuple[re.Pattern[str], str]]
) -> dict[str, tuple[str, Tensor]]:
    """Map the name in VMamba's first spelling to the name in the file and the tensor."""
    newer = [key for key in source if _NEWER_ARCHITECTURE.search(key)]
    if newer:
        raise CheckpointError(
            f"the file is of a newer VMamba architecture, which the encoder is not: {in_short(newer)}",
            where=path,
            cure=_GET_THE_RIGHT_FILE,
        )
    renamed: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in source.items():
        name = key
        for pattern, replacement in rules:
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
    name: str,
    source: Mapping[str, tuple[str, Tensor]],
    target: Mapping[str, Tensor],
    adapt_first_convolution: bool,
) -> str | None:
    if name.startswith(("norm.", "head.")):
        return "belongs to the classifier, not to the encoder"
    if not name.startswith(PATCH_EMBED) or ENCODER + PROJECTION not in target:
        return None
    theirs = source[PROJECTION][1].shape if PROJECTION in source else None
    ours = target[ENCODER + PROJECTION].shape
    if theirs is not None and theirs[2:] == ours[2:]:
        if theirs[1] == ours[1] or adapt_first_convolution:
            return None
        return f"embeds images with {theirs[1]} channels, the network's have {ours[1]}"
    if ours[2] == PATCH_SIZE:
        return None if theirs is not None else "the file lacks the rest of the patch embedding"
    # The published code of Swin-UMamba means to skip the whole patch embedding but lists norm.weight twice
    # and norm.bias never, so the bias is loaded. Its results were obtained that way, so it stays.
    if theirs is None or name == PATCH_EMBED + "norm.bias":
        return None
    return f"embeds the image in {theirs[2]}x{theirs[3]} patches, the network its stem in {ours[2]}x{ours[3]}"


def _differs_in_channels(
    name: str, source: Mapping[str, tuple[str, Tensor]], target: Mapping[str, Tensor]
) -> bool:
    if name != PROJECTION or ENCODER + PROJECTION not in target:
        return False
    theirs, ours = source[PROJECTION][1].shape, target[ENCODER + PROJECTION].shape
    return theirs[:1] == ours[:1] and theirs[2:] == ours[2:] and 0 < theirs[1] != ours[1]


def _part(part: str, count: int) -> str:
    in_encoder = part.startswith(ENCODER)
    why = "nothing in the file fits it" if in_encoder else "new, as the classifier has none"
    return f"{part} ({count} tensor{'s' if count > 1 else ''}): {why}"
