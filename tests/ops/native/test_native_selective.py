"""The compiled selective scan against the float64 reference, every option on and off."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import relative_error, sequence_inputs, threads
from swin_umamba.ops.native.selective_scan import (
    selective_scan_backward,
    selective_scan_forward,
    selective_scan_states_shape,
)
from swin_umamba.ops.reference import selective_scan_reference

# float32 against float64, in units of the largest number of each tensor.
OUTPUT_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 3e-6
# Over 2000 steps the float32 loop of PyTorch itself is off by 2e-6.
LONG_TOLERANCE = 4e-6

# length, batch, dim, d_state, groups: full and ragged blocks of 16 channels, one to many groups.
SHAPES = [
    (1, 1, 1, 1, 1),
    (31, 2, 24, 5, 1),
    (33, 1, 36, 16, 3),
    (64, 2, 8, 1, 8),
    (129, 1, 64, 64, 2),
    (65, 1, 33, 4, 1),
]


def make(length: int, batch: int, dim: int, d_state: int, groups: int) -> dict[str, Tensor | None]:
    tensors = sequence_inputs(
        length, batch=batch, dim=dim, d_state=d_state, groups=groups, dtype=torch.float32
    )
    return {name: tensor.detach() for name, tensor in tensors.items() if name != "z"}


def run(
    inputs: dict[str, Tensor | None], delta_softplus: bool, grad_y: Tensor, grad_last: Tensor
) -> list[Tensor]:
    arguments = (*inputs.values(), delta_softplus)
    y, last_state, states = selective_scan_forward(*arguments)
    gradients = selective_scan_backward(grad_y, grad_last, states, *arguments)
    for tensor, gradient in zip(inputs.values(), gradients, strict=True):
        assert (tensor is None) == (gradient is None)
    return [y, last_state, *(gradient for gradient in gradients if gradient is not None)]


def assert_close(
    inputs: dict[str, Tensor | None], delta_softplus: bool, output_tolerance: float = OUTPUT_TOLERANCE
) -> None:
    u, A = inputs["u"], inputs["A"]
    grad_y, grad_last = torch.randn_like(u), torch.randn(*u.shape[:2], A.shape[1])
    y, last_state, *gradients = run(inputs, delta_softplus, grad_y, grad_last)
    leaves = {
        name: None if tensor is None else tensor.double().requires_grad_() for name, tensor in inputs.items()
    }
    expected_y, expected_last = selective_scan_reference(
        **leaves, delta_softplus=delta_softplus, return_last_state=True
    )
    present = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    expected = torch.autograd.grad(
        [expected_y, expected_last],
        list(present.values()),
        [grad_y.double(), grad_last.double()],
        allow_unused=True,
    )
    assert relative_error(y, expected_y) < output_tolerance
    assert relative_error(last_state, expected_last) < output_tolerance
    for name, gradient, truth in zip(present, gradients, expected, strict=True):
        assert relative_error(gradient, truth) < GRADIENT_TOLERANCE, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_output_and_gradients_agree_with_the_reference(shape: tuple[int, ...]) -> None:
    assert_close(make(*shape), delta_softplus=True)


@pytest.mark.parametrize("missing", [("D",), ("delta_bias",), ("D", "delta_bias")])
@pytest.mark.parametrize("delta_softplus", [True, False])
def test_each_option_can_be_left_out(missing: tuple[str, ...], delta_softplus: bool) -> None:
    inputs = make(45, 2, 20, 3, 2)
    if not delta_softplus:
        inputs["delta_bias"] = inputs["delta_bias"].abs()  # step sizes are positive
    assert_close(inputs | dict.fromkeys(missing), delta_softplus)


def test_without_a_gradient_of_the_last_state() -> None:
    inputs = make(40, 1, 16, 2, 1)
    grad_y = torch.randn_like(inputs["u"])
    arguments = (*inputs.values(), True)
    _, last_state, states = selective_scan_forward(*arguments)
    assert states.shape == selective_scan_states_shape(1, 16, 40, 2)
    without = selective_scan_backward(grad_y, None, states, *arguments)
    zero = selective_scan_backward(grad_y, torch.zeros_like(last_state), states, *arguments)
    for value, expected in zip(without, zero, strict=True):
        assert torch.equal(value, expected)


def test_hard_decays_stay_finite_and_exact() -> None:
    inputs = make(2000, 1, 16, 4, 1)
    inputs["delta"] = 50 * torch.rand(1, 16, 2000) ** 8
    inputs["A"] = -torch.tensor([1e-4, 1.0, 16.0, 1e4]).expand(16, 4).contiguous()
    inputs["delta_bias"] = None
    assert_close(inputs, delta_softplus=False, output_tolerance=LONG_TOLERANCE)


def test_thread_count_does_not_change_a_bit() -> None:
    inputs = make(70, 2, 200, 3, 1)
    grad_y, grad_last = torch.randn(2, 200, 70), torch.randn(2, 200, 3)
    results = []
    for number in (1, 2, 3):
        with threads(number):
            results.append(run(inputs, True, grad_y, grad_last))
    for result in results[1:]:
        for value, expected in zip(result, results[0], strict=True):
            assert torch.equal(value, expected)
