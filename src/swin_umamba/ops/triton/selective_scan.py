"""The Triton backend of ``selective_scan``: memory and the order of the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_umamba.ops.triton.chain import chain
from swin_umamba.ops.triton.launch import channel_block, chunk_count
from swin_umamba.ops.triton.selective_chunks import selective_chunks
from swin_umamba.ops.triton.selective_gradients import selective_gradients
from swin_umamba.ops.triton.selective_outputs import selective_outputs


def selective_scan_states_shape(batch: int, dim: int, length: int, d_state: int) -> tuple[int, ...]:
    """Return the shape of the saved states: (batch, 1, chunks, d_state, dim)."""
    return (batch, 1, chunk_count(length), d_state, dim)


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
    """Return output (batch, dim, length), last state (batch, dim, d_state) and the state entering each chunk.

    All tensors are contiguous, with the shapes of `swin_umamba.ops.selective_scan.selective_scan`; ``A``,
    ``D`` and ``delta_bias`` are float32, the others float32, bfloat16 or float16.
    """
    states, sums = _new_chunks(u, A)
    selective_chunks(u, delta, A, B, delta_bias, delta_softplus, states, sums, adjoint=False)
    last_state = A.new_empty(*u.shape[:2], A.shape[1])
    chain(states, sums, A, adjoint=False, last=last_state)
    y = torch.empty_like(u)
    selective_outputs(u, delta, A, B, C, D, delta_bias, delta_softplus, states, y)
    return y, last_state, states


def selective_scan_backward(
    grad_y: Tensor,
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
    batch, dim, length = u.shape
    leaving, sums = _new_chunks(u, A)
    selective_chunks(grad_y, delta, A, C, delta_bias, delta_softplus, leaving, sums, adjoint=True)
    chain(leaving, sums, A, adjoint=True, first=grad_last_state)

    group_size = dim // B.shape[1]
    blocks = -(-group_size // channel_block(group_size))
    partial_B, partial_C = A.new_empty(blocks, *B.shape), A.new_empty(blocks, *C.shape)
    partial_D = A.new_empty(batch, chunk_count(length), dim)
    grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta, dtype=torch.float32)
    selective_gradients(
        grad_y, u, delta, A, B, C, D, delta_bias, delta_softplus, states, leaving, grad_u, grad_delta,
        partial_B, partial_C, partial_D,
    )  # fmt: skip
    return (
        grad_u,
        grad_delta.to(delta.dtype),
        leaving.sum((0, 1, 2)).mT.contiguous(),
        partial_B.sum(0).to(B.dtype),
        partial_C.sum(0).to(C.dtype),
        None if D is None else partial_D.sum((0, 1)),
        None if delta_bias is None else grad_delta.sum((0, 2)),
    )


def _new_chunks(u: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """Return room for a state and for the sum of the step sizes of each chunk."""
    batch, dim, length = u.shape
    shape = selective_scan_states_shape(batch, dim, length, A.shape[1])
    return A.new_empty(shape), A.new_empty(*shape[:3], shape[4])
