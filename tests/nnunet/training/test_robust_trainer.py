"""An epoch as a person sees it on a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from nnunet.tiny_training import SHORT
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.train import train

pytestmark = pytest.mark.usefixtures("tiny_trainers")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_training_on_a_terminal(planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    train(planned_dataset, trainer="nnUNetTrainerSwinUMambaDScratch", **(SHORT | {"epochs": 2}))
    shown = terminal.getvalue()
    for epoch in (1, 2):
        assert f"\repoch {epoch}/2:   0%" in shown
        assert re.search(rf"\repoch {epoch}/2, validating:  50%\|.*\| 1/2 ", shown)
        assert re.search(rf"\repoch {epoch}/2, saving: 100%\|.*\| 2/2 ", shown)
    assert shown.endswith(" \r")


def test_a_training_without_a_terminal_shows_no_bar(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    train(planned_dataset, trainer="nnUNetTrainerSwinUMambaDScratch", **SHORT)
    assert "epoch 1/1:" not in stream.getvalue()
