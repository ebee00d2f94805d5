"""Event files with the measurements of a training, which TensorBoard shows while it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from swin_umamba.errors import OutputError
from swin_umamba.extras import extra_module
from swin_umamba.nnunet.record.metrics_file import EpochMetrics

logger = logging.getLogger(__name__)

EVENTS_FOLDER = "tensorboard"

TAGS = {
    "train_loss": "loss/training",
    "validation_loss": "loss/validation",
    "pseudo_dice": "pseudo_dice/mean",
    "ema_pseudo_dice": "pseudo_dice/moving_average",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
    "skipped_steps": "skipped_steps",
}
CLASS_TAG = "pseudo_dice_of_class/{}"


class EventFiles:
    """Writes the lines of ``metrics.jsonl`` as scalars; an epoch, counted from 1, is a step.

    If writing fails, for example on a full disk, a warning is logged once and the writing stops, but not the
    training.

    Parameters
    ----------
    folder
        Folder of the event files.
    history
        Epochs before the one that the training resumes at. Curves of later epochs, left by a killed run, are
        hidden. These epochs are written if no earlier run has written them.

    Raises
    ------
    UsageError
        If the package is not installed.
    OutputError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path, history: Sequence[EpochMetrics]) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        has_events = any(folder.glob("events.out.tfevents.*"))
        try:
            self._writer: Any = SummaryWriter(str(folder), purge_step=len(history) + 1)
        except OSError as error:
            raise OutputError(
                f"cannot write event files: {error.strerror or error}",
                where=folder,
                hint="check that the folder is writable and has free space, or train without --tensorboard",
            ) from error
        for line in [] if has_events else history:
            self.add(line)

    def add(self, line: EpochMetrics) -> None:
        """Write the numbers of an epoch and flush the file."""
        if self._writer is None:
            return
        moment = datetime.fromisoformat(line["finished"]).timestamp()
        try:
            for tag, value in scalars(line):
                self._writer.add_scalar(tag, value, line["epoch"], walltime=moment)
            self._writer.flush()
        except Exception as error:  # whatever has ended its writing thread
            self._writer = None
            logger.warning("writing event files for TensorBoard has failed and is stopped: %s", error)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            except Exception as error:
                logger.warning("the event file for TensorBoard may be incomplete: %s", error)


def scalars(line: EpochMetrics) -> Iterator[tuple[str, float]]:
    """Yield tags and values of a line, without entries that have no number."""
    for name, tag in TAGS.items():
        if line[name] is not None:
            yield tag, line[name]
    for name, value in line["pseudo_dice_per_class"].items():
        if value is not None:
            yield CLASS_TAG.format(name), value


def require_tensorboard() -> None:
    """Raise ``UsageError`` unless TensorBoard can be imported."""
    otherwise = ", or go without (--no-tensorboard, SWIN_UMAMBA_TENSORBOARD=0)"
    need, where = "event files need the package tensorboard", "--tensorboard"
    extra_module("torch.utils.tensorboard", need, "tensorboard", otherwise=otherwise, where=where)
