"""Row 17 of the fault table: batches with an infinite gradient."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.optimizer_step import MAX_SKIPPED_IN_A_ROW
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.train import train
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("tiny_trainers")

OPTIONS: dict[str, Any] = {
    "trainer": "nnUNetTrainerSwinUMambaScratch",
    "iterations_per_epoch": 3,
    "validation_iterations": 1,
    "device": "cpu",
    "workers": 0,
    "seed": 5,
    "skip_validation": True,
}


@pytest.fixture
def infinite_gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], bool]], None]:
    """Return a function that lets the gradient of one weight be infinite in the steps it is told."""

    def install(is_bad: Callable[[int], bool]) -> None:
        original, steps = RobustTrainer.train_step, []

        def train_step(self: RobustTrainer, batch: dict[str, Any]) -> dict[str, np.ndarray]:
            steps.append(None)
            if not is_bad(len(steps)):
                return original(self, batch)
            weight = next(iter(self.network.parameters()))
            hook = weight.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
            try:
                return original(self, batch)
            finally:
                hook.remove()

        monkeypatch.setattr(RobustTrainer, "train_step", train_step)

    return install


def test_row_17_one_batch_with_an_infinite_gradient(
    planned_dataset: Dataset, infinite_gradients: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    infinite_gradients(lambda step: step == 2)
    with caplog.at_level(logging.WARNING):
        result = train(planned_dataset, epochs=2, **OPTIONS)
    assert result.skipped_steps == 1
    assert "step skipped (1 so far)" in caplog.text
    checkpoint = load_checkpoint(result.fold_folder / "checkpoint_final.pth")
    assert all(value.isfinite().all() for value in checkpoint["network_weights"].values())
    states = checkpoint["optimizer_state"]["state"].values()
    assert all(state["exp_avg"].isfinite().all() for state in states)
    assert {int(state["step"]) for state in states} == {5}
    assert checkpoint["swin_umamba"]["skipped_steps"] == 1
    assert np.isfinite(checkpoint["logging"]["train_losses"]).all()


def test_row_17_infinite_gradients_without_end_stop_the_training(
    planned_dataset: Dataset, infinite_gradients: Callable[..., None]
) -> None:
    infinite_gradients(lambda step: step > 4)
    with pytest.raises(TrainingError, match=f"not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row") as caught:
        train(planned_dataset, epochs=100, **OPTIONS)
    assert "NaN in the images, or lower --learning-rate" in str(caught.value)
    folders = planned_dataset.folders.results.rglob("checkpoint_latest.pth")
    checkpoint = load_checkpoint(next(folders))
    assert all(value.isfinite().all() for value in checkpoint["network_weights"].values())
    assert checkpoint["swin_umamba"]["skipped_steps"] > 0
