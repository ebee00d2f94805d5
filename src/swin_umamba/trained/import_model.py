"""Turn a model folder of the published code into one that predicts here and with stock nnU-Net."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swin_umamba.errors import CheckpointError, DataError, OutputError, UsageError
from swin_umamba.files import atomic_folder, write_text
from swin_umamba.json_files import read_json
from swin_umamba.paper import EXPERIMENTS
from swin_umamba.trained.archive import unpacked_model
from swin_umamba.trained.model import TrainedModel, load_trained_model
from swin_umamba.trained.model_files import FINAL_CHECKPOINT, SUBSTITUTES, default_folds, is_model_folder
from swin_umamba.trained.network import check_model, current_plans
from swin_umamba.weights.checkpoint import save_checkpoint

# The published results were made with these, although the trainings continued (section 4 of arXiv 2402.03302
# and the published prediction scripts).
PUBLISHED_CHECKPOINTS = {each.dataset_name: each.checkpoint for each in EXPERIMENTS.values()}
NUMBERED_CHECKPOINT = re.compile(r"checkpoint_(\d+)\.pth")
NAME = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class ImportedModel:
    """What was imported.

    Attributes
    ----------
    path
        The new model folder.
    checkpoint
        Name of the checkpoint that was used from each fold; it is now called ``checkpoint_final.pth``.
    reason
        Reason for this choice.
    others
        Names of the checkpoints that were not used.
    folds
        Names of the fold folders.
    model
        The model, with its plans as they were written.
    """

    path: Path
    checkpoint: str
    reason: str
    others: tuple[str, ...]
    folds: tuple[str, ...]
    model: TrainedModel


def import_model(
    source: str | Path,
    output: str | Path | None = None,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str | None = None,
    force: bool = False,
) -> ImportedModel:
    """Write what prediction needs of a trained model to a new folder, in the form of today's nnU-Net.

    The checkpoints are loaded without running anything from them, names and shapes of all tensors are
    compared with the network, the plans get the entries that today's nnU-Net reads, and the state of the
    optimizer (two thirds of the size) is left out. The source is not changed.

    Parameters
    ----------
    source
        A model folder (``plans.json``, ``dataset.json``, ``fold_*``), or a zip archive of one.
    output
        The new model folder. By default the place where nnU-Net looks for it if ``nnUNet_results`` is set and
        the place is free, else ``SOURCE_imported`` beside the source.
    folds
        Numbers or ``"all"``; by default all numbered folds, else ``fold_all``.
    checkpoint
        Name of the checkpoint in each fold; chosen automatically by default.
    force
        Whether to replace a model folder at ``output``.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, unsafe to load, or the files do not match. Nothing is written.
    UsageError
        If ``output`` is the source or within it, or ``source`` is a single file that is not an archive.
    OutputError
        If ``output`` exists already, or cannot be written.
    """
    source = Path(source)
    output = None if output is None else Path(output)
    if output is not None:
        _check_output(source, output, force)
    with _opened(source) as folder:
        name, reason, others = _choose_checkpoint(folder, folds, checkpoint)
        model = load_trained_model(folder, folds=folds, checkpoint=name)
        fold_names = tuple(file.parent.name for file in model.checkpoints)
    model = replace(model, path=source)  # for errors about its plans
    model = replace(model, plans=current_plans(model))
    check_model(model)  # any error that would stop a prediction stops the import
    if output is None:
        output = _default_output(source, model)
        _check_output(source, output, force)
    _write_model_folder(model, fold_names, output)
    return ImportedModel(output, name, reason, others, fold_names, model)


@contextmanager
def _opened(source: Path) -> Iterator[Path]:
    """Yield the model folder that ``source`` is, or that is in it."""
    if not source.exists():
        raise CheckpointError("the model does not exist", where=source, hint="check the path")
    is_archive = source.is_file() and source.suffix.lower() == ".zip"
    if source.is_file() and not is_archive:
        raise UsageError(
            "a model is imported from a folder or a zip archive, and this is a single file",
            where=source,
            hint="give the folder with plans.json, dataset.json and fold_*",
        )
    with unpacked_model(source) if is_archive else nullcontext(source) as folder:
        if not is_model_folder(folder):
            raise CheckpointError(
                "this is not an nnU-Net model folder: plans.json or dataset.json is missing",
                where=source,
                hint="give the folder that holds plans.json, dataset.json and fold_*",
            )
        yield folder


def _choose_checkpoint(
    folder: Path, folds: Sequence[int | str] | None, given: str | None
) -> tuple[str, str, tuple[str, ...]]:
    """Return the name of the checkpoint to use, the reason, and the names of the others."""
    available = sorted(path.name for path in folder.glob("fold_*") if path.is_dir())
    chosen = [f"fold_{fold}" for fold in folds] if folds is not None else default_folds(available)
    names = [{file.name for file in (folder / fold).glob("*.pth")} for fold in chosen]
    there = set.intersection(*names) if names else set()
    if given is not None:
        name, reason = given, "you asked for it"
    else:
        name, reason = _best_checkpoint(folder, there)
    return name, reason, tuple(sorted(there - {name}))


def _best_checkpoint(folder: Path, there: set[str]) -> tuple[str, str]:
    dataset = _dataset_name(folder)
    published = PUBLISHED_CHECKPOINTS.get(dataset, "")
    if published in there:
        return published, f"the published results on {dataset} were made with it"
    final = FINAL_CHECKPOINT, "it is the end of the training"
    if FINAL_CHECKPOINT in there:
        return final
    numbered = [match for match in map(NUMBERED_CHECKPOINT.fullmatch, there) if match]
    best, latest = SUBSTITUTES
    if best in there:
        return best, "it scored best during the training, and there is none of the training's end"
    if numbered:
        last = max(numbered, key=lambda match: int(match[1]))
        return last[0], f"it is the last one: epoch {int(last[1]) + 1}"
    if latest in there:
        return latest, "it is the last one"
    return final  # missing, which is reported when the model is read


def _dataset_name(folder: Path) -> str:
    """Return the name in plans.json; "" if it cannot be read, which reading the model reports."""
    try:
        return str(read_json(folder / "plans.json", dict, nan=True)["dataset_name"])
    except (DataError, KeyError):
        return ""


def _default_output(source: Path, model: TrainedModel) -> Path:
    results = os.environ.get("nnUNet_results")  # noqa: SIM112 - nnU-Net spells it so
    names = (model.plans.get("dataset_name"), model.plans.get("plans_name"))
    # The names come from the file, and must not lead to another place.
    if results and all(isinstance(n, str) and NAME.fullmatch(n) for n in (*names, model.configuration)):
        dataset_name, plans_name = names
        model_name = f"{model.trainer_name}__{plans_name}__{model.configuration}"
        place = Path(results).expanduser() / str(dataset_name) / model_name
        if NAME.fullmatch(model.trainer_name) and not place.exists():
            return place
    source = source.resolve()
    return source.with_name(f"{source.stem if source.is_file() else source.name}_imported")


def _check_output(source: Path, output: Path, force: bool) -> None:
    if source.resolve() in (output.resolve(), *output.resolve().parents):
        raise UsageError(
            "the model cannot be imported into itself", where=output, hint="give another folder with -o"
        )
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_model_folder(output):
        raise OutputError(
            "something other than a model folder is there", where=output, hint="give another folder with -o"
        )
    if not force:
        raise OutputError(
            "a model exists already and was not changed",
            where=output,
            hint="give another folder with -o, or --overwrite to replace it",
        )


def _write_model_folder(model: TrainedModel, fold_names: Sequence[str], output: Path) -> None:
    with atomic_folder(output) as folder:
        # nnU-Net writes NaN for statistics of absent classes, and reads it again.
        write_text(folder / "plans.json", json.dumps(model.plans, indent=2) + "\n")
        write_text(folder / "dataset.json", json.dumps(model.dataset_json, indent=2) + "\n")
        for fold_name, parameters in zip(fold_names, model.parameters, strict=True):
            save_checkpoint(
                folder / fold_name / FINAL_CHECKPOINT, _prediction_checkpoint(model, fold_name, parameters)
            )


def _prediction_checkpoint(model: TrainedModel, fold_name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a checkpoint that nnU-Net's predictor reads or that make it self-contained."""
    fold = fold_name.removeprefix("fold_")
    return {
        "network_weights": {key: value.contiguous() for key, value in parameters.items()},
        "trainer_name": model.trainer_name,
        "init_args": {
            "plans": model.plans,
            "configuration": model.configuration,
            "fold": int(fold) if fold.isdecimal() else fold,
            "dataset_json": model.dataset_json,
        },
        "inference_allowed_mirroring_axes": model.mirror_axes,
    }
