"""The learning rates of the paper's runs."""

from __future__ import annotations

import pytest
import torch

from swin_umamba.nnunet.training.schedule import CosineSchedule


def make_schedule(period: int = 1000) -> CosineSchedule:
    return CosineSchedule(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4), period)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 1e-4), (10, 9.998e-5), (99, 9.763e-5), (249, 8.561e-5), (349, 7.311e-5), (999, 1.0002e-6)],
)
def test_learning_rates_of_the_published_runs(epoch: int, expected: float) -> None:
    schedule = make_schedule()
    schedule.step(epoch)
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-4)


def test_values_are_those_of_torch() -> None:
    schedule = make_schedule(period=20)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-6)
    for epoch in range(20):
        assert schedule.learning_rates(epoch)[0] == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        reference.step()


def test_it_stays_at_the_end() -> None:
    schedule = make_schedule(period=20)
    assert schedule.learning_rates(20) == schedule.learning_rates(500) == [pytest.approx(1e-6)]


def test_each_group_starts_from_its_own_rate() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-4, 1e-5)]
    schedule = CosineSchedule(torch.optim.AdamW(groups), period=20)
    schedule.step(10)
    middle = [group["lr"] for group in schedule.optimizer.param_groups]
    assert middle == pytest.approx([(1e-4 + 1e-6) / 2, (1e-5 + 1e-6) / 2])
    schedule.step(20)
    assert [group["lr"] for group in schedule.optimizer.param_groups] == pytest.approx([1e-6, 1e-6])
