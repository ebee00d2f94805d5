"""Which networks a file's weights fit, and the weights of an encoder as a file of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError, printable
from swin_umamba.files import file_sha256
from swin_umamba.models.network import NUM_STAGES, SegmentationNetwork
from swin_umamba.models.registry import create_model, list_models
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.convert import LoadReport, convert_imagenet_weights, find_state_dict
from swin_umamba.weights.fine_tune import convert_segmentation_weights
from swin_umamba.weights.inspect_checkpoint import Inspection
from swin_umamba.weights.safetensors_file import save_safetensors

FORMAT = "swin-umamba-encoder-1"
_LARGEST_SIZE = 2**14
_INPUTS = ("stem.0.weight", "vssm_encoder.patch_embed.proj.weight")
_OUTPUTS = ("out_layers.0.conv.conv.weight", "decoder.seg_layers.0.weight")


def convert_file(
    source: str | Path,
    output: str | Path,
    name: str,
    in_channels: int,
    *,
    adapt_first_convolution: bool = False,
) -> LoadReport:
    """Write what a network takes of an ImageNet checkpoint as safetensors, under the network's names.

    ``create_model(..., pretrained=output)`` then gives the same network as with ``source``.

    Parameters
    ----------
    source
        A VMamba-Tiny checkpoint.
    output
        The file to write, ``NAME.safetensors``.
    name, in_channels, adapt_first_convolution
        As for ``create_model``.

    Returns
    -------
    LoadReport
        What became of every tensor.

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
    target = _on_meta(name, in_channels, 2, weights).state_dict()
    converted, report = convert_imagenet_weights(
        weights, target, source, adapt_first_convolution=adapt_first_convolution
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
    """Return for each network whether and how the weights of a checkpoint fit it.

    Parameters
    ----------
    inspection
        What ``inspect_checkpoint`` has found.

    Returns
    -------
    dict
        Name of the network, with its number of channels where it matters, and a sentence. Empty if the
        weights are of no kind that could fit.
    """
    if inspection.family == "imagenet":
        return _fits_of_imagenet(inspection)
    if inspection.family == "segmentation":
        return {name: _fit_of_trained(inspection, name) for name in list_models()}
    return {}


def _fits_of_imagenet(inspection: Inspection) -> dict[str, str]:
    fits = {}
    for name in list_models():
        for in_channels in (3, 1):
            target = _on_meta(name, in_channels, 2, inspection.weights).state_dict()
            for adapt in (False, True):
                try:
                    _, report = convert_imagenet_weights(
                        inspection.weights, target, inspection.path, adapt_first_convolution=adapt
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
    in_channels, num_classes = _dimension(weights, _INPUTS, 1), _dimension(weights, _OUTPUTS, 0)
    target = _on_meta(name, in_channels, num_classes, weights).state_dict()
    try:
        _, report = convert_segmentation_weights(weights, target, inspection.path)
    except CheckpointError as error:
        return f"no: {printable(error.what)}"
    return (
        f"yes: all {len(report.loaded)} tensors, for images with {in_channels} "
        f"channel{'s' if in_channels > 1 else ''} and {num_classes} classes"
    )


def _on_meta(
    name: str, in_channels: int, num_classes: int, weights: Mapping[str, Tensor]
) -> SegmentationNetwork:
    """Build a network without memory, with the depths and widths of the weights."""
    with torch.device("meta"):
        return create_model(name, in_channels, num_classes, **_sizes(weights))


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read depths and widths off the names and shapes; nothing if they make no sense."""
    depths, features, states = [0] * NUM_STAGES, [0] * NUM_STAGES, {0}
    for key, tensor in weights.items():
        match = re.search(
            r"^(?:vssm_encoder\.)?layers\.([0-3])\.blocks\.(\d{1,3})\..*\.A_logs$", key, re.ASCII
        )
        if match and tensor.ndim == 2:
            stage = int(match[1])
            depths[stage] = max(depths[stage], int(match[2]) + 1)
            # Four directions, and twice as many channels inside a block as outside.
            features[stage] = tensor.shape[0] // 8
            states.add(tensor.shape[1])
    if min(depths) < 1 or not 0 < min(features) <= max(features) <= _LARGEST_SIZE or len(states) != 2:
        return {}
    return {"depths": depths, "features_per_stage": features, "d_state": min(max(states), _LARGEST_SIZE)}


def _dimension(weights: Mapping[str, Tensor], names: tuple[str, ...], dimension: int) -> int:
    found = next((weights[name] for name in names if name in weights), None)
    size = found.shape[dimension] if found is not None and found.ndim > dimension else 1
    return min(max(size, 1), _LARGEST_SIZE)
