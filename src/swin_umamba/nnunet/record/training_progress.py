"""Progress of a training: a bar for each epoch on a terminal, and a line in the log after it."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from swin_umamba.progress import Progress, duration, passing_bar

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows the epochs of this run and the estimated remaining time.

    Parameters
    ----------
    clock
        Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._epoch_seconds: list[float] = []

    @contextmanager
    def epoch(
        self,
        epoch: int,
        num_epochs: int,
        *,
        steps: int,
        validation_steps: int,
        pseudo_dice: float,
        shown: bool,
    ) -> Iterator[EpochProgress]:
        """Show an epoch while the ``with`` block trains it.

        Parameters
        ----------
        epoch, num_epochs
            Epoch, counted from 0, and number of epochs.
        steps, validation_steps
            Number of steps of the epoch.
        pseudo_dice
            Mean of the previous epoch; NaN if there is none.
        shown
            Whether to show anything; with several processes, only the first one does.
        """
        start = self._clock()

        def time_left(share_done: float) -> float | None:
            spent = self._clock() - start
            if not self._epoch_seconds and not share_done:
                return None
            each = self._seconds_of_an_epoch() or spent / share_done
            # An epoch that takes longer than the previous ones does not make later ones shorter.
            return max(each * (num_epochs - epoch) - spent, each * (num_epochs - epoch - 1))

        title = f"epoch {epoch + 1}/{num_epochs}"
        with passing_bar(title, total=steps + validation_steps, unit="step", shown=shown) as bar:
            yield EpochProgress(bar, title, steps + validation_steps, pseudo_dice, time_left)
        self._epoch_seconds.append(self._clock() - start)

    def log_epoch(self, log: Mapping[str, Sequence[Any]], num_epochs: int) -> None:
        """Log a line about the last epoch in nnU-Net's history and the remaining time."""
        last = {name: values[-1] for name, values in log.items()}
        epoch = len(log["epoch_end_timestamps"])
        left = self._seconds_of_an_epoch() * (num_epochs - epoch)
        logger.info(
            "epoch %d/%d: loss %.4f, validation loss %.4f, pseudo Dice %.4f, lr %.3g, %.1f s%s",
            epoch,
            num_epochs,
            last["train_losses"],
            last["val_losses"],
            last["mean_fg_dice"],
            last["lrs"],
            last["epoch_end_timestamps"] - last["epoch_start_timestamps"],
            f", {duration(left)} left" if left > 0 else "",
        )

    def _seconds_of_an_epoch(self) -> float:
        return statistics.fmean(self._epoch_seconds) if self._epoch_seconds else 0.0


@dataclass
class EpochProgress:
    """The bar of one epoch: training and validation steps together.

    Attributes
    ----------
    bar
        Progress bar that counts the steps.
    title
        Title in front of the bar.
    steps
        Number of its steps.
    pseudo_dice
        Mean of the previous epoch; NaN if there is none.
    time_left
        Function that returns the seconds until the training ends, given the finished fraction of the epoch;
        None if unknown.
    """

    bar: Progress
    title: str
    steps: int
    pseudo_dice: float
    time_left: Callable[[float], float | None]
    _losses: list[float] = field(default_factory=list)

    def trained(self, *losses: float) -> None:
        """Count a training step, and take the losses known by now that were not known before."""
        self._losses.extend(filter(math.isfinite, losses))
        self._count()

    def begin_validation(self) -> None:
        """Show that the following steps are validation steps."""
        self._say("validating")

    def validated(self) -> None:
        """Count a validation step."""
        self._count()

    def begin_saving(self) -> None:
        """Show that all steps are done and the results are saved."""
        self._say("saving")

    def _say(self, what: str) -> None:
        if not self.bar.disable:
            self.bar.set_description(f"{self.title}, {what}")

    def _count(self) -> None:
        if self.bar.disable:
            return
        shown = [f"loss {statistics.fmean(self._losses):.3f}"] if self._losses else []
        if math.isfinite(self.pseudo_dice):
            shown.append(f"pseudo-Dice {self.pseudo_dice:.3f}")
        seconds = self.time_left((self.bar.n + 1) / self.steps)
        if seconds is not None:
            shown.append(f"training ends in {duration(seconds)}")
        self.bar.set_postfix_str(", ".join(shown), refresh=False)
        self.bar.update()
