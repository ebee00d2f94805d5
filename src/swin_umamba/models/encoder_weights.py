"""The networks that a file's weights fit, and the weights of an encoder as a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError, UsageError, printable
from swin_umamba.files import file_sha256
from swin_umamba.models.backbones import DEFAULT_BACKBONE, find_backbone
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.models.registry import create_model, list_models
from swin_umamba.weights.backbone import ENCODER, BackboneRecord
from swin_umamba.weights.catalog import recognise_backbone, shapes_of
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.convert import STEM, LoadReport, convert_imagenet_weights, find_state_dict
from swin_umamba.weights.fine_tune import convert_segmentation_weights
from swin_umamba.weights.inspect_checkpoint import Inspection
from swin_umamba.weights.safetensors_file import save_safetensors

FORMAT = "swin-umamba-encoder-1"
_LARGEST_SIZE = 2**14
_OUTPUTS = ("out_layers.0.conv.conv.weight", "decoder.seg_layers.0.weight")


def convert_file(
    source: str | Path,
    output: str | Path,
    name: str,
    in_channels: int,
    *,
    adapt_first_convolution: bool = False,
) -> LoadReport:
    """Write what a network uses of an ImageNet checkpoint as safetensors, under the network's names.

    ``create_model(..., pretrained=output)`` then gives the same network as with ``source``.

    Parameters
    ----------
    source
        Checkpoint of any backbone, recognised by names and shapes.
    output
        File to write, ``NAME.safetensors``.
    name, in_channels, adapt_first_convolution
        As for ``create_model``.

    Returns
    -------
    LoadReport
        Outcome for every tensor.

    Raises
    ------
    CheckpointError
        If ``source`` cannot be read or does not fit.
    OutputError
        If ``output`` cannot be written.
    UsageError
        If there is no such network.
    """
    weights = find_state_dict(load_checkpoint(source), source)
    backbone = recognise_backbone(shapes_of(weights)) or find_backbone(DEFAULT_BACKBONE)
    target = _on_meta(name, in_channels, 2, backbone, weights).state_dict()
    converted, report = convert_imagenet_weights(
        weights, target, source, backbone=backbone, adapt_first_convolution=adapt_first_convolution
    )
    metadata = {
        "format": FORMAT,
        "network": name,
        "in_channels": str(in_channels),
        "adapted": ", ".join(report.adapted),
        "source_sha256": file_sha256(source),
    }
    save_safetensors(output, converted, metadata)
    return report


def find_fits(inspection: Inspection) -> dict[str, str]:
    """Return, for each network, whether and how the weights of a checkpoint fit it.

    Parameters
    ----------
    inspection
        Findings of ``inspect_checkpoint``.

    Returns
    -------
    dict
        Sentence for the name of each network, with its number of channels where it matters. Empty if weights
        of this kind fit none.
    """
    if inspection.family == "imagenet":
        return _fits_of_imagenet(inspection)
    if inspection.family == "segmentation":
        return {name: _fit_of_trained(inspection, name) for name in list_models()}
    return {}


def _fits_of_imagenet(inspection: Inspection) -> dict[str, str]:
    fits = {}
    backbone = inspection.backbone or find_backbone(DEFAULT_BACKBONE)
    for name in list_models():
        for in_channels in (3, 1):
            try:
                target = _on_meta(name, in_channels, 2, backbone, inspection.weights).state_dict()
            except UsageError as error:
                fits[name] = f"no: {printable(error.what)}"
                continue
            for adapt in (False, True):
                try:
                    _, report = convert_imagenet_weights(
                        inspection.weights,
                        target,
                        inspection.path,
                        backbone=backbone,
                        adapt_first_convolution=adapt,
                    )
                    sentence = f"yes: {report.lines()[0]}"
                except CheckpointError as error:
                    sentence, report = f"no: {printable(error.what)}", None
                if not adapt or (report is not None and report.adapted):
                    label = f"{name}, {in_channels} channel{'s' if in_channels > 1 else ''}"
                    fits[label + ", first convolution adapted" * adapt] = sentence
    return fits


def _fit_of_trained(inspection: Inspection, name: str) -> str:
    weights = inspection.weights
    backbone = inspection.backbone or find_backbone(DEFAULT_BACKBONE)
    in_channels = _dimension(weights, (STEM, ENCODER + backbone.first_convolution), 1)
    num_classes = _dimension(weights, _OUTPUTS, 0)
    try:
        target = _on_meta(name, in_channels, num_classes, backbone, weights).state_dict()
        _, report = convert_segmentation_weights(weights, target, inspection.path, backbone=backbone)
    except (CheckpointError, UsageError) as error:
        return f"no: {printable(error.what)}"
    return (
        f"yes: all {len(report.loaded)} tensors, for images with {in_channels} "
        f"channel{'s' if in_channels > 1 else ''} and {num_classes} classes"
    )


def _on_meta(
    name: str, in_channels: int, num_classes: int, backbone: BackboneRecord, weights: Mapping[str, Tensor]
) -> SegmentationNetwork:
    """Build a network without memory, with the depths and widths of the weights."""
    with torch.device("meta"):
        return create_model(name, in_channels, num_classes, **_sizes(backbone, weights))


def _sizes(backbone: BackboneRecord, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the backbone, and its sizes as read off the weights, as arguments of a network."""
    shapes = {name.removeprefix(ENCODER): shape for name, shape in shapes_of(weights).items()}
    return {"backbone": backbone.name, **(backbone.sizes(shapes) if backbone.sizes is not None else {})}


def _dimension(weights: Mapping[str, Tensor], names: tuple[str, ...], dimension: int) -> int:
    found = next((weights[name] for name in names if name in weights), None)
    size = found.shape[dimension] if found is not None and found.ndim > dimension else 1
    return min(max(size, 1), _LARGEST_SIZE)
