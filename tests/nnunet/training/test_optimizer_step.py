"""Steps with NaN or infinity leave the weights alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnunet.no_answers import NoAnswers
from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.training.optimizer_step import (
    MAX_GRADIENT_NORM,
    MAX_SKIPPED_IN_A_ROW,
    STEPS_BETWEEN_READS,
    StepGuard,
    UnreadLosses,
)
from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer
from swin_umamba.ops.fused_optimizer import restore_optimizer, skips_on_device


@pytest.fixture
def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, -2.0]))


def plain(parameter: nn.Parameter) -> torch.optim.SGD:
    return torch.optim.SGD([parameter], lr=0.1)


def adam(parameter: nn.Parameter, *, fused: bool = True) -> torch.optim.AdamW:
    return torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1, fused=fused)


def take(
    guard: StepGuard,
    parameter: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    factor: float,
    *,
    scaler: torch.amp.GradScaler | None = None,
    offset: float = 0.0,
    distributed: bool = False,
) -> None:
    optimizer.zero_grad()
    loss = (parameter * factor).sum() + offset
    guard.step(loss, [parameter], optimizer, scaler, distributed=distributed)


def test_a_finite_step_is_taken(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    take(guard, parameter, plain(parameter), 3.0)
    assert torch.allclose(parameter, torch.tensor([0.7, -2.3]))
    assert guard.skipped == 0


def test_gradients_are_clipped_to_norm_12(parameter: nn.Parameter) -> None:
    take(StepGuard(), parameter, plain(parameter), 1e4)
    moved = torch.tensor([1.0, -2.0]) - parameter.detach()
    assert moved.norm().item() == pytest.approx(0.1 * 12, rel=1e-4)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("distributed", [False, True])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    parameter: nn.Parameter, factor: float, distributed: bool
) -> None:
    guard = StepGuard()
    take(guard, parameter, plain(parameter), factor, distributed=distributed)
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 1)
    take(guard, parameter, plain(parameter), 1.0)
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 0)


def test_a_loss_that_is_not_finite_is_skipped_even_with_finite_gradients(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    take(guard, parameter, plain(parameter), 1.0, offset=float("inf"))
    assert guard.skipped == 1
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))


def test_too_many_in_a_row_end_the_training(parameter: nn.Parameter) -> None:
    guard = StepGuard()
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        take(guard, parameter, plain(parameter), float("nan"))
    with pytest.raises(TrainingError, match="16 steps in a row"):
        take(guard, parameter, plain(parameter), float("nan"))


def test_an_overflow_of_the_scaled_loss_is_skipped_counted_and_answered_by_a_smaller_scale(
    parameter: nn.Parameter,
) -> None:
    guard, scaler = StepGuard(), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = plain(parameter)
    for factor, skipped, scale in ((1e38, 1, 2.0**15), (1e38, 2, 2.0**14), (3.0, 2, 2.0**14)):
        take(guard, parameter, optimizer, factor, scaler=scaler)
        assert guard.skipped == skipped
        assert scaler.get_scale() == scale
    assert guard.skipped_in_a_row == 0
    assert torch.allclose(parameter, torch.tensor([0.7, -2.3]))  # one step, by the unscaled gradient


def test_an_overflow_that_no_scale_cures_ends_the_training(parameter: nn.Parameter) -> None:
    guard, scaler = StepGuard(), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = plain(parameter)
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        take(guard, parameter, optimizer, float("inf"), scaler=scaler)
    with pytest.raises(TrainingError, match="not finite in 16 steps in a row") as caught:
        take(guard, parameter, optimizer, float("inf"), scaler=scaler)
    assert "last checkpoint is intact" in str(caught.value.hint)
    assert guard.skipped == MAX_SKIPPED_IN_A_ROW
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))


def scalers() -> list[torch.amp.GradScaler | None]:
    return [None, torch.amp.GradScaler("cpu", init_scale=4.0)]


@pytest.mark.parametrize("scaler", scalers(), ids=["float32", "float16"])
@pytest.mark.parametrize("distributed", [False, True])
def test_a_fused_step_asks_the_device_for_nothing(
    parameter: nn.Parameter, scaler: torch.amp.GradScaler | None, distributed: bool
) -> None:
    guard, optimizer = StepGuard(), adam(parameter)
    with NoAnswers():
        for step in range(STEPS_BETWEEN_READS - 1):
            factor = float("nan") if step == 3 else 1.0
            take(guard, parameter, optimizer, factor, scaler=scaler, distributed=distributed)
        with pytest.raises(AssertionError, match="the host waits"):
            take(guard, parameter, optimizer, 1.0)
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 0)
    with NoAnswers(), pytest.raises(AssertionError, match="the host waits"):
        take(StepGuard(), parameter, adam(parameter, fused=False), 1.0)


class Elsewhere(Tensor):
    """A number on a GPU, as far as it says so itself."""

    device = torch.device("cuda")  # type: ignore[assignment]


def test_losses_on_a_device_are_read_once_in_20_steps() -> None:
    values = torch.linspace(0.1, 3, 50)
    values[7] = float("nan")
    outputs = [{"loss": value.as_subclass(Elsewhere)} for value in values]
    losses, known = UnreadLosses(), []
    for step, output in enumerate(outputs, start=1):
        if step % STEPS_BETWEEN_READS:
            with NoAnswers():
                assert losses.add(output) == []
        else:
            known += losses.add(output)
            assert len(known) == step
    known += losses.read()
    assert losses.read() == []
    np.testing.assert_array_equal(known, values.numpy())
    assert all(isinstance(output["loss"], np.ndarray) and output["loss"].shape == () for output in outputs)
    np.testing.assert_array_equal([output["loss"] for output in outputs], values.numpy())


def test_a_loss_that_is_here_is_read_at_once() -> None:
    losses, output = UnreadLosses(), {"loss": torch.tensor(0.3)}
    assert losses.add(output) == [float(np.float32(0.3))]
    assert isinstance(output["loss"], np.ndarray)
    assert losses.add({"loss": np.array(2.5)}) == [2.5]  # of a user's own trainer


@pytest.mark.parametrize("scaler", scalers(), ids=["float32", "float16"])
def test_steps_that_a_device_skips_leave_no_trace(
    parameter: nn.Parameter, scaler: torch.amp.GradScaler | None
) -> None:
    expected = nn.Parameter(parameter.detach().clone())
    guard, optimizer, exact = StepGuard(), adam(parameter), adam(expected)
    for factor, offset in [
        (float("nan"), 0.0),
        (1.0, 0.0),
        (float("inf"), 0.0),
        (1.0, float("inf")),
        (1.0, float("nan")),
        (-3.0, 0.0),
        (1e4, 0.0),
    ]:
        take(guard, parameter, optimizer, factor, offset=offset, scaler=scaler)
        if abs(factor) < 2e4 and offset == 0:
            exact.zero_grad()
            (expected * factor).sum().backward()
            nn.utils.clip_grad_norm_([expected], MAX_GRADIENT_NORM)
            exact.step()
        assert torch.equal(parameter, expected)
    assert guard.skipped == 4
    found, wanted = optimizer.state[parameter], exact.state[expected]
    assert all(torch.equal(found[name], wanted[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_processes_that_share_gradients_ignore_their_own_loss_on_a_device(parameter: nn.Parameter) -> None:
    guard, optimizer = StepGuard(), adam(parameter)
    take(guard, parameter, optimizer, 1.0, offset=float("inf"), distributed=True)
    assert guard.skipped == 0
    assert not torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("good", [0, 4])
def test_too_many_in_a_row_on_a_device_end_the_training_at_the_next_reading(
    parameter: nn.Parameter, good: int
) -> None:
    guard, optimizer = StepGuard(), adam(parameter)
    for _ in range(MAX_SKIPPED_IN_A_ROW):
        take(guard, parameter, optimizer, float("nan"))
    assert torch.equal(parameter.detach(), torch.tensor([1.0, -2.0]))
    for _ in range(good - 1):
        take(guard, parameter, optimizer, 1.0)
    with pytest.raises(TrainingError, match="16 steps in a row"):
        take(guard, parameter, optimizer, 1.0) if good else guard.check()


def test_the_count_of_a_resumed_run_goes_on(parameter: nn.Parameter) -> None:
    guard, optimizer = StepGuard(), adam(parameter)
    guard.skipped = 5
    take(guard, parameter, optimizer, float("nan"))
    assert guard.skipped == 6


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_goes_on_with_the_kind_of_optimizer_it_began_with(parameter: nn.Parameter, fused: bool) -> None:
    before, after = adam(parameter, fused=fused), adam(parameter, fused=not fused)
    take(StepGuard(), parameter, before, 1.0)
    restore_optimizer(after, copy.deepcopy(before.state_dict()))
    assert skips_on_device(after) == fused
    start = parameter.detach().clone()
    results = []
    for optimizer in (before, after):
        with torch.no_grad():
            parameter.copy_(start)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        take(StepGuard(), parameter, optimizer, 2.0, scaler=scaler)
        results.append(parameter.detach().clone())
    assert torch.equal(*results)
    assert not torch.equal(results[0], start)


@pytest.mark.parametrize(("device", "fused"), [("cuda", True), ("cpu", True), ("mps", None)])
def test_the_trainers_fuse_their_optimizer(device: str, fused: bool | None) -> None:
    trainer = SimpleNamespace(
        bare_network=lambda: nn.Linear(2, 2),
        options=SimpleNamespace(encoder_learning_rate=None, schedule="paper"),
        device=torch.device(device),
        initial_lr=1e-4,
        weight_decay=0.05,
        num_epochs=3,
    )
    optimizer, _ = SwinUMambaTrainer.configure_optimizers(trainer)
    assert [group["fused"] for group in optimizer.param_groups] == [fused]
