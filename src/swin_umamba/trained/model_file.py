"""A trained model in one file: weights of all folds, plans, labels and a model card in safetensors.

safetensors holds tensors and a dictionary of strings, and nothing that could be executed. The entries here:

========== ===================================================================================================
format     ``swin-umamba-model-1``
plans      JSON: nnU-Net's plans with one configuration, that is preprocessing, patch size and network
dataset    JSON: nnU-Net's dataset.json with channels and labels
inference  JSON: ``configuration``, ``trainer_name``, ``mirror_axes``, ``folds`` and their ``calibrations``
model_card Markdown, for people
sha256     of all the above and of every tensor's name, dtype, shape and bytes
========== ===================================================================================================

A tensor's name is its fold's, a slash, and its name in the state dict. The hash detects damage and careless
edits. It is not a signature: a correct hash does not make a file trustworthy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_umamba.errors import CheckpointError
from swin_umamba.evaluation.postprocessing import ComponentStep, steps_from_json
from swin_umamba.json_files import parse_json
from swin_umamba.trained.calibration_file import FoldCalibration
from swin_umamba.trained.model import TrainedModel, check_descriptions
from swin_umamba.weights.safetensors_file import load_metadata, load_safetensors, save_safetensors

FORMAT = "swin-umamba-model-1"
ENTRIES = ("format", "plans", "dataset", "inference", "model_card")
LARGEST_ENTRY = 16 * 2**20
FOLD = re.compile(r"fold_(\d{1,4}|all)", re.ASCII)


def write_model_file(model: TrainedModel, model_card: str, path: str | Path) -> str:
    """Write a trained model to one file, atomically, and return its hash.

    Parameters
    ----------
    model
        The model, with plans in their current form.
    model_card
        A description in Markdown.
    path
        The file, ``NAME.safetensors``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    folds = fold_names(model)
    inference = {
        "configuration": model.configuration,
        "trainer_name": model.trainer_name,
        "mirror_axes": list(model.mirror_axes),
        "folds": folds,
        "calibrations": [None if each is None else asdict(each) for each in model.calibrations],
    }
    if model.postprocessing:
        inference["postprocessing"] = [asdict(step) for step in model.postprocessing]
    metadata = {
        "format": FORMAT,
        "plans": json.dumps(model.plans),
        "dataset": json.dumps(model.dataset_json),
        "inference": json.dumps(inference),
        "model_card": model_card,
    }
    tensors = {
        f"{fold}/{key}": value
        for fold, parameters in zip(folds, model.parameters, strict=True)
        for key, value in parameters.items()
    }
    metadata["sha256"] = content_hash(metadata, tensors)
    save_safetensors(path, tensors, metadata)
    return metadata["sha256"]


def fold_names(model: TrainedModel) -> list[str]:
    """Return the names of the fold folders; a checkpoint outside a fold folder counts as fold 0."""
    names = [file.parent.name for file in model.checkpoints]
    if len(set(names)) == len(names) and all(FOLD.fullmatch(name) for name in names):
        return names
    return [f"fold_{number}" for number in range(len(names))]


def read_model_file(path: str | Path, *, folds: Sequence[int | str] | None = None) -> TrainedModel:
    """Read a model that ``write_model_file`` wrote.

    Parameters
    ----------
    path
        The file.
    folds
        Folds to use, numbers or ``"all"``; by default all folds in the file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, changed since it was written, or no such model.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("the model does not exist", where=path, hint="check the path")
    metadata = load_metadata(path)
    _check_entries(metadata, path)
    tensors = load_safetensors(path)
    if content_hash(metadata, tensors) != metadata["sha256"]:
        raise CheckpointError(
            "the file was damaged or changed after it was written: its content does not have the hash that "
            "it names",
            where=path,
            hint="copy or download it again from where it was made",
        )
    return _to_model(metadata, tensors, path, folds)


def content_hash(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the entries other than ``sha256``, and over the tensors, as hexadecimal."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:  # with its length, so that different contents never give the same sequence
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    for key in ENTRIES:
        add(key.encode())
        add(metadata[key].encode())
    for key in sorted(tensors):
        tensor = tensors[key].contiguous()
        add(key.encode())
        add(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_entries(metadata: Mapping[str, str], path: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            "this is not a model that swin-umamba export wrote"
            + ("" if "format" not in metadata else f" (its format is {metadata['format'][:40]!r})"),
            where=path,
            hint="give such a file, or a model folder; weights alone cannot predict",
        )
    if set(metadata) != {*ENTRIES, "sha256"} or any(
        len(value) > LARGEST_ENTRY for value in metadata.values()
    ):
        raise CheckpointError(
            f"its description must have the entries {', '.join(ENTRIES)} and sha256, of at most "
            f"{LARGEST_ENTRY} characters each",
            where=path,
            hint="export the model again",
        )


def _to_model(
    metadata: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    path: Path,
    folds: Sequence[int | str] | None,
) -> TrainedModel:
    plans, dataset_json, inference = (
        parse_json(
            metadata[key],
            dict,
            where=f"{path}: {key!r}",
            error=CheckpointError,
            hint="export the model again",
            nan=True,
        )
        for key in ("plans", "dataset", "inference")
    )
    names = inference.get("folds")
    _require(isinstance(names, list) and bool(names), "folds", path)
    assert isinstance(names, list)
    _require(all(isinstance(name, str) and FOLD.fullmatch(name) for name in names), "folds", path)
    for key, kind in (("configuration", str), ("trainer_name", str), ("mirror_axes", list)):
        _require(isinstance(inference.get(key), kind), key, path)
    check_descriptions(plans, dataset_json, inference["configuration"], path)
    # A tensor that belongs to no fold would not be checked.
    strays = [key for key in tensors if key.partition("/")[0] not in names]
    _require(not strays, f"tensor {strays[0] if strays else ''}", path)
    calibrations = _calibrations(inference, names, path)
    chosen = names if folds is None else [f"fold_{fold}" for fold in folds]
    missing = [name for name in chosen if name not in names]
    if missing or not chosen:
        raise CheckpointError(
            f"the model has no {' and no '.join(missing or ['fold'])}",
            where=path,
            hint=f"choose among: {', '.join(names)}",
        )
    return TrainedModel(
        path=path,
        checkpoints=(path,) * len(chosen),
        plans=plans,
        dataset_json=dataset_json,
        configuration=inference["configuration"],
        trainer_name=inference["trainer_name"],
        mirror_axes=tuple(inference["mirror_axes"]),
        parameters=tuple(
            {key.partition("/")[2]: value for key, value in tensors.items() if key.partition("/")[0] == fold}
            for fold in chosen
        ),
        calibrations=tuple(calibrations[fold] for fold in chosen),
        postprocessing=_postprocessing(inference, path),
    )


def _postprocessing(inference: Mapping[str, Any], path: Path) -> tuple[ComponentStep, ...]:
    try:
        return steps_from_json(inference.get("postprocessing", []))
    except ValueError:
        _require(False, "postprocessing", path)
        raise


def _calibrations(
    inference: Mapping[str, Any], names: Sequence[str], path: Path
) -> dict[str, FoldCalibration | None]:
    """Return the calibration of each fold; files of older versions have none."""
    stored = inference.get("calibrations") or [None] * len(names)
    _require(isinstance(stored, list) and len(stored) == len(names), "calibrations", path)
    result = {}
    for name, values in zip(names, stored, strict=True):
        try:
            result[name] = None if values is None else FoldCalibration.from_stored(values)
        except (AttributeError, KeyError, TypeError, ValueError):
            _require(False, "calibrations", path)
    return result


def _require(condition: bool, what: str, path: Path) -> None:
    if not condition:
        raise CheckpointError(
            f"the description of the model is damaged: {what[:80]!r} is not what it should be",
            where=path,
            hint="export the model again",
        )
