"""The Triton backend of ``ss2d_scan``: memory, the order of the kernels, and the products around them."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.precision import products_without_tf32
from swin_umamba.ops.triton.chain import chain
from swin_umamba.ops.triton.launch import CHUNK, TimeLoop, channel_block
from swin_umamba.ops.triton.ss2d_chunks import ss2d_chunks
from swin_umamba.ops.triton.ss2d_gradients import ss2d_gradients
from swin_umamba.ops.triton.ss2d_outputs import ss2d_outputs


def ss2d_scan_states_shape(
    batch: int, height: int, width: int, d_inner: int, d_state: int
) -> tuple[int, ...]:
    """Return the shape of the saved states, of which there are none: the backward computes them anew.

    That takes a small part of its time, and they would take as much memory as four activations.
    """
    return (0, 4, 1, d_state, d_inner)


def ss2d_scan_forward(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    save_states: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return output (batch, height, width, d_inner) and an empty tensor in place of saved states.

    All tensors are contiguous, with the shapes of `swin_umamba.ops.ss2d_scan.ss2d_scan`; ``x`` and ``x_dbl``
    are float32, bfloat16 or float16, the parameters and the output float32.
    """
    batch, height, width, d_inner = x.shape
    assert height * width < 2**31
    steps = _steps(x, A)
    delta = _projected_dt(x_dbl, dt_projs_weight)
    states, _ = _entering_states(x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, steps)
    y = torch.empty_like(x, dtype=torch.float32)
    ss2d_outputs(x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, D, steps, states, y, y)
    return y, A.new_empty(ss2d_scan_states_shape(batch, height, width, d_inner, A.shape[2]))


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
    """Return the gradients of x, x_dbl, dt_projs_weight, dt_projs_bias, A and D, from that of the output.

    ``grad_y`` may have another dtype than ``x``; ``states`` is what the forward returned.
    """
    batch, height, width, d_inner = x.shape
    delta = _projected_dt(x_dbl, dt_projs_weight)
    states = _tile_states(x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A)
    leaving = _tile_states(grad_y, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, adjoint=True)

    grad_x = torch.empty_like(x)
    blocks = -(-d_inner // channel_block(d_inner))
    # Nobody needs the projected dt any more: its gradient takes its place.
    grad_dt = A.new_empty(4, batch * height * width, d_inner) if delta is None else delta
    partial_rows = A.new_empty(blocks, batch, 4, 2 * A.shape[2], height * width)
    partial_D = A.new_empty(batch, leaving.shape[2], d_inner)
    ss2d_gradients(
        grad_y, x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, D, states, leaving,
        _float32_buffer(grad_x), grad_x, grad_dt, partial_rows, partial_D,
    )  # fmt: skip

    with products_without_tf32(x.device):
        grad_weight = torch.bmm(grad_dt.mT, _low_rank_dt(x_dbl, dt_projs_weight))
        grad_low = torch.bmm(grad_dt, dt_projs_weight)
    # One more column of the first product would be this sum, too, but products add up one after another: over
    # the pixels of a batch that loses two digits.
    grad_bias = grad_dt.sum(1)
    # (directions, d_state, d_inner) in the order of the parameter.
    grad_A = leaving.sum((0, 2)).mT.contiguous()
    grad_D = partial_D.sum((0, 1)).expand_as(D).contiguous()
    return grad_x, _grad_x_dbl(x_dbl, grad_low, partial_rows), grad_weight, grad_bias, grad_A, grad_D


def _low_rank_dt(x_dbl: Tensor, dt_projs_weight: Tensor) -> Tensor:
    """Return the low-rank dt of all pixels, float32 of shape (4, batch * height * width, dt_rank)."""
    return x_dbl[..., : dt_projs_weight.shape[2]].float().flatten(0, 2).transpose(0, 1)


def _projected_dt(x_dbl: Tensor, dt_projs_weight: Tensor) -> Tensor | None:
    """Return the projected dt, (4, batch * height * width, d_inner), or None if the kernels compute it.

    It takes as much memory as four activations, while the scan runs; the backward computes it anew.
    """
    if dt_projs_weight.shape[2] < launch_settings(x_dbl.device).product_rank:
        return None
    with products_without_tf32(x_dbl.device):
        return torch.bmm(_low_rank_dt(x_dbl, dt_projs_weight), dt_projs_weight.mT)


def _steps(x: Tensor, A: Tensor) -> int:
    """Return the pixels of a chunk of the time loop."""
    batch, height, width, d_inner = x.shape
    settings = launch_settings(x.device)
    loop = TimeLoop.of(d_inner, A.shape[2], settings)
    return loop.chunk_steps(batch, d_inner, height * width, settings)


def _entering_states(
    image: Tensor,
    x_dbl: Tensor,
    delta: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    steps: int,
    adjoint: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the state that enters each chunk, (batch, 4, chunks, d_state, d_inner), and the sums of steps.

    With ``adjoint``, ``image`` is the gradient of the output, and time runs backwards: what enters is the
    gradient of the state that leaves the chunk.
    """
    batch, height, width, d_inner = image.shape
    chunks = -(-height * width // steps)
    ends = A.new_empty(batch, 4, chunks, A.shape[2], d_inner)
    sums = A.new_empty(batch, 4, chunks, d_inner)
    ss2d_chunks(image, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, steps, ends, sums, adjoint=adjoint)
    chain(ends, sums, A, adjoint=adjoint)
    return ends, sums


def _tile_states(
    image: Tensor,
    x_dbl: Tensor,
    delta: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    adjoint: bool = False,
) -> Tensor:
    """Return the state that enters each tile of the backward, from those that enter the chunks."""
    batch, height, width, d_inner = image.shape
    steps = _steps(image, A)
    inputs = (image, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, steps)
    starts, sums = _entering_states(*inputs, adjoint)
    states = A.new_empty(batch, 4, -(-height * width // CHUNK), A.shape[2], d_inner)
    ss2d_chunks(*inputs, states, sums, adjoint=adjoint, starts=starts)
    return states


def _float32_buffer(tensor: Tensor) -> Tensor:
    """Return room for the result of the pass by rows until the pass by columns adds to it."""
    return tensor if tensor.dtype == torch.float32 else torch.empty_like(tensor, dtype=torch.float32)


def _grad_x_dbl(x_dbl: Tensor, grad_low: Tensor, partial_rows: Tensor) -> Tensor:
    """Return the gradient of ``x_dbl``, that of B and C from the sums over channel blocks.

    ``grad_low`` is that of the low-rank dt, (4, batch * height * width, dt_rank); ``partial_rows`` as in
    `ss2d_gradients`.
    """
    batch, height, width = x_dbl.shape[:3]
    dt_rank = grad_low.shape[2]
    grad_x_dbl = torch.empty_like(x_dbl)
    grad_x_dbl[..., :dt_rank] = grad_low.view(4, batch, height, width, dt_rank).permute(1, 2, 3, 0, 4)
    sums = partial_rows.sum(0)
    by_rows = sums[:, 0::2].unflatten(3, (height, width))
    by_columns = sums[:, 1::2].unflatten(3, (width, height))
    grad_x_dbl[:, :, :, 0::2, dt_rank:] = by_rows.permute(0, 3, 4, 1, 2)
    grad_x_dbl[:, :, :, 1::2, dt_rank:] = by_columns.permute(0, 4, 3, 1, 2)
    return grad_x_dbl
