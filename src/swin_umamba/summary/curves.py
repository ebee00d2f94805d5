"""The curves of a training: from ``metrics.jsonl``, or from nnU-Net's log in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.json_files import LARGEST_RESULTS, parse_contract, read_text
from swin_umamba.report.contents import TrainingCurves
from swin_umamba.summary.places import DAMAGED


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


def curves_of_metrics(lines: Sequence[Mapping[str, Any]], name: str) -> TrainingCurves:
    """Return the curves in the lines that ``read_metrics`` has returned."""
    classes = dict.fromkeys(each for line in lines for each in line["pseudo_dice_per_class"])
    return TrainingCurves(
        name=name,
        train_loss=_numbers(line["train_loss"] for line in lines),
        validation_loss=_numbers(line["validation_loss"] for line in lines),
        learning_rate=_numbers(line["learning_rate"] for line in lines),
        seconds=_numbers(line["seconds"] for line in lines),
        pseudo_dice={
            each: _numbers(line["pseudo_dice_per_class"].get(each) for line in lines) for each in classes
        },
        mean_pseudo_dice=_numbers(line["ema_pseudo_dice"] for line in lines),
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``; an incomplete last line, which a training may be writing, is left out.

    Returns
    -------
    list of dict
        One dict for each epoch, from the first one without gaps.

    Raises
    ------
    DataError
        If the file cannot be read or is damaged.
    """
    hint = "continuing with the training writes it again"
    *texts, _ = read_text(path, hint=hint, largest=LARGEST_RESULTS).split("\n")
    lines = [parse_contract(text, where=path, hint=hint) for text in texts]
    try:
        if [line["epoch"] for line in lines] != list(range(1, len(lines) + 1)):
            raise ValueError("epochs are missing or occur twice")
        curves_of_metrics(lines, "")  # checks that every number is present
    except DAMAGED as error:
        what = f"the file cannot be read: {type(error).__name__}: {error}"
        raise DataError(what, where=path, hint=hint) from error
    return lines


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)
