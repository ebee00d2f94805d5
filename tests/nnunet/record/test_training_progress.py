"""What a person sees of a training: the bar of an epoch, and the line after it."""

from __future__ import annotations

import io
import logging
import math
import sys
from typing import Any

import pytest
from tqdm import tqdm

from swin_umamba import progress as progress_module
from swin_umamba.nnunet.record.training_progress import TrainingProgress, duration

LOG = {
    "train_losses": [0.9, 0.5],
    "val_losses": [0.8, 0.6],
    "lrs": [1e-4, 9e-5],
    "mean_fg_dice": [0.1, 0.25],
    "epoch_start_timestamps": [0.0, 100.0],
    "epoch_end_timestamps": [100.0, 160.0],
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class EagerBar(tqdm):
    """Is drawn at every step, however short it is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, mininterval=0)


@pytest.fixture(autouse=True)
def eager_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "tqdm", EagerBar)


def put_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of stderr; in the test itself, as pytest does the same between its phases."""
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    return stream


def train_epoch(
    progress: TrainingProgress, clock: Clock, epoch: int, *, dice: float, shown: bool = True
) -> None:
    """Take two steps of 20 s and two validation steps of 10 s, with a non-finite loss in the second step."""
    with progress.epoch(epoch, 3, steps=2, validation_steps=2, pseudo_dice=dice, shown=shown) as shown_epoch:
        for loss in (0.75, math.nan):
            clock.now += 20
            shown_epoch.trained(loss)
        shown_epoch.begin_validation()
        for _ in range(2):
            clock.now += 10
            shown_epoch.validated()
        shown_epoch.begin_saving()


def states(terminal: Terminal) -> list[str]:
    """What the terminal has shown, without empty states."""
    return [state.strip() for state in terminal.getvalue().split("\r") if state.strip()]


def test_the_bar_of_the_first_epoch(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_terminal(monkeypatch)
    train_epoch(TrainingProgress(clock), clock, 0, dice=math.nan)
    shown = states(terminal)
    assert shown[0].startswith("epoch 1/3:   0%")  # at once: the first step may take long
    first = next(state for state in shown if "1/4" in state)
    # A quarter of an epoch took 20 s: 80 s for each of three epochs, less the 20.
    assert "epoch 1/3:  25%" in first
    assert first.endswith("loss 0.750, training ends in 4 min]")
    assert "nan" not in terminal.getvalue()
    assert "pseudo-Dice" not in terminal.getvalue()
    assert any(state.startswith("epoch 1/3, validating:  50%") for state in shown)
    assert shown[-1].startswith("epoch 1/3, saving: 100%")


def test_later_epochs_know_the_pseudo_dice_and_the_mean_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = put_terminal(monkeypatch)
    progress = TrainingProgress(clock)
    train_epoch(progress, clock, 0, dice=math.nan)
    clock.now += 500  # between epochs, as by the validation of something else
    before = len(terminal.getvalue())
    train_epoch(progress, clock, 1, dice=0.8125)
    second = terminal.getvalue()[before:]
    # Two epochs of 60 s are left, 20 s of the first of them have passed.
    assert "epoch 2/3:  25%" in second
    assert "loss 0.750, pseudo-Dice 0.812, training ends in 2 min]" in second
    assert "training ends in 1 min]" in second


def test_the_bar_leaves_the_terminal_clean_and_messages_whole(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = put_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with TrainingProgress(clock).epoch(
            0, 3, steps=2, validation_steps=1, pseudo_dice=math.nan, shown=True
        ) as epoch:
            epoch.trained(0.5)
            logging.getLogger("swin_umamba.test").warning("step skipped")
    finally:
        root.removeHandler(handler)
    assert "step skipped" in states(terminal)[-2].splitlines()
    assert terminal.getvalue().endswith(" \r")


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_is_shown_without_a_terminal_or_by_another_process(
    shown: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO() if shown else Terminal())
    train_epoch(TrainingProgress(clock), clock, 0, dice=0.5, shown=shown)
    assert stream.getvalue() == ""


def test_the_line_after_an_epoch(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = TrainingProgress(clock)
    train_epoch(progress, clock, 1, dice=0.5)
    with caplog.at_level(logging.INFO):
        progress.log_epoch(LOG, 4)
        progress.log_epoch(LOG, 2)
    line = "epoch 2/{}: loss 0.5000, validation loss 0.6000, pseudo Dice 0.2500, lr 9e-05, 60.0 s{}"
    assert caplog.messages == [line.format(4, ", 2 min left"), line.format(2, "")]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (20.4, "20 s"), (125, "2 min"), (3 * 3600 + 59, "3 h 1 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text
