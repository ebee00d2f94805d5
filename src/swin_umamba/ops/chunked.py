"""The portable backend: both scans in plain PyTorch, on any device, in float32 or float64.

Every function takes contiguous tensors of one dtype. The gradients are derived by hand on top of
`swin_umamba.ops.blocked_scan`; autograd would keep every state.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from swin_umamba.ops.blocked_scan import blocked_scan_backward, blocked_scan_forward, num_blocks
from swin_umamba.ops.reference import from_sequence, to_sequence

_SOFTPLUS_THRESHOLD = 20.0  # above this, torch's softplus is the identity


def selective_scan_states_shape(batch: int, dim: int, length: int, d_state: int) -> tuple[int, ...]:
    """Return the shape of the states that `selective_scan_forward` saves for the backward."""
    return (batch, num_blocks(length), d_state, dim)


def selective_scan_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan sequences; see `swin_umamba.ops.selective_scan.selective_scan` for the shapes.

    Returns
    -------
    out, last_state, states
        Shapes (batch, dim, length), (batch, dim, d_state) and `selective_scan_states_shape`.
    """
    batch, dim, length = u.shape
    step = _step(delta, delta_bias, delta_softplus)
    out = torch.empty_like(u)
    last_state = u.new_empty(batch, dim, A.shape[1])
    states = u.new_empty(selective_scan_states_shape(batch, dim, length, A.shape[1]))
    for group, channels in enumerate(_channels_of_groups(dim, B.shape[1])):
        y, state, saved = blocked_scan_forward(
            _channels_last(u[:, channels]),
            _channels_last(step[:, channels]),
            A[channels],
            _channels_last(B[:, group]),
            _channels_last(C[:, group]),
        )
        out[:, channels] = y.mT
        last_state[:, channels] = state.mT
        states[..., channels] = saved
    if D is not None:
        out.addcmul_(D[:, None], u)
    return out, last_state, states


def selective_scan_backward(
    grad_out: Tensor,
    grad_last_state: Tensor | None,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of u, delta, A, B, C, D and delta_bias; None for an option that is None."""
    step = _step(delta, delta_bias, delta_softplus)
    grad_u, grad_delta, grad_A = torch.empty_like(u), torch.empty_like(delta), torch.empty_like(A)
    grad_B, grad_C = torch.empty_like(B), torch.empty_like(C)
    for group, channels in enumerate(_channels_of_groups(u.shape[1], B.shape[1])):
        gradients = blocked_scan_backward(
            _channels_last(grad_out[:, channels]),
            None if grad_last_state is None else grad_last_state[:, channels].mT,
            states[..., channels],
            _channels_last(u[:, channels]),
            _channels_last(step[:, channels]),
            A[channels],
            _channels_last(B[:, group]),
            _channels_last(C[:, group]),
        )
        grad_u[:, channels], grad_delta[:, channels] = gradients[0].mT, gradients[1].mT
        grad_A[channels] = gradients[2]
        grad_B[:, group], grad_C[:, group] = gradients[3].mT, gradients[4].mT
    if delta_softplus:
        grad_delta.mul_(_softplus_slope(step))
    grad_D = None
    if D is not None:
        grad_u.addcmul_(D[:, None], grad_out)
        grad_D = (grad_out * u).sum((0, 2))
    grad_bias = None if delta_bias is None else grad_delta.sum((0, 2))
    return grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias


def ss2d_scan_states_shape(
    batch: int, height: int, width: int, d_inner: int, d_state: int
) -> tuple[int, ...]:
    """Return the shape of the states that `ss2d_scan_forward` saves for the backward."""
    return (batch, 4, num_blocks(height * width), d_state, d_inner)


def ss2d_scan_forward(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    save_states: bool = True,
) -> tuple[Tensor, Tensor]:
    """Scan an image; see `swin_umamba.ops.ss2d_scan.ss2d_scan` for the shapes.

    The directions run one after the other, so that there is one set of temporary tensors instead of four.

    Returns
    -------
    y, states
        Shapes (batch, height, width, d_inner) and `ss2d_scan_states_shape`. Without ``save_states`` the
        second is empty: its first size is 0.
    """
    batch, height, width, d_inner = x.shape
    out = torch.zeros_like(x)
    shape = ss2d_scan_states_shape(batch, height, width, d_inner, A.shape[2])
    states = x.new_empty(shape if save_states else (0, *shape[1:]))
    for k in (0, 2, 1, 3):
        u = to_sequence(x, k).contiguous()
        _, delta, B, C = _direction_inputs(x_dbl, dt_projs_weight, dt_projs_bias, A.shape[2], k)
        y, _, block_starts = blocked_scan_forward(u, delta, A[k], B, C)
        if save_states:
            states[:, k] = block_starts
        out += from_sequence(y.addcmul_(D[k], u), k, height, width)
    return out, states


def ss2d_scan_backward(
    grad_y: Tensor,
    states: Tensor,
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the six inputs of `ss2d_scan_forward`."""
    height, width = x.shape[1:3]
    grad_x = torch.zeros_like(x)
    grad_x_dbl, grad_weight, grad_bias, grad_A, grad_D = (
        torch.empty_like(tensor) for tensor in (x_dbl, dt_projs_weight, dt_projs_bias, A, D)
    )
    for k in (0, 2, 1, 3):
        grad_out, u = to_sequence(grad_y, k).contiguous(), to_sequence(x, k).contiguous()
        dt_low, delta, B, C = _direction_inputs(x_dbl, dt_projs_weight, dt_projs_bias, A.shape[2], k)
        grad_u, grad_delta, grad_A[k], grad_B, grad_C = blocked_scan_backward(
            grad_out, None, states[:, k], u, delta, A[k], B, C
        )
        grad_x += from_sequence(grad_u.addcmul_(D[k], grad_out), k, height, width)
        grad_D[k] = (grad_out * u).sum((0, 1))
        grad_delta.mul_(_softplus_slope(delta))
        grad_bias[k] = grad_delta.sum((0, 1))
        grad_weight[k] = grad_delta.flatten(0, 1).mT @ dt_low.flatten(0, 1)
        grad_projected = torch.cat([grad_delta @ dt_projs_weight[k], grad_B, grad_C], dim=-1)
        grad_x_dbl[:, :, :, k] = from_sequence(grad_projected, k, height, width)
    return grad_x, grad_x_dbl, grad_weight, grad_bias, grad_A, grad_D


def _direction_inputs(
    x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, d_state: int, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return low-rank dt, delta, B and C of direction ``k`` as sequences."""
    sequence = to_sequence(x_dbl[:, :, :, k], k)
    dt_low, B, C = sequence.split([dt_projs_weight.shape[2], d_state, d_state], dim=-1)
    delta = F.softplus(F.linear(dt_low, dt_projs_weight[k], dt_projs_bias[k]))
    return dt_low, delta, B, C


def _channels_of_groups(dim: int, groups: int) -> list[slice]:
    size = dim // groups
    return [slice(group * size, (group + 1) * size) for group in range(groups)]


def _channels_last(sequence: Tensor) -> Tensor:
    return sequence.mT.contiguous()


def _step(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool) -> Tensor:
    """Return the step size d_t of the recurrence."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    return F.softplus(delta) if delta_softplus else delta


def _softplus_slope(softplus: Tensor) -> Tensor:
    """Return the derivative of softplus from its value: sigmoid(x) = 1 - exp(-softplus(x))."""
    slope = torch.neg(softplus).expm1_().neg_()
    return slope.masked_fill_(softplus > _SOFTPLUS_THRESHOLD, 1.0)
