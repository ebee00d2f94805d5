"""The files of a trained model, found without reading any weights: no torch is imported for that."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.errors import CheckpointError
from swin_umamba.json_files import read_json
from swin_umamba.nnunet.dataset_json import check_description
from swin_umamba.schema import Provenance

logger = logging.getLogger(__name__)

COPY_AGAIN = "copy it again from where the model was trained"
FINAL_CHECKPOINT = "checkpoint_final.pth"
# Substitutes for a missing final checkpoint, best choice first.
SUBSTITUTES = ("checkpoint_best.pth", "checkpoint_latest.pth")
MODEL_FILE_SUFFIX = ".safetensors"
"""Suffix of an exported model."""


def foreseen_channels(
    path: Path, folds: Sequence[int | str] | None = None, checkpoint: str = FINAL_CHECKPOINT
) -> list[str] | None:
    """Return the channels that a model takes, and refuse one of which files are missing or no JSON.

    Parameters
    ----------
    path, folds, checkpoint
        As for ``load_trained_model``; also an exported file.

    Returns
    -------
    list of str or None
        None for a single file, whose description is among its weights.

    Raises
    ------
    CheckpointError
        As for ``find_checkpoints``, or if ``plans.json`` or ``dataset.json`` is damaged.
    """
    _, folder = find_checkpoints(path, folds, checkpoint)
    if folder is None or path.suffix == MODEL_FILE_SUFFIX:
        return None
    read_description(folder / "plans.json")
    dataset_json = read_description(folder / "dataset.json")
    check_description(dataset_json, Provenance(folder / "dataset.json", COPY_AGAIN, CheckpointError))
    return channel_names_of(dataset_json)


def channel_names_of(dataset_json: Mapping[str, Any]) -> list[str]:
    """Return the names of the channels in a checked ``dataset.json``, in their order."""
    names = dataset_json.get("channel_names") or dataset_json["modality"]
    return [str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0]))]


def find_checkpoints(
    path: Path, folds: Sequence[int | str] | None, checkpoint: str
) -> tuple[list[Path], Path | None]:
    """Return the checkpoint files and the folder of plans.json and dataset.json, if there is one.

    Raises
    ------
    CheckpointError
        If there is nothing at that path, the folder is not a model folder, or a fold or checkpoint is
        missing.
    """
    if not path.exists():
        raise CheckpointError("the model does not exist", where=path, hint="check the path")
    if path.is_file():
        folder = path.resolve().parent.parent
        return [path], folder if is_model_folder(folder) else None
    if path.name.startswith("fold_") and is_model_folder(path.resolve().parent):
        folds = [path.resolve().name.removeprefix("fold_")]
        path = path.resolve().parent
    if not is_model_folder(path):
        raise CheckpointError(
            "this is not an nnU-Net model folder: plans.json or dataset.json is missing",
            where=path,
            hint="give the folder named TRAINER__PLANS__CONFIGURATION, or a single checkpoint file",
        )
    available = sorted(folder.name for folder in path.glob("fold_*") if folder.is_dir())
    chosen = [f"fold_{fold}" for fold in folds] if folds is not None else default_folds(available)
    missing = [name for name in chosen if name not in available]
    if missing or not chosen:
        raise CheckpointError(
            f"the model has no {' and no '.join(missing or ['fold folder'])}",
            where=path,
            hint=f"choose among: {', '.join(available)}" if available else "train a fold first",
        )
    return _choose_files(path, chosen, checkpoint, every=folds is not None), path


def _choose_files(path: Path, fold_names: list[str], checkpoint: str, *, every: bool) -> list[Path]:
    """Return the same checkpoint of each fold; unless folds were named, only of those that have it."""
    names = [checkpoint, *(SUBSTITUTES if checkpoint == FINAL_CHECKPOINT else ())]
    for name in names:
        files = [path / fold / name for fold in fold_names if (path / fold / name).is_file()]
        if not files or (every and len(files) < len(fold_names)):
            continue
        if name != checkpoint:
            logger.warning("%s is missing in %s: using %s instead", checkpoint, path, name)
        if len(files) < len(fold_names):
            used = ", ".join(file.parent.name for file in files)
            logger.warning("only some folds of %s have %s; using %s", path, name, used)
        return files
    there = sorted({file.name for fold in fold_names for file in (path / fold).glob("*.pth")})
    raise CheckpointError(
        f"{checkpoint} is missing in {', '.join(fold_names)}",
        where=path,
        hint=f"name one of the existing checkpoints: {', '.join(there)}" if there else "finish the training",
    )


def default_folds(available: list[str]) -> list[str]:
    """Return the numbered folds; without any, ``fold_all``, which has seen their validation cases."""
    return [name for name in available if name != "fold_all"] or available


def is_model_folder(folder: Path) -> bool:
    """Return whether a folder has the files that every trained model has beside its folds."""
    return (folder / "plans.json").is_file() and (folder / "dataset.json").is_file()


def read_description(path: Path) -> dict[str, Any]:
    """Return the content of ``plans.json`` or ``dataset.json``, unchecked.

    Raises
    ------
    CheckpointError
        If it is missing, or no JSON object.
    """
    return read_json(path, dict, error=CheckpointError, hint=COPY_AGAIN, nan=True)
