"""The Triton backend of ``selective_scan``: memory and the order of the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.chain import chain
from swin_umamba.ops.triton.launch import CHUNK, TimeLoop, channel_block
from swin_umamba.ops.triton.selective_chunks import selective_chunks
from swin_umamba.ops.triton.selective_gradients import selective_gradients
from swin_umamba.ops.triton.selective_outputs import selective_outputs


def selective_scan_states_shape(batch: int, dim: int, length: int, d_state: int) -> tuple[int, ...]:
    """Return the shape of the saved states, of which there are none: the backward computes them anew."""
    return (0, 1, 1, d_state, dim)


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
    """Return output (batch, dim, length), last state (batch, dim, d_state) and, for saved states, nothing.

    All tensors are contiguous, with the shapes of `swin_umamba.ops.selective_scan.selective_scan`; ``A``,
    ``D`` and ``delta_bias`` are float32, the others float32, bfloat16 or float16.
    """
    batch, dim, length = u.shape
    steps = _steps(u, A, B)
    last_state = A.new_empty(batch, dim, A.shape[1])
    states, _ = _entering_states(u, delta, A, B, delta_bias, delta_softplus, steps, last=last_state)
    y = torch.empty_like(u)
    selective_outputs(u, delta, A, B, C, D, delta_bias, delta_softplus, steps, states, y)
    return y, last_state, A.new_empty(selective_scan_states_shape(batch, dim, length, A.shape[1]))


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
    batch, dim, _ = u.shape
    states = _tile_states(u, delta, A, B, delta_bias, delta_softplus)
    leaving = _tile_states(
        grad_y, delta, A, C, delta_bias, delta_softplus, adjoint=True, first=grad_last_state
    )

    group_size = dim // B.shape[1]
    blocks = -(-group_size // channel_block(group_size))
    partial_B, partial_C = A.new_empty(blocks, *B.shape), A.new_empty(blocks, *C.shape)
    partial_D = A.new_empty(batch, states.shape[2], dim)
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


def _steps(u: Tensor, A: Tensor, B: Tensor) -> int:
    """Return the steps of a chunk of the time loop."""
    batch, dim, length = u.shape
    groups = B.shape[1]
    settings = launch_settings(u.device)
    loop = TimeLoop.of(dim // groups, A.shape[1], settings)
    return loop.chunk_steps(batch * groups, dim // groups, length, settings)


def _entering_states(
    sequence: Tensor,
    delta: Tensor,
    A: Tensor,
    matrix: Tensor,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    steps: int,
    *,
    adjoint: bool = False,
    first: Tensor | None = None,
    last: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the state that enters each chunk, (batch, 1, chunks, d_state, dim), and the sums of the steps.

    ``sequence`` and ``matrix`` are u and B or, with ``adjoint``, the gradient of the output and C: then time
    runs backwards, and what enters is the gradient of the state that leaves the chunk.
    """
    batch, dim, length = sequence.shape
    chunks = -(-length // steps)
    ends = A.new_empty(batch, 1, chunks, A.shape[1], dim)
    sums = A.new_empty(batch, 1, chunks, dim)
    selective_chunks(
        sequence, delta, A, matrix, delta_bias, delta_softplus, steps, ends, sums, adjoint=adjoint
    )
    chain(ends, sums, A, adjoint=adjoint, first=first, last=last)
    return ends, sums


def _tile_states(
    sequence: Tensor,
    delta: Tensor,
    A: Tensor,
    matrix: Tensor,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    *,
    adjoint: bool = False,
    first: Tensor | None = None,
) -> Tensor:
    """Return the state that enters each tile of the backward, from those that enter the chunks."""
    batch, dim, length = sequence.shape
    steps = _steps(sequence, A, matrix)
    inputs = (sequence, delta, A, matrix, delta_bias, delta_softplus)
    starts, sums = _entering_states(*inputs, steps, adjoint=adjoint, first=first)
    states = A.new_empty(batch, 1, -(-length // CHUNK), A.shape[1], dim)
    selective_chunks(*inputs, steps, states, sums, adjoint=adjoint, starts=starts)
    return states
