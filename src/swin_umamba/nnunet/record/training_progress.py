"""How far a training is: a bar for each epoch on a terminal, and a line in the log after it."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from tqdm import tqdm

from swin_umamba.progress import passing_bar

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows the epochs of this run and says how long the rest will take.

    Parameters
    ----------
    clock
        Returns seconds that only grow.
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
        """Show an epoch while the block trains it.

        Parameters
        ----------
        epoch, num_epochs
            The epoch, counted from 0, and of how many.
        steps, validation_steps
            Steps of the epoch.
        pseudo_dice
            Mean of the epoch before; NaN if there is none.
        shown
            Whether to show anything: of several processes only the first does.
        """
        start = self._clock()

        def time_left(share_done: float) -> float | None:
            spent = self._clock() - start
            if not self._epoch_seconds and not share_done:
                return None
            each = self._seconds_of_an_epoch() or spent / share_done
            # An epoch that takes longer than those before does not make the ones after it shorter.
            return max(each * (num_epochs - epoch) - spent, each * (num_epochs - epoch - 1))

        title = f"epoch {epoch + 1}/{num_epochs}"
        with passing_bar(title, total=steps + validation_steps, unit="step", shown=shown) as bar:
            yield EpochProgress(bar, title, steps + validation_steps, pseudo_dice, time_left)
        self._epoch_seconds.append(self._clock() - start)

    def log_epoch(self, log: Mapping[str, Sequence[Any]], num_epochs: int) -> None:
        """Say in one line how the last epoch in nnU-Net's history went and how long the rest will take."""
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


class EpochProgress:
    """The bar of one epoch: training and validation steps together.

    Parameters
    ----------
    bar
        Counts the steps.
    title
        In front of the bar.
    steps
        Number of cases.
    pseudo_dice
        Mean of the epoch before; NaN if there is none.
    time_left
        Returns the seconds until the training ends, given the share of the epoch that is done; None if nobody
        can know.
    """

    def __init__(
        self,
        bar: tqdm[Any],
        title: str,
        steps: int,
        pseudo_dice: float,
        time_left: Callable[[float], float | None],
    ) -> None:
        self._bar = bar
        self._title = title
        self._steps = steps
        self._pseudo_dice = pseudo_dice
        self._time_left = time_left
        self._losses: list[float] = []

    def trained(self, loss: float) -> None:
        """Count a training step."""
        if math.isfinite(loss):
            self._losses.append(loss)
        self._count()

    def begin_validation(self) -> None:
        """Say that the steps from now on are of the validation."""
        self._say("validating")

    def validated(self) -> None:
        """Count a validation step."""
        self._count()

    def begin_saving(self) -> None:
        """Say that the steps are done."""
        self._say("saving")

    def _say(self, what: str) -> None:
        if not self._bar.disable:
            self._bar.set_description(f"{self._title}, {what}")

    def _count(self) -> None:
        if self._bar.disable:
            return
        shown = [f"loss {statistics.fmean(self._losses):.3f}"] if self._losses else []
        if math.isfinite(self._pseudo_dice):
            shown.append(f"pseudo-Dice {self._pseudo_dice:.3f}")
        seconds = self._time_left((self._bar.n + 1) / self._steps)
        if seconds is not None:
            shown.append(f"training ends in {duration(seconds)}")
        self._bar.set_postfix_str(", ".join(shown), refresh=False)
        self._bar.update()


def duration(seconds: float) -> str:
    """Return ``3 h 5 min``, ``5 min`` or ``20 s``, rounded."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
