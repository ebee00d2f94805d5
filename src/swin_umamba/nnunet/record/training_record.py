"""Everything that a training records besides its checkpoints and nnU-Net's own log."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from swin_umamba.errors import DataError, OutputError
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.nnunet.record.event_files import EVENTS_FOLDER, EventFiles
from swin_umamba.nnunet.record.metrics_file import METRICS_FILE, MetricsFile
from swin_umamba.nnunet.record.software_file import SOFTWARE_FILE, record_start
from swin_umamba.nnunet.training.options import TrainingOptions

OPTIONS_FILE = "training_options.json"


class TrainingRecord:
    """Options, software and measurements of each epoch; of several processes, only the first keeps them.

    Parameters
    ----------
    folder
        The fold folder.
    class_names
        Names of the foreground classes or regions, in the order of nnU-Net's logger.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self.metrics = MetricsFile(folder / METRICS_FILE, class_names)
        self.events: EventFiles | None = None

    def start(
        self,
        options: TrainingOptions,
        log: Mapping[str, Sequence[Any]],
        *,
        fresh: bool,
        skipped_steps: int,
        device: torch.device,
    ) -> None:
        """Record that a training starts or is continued.

        Parameters
        ----------
        options
            Options of the training.
        log
            nnU-Net's history of the previous epochs: one value for each epoch, by name.
        fresh
            Whether the training starts from scratch and replaces an earlier one.
        skipped_steps
            Number of steps skipped up to now.
        device
            Device of the training.

        Raises
        ------
        OutputError
            If something cannot be written, or would replace a newer version's record of this training.
        """
        if not fresh:
            with suppress(DataError):
                read_contract(self.folder / OPTIONS_FILE, newer=OutputError)
        write_contract("training-options", self.folder / OPTIONS_FILE, options.as_dict())
        self.metrics.start(log, skipped_steps)
        num_done = len(self.metrics.lines)
        if num_done < options.epochs:
            record_start(self.folder / SOFTWARE_FILE, first_epoch=num_done + 1, device=device, replace=fresh)
        if fresh:
            shutil.rmtree(self.folder / EVENTS_FOLDER, ignore_errors=True)
        if options.tensorboard:
            self.events = EventFiles(self.folder / EVENTS_FOLDER, self.metrics.lines)

    def add_epoch(self, log: Mapping[str, Sequence[Any]], skipped_steps: int) -> None:
        """Record the last epoch of nnU-Net's history; if writing fails, a warning is logged."""
        line = self.metrics.add(log, skipped_steps)
        if self.events is not None:
            self.events.add(line)

    def close(self) -> None:
        """Close open files."""
        if self.events is not None:
            self.events.close()
