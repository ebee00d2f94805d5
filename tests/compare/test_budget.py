"""Budgets of steps and of seconds."""

from __future__ import annotations

import pytest

from swin_umamba.compare.budget import Budget, num_epochs, steps_of_epoch
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
def test_epochs_have_exactly_as_many_steps_as_the_training(iterations: int) -> None:
    steps = []
    for epoch in range(num_epochs(iterations)):
        steps.append(steps_of_epoch(iterations, epoch, sum(steps)))
    assert sum(steps) == iterations
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(("step_seconds", "steps"), [(0.01, 6000), (0.7, 86), (2.0, 30), (200.0, 1)])
def test_steps_that_fit_into_seconds(step_seconds: float, steps: int) -> None:
    assert Budget(seconds=60).steps(step_seconds) == steps
    assert Budget(iterations=7).steps() == 7
