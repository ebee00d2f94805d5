"""The selective scan of Mamba over sequences.

The operators ``swin_umamba::selective_scan`` and ``swin_umamba::selective_scan_backward`` are registered with
PyTorch, so that ``torch.compile`` and ``torch.export`` see one opaque call each. Elsewhere the same functions
run in a ``torch.autograd.Function``. The gate ``z`` is applied outside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swin_umamba.errors import UsageError
from swin_umamba.ops.backend import choose_backend, compute_dtype, load_backend, without_autocast
from swin_umamba.ops.checks import as_dtype, require_dimensions, require_floating_on_one_device, require_shape
from swin_umamba.ops.derivatives import (
    gradient_may_be_asked_for,
    operator_is_needed,
    refuse_forward_mode,
    refuse_second_derivative,
)
from swin_umamba.ops.mamba_ssm import selective_scan_mamba
from swin_umamba.ops.reference import selective_scan_reference

_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, bool delta_softplus"
)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the selective scan, with the arguments of Mamba's ``selective_scan_fn``.

    With ``d_t = softplus(delta_t + delta_bias)`` (softplus only if asked for), for every channel::

        h_t = exp(d_t * A) * h_{t-1} + d_t * B_t * u_t,    h_{-1} = 0
        y_t = <C_t, h_t> + D * u_t,                        y_t *= silu(z_t)

    Parameters
    ----------
    u, delta, z
        Shape (batch, dim, length). The step ``d_t`` must not be negative.
    A
        Negative, shape (dim, d_state).
    B, C
        Shape (batch, groups, d_state, length), or (batch, d_state, length) for one group. Channel ``c`` uses
        group ``c // (dim / groups)``.
    D, delta_bias
        Shape (dim,).
    backend
        A name of `swin_umamba.ops.backend.BACKENDS`; None chooses by device.

    Returns
    -------
    Tensor or tuple of Tensor
        Output with the shape and dtype of ``u``; with ``return_last_state`` also the last state, shape
        (batch, dim, d_state), in the dtype that `swin_umamba.ops.backend.compute_dtype` gives.

    Raises
    ------
    UsageError
        If a shape, dtype or device is wrong.
    BackendError
        If the requested backend is missing or does not support the tensors.

    Notes
    -----
    There are first derivatives in reverse mode. Second derivatives are refused; forward mode and the
    differentiating transforms of ``torch.func`` run on the slow reference (``swin_umamba.ops.derivatives``).

    References
    ----------
    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, algorithm 2.
    """
    inputs = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    require_floating_on_one_device("selective_scan", inputs, optional=("D", "z", "delta_bias"))
    B, C = (tensor[:, None] if tensor.dim() == 3 else tensor for tensor in (B, C))
    _require_shapes(u, delta, A, B, C, D, z, delta_bias)
    output_dtype = u.dtype
    dtype = compute_dtype(*[tensor.dtype for tensor in inputs.values() if tensor is not None])
    backend = choose_backend(u.device, dtype, backend)
    u, delta, A, B, C = (as_dtype(tensor, dtype) for tensor in (u, delta, A, B, C))
    D, z, delta_bias = (None if tensor is None else as_dtype(tensor, dtype) for tensor in (D, z, delta_bias))
    tensors = (u, delta, A, B, C, D, delta_bias)
    if backend == "reference":
        with without_autocast(u.device):
            y, last_state = selective_scan_reference(
                u, delta, A, B, C, D, None, delta_bias, delta_softplus, return_last_state=True
            )
    elif backend == "mamba_ssm":
        with without_autocast(u.device):
            y, last_state = selective_scan_mamba(
                u, delta, A, B, C, D, delta_bias, delta_softplus, return_last_state
            )
    elif operator_is_needed(tensors):
        y, last_state, _ = _selective_scan(*tensors, delta_softplus, backend)
    elif gradient_may_be_asked_for(tensors):
        y, last_state = _SelectiveScan.apply(*tensors, delta_softplus, backend)  # type: ignore[no-untyped-call]
    else:
        y, last_state, _ = _forward(*tensors, delta_softplus, backend)
    if z is not None:
        y = y * F.silu(z)
    y = as_dtype(y, output_dtype)
    return (y, last_state) if return_last_state else y


def _require_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    name = "selective_scan"
    require_dimensions(name, "u", u, "batch, dim, length")
    require_dimensions(name, "A", A, "dim, d_state")
    require_dimensions(name, "B", B, "batch, groups, d_state, length")
    batch, dim, length = u.shape
    d_state, groups = A.shape[1], B.shape[1]
    require_shape(name, "A", A, (dim, d_state), "dim, d_state")
    for key, tensor in (("delta", delta), ("z", z)):
        require_shape(name, key, tensor, (batch, dim, length), "batch, dim, length")
    for key, tensor in (("B", B), ("C", C)):
        require_shape(name, key, tensor, (batch, groups, d_state, length), "batch, groups, d_state, length")
    for key, tensor in (("D", D), ("delta_bias", delta_bias)):
        require_shape(name, key, tensor, (dim,), "dim")
    if groups == 0 or dim % groups:
        raise UsageError(f"{dim} channels cannot be divided into {groups} groups", where=name)


# The functions of the operators take what their schemas declare.
def _zeros(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    u, _, A, *_, backend = inputs
    shape = load_backend(backend, "selective_scan").selective_scan_states_shape(*u.shape, A.shape[1])
    return _zeros_like(u), u.new_zeros(*u.shape[:2], A.shape[1]), u.new_zeros(shape)


def _zeros_like(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, memory_format=torch.contiguous_format)


def _contiguous(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    refuse_forward_mode("selective_scan")
    *tensors, delta_softplus, backend = inputs
    if tensors[0].numel() == 0:
        return _zeros(*inputs)
    with without_autocast(tensors[0].device):
        scan = load_backend(backend, "selective_scan").selective_scan_forward
        results: tuple[Tensor, Tensor, Tensor] = scan(*_contiguous(tensors), delta_softplus)
        return results


_selective_scan = torch.library.custom_op(
    "swin_umamba::selective_scan",
    _forward,
    mutates_args=(),
    schema=f"({_INPUTS}, str backend) -> (Tensor y, Tensor last_state, Tensor states)",
)


# A registered operator must return tensors: an empty one stands for "no such input".
def _zero_gradients(
    grad_y: Tensor, grad_last_state: Tensor | None, states: Tensor, *inputs: Any
) -> tuple[Tensor, ...]:
    return tuple(grad_y.new_empty(0) if tensor is None else _zeros_like(tensor) for tensor in inputs[:-2])


def _backward(
    grad_y: Tensor, grad_last_state: Tensor | None, states: Tensor, *inputs: Any
) -> tuple[Tensor, ...]:
    refuse_forward_mode("selective_scan_backward")
    *tensors, delta_softplus, backend = inputs
    if grad_y.numel() == 0:
        return _zero_gradients(grad_y, grad_last_state, states, *inputs)
    with without_autocast(grad_y.device):
        gradients = load_backend(backend, "selective_scan").selective_scan_backward(
            *_contiguous((grad_y, grad_last_state)), states, *_contiguous(tensors), delta_softplus
        )
    return tuple(grad_y.new_empty(0) if gradient is None else gradient for gradient in gradients)


_selective_scan_backward = torch.library.custom_op(
    "swin_umamba::selective_scan_backward",
    _backward,
    mutates_args=(),
    schema=f"(Tensor grad_y, Tensor? grad_last_state, Tensor states, {_INPUTS}, str backend) -> "
    "(Tensor grad_u, Tensor grad_delta, Tensor grad_A, Tensor grad_B, Tensor grad_C, Tensor grad_D, "
    "Tensor grad_delta_bias)",
)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.delta_softplus, ctx.backend = inputs
    ctx.save_for_backward(output[2], *tensors)
    # Otherwise autograd would hand the backward a tensor of zeros as the gradient of the saved states.
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, grad_y: Tensor | None, grad_last_state: Tensor | None, grad_states: Tensor | None
) -> tuple[Tensor | None, ...]:
    states, *inputs = ctx.saved_tensors
    if grad_y is None and grad_last_state is None:
        return (None,) * 9
    if grad_y is None:
        grad_y = torch.zeros_like(inputs[0])
    # Only the operator knows what to answer to a second derivative.
    watched = torch.is_grad_enabled() or operator_is_needed((grad_y, grad_last_state, *inputs))
    backward: Callable[..., tuple[Tensor, ...]] = _selective_scan_backward if watched else _backward
    gradients = backward(grad_y, grad_last_state, states, *inputs, ctx.delta_softplus, ctx.backend)
    present = (
        gradient if tensor is not None else None for gradient, tensor in zip(gradients, inputs, strict=True)
    )
    return (*present, None, None)


_selective_scan.register_fake(_zeros)
_selective_scan_backward.register_fake(_zero_gradients)
_selective_scan.register_autograd(_differentiate, setup_context=_save_for_backward)
_selective_scan_backward.register_autograd(refuse_second_derivative)


class _SelectiveScan(torch.autograd.Function):
    """The operator without what it costs to register one."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        outputs = _forward(*inputs)
        _save_for_backward(ctx, inputs, outputs)
        return outputs[:2]

    @staticmethod
    def backward(
        ctx: Any, grad_y: Tensor | None, grad_last_state: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        return _differentiate(ctx, grad_y, grad_last_state, None)
