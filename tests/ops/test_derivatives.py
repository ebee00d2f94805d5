"""Every kind of derivative of both scans: the right number, or an error that says what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from ops.scan_inputs import image_inputs, relative_error, sequence_inputs
from swin_umamba.errors import BackendError
from swin_umamba.modules.mamba import Mamba
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.ops import backend as backend_module
from swin_umamba.ops.backend import backend_status
from swin_umamba.ops.reference import selective_scan_reference, ss2d_scan_reference
from swin_umamba.ops.selective_scan import selective_scan
from swin_umamba.ops.ss2d_scan import ss2d_scan

TOLERANCE = 2e-6  # float32 against float32, in units of the largest number

Function = Callable[[Tensor], Tensor]

SCANS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any], dict[str, Any]]] = {
    "selective_scan": ("u", selective_scan, selective_scan_reference, {"delta_softplus": True}),
    "ss2d_scan": ("x", ss2d_scan, ss2d_scan_reference, {}),
}


def inputs_of(operator: str) -> dict[str, Tensor]:
    if operator == "selective_scan":
        inputs = sequence_inputs(3, batch=1, dim=2, d_state=2, groups=1, dtype=torch.float32)
    else:
        inputs = image_inputs(1, 3, batch=1, d_inner=2, d_state=2, dt_rank=1, dtype=torch.float32)
    return {name: tensor.detach() for name, tensor in inputs.items()}


def scan_of_input(operator: str, backend: str) -> tuple[Function, Function, Tensor]:
    """The scan and its reference as functions of the activation alone, and the activation."""
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)
    name, scan, reference, options = SCANS[operator]
    inputs = inputs_of(operator)
    return (
        lambda x: scan(**inputs | {name: x}, **options, backend=backend),
        lambda x: reference(**inputs | {name: x}, **options),
        inputs[name],
    )


def forward_mode(scan: Function, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = scan(forward_ad.make_dual(x, torch.cos(x)))
        return forward_ad.unpack_dual(y).tangent.clone()


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def gradient_outside_of_vmap(scan: Function, x: Tensor) -> Tensor:
    batch = leaf(torch.stack([x, 2 * x]))
    return torch.autograd.grad(vmap(scan)(batch).square().sum(), batch)[0]


def batched_gradients(scan: Function, x: Tensor) -> Tensor:
    x = leaf(x)
    y = scan(x)
    weights = torch.stack([torch.ones_like(y), torch.cos(y)]).detach()
    return torch.autograd.grad(y, x, weights, is_grads_batched=True)[0]


def energy(scan: Function) -> Function:
    return lambda x: scan(x).square().sum()


DERIVATIVES: dict[str, Callable[[Function, Tensor], Any]] = {
    "jvp": lambda scan, x: jvp(scan, (x,), (torch.cos(x),))[1],
    "jacfwd": lambda scan, x: jacfwd(scan)(x),
    "dual numbers": forward_mode,
    "dual numbers of a leaf": lambda scan, x: forward_mode(scan, leaf(x)).detach(),
    "jacobian in forward mode": lambda scan, x: functional.jacobian(
        scan, x, vectorize=True, strategy="forward-mode"
    ),
    "jvp of vmap": lambda scan, x: jvp(vmap(scan), (torch.stack([x, 2 * x]),), (torch.stack([x, x]),))[1],
    "vjp": lambda scan, x: vjp(scan, x)[1](torch.cos(x))[0],
    "jacrev": lambda scan, x: jacrev(scan)(x),
    "jacobian": lambda scan, x: functional.jacobian(scan, x),
    "vectorized jacobian": lambda scan, x: functional.jacobian(scan, x, vectorize=True),
    "grad": lambda scan, x: grad(energy(scan))(x),
    "vmap": lambda scan, x: vmap(scan)(torch.stack([x, 2 * x])),
    "vmap of grad": lambda scan, x: vmap(grad(energy(scan)))(torch.stack([x, 2 * x])),
    "grad of vmap": lambda scan, x: grad(energy(vmap(scan)))(torch.stack([x, 2 * x])),
    "gradient outside of vmap": gradient_outside_of_vmap,
    "batched gradients": batched_gradients,
    "hessian": lambda scan, x: hessian(energy(scan))(x),
    "hessian in reverse mode": lambda scan, x: jacrev(jacrev(energy(scan)))(x),
    "derivative of a gradient": lambda scan, x: jvp(grad(energy(scan)), (x,), (torch.cos(x),))[1],
}


@pytest.mark.parametrize("backend", ["native", "chunked"])
@pytest.mark.parametrize("operator", SCANS)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_those_of_the_reference(name: str, operator: str, backend: str) -> None:
    scan, reference, x = scan_of_input(operator, backend)
    found, expected = DERIVATIVES[name](scan, x), DERIVATIVES[name](reference, x)
    assert expected.any()
    assert relative_error(found, expected) < TOLERANCE


@pytest.mark.parametrize("operator", SCANS)
def test_forward_mode_is_the_adjoint_of_the_hand_written_backward(operator: str) -> None:
    """<g, J v> = <J' g, v>, with a tangent for every input."""
    name, scan, _, options = SCANS[operator]
    inputs = inputs_of(operator)
    tangents = [torch.randn_like(tensor) for tensor in inputs.values()]

    def function(*tensors: Tensor) -> Tensor:
        return scan(**dict(zip(inputs, tensors, strict=True)), **options, backend="chunked")

    _, forward = jvp(function, tuple(inputs.values()), tuple(tangents))
    leaves = [leaf(tensor) for tensor in inputs.values()]
    weight = torch.randn_like(inputs[name])
    gradients = torch.autograd.grad(function(*leaves), leaves, weight)
    backward = sum((gradient * v).sum() for gradient, v in zip(gradients, tangents, strict=True))
    assert float((weight * forward).sum()) == pytest.approx(float(backward), rel=1e-5)


REFUSED: dict[str, Callable[[Function, Tensor], Any]] = {
    "gradient of a gradient": lambda scan, x: torch.autograd.grad(
        torch.autograd.grad(energy(scan)(x), x, create_graph=True)[0].sum(), x
    ),
    "hessian": lambda scan, x: functional.hessian(energy(scan), x),
    "jvp by double backward": lambda scan, x: functional.jvp(scan, x, torch.ones_like(x)),
}


@pytest.mark.parametrize("backend", ["native", "chunked"])
@pytest.mark.parametrize("operator", SCANS)
@pytest.mark.parametrize("name", REFUSED)
def test_second_derivatives_are_refused(name: str, operator: str, backend: str) -> None:
    scan, reference, x = scan_of_input(operator, backend)
    REFUSED[name](reference, leaf(x))
    with pytest.raises(BackendError, match=r"(?s)differentiated once only.*backend=.reference"):
        REFUSED[name](scan, leaf(x))


@pytest.mark.parametrize("backend", ["native", "chunked"])
@pytest.mark.parametrize("operator", SCANS)
def test_tangents_of_gradients_are_refused(operator: str, backend: str) -> None:
    scan, _, x = scan_of_input(operator, backend)
    x = leaf(x)
    y = scan(x)
    with forward_ad.dual_level():
        weight = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(BackendError, match=r"(?s)forward mode.*backend=.reference"):
            torch.autograd.grad(y, x, weight)


def test_the_registered_operators_refuse_tangents() -> None:
    x, *others = inputs_of("ss2d_scan").values()
    with pytest.raises(BackendError, match="forward mode"):
        jvp(lambda x: torch.ops.swin_umamba.ss2d_scan(x, *others, False, "chunked")[0], (x,), (x,))
    u, delta, A, B, C, D, _, bias = inputs_of("selective_scan").values()
    with pytest.raises(BackendError, match="forward mode"):
        jvp(
            lambda u: torch.ops.swin_umamba.selective_scan(u, delta, A, B, C, D, bias, True, "chunked")[0],
            (u,),
            (u,),
        )


def test_the_slow_way_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    backend_module._warn_once.cache_clear()
    scan, _, x = scan_of_input("ss2d_scan", "chunked")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            jvp(scan, (x,), (x,))
    assert [record.message for record in caplog.records] == [
        "forward mode and torch.func: scans run on the reference, which is slow, and not on 'chunked'"
    ]


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("jvp", "selective_scan"),
        pytest.param("gradient outside of vmap", "ss2d_scan", marks=pytest.mark.slow),
    ],
)
def test_compiled_derivatives(name: str, operator: str) -> None:
    scan, reference, x = scan_of_input(operator, "chunked")
    compiled = torch.compile(DERIVATIVES[name], fullgraph=name == "jvp", backend="aot_eager")
    assert relative_error(compiled(scan, x), DERIVATIVES[name](reference, x)) < TOLERANCE


@pytest.mark.parametrize("layer", [SS2D, Mamba])
def test_layers_have_their_derivative_in_forward_mode(layer: type[SS2D | Mamba]) -> None:
    module = layer(4, d_state=2)
    x = torch.randn(1, 2, 3, 4) if layer is SS2D else torch.randn(1, 5, 4)
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    tangents = {name: torch.randn_like(parameter) for name, parameter in parameters.items()}
    _, tangent = jvp(lambda values: functional_call(module, values, x), (parameters,), (tangents,))
    weight = torch.randn_like(tangent)
    gradients = torch.autograd.grad((module(x) * weight).sum(), list(module.parameters()))
    expected = sum((g * tangents[name]).sum() for g, name in zip(gradients, parameters, strict=True))
    assert float((tangent * weight).sum()) == pytest.approx(float(expected), rel=1e-4)
