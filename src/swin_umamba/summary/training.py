"""What a training has left in its model folder: curves, options, data and software."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.report.contents import Facts, TrainingCurves
from swin_umamba.summary.scores import read_json
from swin_umamba.weights.checkpoint import load_checkpoint

# The first that is there; only the first holds the whole training for sure.
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


@dataclass(frozen=True)
class FoldRecord:
    """One fold: its curves, its facts, what went wrong and what is not there."""

    curves: TrainingCurves | None
    facts: tuple[Facts, ...]
    failures: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


def read_fold(folder: Path, class_names: Sequence[str]) -> FoldRecord:
    """Read a fold folder; whatever is missing or damaged in it is named and does not stop the rest.

    Parameters
    ----------
    folder
        ``fold_0`` and so on.
    class_names
        Of the foreground classes, in nnU-Net's order.
    """
    missing, failures = [], []
    options: dict[str, Any] = {}
    try:
        options = read_json(folder / "training_options.json")
    except DataError as error:
        missing.append(f"{folder.name}: the options of the training, training_options.json ({error.what})")
    content, name = _checkpoint(folder, missing)
    curves = None
    if content is not None:
        try:
            curves = curves_of_log(content["logging"], folder.name, class_names)
        except (KeyError, TypeError, ValueError, AttributeError):
            missing.append(f"{folder.name}: the training curves, as {name} holds no log of nnU-Net's form")
        failures += _unfinished(content, options, folder.name, name)
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
    facts += _software(folder, missing)
    return FoldRecord(curves, tuple(facts), tuple(failures), tuple(missing))


def curves_of_log(log: Mapping[str, Any], name: str, class_names: Sequence[str]) -> TrainingCurves:
    """Return the curves that nnU-Net's logger has stored in a checkpoint."""
    dice = [[float(value) for value in epoch] for epoch in log["dice_per_class_or_region"]]
    columns = max((len(epoch) for epoch in dice), default=0)
    names = class_names if len(class_names) == columns else [f"class {place + 1}" for place in range(columns)]
    starts, ends = _numbers(log["epoch_start_timestamps"]), _numbers(log["epoch_end_timestamps"])
    return TrainingCurves(
        name=name,
        train_loss=_numbers(log["train_losses"]),
        validation_loss=_numbers(log["val_losses"]),
        learning_rate=_numbers(log["lrs"]),
        seconds=tuple(end - start for start, end in zip(starts, ends, strict=False)),
        pseudo_dice={
            each: tuple(epoch[place] if place < len(epoch) else math.nan for epoch in dice)
            for place, each in enumerate(names)
        },
        mean_pseudo_dice=_numbers(log["ema_fg_dice"]),
    )


def data_facts(model_folder: Path, missing: list[str]) -> tuple[Facts, ...]:
    """Return tables of the data set and the plans; what is not there goes to ``missing``."""
    facts = []
    try:
        description = read_json(model_folder / "dataset.json")
        rows = [
            ("data set", model_folder.resolve().parent.name),
            ("training cases", _text(description.get("numTraining", "not stated"))),
            ("channels", _text(list(dict(description.get("channel_names", {})).values()))),
            ("classes", ", ".join(f"{key} = {_text(value)}" for key, value in description["labels"].items())),
            ("file ending", _text(description.get("file_ending", "not stated"))),
        ]
        facts.append(Facts("Data", (*rows, *_fingerprint(model_folder, missing))))
    except (DataError, KeyError, TypeError, ValueError, AttributeError):
        missing.append("the description of the data, as dataset.json is missing or damaged")
    try:
        plans = read_json(model_folder / "plans.json")
        name = model_folder.resolve().name.split("__")[-1]
        configuration = plans["configurations"][name]
        architecture = configuration.get("architecture", {}).get("network_class_name", "not stated")
        keys = ("patch_size", "batch_size", "spacing", "normalization_schemes", "median_image_size_in_voxels")
        shown = [(key.replace("_", " "), _text(configuration[key])) for key in keys if key in configuration]
        network = str(architecture).rpartition(".")[-1]
        facts.append(
            Facts("Plans", (("plans", _text(plans.get("plans_name"))), ("network", network), *shown))
        )
    except (DataError, KeyError, TypeError, AttributeError):
        missing.append("the plans, as plans.json is missing, damaged or without this configuration")
    return tuple(facts)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _checkpoint(folder: Path, missing: list[str]) -> tuple[dict[str, Any] | None, str]:
    for name in CHECKPOINTS:
        if not (folder / name).is_file():
            continue
        try:
            return load_checkpoint(folder / name), name
        except SwinUMambaError as error:
            missing.append(f"{folder.name}: what {name} holds ({error.what})")
    missing.append(f"{folder.name}: the training curves, as it has no readable checkpoint")
    return None, ""


def _unfinished(
    content: Mapping[str, Any], options: Mapping[str, Any], fold: str, name: str
) -> list[tuple[str, str]]:
    failures = []
    done, wanted = content.get("current_epoch"), options.get("epochs")
    if isinstance(done, int) and isinstance(wanted, int) and done < wanted and name != CHECKPOINTS[0]:
        failures.append((f"{fold}: training is not finished", f"{name} is of epoch {done} of {wanted}"))
    own = content.get("swin_umamba")
    skipped = own.get("skipped_steps") if isinstance(own, dict) else None
    if isinstance(skipped, int) and skipped > 0:
        failures.append((f"{fold}: {skipped} steps skipped", "loss or gradients were not finite"))
    return failures


def _fingerprint(model_folder: Path, missing: list[str]) -> list[tuple[str, str]]:
    path = model_folder / "dataset_fingerprint.json"
    try:
        content = read_json(path)
        shapes = [tuple(map(int, shape)) for shape in content["shapes_after_crop"]]
        spacings = [tuple(map(float, spacing)) for spacing in content["spacings"]]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return [
            ("images in the fingerprint", str(len(shapes))),
            ("smallest and largest shape", f"{_text(min(shapes))} to {_text(max(shapes))}"),
            ("smallest and largest spacing", f"{_text(min(spacings))} to {_text(max(spacings))}"),
            ("data fingerprint (SHA-256)", digest),
        ]
    except (DataError, OSError, KeyError, TypeError, ValueError):
        missing.append("the data fingerprint, as dataset_fingerprint.json is missing or damaged")
        return []


def _software(folder: Path, missing: list[str]) -> list[Facts]:
    try:
        debug = read_json(folder / "debug.json")
    except DataError:
        missing.append(f"{folder.name}: the software of the training, as debug.json is missing or damaged")
        return []
    keys = {"torch_version": "PyTorch", "cudnn_version": "cuDNN", "device": "device", "gpu_name": "GPU"}
    rows = [(name, _text(debug[key])) for key, name in keys.items() if debug.get(key, "None") != "None"]
    return [Facts(f"Software of {folder.name}", tuple(rows))] if rows else []


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return (", " if any(isinstance(each, str) for each in value) else " × ").join(map(_text, value))
    return str(value)
