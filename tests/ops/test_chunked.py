"""The portable backend against the reference: outputs, every gradient, every option."""

from __future__ import annotations

import itertools

import pytest
import torch

from ops.scan_inputs import detached, image_inputs, relative_error, sequence_inputs
from swin_umamba.ops import chunked
from swin_umamba.ops.reference import selective_scan_reference, ss2d_scan_reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6}
OPTIONS = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("with_D", "with_bias", "softplus"), OPTIONS)
def test_selective_scan_equals_the_reference(
    with_D: bool, with_bias: bool, softplus: bool, dtype: torch.dtype
) -> None:
    inputs = sequence_inputs(37)
    inputs.pop("z")
    if with_bias and not softplus:
        inputs["delta_bias"].data.abs_()  # a step must not be negative
    present = {
        name: tensor
        for name, tensor in inputs.items()
        if (name != "D" or with_D) and (name != "delta_bias" or with_bias)
    }
    y, state = selective_scan_reference(**present, delta_softplus=softplus, return_last_state=True)
    grad_y, grad_state = torch.randn_like(y), torch.randn_like(state)
    expected = torch.autograd.grad([y, state], list(present.values()), [grad_y, grad_state])

    arguments = [tensor.detach().to(dtype) if name in present else None for name, tensor in inputs.items()]
    out, last_state, states = chunked.selective_scan_forward(*arguments, softplus)
    assert states.shape == chunked.selective_scan_states_shape(2, 6, 37, 3)
    gradients = chunked.selective_scan_backward(
        grad_y.to(dtype), grad_state.to(dtype), states, *arguments, softplus
    )
    assert [gradient is None for gradient in gradients] == [argument is None for argument in arguments]
    values = [out, last_state, *(gradient for gradient in gradients if gradient is not None)]
    for value, exact in zip(values, [y, state, *expected], strict=True):
        assert value.dtype == dtype
        assert relative_error(value, exact) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 8), (9, 13)])
def test_image_scan_equals_the_reference(size: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = image_inputs(*size)
    y = ss2d_scan_reference(**inputs)
    grad_y = torch.randn_like(y)
    expected = torch.autograd.grad(y, list(inputs.values()), grad_y)
    arguments = [tensor.to(dtype) for tensor in detached(inputs)]
    out, states = chunked.ss2d_scan_forward(*arguments)
    assert states.shape == chunked.ss2d_scan_states_shape(2, *size, 6, 3)
    gradients = chunked.ss2d_scan_backward(grad_y.to(dtype), states, *arguments)
    for value, exact in zip([out, *gradients], [y, *expected], strict=True):
        assert value.dtype == dtype
        assert relative_error(value, exact) < TOLERANCE[dtype]


@pytest.mark.parametrize("level", [-80.0, -20.0, 0.0, 19.9, 20.1, 60.0])
def test_slope_of_softplus_over_its_whole_range(level: float) -> None:
    x = torch.full((), level, dtype=torch.float64, requires_grad=True)
    value = torch.nn.functional.softplus(x)
    (expected,) = torch.autograd.grad(value, x)
    slope = chunked._softplus_slope(value.detach())
    assert float(slope) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_every_number_is_written() -> None:
    inputs = detached(image_inputs(5, 7))
    out, states = chunked.ss2d_scan_forward(*inputs)
    gradients = chunked.ss2d_scan_backward(torch.randn_like(out), states, *inputs)
    for tensor in (out, states, *gradients):
        assert tensor.isfinite().all()
    u, delta, A, B, C, D, _, bias = detached(sequence_inputs(37))
    arguments = (u, delta, A, B, C, D, bias, True)
    out, last_state, states = chunked.selective_scan_forward(*arguments)
    gradients = chunked.selective_scan_backward(torch.randn_like(out), None, states, *arguments)
    for tensor in (out, last_state, states, *gradients):
        assert tensor is not None
        assert tensor.isfinite().all()
