"""Steps with NaN or infinity leave the weights alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.training.optimizer_step import MAX_SKIPPED_IN_A_ROW, StepGuard


@pytest.fixture
def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, -2.0]))


def take_step(guard: StepGuard, parameter: nn.Parameter, factor: float, *, distributed: bool = False) -> None:
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    parameter.grad = None
    guard.step((parameter * factor).sum(), [parameter], optimizer, None, distributed=distributed)


def test_a_finite_step_is_taken(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    take_step(guard, parameter, 3.0)
    assert torch.allclose(parameter, torch.tensor([0.7, -2.3]))
    assert guard.skipped == 0


def test_gradients_are_clipped_to_norm_12(parameter: nn.Parameter) -> None:
    take_step(StepGuard(), parameter, 1e4)
    moved = torch.tensor([1.0, -2.0]) - parameter.detach()
    assert moved.norm().item() == pytest.approx(0.1 * 12, rel=1e-4)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("distributed", [False, True])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    parameter: nn.Parameter, factor: float, distributed: bool
) -> None:
    guard = StepGuard()
    take_step(guard, parameter, factor, distributed=distributed)
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 1)
    take_step(guard, parameter, 1.0)
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 0)


def test_a_loss_that_is_not_finite_is_skipped_even_with_finite_gradients(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    loss = parameter.sum() + float("inf")
    guard.step(loss, [parameter], torch.optim.SGD([parameter], lr=0.1), None, distributed=False)
    assert guard.skipped == 1
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))


def test_too_many_in_a_row_end_the_training(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        take_step(guard, parameter, float("nan"))
    with pytest.raises(TrainingError, match="16 steps in a row"):
        take_step(guard, parameter, float("nan"))


def test_an_overflow_of_the_scaled_loss_is_skipped_counted_and_answered_by_a_smaller_scale(
    parameter: nn.Parameter,
) -> None:
    guard, scaler = StepGuard(), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    for factor, skipped, scale in ((1e38, 1, 2.0**15), (1e38, 2, 2.0**14), (3.0, 2, 2.0**14)):
        optimizer.zero_grad()
        loss = (parameter * factor).sum()
        guard.step(loss, [parameter], optimizer, scaler, distributed=False)
        assert guard.skipped == skipped
        assert scaler.get_scale() == scale
    assert guard.skipped_in_a_row == 0
    assert torch.allclose(parameter, torch.tensor([0.7, -2.3]))  # one step, by the unscaled gradient


def test_an_overflow_that_no_scale_cures_ends_the_training(parameter: nn.Parameter) -> None:
    guard, scaler = StepGuard(), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = torch.optim.SGD([parameter], lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        guard.step((parameter * float("inf")).sum(), [parameter], optimizer, scaler, distributed=False)

    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        step()
    with pytest.raises(TrainingError, match="not finite in 16 steps in a row") as caught:
        step()
    assert "last checkpoint is intact" in str(caught.value.hint)
    assert guard.skipped == MAX_SKIPPED_IN_A_ROW
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))
