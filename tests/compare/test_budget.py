"""Budgets of steps and of seconds."""

from __future__ import annotations

import pytest

from swin_umamba.compare.budget import Budget
from swin_umamba.errors import UsageError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("500", Budget(iterations=500)),
        ("90s", Budget(seconds=90)),
        ("10min", Budget(seconds=600)),
        ("1.5h", Budget(seconds=5400)),
    ],
)
def test_parses(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-3", "10 min", "5d", "0s", "1e3"])
def test_refuses_other_forms(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)
    with pytest.raises(UsageError):
        Budget(iterations=1, seconds=1)


@pytest.mark.parametrize("iterations", [1, 3, 10, 11, 95, 1000])
def test_epochs_have_exactly_as_many_steps_as_the_budget(iterations: int) -> None:
    budget, steps = Budget(iterations=iterations), 0
    for epoch in range(budget.epochs):
        steps += budget.steps_of_epoch(epoch, steps, 0.0)
    assert steps == iterations
    assert budget.done(iterations // 2, 0) == (iterations // 2) / iterations


def test_seconds_are_met_at_any_speed() -> None:
    for per_step in (0.01, 0.3, 2.0):
        budget, steps = Budget(seconds=60), 0
        for epoch in range(budget.epochs):
            steps += budget.steps_of_epoch(epoch, steps, steps * per_step)
        assert steps * per_step == pytest.approx(60, abs=per_step)
    assert budget.done(1, 30) == 0.5
    assert budget.done(1, 90) == 1.0
