"""The initial weights of a training: finding their file, and loading it into the network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from swin_umamba.errors import CheckpointError, DataError, TrainingError, UsageError
from swin_umamba.json_files import parse_json
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.nnunet.resume.checkpoints import existing_checkpoints
from swin_umamba.weights.backbones.vmamba import VMAMBA_TINY
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.convert import convert_imagenet_weights, find_state_dict
from swin_umamba.weights.download import locate_weights
from swin_umamba.weights.fine_tune import (
    convert_segmentation_weights,
    find_segmentation_weights,
    is_segmentation_checkpoint,
)
from swin_umamba.weights.safetensors_file import load_metadata

_BACKBONE = "backbone.pth"
"""Output file of ``swin-umamba pretrain``, beside the state that it resumes from."""
_STOCK_LOADER = "load_pretrained_weights"
# Modules with the code of nnUNetv2_train: imported, run with ``python -m``, or in a process spawned from
# that.
_STOCK_COMMANDS = ("nnunetv2.run.run_training", "__main__", "__mp_main__")


def locate_pretrained(given: str | Path) -> Path:
    """Return the file that a value of ``--pretrained`` refers to.

    Parameters
    ----------
    given
        A file, a model folder with one trained fold, a fold folder, the output folder of a pretraining, or a
        name of the catalogue of ImageNet weights. In a folder, it is the backbone of the pretraining, the
        final checkpoint, or the first existing one of latest, best and the kept ones. Weights of the
        catalogue are downloaded unless they are in the cache.

    Raises
    ------
    TrainingError
        If there is nothing at that path.
    UsageError
        If a model folder has several folds, or a name of the catalogue seems misspelt.
    CheckpointError
        If a folder holds no checkpoint, or the download fails.
    """
    path = locate_weights(given)
    if path.is_dir():
        return _checkpoint_in(path)
    if path.is_file():
        return path
    raise TrainingError(
        "the initial weights: there is no such file or folder",
        where=given,
        hint="give --pretrained an ImageNet checkpoint of the backbone (a file, or a name that swin-umamba "
        "weights list shows), a trained model (file or folder), or none for random weights; with "
        "nnUNetv2_train set SWIN_UMAMBA_PRETRAINED to one of them",
    )


def load_pretrained(
    network: nn.Module, path: Path, dataset_json: Mapping[str, Any], *, adapt_first_convolution: bool = False
) -> list[str]:
    """Load the weights of a classifier, or of a trained model, into a network.

    Parameters
    ----------
    network
        One of the two networks, without wrappers.
    path
        The file.
    dataset_json
        Description of the new data set; heads of a trained model are only kept if their classes are the same.
    adapt_first_convolution
        Whether to adapt the first convolution of a classifier, which the published code leaves random; see
        ``convert_imagenet_weights``. That of a trained model is always adapted.

    Returns
    -------
    list of str
        Lines for a log on what happened to the tensors.

    Raises
    ------
    CheckpointError
        If the file cannot be read safely, or holds anything unknown. The network is then unchanged.
    """
    checkpoint = load_checkpoint(path)
    target = network.state_dict()
    backbone = network.backbone if isinstance(network, SegmentationNetwork) else VMAMBA_TINY
    if is_segmentation_checkpoint(checkpoint):
        weights, report = convert_segmentation_weights(
            find_segmentation_weights(checkpoint, path),
            target,
            path,
            same_classes=_same_classes(_dataset_json_of(checkpoint, path), dataset_json),
            backbone=backbone,
        )
        kind, lines = "trained segmentation network", report.lines()
    else:
        weights, imagenet_report = convert_imagenet_weights(
            find_state_dict(checkpoint, path, backbone),
            target,
            path,
            backbone=backbone,
            adapt_first_convolution=adapt_first_convolution,
        )
        kind, lines = f"{backbone.title} classifier", imagenet_report.lines()
    network.load_state_dict(weights, strict=False)
    return [f"The network starts from {path} ({kind}): {lines[0]}", *lines[1:]]


def take_over_stock_loading(network: nn.Module, load: Callable[[str], None]) -> None:
    """Make ``nnUNetv2_train -pretrained_weights FILE`` call ``load`` for this network.

    nnU-Net's command calls a function of its own right after ``initialize``. That function unpickles the
    file, which can run any code, accepts only checkpoints with the same channels, and needs the same classes
    unless heads are called ``seg_layers``. There is no hook, so this replaces the function in the running
    command; for any other network, nnU-Net's function is still called.

    Parameters
    ----------
    network
        ``trainer.network``, with its wrappers.
    load
        Function that is called with the path.
    """
    for name in _STOCK_COMMANDS:
        command = sys.modules.get(name)
        stock = getattr(command, _STOCK_LOADER, None)
        if stock is None or not hasattr(command, "maybe_load_checkpoint"):
            continue
        setattr(command, _STOCK_LOADER, _Loader(network, load, getattr(stock, "stock", stock)))


class _Loader:
    """Replaces nnU-Net's function with the same parameters."""

    def __init__(self, network: nn.Module, load: Callable[[str], None], stock: Callable[..., None]) -> None:
        self.network, self.load, self.stock = network, load, stock

    def __call__(self, network: nn.Module, fname: str, verbose: bool = False) -> None:
        if network is self.network:
            self.load(fname)
        else:
            self.stock(network, fname, verbose)


def _checkpoint_in(folder: Path) -> Path:
    if (folder / _BACKBONE).is_file():
        return folder / _BACKBONE
    folds = [fold for fold in sorted(folder.glob("fold_*")) if existing_checkpoints(fold)]
    if len(folds) > 1:
        raise UsageError(
            "the model has several folds, and a training starts from one",
            where=folder,
            hint="give one of its folders: " + ", ".join(fold.name for fold in folds),
        )
    checkpoints = existing_checkpoints(folds[0] if folds else folder)
    if not checkpoints:
        raise CheckpointError(
            "the folder holds no checkpoint to start from",
            where=folder,
            hint="give a model folder TRAINER__PLANS__2d, a fold folder, the output folder of a pretraining, "
            "or a checkpoint file",
        )
    return checkpoints[0]


def _dataset_json_of(checkpoint: Mapping[str, Any], path: Path) -> Any:
    """Return the unchecked description of the data set that a model was trained on; None if there is none."""
    if path.suffix == ".safetensors":
        with suppress(DataError):
            return parse_json(load_metadata(path).get("dataset", "null"), object, where=path, nan=True)
        return None
    init_args = checkpoint.get("init_args")
    return init_args.get("dataset_json") if isinstance(init_args, Mapping) else None


def _same_classes(theirs: Any, ours: Mapping[str, Any]) -> bool | None:
    """Return whether the heads have the same meaning in two descriptions; None if the first has no labels."""
    if not isinstance(theirs, Mapping) or not isinstance(theirs.get("labels"), Mapping):
        return None
    return _classes(theirs) == _classes(ours)


def _classes(dataset_json: Mapping[str, Any]) -> tuple[Any, Any]:
    return dict(dataset_json["labels"]), dataset_json.get("regions_class_order")
