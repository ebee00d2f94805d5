"""The selective scan of an image in four directions, with the projection of dt and the merge inside.

The operators ``swin_umamba::ss2d_scan`` and ``swin_umamba::ss2d_scan_backward`` are registered with PyTorch,
so that ``torch.compile`` and ``torch.export`` see one opaque call each. Elsewhere the same functions run in
a ``torch.autograd.Function``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype, load_backend, without_autocast
from swin_umamba.ops.checks import as_dtype, require_dimensions, require_floating_on_one_device, require_shape
from swin_umamba.ops.derivatives import (
    gradient_may_be_asked_for,
    operator_is_needed,
    refuse_forward_mode,
    refuse_second_derivative,
)
from swin_umamba.ops.mamba_ssm import ss2d_scan_mamba
from swin_umamba.ops.reference import ss2d_scan_reference

_INPUTS = "Tensor x, Tensor x_dbl, Tensor dt_projs_weight, Tensor dt_projs_bias, Tensor A, Tensor D"


def ss2d_scan(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    backend: str | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Scan an image along its rows and columns, forwards and backwards, and add up the four results.

    Direction 0 is row-major, 1 column-major, 2 and 3 are 0 and 1 reversed. Along direction ``k``, for every
    channel::

        dt_t = softplus(dt_projs_weight[k] @ dt_low_t + dt_projs_bias[k])
        h_t = exp(dt_t * A[k]) * h_{t-1} + dt_t * B_t * x_t,    h_{-1} = 0
        y_t = <C_t, h_t> + D[k] * x_t

    Parameters
    ----------
    x
        Activation, channels last, shape (batch, height, width, d_inner).
    x_dbl
        Projection of ``x`` for each direction, in image order, shape (batch, height, width, 4,
        dt_rank + 2 * d_state): the low-rank dt, B and C.
    dt_projs_weight
        Shape (4, d_inner, dt_rank).
    dt_projs_bias
        Shape (4, d_inner).
    A
        Negative, shape (4, d_inner, d_state).
    D
        Shape (4, d_inner).
    backend
        A name of `swin_umamba.ops.backend.BACKENDS`; None chooses by device.
    out_dtype
        Dtype of the output; None for that of ``x``.

    Returns
    -------
    Tensor
        Output with the shape of ``x``; `swin_umamba.ops.backend.compute_dtype` says in which dtype it is
        computed.

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
    Liu et al., "VMamba: Visual State Space Model", 2024, section 4.2 (2D selective scan).
    """
    inputs = {
        "x": x,
        "x_dbl": x_dbl,
        "dt_projs_weight": dt_projs_weight,
        "dt_projs_bias": dt_projs_bias,
        "A": A,
        "D": D,
    }
    require_floating_on_one_device("ss2d_scan", inputs)
    _require_shapes(**inputs)
    dtype = compute_dtype(*[tensor.dtype for tensor in inputs.values()])
    backend = choose_backend(x.device, dtype, backend)
    # The kernels of triton read activations in half precision, and compute in float32.
    readable = (torch.float16, torch.bfloat16) if backend == "triton" else ()
    tensors = [tensor if tensor.dtype in readable else as_dtype(tensor, dtype) for tensor in (x, x_dbl)]
    tensors += [as_dtype(tensor, dtype) for tensor in (dt_projs_weight, dt_projs_bias, A, D)]
    save_states = gradient_may_be_asked_for(tensors)
    if backend in ("reference", "mamba_ssm"):
        with without_autocast(x.device):
            y = (ss2d_scan_reference if backend == "reference" else ss2d_scan_mamba)(*tensors)
    elif operator_is_needed(tensors):
        y, _ = _ss2d_scan(*tensors, save_states, backend)
    elif save_states:
        y = _SS2DScan.apply(*tensors, save_states, backend)  # type: ignore[no-untyped-call]
    else:
        y, _ = _forward(*tensors, save_states, backend)
    return as_dtype(y, out_dtype or x.dtype)


def _require_shapes(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> None:
    name = "ss2d_scan"
    require_dimensions(name, "x", x, "batch, height, width, d_inner")
    require_dimensions(name, "dt_projs_weight", dt_projs_weight, "4, d_inner, dt_rank")
    require_dimensions(name, "A", A, "4, d_inner, d_state")
    d_inner, dt_rank, d_state = x.shape[3], dt_projs_weight.shape[2], A.shape[2]
    require_shape(name, "dt_projs_weight", dt_projs_weight, (4, d_inner, dt_rank), "4, d_inner, dt_rank")
    require_shape(name, "dt_projs_bias", dt_projs_bias, (4, d_inner), "4, d_inner")
    require_shape(name, "A", A, (4, d_inner, d_state), "4, d_inner, d_state")
    require_shape(name, "D", D, (4, d_inner), "4, d_inner")
    axes = "batch, height, width, 4, dt_rank + 2 * d_state"
    require_shape(name, "x_dbl", x_dbl, (*x.shape[:3], 4, dt_rank + 2 * d_state), axes)


# The functions of the operators take what their schemas declare. The output has the dtype in which it was
# computed, even if ``x`` has half precision. Only the backward uses the states: without ``save_states`` the
# tensor has no elements.
def _zeros(*inputs: Any) -> tuple[Tensor, Tensor]:
    x, _, _, _, A, _, save_states, backend = inputs
    shape = load_backend(backend, "ss2d_scan").ss2d_scan_states_shape(*x.shape, A.shape[2])
    states = x.new_zeros(shape if save_states else (0, *shape[1:]), dtype=compute_dtype(x.dtype))
    return _zeros_like(x, dtype=states.dtype), states


def _zeros_like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.zeros_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)


def _forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    refuse_forward_mode("ss2d_scan")
    *tensors, save_states, backend = inputs
    if tensors[0].numel() == 0:
        return _zeros(*inputs)
    with without_autocast(tensors[0].device):
        scan = load_backend(backend, "ss2d_scan").ss2d_scan_forward
        results: tuple[Tensor, Tensor] = scan(*[tensor.contiguous() for tensor in tensors], save_states)
        return results


_ss2d_scan = torch.library.custom_op(
    "swin_umamba::ss2d_scan",
    _forward,
    mutates_args=(),
    schema=f"({_INPUTS}, bool save_states, str backend) -> (Tensor y, Tensor states)",
)


def _zero_gradients(grad_y: Tensor, states: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(map(_zeros_like, inputs[:-1]))


def _backward(grad_y: Tensor, states: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    refuse_forward_mode("ss2d_scan_backward")
    *tensors, backend = inputs
    if grad_y.numel() == 0:
        return _zero_gradients(grad_y, states, *inputs)
    with without_autocast(grad_y.device):
        backward = load_backend(backend, "ss2d_scan").ss2d_scan_backward
        grad_y, *tensors = (tensor.contiguous() for tensor in (grad_y, *tensors))
        results: tuple[Tensor, ...] = backward(grad_y, states, *tensors)
        return results


_ss2d_scan_backward = torch.library.custom_op(
    "swin_umamba::ss2d_scan_backward",
    _backward,
    mutates_args=(),
    schema=f"(Tensor grad_y, Tensor states, {_INPUTS}, str backend) -> "
    "(Tensor grad_x, Tensor grad_x_dbl, Tensor grad_weight, Tensor grad_bias, Tensor grad_A, Tensor grad_D)",
)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, _, ctx.backend = inputs
    ctx.save_for_backward(output[1], *tensors)
    # Otherwise autograd would hand the backward a tensor of zeros as the gradient of the saved states.
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_y: Tensor | None, grad_states: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_y is None:
        return (None,) * 8
    tensors = (grad_y, *ctx.saved_tensors)
    # Only the operator knows what to answer to a second derivative.
    watched = torch.is_grad_enabled() or operator_is_needed(tensors)
    backward: Callable[..., tuple[Tensor, ...]] = _ss2d_scan_backward if watched else _backward
    return (*backward(*tensors, ctx.backend), None, None)


_ss2d_scan.register_fake(_zeros)
_ss2d_scan_backward.register_fake(_zero_gradients)
_ss2d_scan.register_autograd(_differentiate, setup_context=_save_for_backward)
_ss2d_scan_backward.register_autograd(refuse_second_derivative)


class _SS2DScan(torch.autograd.Function):
    """The operator without what it costs to register one."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        outputs = _forward(*inputs)
        _save_for_backward(ctx, inputs, outputs)
        return outputs[0]

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None) -> tuple[Tensor | None, ...]:
        return _differentiate(ctx, grad_y, None)
