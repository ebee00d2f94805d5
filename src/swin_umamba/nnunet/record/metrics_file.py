"""``metrics.jsonl``: the measurements of a training, with one line of JSON for each finished epoch.

The numbers come from nnU-Net's logger, which every checkpoint contains. The file makes them available without
loading a checkpoint, and while the training runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_umamba.errors import DataError, OutputError
from swin_umamba.files import append_line, write_text
from swin_umamba.json_files import contract_text, read_contract_lines
from swin_umamba.nnunet.dataset_json import members_of

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"

EpochMetrics = dict[str, Any]
"""One line: numbers by name, null instead of NaN, and the pseudo-Dice of each class in an object."""


class MetricsFile:
    """Keeps exactly one line for each finished epoch, even if a training is killed and continued.

    Parameters
    ----------
    path
        The file.
    class_names
        Names of the foreground classes or regions, in the order of nnU-Net's logger.

    Attributes
    ----------
    lines
        The content of the file.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self.path = path
        self.class_names = class_names
        self.lines: list[EpochMetrics] = []
        self._is_written = False

    def start(self, log: Mapping[str, Sequence[Any]], skipped_steps: int) -> None:
        """Write the file again from the history that a training resumes from; it is empty for a new one.

        A killed run may have left lines of epochs newer than its checkpoint, which will be trained again, or
        an incomplete line. The numbers of skipped steps of earlier epochs are only in the old file.

        Parameters
        ----------
        log
            nnU-Net's history: one value for each epoch, by name.
        skipped_steps
            Number of steps skipped up to now.

        Raises
        ------
        OutputError
            If the file cannot be written, or is of a newer version, whose lines would be lost.
        """
        num_epochs = min(len(values) for values in log.values())
        earlier = _readable_lines(self.path) if num_epochs else []
        skipped_until = {line["finished"]: line["skipped_steps"] for line in earlier}
        self.lines = [epoch_metrics(log, epoch, self.class_names, None) for epoch in range(num_epochs)]
        for line in self.lines:
            line["skipped_steps"] = skipped_until.get(line["finished"])
        if self.lines:
            self.lines[-1]["skipped_steps"] = skipped_steps
        self._write()

    def add(self, log: Mapping[str, Sequence[Any]], skipped_steps: int) -> EpochMetrics:
        """Append the line of the last epoch in nnU-Net's history, and return it.

        If it cannot be written, a warning is logged and the line is written after the next epoch: the
        training does not stop for this reason.
        """
        line = epoch_metrics(log, len(self.lines), self.class_names, skipped_steps)
        self.lines.append(line)
        try:
            if self._is_written:
                append_line(self.path, _as_json(line))
            else:
                self._write()
        except OutputError as error:
            self._is_written = False
            logger.warning("%s", error)
        return line

    def _write(self) -> None:
        write_text(self.path, "".join(f"{_as_json(line)}\n" for line in self.lines))
        self._is_written = True


def epoch_metrics(
    log: Mapping[str, Sequence[Any]], epoch: int, class_names: Sequence[str], skipped_steps: int | None
) -> EpochMetrics:
    """Return the record of nnU-Net's logger for an epoch (counted from 0) as plain values for JSON."""
    per_class = log["dice_per_class_or_region"][epoch]
    ended = float(log["epoch_end_timestamps"][epoch])
    return {
        "epoch": epoch + 1,
        "train_loss": _number(log["train_losses"][epoch]),
        "validation_loss": _number(log["val_losses"][epoch]),
        "pseudo_dice": _number(log["mean_fg_dice"][epoch]),
        "pseudo_dice_per_class": dict(zip(class_names, map(_number, per_class), strict=True)),
        "ema_pseudo_dice": _number(log["ema_fg_dice"][epoch]),
        "learning_rate": _number(log["lrs"][epoch]),
        "seconds": round(ended - float(log["epoch_start_timestamps"][epoch]), 3),
        "skipped_steps": skipped_steps,
        "finished": datetime.fromtimestamp(ended, timezone.utc).isoformat(timespec="milliseconds"),
    }


def names_of_classes(labels: Mapping[str, Any], manager: LabelManager) -> tuple[str, ...]:
    """Return the names of the foreground classes or regions in the order of nnU-Net's numbers.

    Parameters
    ----------
    labels
        Labels in ``dataset.json``: the value of each name, or the values of a region.
    manager
        nnU-Net's label manager, which defines the order.
    """
    names = {tuple(map(int, members_of(value))): name for name, value in labels.items()}
    in_order = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    return tuple(names.get(tuple(map(int, members_of(each))), str(each)) for each in in_order)


def _number(value: Any) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def _as_json(line: EpochMetrics) -> str:
    return contract_text("metrics-line", line)


def _readable_lines(path: Path) -> list[EpochMetrics]:
    """Return the complete lines of an old file that hold the number of skipped steps, and a time."""
    try:
        lines = read_contract_lines(path, newer=OutputError)
    except DataError:
        return []
    return [
        line
        for line in lines
        if isinstance(line.get("finished"), str) and isinstance(line.get("skipped_steps"), int)
    ]
