"""The public selective scan: gradients, dtypes, layouts, compilation, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import errors_against_reference, relative_error, sequence_inputs
from swin_umamba.errors import BackendError, UsageError
from swin_umamba.ops.selective_scan import _selective_scan, _selective_scan_backward, selective_scan

FLOAT32_TOLERANCE = 5e-6
LENGTHS = (1, 2, 3, 31, 63, 64, 65)
OPTIONAL = ("D", "z", "delta_bias")


def check_gradients(inputs: dict[str, Tensor], **options: Any) -> None:
    """Compare the derivatives of output and last state with finite differences."""
    names = list(inputs)

    def scan(*tensors: Tensor) -> Any:
        return selective_scan(
            **dict(zip(names, tensors, strict=True)), return_last_state=True, backend="chunked", **options
        )

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()), fast_mode=inputs["u"].shape[2] > 3)


@pytest.mark.parametrize("length", LENGTHS)
def test_gradients_are_derivatives_with_every_option(length: int) -> None:
    check_gradients(sequence_inputs(length, batch=1, dim=2, d_state=2), delta_softplus=True)


@pytest.mark.parametrize("length", LENGTHS)
def test_gradients_are_derivatives_with_no_option(length: int) -> None:
    inputs = sequence_inputs(length, batch=1, dim=2, d_state=2)
    check_gradients({name: tensor for name, tensor in inputs.items() if name not in OPTIONAL})


@pytest.mark.parametrize("option", OPTIONAL)
def test_gradients_are_derivatives_with_one_option(option: str) -> None:
    inputs = sequence_inputs(3, batch=1, dim=2, d_state=2)
    inputs["delta_bias"].data.abs_()
    check_gradients(
        {name: tensor for name, tensor in inputs.items() if name not in OPTIONAL or name == option}
    )


def test_each_output_alone_has_its_gradient() -> None:
    inputs = sequence_inputs(9)
    inputs.pop("z")
    tensors = list(inputs.values())
    for output in (0, 1):
        chosen, expected = (
            torch.autograd.grad(
                selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)[
                    output
                ].sum(),
                tensors,
                allow_unused=True,
                materialize_grads=True,
            )
            for backend in ("chunked", "reference")
        )
        for value, exact in zip(chosen, expected, strict=True):
            assert relative_error(value, exact) < 1e-12


def test_automatic_choice_agrees_with_the_reference() -> None:
    errors = errors_against_reference(None, sequence_inputs(70, dim=24, d_state=16, groups=4))
    assert max(errors.values()) < FLOAT32_TOLERANCE, errors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    half = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in sequence_inputs(40).items()}
    single = {name: tensor.detach().float().requires_grad_() for name, tensor in half.items()}
    y, state = selective_scan(**half, delta_softplus=True, return_last_state=True, backend="chunked")
    exact, exact_state = selective_scan(
        **single, delta_softplus=True, return_last_state=True, backend="chunked"
    )
    assert y.dtype == dtype
    assert state.dtype == torch.float32
    assert torch.equal(y, exact.to(dtype))
    assert torch.equal(state, exact_state)
    weight = torch.randn_like(exact).to(dtype)
    y.backward(weight)
    exact.backward(weight.float())
    for name, tensor in half.items():
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, single[name].grad.to(dtype))


def test_float32_parameters_with_half_precision_activations() -> None:
    inputs = {name: tensor.detach().float() for name, tensor in sequence_inputs(10).items()}
    mixed = inputs | {"u": inputs["u"].bfloat16()}
    expected = selective_scan(**(inputs | {"u": mixed["u"].float()}), backend="chunked")
    assert torch.equal(selective_scan(**mixed, backend="chunked"), expected.bfloat16())


def test_strided_and_expanded_tensors() -> None:
    inputs = {name: tensor.detach() for name, tensor in sequence_inputs(12).items()}
    strided = {
        name: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor for name, tensor in inputs.items()
    }
    strided["D"] = torch.ones((), dtype=torch.float64).expand(6)
    expected = selective_scan(**(inputs | {"D": torch.ones(6, dtype=torch.float64)}), backend="chunked")
    assert not strided["u"].is_contiguous()
    assert torch.equal(selective_scan(**strided, backend="chunked"), expected)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0)])
def test_nothing_in_nothing_out(batch: int, length: int) -> None:
    inputs = sequence_inputs(length, batch=batch)
    y, state = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend="chunked")
    assert y.shape == inputs["u"].shape
    assert torch.equal(state, torch.zeros(batch, 6, 3, dtype=torch.float64))
    (y.sum() + state.sum()).backward()
    for tensor in inputs.values():
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


@pytest.mark.parametrize("present", [True, False])
def test_operators_keep_the_rules_of_torch_library(present: bool) -> None:
    u, delta, A, B, C, D, _, bias = sequence_inputs(9).values()
    inputs = (u, delta, A, B, C, *((D, bias) if present else (None, None)), present, "chunked")
    torch.library.opcheck(_selective_scan, inputs)
    inputs = tuple(value.detach() if isinstance(value, Tensor) else value for value in inputs)
    y, state, states = _selective_scan(*inputs)
    grad_state = torch.randn_like(state) if present else None
    torch.library.opcheck(_selective_scan_backward, (torch.randn_like(y), grad_state, states, *inputs))


def test_compiles_into_one_graph() -> None:
    inputs = sequence_inputs(20)

    def scan(**tensors: Tensor) -> Any:
        return selective_scan(**tensors, delta_softplus=True, return_last_state=True, backend="chunked")

    tensors = list(inputs.values())
    results = []
    for function in (scan, torch.compile(scan, fullgraph=True, backend="aot_eager")):
        y, state = function(**inputs)
        results.append([y, state, *torch.autograd.grad(y.sum() + state.sum(), tensors)])
    for value, expected in zip(*results, strict=True):
        assert relative_error(value, expected) < 1e-14  # the gate is a formula of the compiler's own
    # Still callable outside the graph.
    assert torch.equal(scan(**inputs)[0], results[0][0])


def replaced(name: str, change: Callable[[Tensor], Any]) -> Callable[[dict[str, Tensor]], dict[str, Any]]:
    return lambda inputs: inputs | {name: change(inputs[name])}


REFUSED = [
    (replaced("u", lambda u: u[0]), "u must have shape"),
    (replaced("delta", lambda delta: delta[..., 1:]), "delta must have shape"),
    (replaced("A", lambda A: A[1:]), "A must have shape"),
    (replaced("B", lambda B: B[..., 1:]), "B must have shape"),
    (replaced("B", lambda B: B[0, 0]), "B must have shape"),
    (replaced("C", lambda C: C[:, :1]), "C must have shape"),
    (replaced("D", lambda D: D[None]), "D must have shape"),
    (replaced("z", lambda z: z[:1]), "z must have shape"),
    (replaced("delta_bias", lambda bias: bias[1:]), "delta_bias must have shape"),
    (replaced("u", lambda u: u.long()), "u must hold floating-point numbers"),
    (replaced("A", lambda A: A.to(torch.complex128)), "A must hold floating-point numbers"),
    (replaced("D", lambda D: D.to("meta")), "all tensors must be on one device"),
    (replaced("D", lambda D: 1.0), "D must be a tensor, not float"),
    (replaced("B", lambda B: None), "B must be a tensor, not NoneType"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_input_is_refused(change: Callable[[dict[str, Tensor]], dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        selective_scan(**change(sequence_inputs(5)))


def test_channels_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="6 channels cannot be divided into 4 groups"):
        selective_scan(**sequence_inputs(5, groups=4))


def test_a_backend_that_is_missing_is_refused() -> None:
    with pytest.raises(BackendError, match="mamba_ssm' is missing"):
        selective_scan(**sequence_inputs(5), backend="mamba_ssm")
