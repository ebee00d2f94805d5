"""The trainer of comparisons: steps, learning rates, equal batches, cost."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from swin_umamba.compare.budget import num_epochs
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.trainer import (
    COST_FILE,
    PLANS_ENTRY,
    Terms,
    nnUNetTrainerComparison,
    peak_memory_bytes,
)
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.architecture import PlannedSwinUMamba, PlannedSwinUMambaD, architecture_entry
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.nnunet.training.train import train_with

TINY = {"depths": [1, 1, 1, 1], "features_per_stage": [8, 16, 24, 32], "d_state": 2}


def train_tiny(dataset: Dataset, network_class: Any, iterations: int, name: str) -> dict[str, Any]:
    """Train a tiny network and return the file of its cost."""
    plans = json.loads((dataset.preprocessed_folder / f"{PLANS_NAME}.json").read_text())
    plans["plans_name"] = name
    plans["configurations"]["2d"] |= {
        "batch_size": 2,
        "architecture": architecture_entry(network_class, TINY),
    }
    plans[PLANS_ENTRY] = Terms(Recipe(learning_rate=1e-3), iterations, True).as_dict()
    (dataset.preprocessed_folder / f"{name}.json").write_text(json.dumps(plans))
    request = TrainRequest(
        plans_name=name,
        fold="all",
        epochs=num_epochs(iterations),
        validation_iterations=1,
        seed=3,
        workers=0,
        device="cpu",
        skip_validation=True,
    )
    trained = train_with(nnUNetTrainerComparison, dataset, request)
    lines = (trained.fold_folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, num_epochs(iterations) + 1))
    assert (trained.fold_folder / "software.json").is_file()
    return json.loads((trained.fold_folder / COST_FILE).read_text())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, torch.Tensor]]:
    """Learning rate and images of every step that is taken."""
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, output_folder: None)
    seen: list[tuple[float, torch.Tensor]] = []
    original = nnUNetTrainerComparison.train_step

    def record(self: nnUNetTrainerComparison, batch: dict[str, Any]) -> Any:
        outcome = original(self, batch)
        seen.append((self.optimizer.param_groups[0]["lr"], batch["data"].clone()))
        return outcome

    monkeypatch.setattr(nnUNetTrainerComparison, "train_step", record)
    return seen


def test_equal_steps_rates_and_batches_for_different_networks(
    planned_dataset: Dataset, steps: list[tuple[float, torch.Tensor]]
) -> None:
    for network_class, name in ((PlannedSwinUMambaD, "dagger"), (PlannedSwinUMamba, "plain")):
        cost = train_tiny(planned_dataset, network_class, 3, name)
        assert cost["steps"] == 3
        assert cost["skipped_steps"] == 0
        assert 0 < cost["median_step_seconds"] < cost["seconds"]
    first, second = steps[:3], steps[3:]
    expected = [1e-6 + (1e-3 - 1e-6) / 2 * (1 + math.cos(math.pi * step / 3)) for step in range(3)]
    assert [rate for rate, _ in first] == pytest.approx(expected)
    for (_, ours), (_, theirs) in zip(first, second, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(first[0][1], first[1][1])


def test_plans_of_no_comparison_are_refused(planned_dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="trains for comparisons only"):
        train_with(nnUNetTrainerComparison, planned_dataset, TrainRequest(fold="all", device="cpu"))


def test_peak_memory_only_grows() -> None:
    before = peak_memory_bytes(torch.device("cpu"))
    kept = torch.ones(50_000_000, dtype=torch.uint8)
    after = peak_memory_bytes(torch.device("cpu"))
    assert len(kept) == 50_000_000
    assert (before is None and after is None) or after >= before > 1e6
