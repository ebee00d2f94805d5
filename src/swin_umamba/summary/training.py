"""Records of a training in its model folder: curves, options, data and software."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.json_files import LARGEST_RESULTS, read_contract, read_json
from swin_umamba.nnunet.record.metrics_file import METRICS_FILE
from swin_umamba.nnunet.training.folds import CROSS_VALIDATION_FILE
from swin_umamba.report.contents import Facts, TrainingCurves
from swin_umamba.summary.curves import curves_of_log, curves_of_metrics, read_metrics
from swin_umamba.summary.places import DAMAGED
from swin_umamba.summary.software import software_of_training
from swin_umamba.weights.checkpoint import load_checkpoint

# The first existing one is used; only the first in this list certainly holds the whole training.
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")

# Depth of nested lists in a table; a malicious file could nest them beyond Python's recursion limit.
DEEPEST_LIST = 4


@dataclass(frozen=True)
class FoldRecord:
    """Records of a fold: curves, facts, failures and missing parts."""

    curves: TrainingCurves | None
    facts: tuple[Facts, ...]
    failures: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def read_fold(folder: Path, class_names: Sequence[str]) -> FoldRecord:
    """Read a fold folder; missing or damaged parts are named and do not prevent reading the others.

    Parameters
    ----------
    folder
        ``fold_0`` and so on.
    class_names
        Names of the foreground classes, in nnU-Net's order.
    """
    missing: list[str] = []
    failures: list[tuple[str, str]] = []
    options: dict[str, Any] = {}
    try:
        options = read_contract(folder / "training_options.json")
    except DataError as error:
        missing.append(f"{folder.name}: the options of the training, training_options.json ({error.what})")
    curves = _curves(folder, options, class_names, missing, failures)
    rows = [] if options.get("seed") is not None or not options else [("seed", "none was given")]
    rows += [
        (key.replace("_", " "), _text(value))
        for key, value in options.items()
        if value is not None and value is not False
    ]
    if curves is not None:
        rows.append(("epochs trained", str(len(curves.train_loss))))
        seconds = [each for each in curves.seconds if math.isfinite(each)]
        if seconds:
            rows.append(("time of all epochs", duration(math.fsum(seconds))))
            rows.append(("time of an epoch", f"{math.fsum(seconds) / len(seconds):.1f} s"))
    facts = [Facts(f"Training of {folder.name}", tuple(rows))] if rows else []
    facts += software_of_training(folder, missing) or _software_of_nnunet(folder, missing)
    return FoldRecord(curves, tuple(facts), tuple(failures), tuple(missing))


def data_facts(model_folder: Path, missing: list[str]) -> tuple[Facts, ...]:
    """Return tables of the data set and the plans; missing parts are added to ``missing``."""
    facts = []
    try:
        description = read_json(model_folder / "dataset.json", dict, nan=True)
        rows = [
            ("data set", model_folder.resolve().parent.name),
            ("training cases", _text(description.get("numTraining", "not stated"))),
            ("channels", _text(list(dict(description.get("channel_names", {})).values()))),
            ("classes", ", ".join(f"{key} = {_text(value)}" for key, value in description["labels"].items())),
            ("file ending", _text(description.get("file_ending", "not stated"))),
        ]
        facts.append(Facts("Data", (*rows, *_fingerprint(model_folder, missing))))
    except (DataError, *DAMAGED):
        missing.append("the description of the data, as dataset.json is missing or damaged")
    try:
        plans = read_json(model_folder / "plans.json", dict, nan=True)
        name = model_folder.resolve().name.split("__")[-1]
        configuration = plans["configurations"][name]
        architecture = configuration.get("architecture", {}).get("network_class_name", "not stated")
        keys = ("patch_size", "batch_size", "spacing", "normalization_schemes", "median_image_size_in_voxels")
        shown = [(key.replace("_", " "), _text(configuration[key])) for key in keys if key in configuration]
        network = str(architecture).rpartition(".")[-1]
        facts.append(
            Facts("Plans", (("plans", _text(plans.get("plans_name"))), ("network", network), *shown))
        )
    except (DataError, *DAMAGED):
        missing.append("the plans, as plans.json is missing, damaged or without this configuration")
    return tuple(facts)


def cross_validation_facts(model_folder: Path, missing: list[str]) -> tuple[Facts, ...]:
    """Return the table of the Dice of folds that one command trained; if damaged, add it to ``missing``."""
    path = model_folder / CROSS_VALIDATION_FILE
    if not path.is_file():
        return ()
    try:
        content = read_contract(path)
        dice = {**content["classes"], "mean of classes": content["foreground"]}
        rows = [
            (
                name,
                f"{_decimals(each['mean'])} ± {_decimals(each['deviation'])} ("
                + ", ".join(f"fold {fold}: {_decimals(value)}" for fold, value in each["folds"].items())
                + ")",
            )
            for name, each in dice.items()
        ]
    except DataError as error:
        missing.append(f"the cross-validation, {CROSS_VALIDATION_FILE} ({error.what})")
        return ()
    except DAMAGED:
        missing.append(f"the cross-validation, as {CROSS_VALIDATION_FILE} is damaged")
        return ()
    return (Facts("Cross-validation: Dice, mean ± standard deviation over folds", tuple(rows)),)


def _decimals(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Return a duration in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _curves(
    folder: Path,
    options: Mapping[str, Any],
    class_names: Sequence[str],
    missing: list[str],
    failures: list[tuple[str, str]],
) -> TrainingCurves | None:
    """Return the curves; failures of the training are added to ``failures``.

    For a finished training ``metrics.jsonl`` is sufficient, without loading large files. The epoch that an
    unfinished one can resume from is only in a checkpoint; a killed training may have recorded epochs that no
    checkpoint contains.
    """
    lines = _metrics(folder, missing)
    skipped = lines[-1].get("skipped_steps") if lines else None
    if len(lines) == options.get("epochs") and _ended_after_its_metrics(folder):
        failures += _skipped(skipped, folder.name)
        return curves_of_metrics(lines, folder.name)
    content, name = _checkpoint(folder, missing)
    curves = None
    if content is not None:
        failures += _unfinished(content, options, folder.name, name)
        try:
            curves = curves_of_log(content["logging"], folder.name, class_names)
        except DAMAGED:
            missing.append(f"{folder.name}: the log in {name}, which is not of nnU-Net's form")
    elif lines:
        failures.append((f"{folder.name}: no checkpoint to resume from", f"{len(lines)} epochs were trained"))
    if lines and (curves is None or len(lines) >= len(curves.train_loss)):
        curves = curves_of_metrics(lines, folder.name)
    elif content is not None:
        own = content.get("swin_umamba")
        skipped = own.get("skipped_steps") if isinstance(own, dict) else None
    failures += _skipped(skipped, folder.name)
    if curves is None:
        missing.append(
            f"{folder.name}: the training curves, as neither a checkpoint nor {METRICS_FILE} has them"
        )
    return curves


def _ended_after_its_metrics(folder: Path) -> bool:
    """Return whether the final checkpoint is of this training and not of a shorter one it resumed from."""
    final = folder / CHECKPOINTS[0]
    return final.is_file() and final.stat().st_mtime >= (folder / METRICS_FILE).stat().st_mtime


def _metrics(folder: Path, missing: list[str]) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``; none if it is missing or damaged."""
    if not (folder / METRICS_FILE).is_file():
        return []  # the training was run by an older version
    try:
        return read_metrics(folder / METRICS_FILE)
    except DataError as error:
        missing.append(f"{folder.name}: what {METRICS_FILE} holds ({error.what})")
        return []


def _checkpoint(folder: Path, missing: list[str]) -> tuple[dict[str, Any] | None, str]:
    for name in CHECKPOINTS:
        if not (folder / name).is_file():
            continue
        try:
            return load_checkpoint(folder / name), name
        except SwinUMambaError as error:
            missing.append(f"{folder.name}: what {name} holds ({error.what})")
    return None, ""


def _unfinished(
    content: Mapping[str, Any], options: Mapping[str, Any], fold: str, name: str
) -> list[tuple[str, str]]:
    done, wanted = content.get("current_epoch"), options.get("epochs")
    if isinstance(done, int) and isinstance(wanted, int) and done < wanted:
        return [(f"{fold}: training is not finished", f"{name} is of epoch {done} of {wanted}")]
    return []


def _skipped(steps: Any, fold: str) -> list[tuple[str, str]]:
    if isinstance(steps, int) and steps > 0:
        return [(f"{fold}: {steps} steps skipped", "loss or gradients were not finite")]
    return []


def _fingerprint(model_folder: Path, missing: list[str]) -> list[tuple[str, str]]:
    path = model_folder / "dataset_fingerprint.json"
    try:
        content = read_json(path, dict, largest=LARGEST_RESULTS, nan=True)
        shapes = [tuple(map(int, shape)) for shape in content["shapes_after_crop"]]
        spacings = [tuple(map(float, spacing)) for spacing in content["spacings"]]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return [
            ("images in the fingerprint", str(len(shapes))),
            ("smallest and largest shape", f"{_text(min(shapes))} to {_text(max(shapes))}"),
            ("smallest and largest spacing", f"{_text(min(spacings))} to {_text(max(spacings))}"),
            ("data fingerprint (SHA-256)", digest),
        ]
    except (DataError, OSError, *DAMAGED):
        missing.append("the data fingerprint, as dataset_fingerprint.json is missing or damaged")
        return []


def _software_of_nnunet(folder: Path, missing: list[str]) -> list[Facts]:
    try:
        debug = read_json(folder / "debug.json", dict, nan=True)
    except DataError:
        missing.append(f"{folder.name}: the software of the training, as debug.json is missing or damaged")
        return []
    keys = {"torch_version": "PyTorch", "cudnn_version": "cuDNN", "device": "device", "gpu_name": "GPU"}
    rows = [(name, _text(debug[key])) for key, name in keys.items() if debug.get(key, "None") != "None"]
    return [Facts(f"Software of {folder.name}", tuple(rows))] if rows else []


def _text(value: Any, depth: int = DEEPEST_LIST) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        if depth == 0:
            return "…"
        separator = ", " if any(isinstance(each, str) for each in value) else " × "
        return separator.join(_text(each, depth - 1) for each in value)
    return str(value)
