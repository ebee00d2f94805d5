"""Identification of checkpoints by their content, without running any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from swin_umamba.errors import printable
from swin_umamba.files import file_sha256
from swin_umamba.weights.backbone import ENCODER, BackboneRecord
from swin_umamba.weights.catalog import BACKBONES, recognise_backbone, shapes_of
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.fine_tune import network_of

_FACTS = {
    "network_weights": ("trainer_name", "current_epoch"),
    "model": ("epoch", "max_accuracy", "max_accuracy_ema"),
}
NOT_OURS = "state dict of a network that is not ours"
_LONGEST = 80


@dataclass(frozen=True)
class Inspection:
    """Findings about a checkpoint.

    Attributes
    ----------
    path
        Path of the file.
    size
        Size in bytes.
    sha256
        Hash in hexadecimal.
    kind
        Kind of checkpoint, in a few words.
    facts
        Other facts it states about itself, such as the trainer and the epoch.
    weights
        State dict; for a model with several folds, that of the first.
    backbone
        Backbone of the weights, or of the encoder in them; None if unknown.
    family
        ``"imagenet"`` if the weights can go into an encoder, ``"segmentation"`` if they are those of a whole
        network of ours, else None.
    """

    path: Path
    size: int
    sha256: str
    kind: str
    facts: Mapping[str, str]
    weights: Mapping[str, Tensor]
    backbone: BackboneRecord | None
    family: str | None

    @property
    def parameters(self) -> int:
        """Number of values in all tensors of the state dict."""
        return sum(tensor.numel() for tensor in self.weights.values())


def inspect_checkpoint(path: str | Path) -> Inspection:
    """Identify a checkpoint.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is not a checkpoint, or asks for more than tensors and plain values.
    """
    path = Path(path)
    content = load_checkpoint(path)
    weights, origin = _find_weights(content)
    backbone = recognise_backbone(shapes_of(weights))
    kind, family = _kind(weights, origin, backbone)
    return Inspection(
        path=path,
        size=path.stat().st_size,
        sha256=file_sha256(path),
        kind=kind,
        facts=_facts(content, origin),
        weights=weights,
        backbone=backbone,
        family=family,
    )


def _find_weights(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Return the state dict and the entry it was found under, "" for the file itself."""
    for origin in ("network_weights", "model", "pretraining"):
        inner = content.get(origin)
        if origin == "pretraining" and isinstance(inner, Mapping):
            inner = inner.get("network")
        if isinstance(inner, Mapping):
            return _tensors(inner), origin
    folds = {key.partition("/")[0] for key in content if isinstance(key, str) and "/" in key}
    if folds and all(re.fullmatch(r"fold_\w+", fold) for fold in folds):
        first = f"{min(folds)}/"
        return {k.removeprefix(first): v for k, v in _tensors(content).items() if k.startswith(first)}, "fold"
    return _tensors(content), ""


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in mapping.items() if isinstance(value, Tensor)}


def _kind(
    weights: Mapping[str, Tensor], origin: str, backbone: BackboneRecord | None
) -> tuple[str, str | None]:
    network = network_of(weights)
    if not weights:
        return "a file without weights", None
    if origin == "network_weights":
        of = f"of {network}" if network else "of a network that is not ours"
        return f"training checkpoint of nnU-Net {of}", "segmentation" if network else None
    if origin == "pretraining":
        return (
            "state of a pretraining, to resume from; the weights to use are in backbone.pth beside it",
            None,
        )
    if network:
        form = "trained model in one file" if origin == "fold" else "state dict"
        return f"{form} of {network}", "segmentation"
    if backbone is None:
        foreign = filter(None, (each.foreign(weights) for each in BACKBONES.values()))
        return next((f"weights of {what}, which cannot be used" for what, _ in foreign), NOT_OURS), None
    if all(key.startswith(ENCODER) for key in weights):
        return "encoder that swin-umamba weights convert wrote", "imagenet"
    has_head = any(backbone.own_name(key).startswith(backbone.classifier) for key in weights)
    kind = f"{backbone.title} classifier" if has_head else f"encoder of {backbone.title}, without classifier"
    if backbone.spellings:
        later = any(backbone.first_spelling(key) != key for key in weights)
        kind += f", layers named as in its {'later' if later else 'first'} version"
    return kind, "imagenet"


def _facts(content: Mapping[str, Any], origin: str) -> dict[str, str]:
    facts = {key: _shown(content[key]) for key in _FACTS.get(origin, ()) if key in content}
    init_args = content.get("init_args")
    if isinstance(init_args, Mapping):
        facts |= {key: _shown(init_args[key]) for key in ("configuration", "fold") if key in init_args}
    if origin in _FACTS:
        facts["entries"] = _shown(", ".join(str(key) for key in content))
    return facts


def _shown(value: Any) -> str:
    """Return a value as one short line: the file may be untrusted."""
    text = printable(str(value)[: _LONGEST + 1]).replace("\n", " ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
