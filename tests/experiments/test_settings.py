"""Settings of recipes: the paper's, and shortened ones."""

from __future__ import annotations

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.experiments.settings import choose_settings, deviations
from swin_umamba.paper import EXPERIMENTS


@pytest.mark.parametrize(
    ("name", "epochs", "patch", "batch"),
    [
        ("abdomen-mr", 100, (320, 320), 30),
        ("endoscopy", 250, (384, 640), 13),
        ("microscopy", 350, (512, 512), 12),
    ],
)
def test_the_papers_settings(name: str, epochs: int, patch: tuple[int, int], batch: int) -> None:
    settings = choose_settings(EXPERIMENTS[name])
    assert (settings.epochs, settings.patch_size, settings.batch_size) == (epochs, patch, batch)
    assert (settings.iterations_per_epoch, settings.frozen_epochs, settings.schedule) == (250, 10, "paper")
    assert deviations(EXPERIMENTS[name], settings) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("budget", [1, 7, 10, 1000, 24_999])
def test_shortened_settings_keep_to_the_budget(name: str, budget: int) -> None:
    recipe = EXPERIMENTS[name]
    settings = choose_settings(recipe, budget=budget)
    assert 0.5 * budget < settings.steps <= budget
    assert all(side % 32 == 0 for side in settings.patch_size)
    assert settings.patch_size < recipe.patch_size
    assert 2 <= settings.batch_size < recipe.batch_size
    assert settings.frozen_epochs < settings.epochs
    assert any(line.startswith("training steps") for line in deviations(recipe, settings))


def test_own_patch_and_batch() -> None:
    recipe = EXPERIMENTS["endoscopy"]
    settings = choose_settings(recipe, patch_size=(64, 96), batch_size=2)
    assert deviations(recipe, settings) == [
        "patch size: 64 x 96, in the paper 384 x 640",
        "batch size: 2, in the paper 13",
    ]


@pytest.mark.parametrize("budget", [0, -5, 25_000])
def test_impossible_budgets(budget: int) -> None:
    with pytest.raises(UsageError):
        choose_settings(EXPERIMENTS["abdomen-mr"], budget=budget)
