"""The Triton backend of ``ss2d_scan``: memory and the order of the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_umamba.ops.triton.chain import chain
from swin_umamba.ops.triton.launch import channel_block, chunk_count
from swin_umamba.ops.triton.ss2d_chunks import ss2d_chunks
from swin_umamba.ops.triton.ss2d_gradients import ss2d_gradients
from swin_umamba.ops.triton.ss2d_outputs import ss2d_outputs


def ss2d_scan_states_shape(
    batch: int, height: int, width: int, d_inner: int, d_state: int
) -> tuple[int, ...]:
    """Return the shape of the saved states: (batch, 4, chunks, d_state, d_inner)."""
    return (batch, 4, chunk_count(height * width), d_state, d_inner)


def ss2d_scan_forward(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    save_states: bool = True,
    y_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Return output (batch, height, width, d_inner) and the state entering each chunk, for the backward.

    All tensors are contiguous, with the shapes of `swin_umamba.ops.ss2d_scan.ss2d_scan`; ``x`` and ``x_dbl``
    are float32, bfloat16 or float16, the parameters float32. The output has the dtype of ``x`` unless
    ``y_dtype`` says otherwise. Without ``save_states`` the second result is empty.
    """
    assert x.shape[1] * x.shape[2] < 2**31
    states, sums = _new_chunks(x, A)
    ss2d_chunks(x, x_dbl, dt_projs_weight, dt_projs_bias, A, states, sums, adjoint=False)
    chain(states, sums, A, adjoint=False)
    y = torch.empty_like(x, dtype=y_dtype)
    ss2d_outputs(x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, states, _float32_buffer(y), y)
    return y, states if save_states else states.new_empty(0, *states.shape[1:])


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
    """Return the gradients of x, x_dbl, dt_projs_weight, dt_projs_bias, A and D, from that of the output."""
    batch, height, width, d_inner = x.shape
    d_state = A.shape[2]
    leaving, sums = _new_chunks(x, A)
    ss2d_chunks(grad_y, x_dbl, dt_projs_weight, dt_projs_bias, A, leaving, sums, adjoint=True)
    chain(leaving, sums, A, adjoint=True)

    grad_x = torch.empty_like(x)
    blocks = -(-d_inner // channel_block(d_inner))
    grad_dt = sums.new_empty(4, batch, height * width, d_inner)
    partial_rows = sums.new_empty(blocks, batch, 4, 2 * d_state, height * width)
    partial_D = sums.new_empty(batch, leaving.shape[2], d_inner)
    ss2d_gradients(
        grad_y, x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, states, leaving, _float32_buffer(grad_x),
        grad_x, grad_dt, partial_rows, partial_D,
    )  # fmt: skip

    grad_dt = grad_dt.flatten(1, 2)
    grad_x_dbl = _grad_x_dbl(x_dbl, grad_dt, dt_projs_weight, partial_rows)
    dt_low = x_dbl[..., : -2 * d_state].float().flatten(0, 2).transpose(0, 1)  # (4, pixels, dt_rank)
    grad_weight = grad_dt.mT @ dt_low
    # (directions, d_state, d_inner) in the order of the parameter.
    grad_A = leaving.sum((0, 2)).mT.contiguous()
    grad_D = partial_D.sum((0, 1)).expand_as(D).contiguous()
    return grad_x, grad_x_dbl, grad_weight, grad_dt.sum(1), grad_A, grad_D


def _new_chunks(x: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """Return room for a state and for the sum of the step sizes of each chunk."""
    batch, height, width, d_inner = x.shape
    shape = ss2d_scan_states_shape(batch, height, width, d_inner, A.shape[2])
    return A.new_empty(shape), A.new_empty(*shape[:3], shape[4])


def _float32_buffer(tensor: Tensor) -> Tensor:
    """Return room for the result of the pass by rows until the pass by columns adds to it."""
    return tensor if tensor.dtype == torch.float32 else torch.empty_like(tensor, dtype=torch.float32)


def _grad_x_dbl(x_dbl: Tensor, grad_dt: Tensor, dt_projs_weight: Tensor, partial_rows: Tensor) -> Tensor:
    """Return the gradient of ``x_dbl``: dt by matrix products, B and C from the sums over channel blocks.

    ``grad_dt`` is (4, pixels, d_inner); ``partial_rows`` as in `ss2d_gradients`.
    """
    batch, height, width = x_dbl.shape[:3]
    dt_rank = dt_projs_weight.shape[2]
    grad_x_dbl = torch.empty_like(x_dbl)
    grad_low = torch.bmm(grad_dt, dt_projs_weight).view(4, batch, height, width, dt_rank)
    grad_x_dbl[..., :dt_rank] = grad_low.permute(1, 2, 3, 0, 4)
    sums = partial_rows.sum(0)
    by_rows = sums[:, 0::2].unflatten(3, (height, width))
    by_columns = sums[:, 1::2].unflatten(3, (width, height))
    grad_x_dbl[:, :, :, 0::2, dt_rank:] = by_rows.permute(0, 3, 4, 1, 2)
    grad_x_dbl[:, :, :, 1::2, dt_rank:] = by_columns.permute(0, 4, 3, 1, 2)
    return grad_x_dbl
