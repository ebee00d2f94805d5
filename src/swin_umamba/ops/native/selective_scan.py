"""The native backend of ``selective_scan``: shapes, memory and threads around the compiled kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.selective_backward import add_parts, selective_backward
from swin_umamba.ops.native.selective_forward import selective_forward
from swin_umamba.ops.native.threads import run_items, sum_in_order
from swin_umamba.ops.native.vector import LANES

# Memory for the partial gradients of B and C, in units of one activation, and the maximum parts of a group.
_PARTIAL_ACTIVATIONS = 1.0
_MOST_PARTS = 16


def selective_scan_states_shape(batch: int, dim: int, length: int, d_state: int) -> tuple[int, ...]:
    """Return the shape of the saved states: (batch, chunks, dim, d_state)."""
    return (batch, -(-length // CHUNK), dim, d_state)


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
    """Return output (batch, dim, length), last state (batch, dim, d_state) and the states before each chunk.

    All tensors are contiguous float32 tensors on the CPU, with the shapes of
    `swin_umamba.ops.selective_scan.selective_scan`.
    """
    _check(u, delta, A, B, C, D, delta_bias)
    batch, dim, length = u.shape
    y = torch.empty_like(u)
    last_state = torch.zeros(batch, dim, A.shape[1])
    states = torch.empty(selective_scan_states_shape(batch, dim, length, A.shape[1]))
    inputs = (*_arrays(u, delta, A, B, C), _per_channel(D, dim), _per_channel(delta_bias, dim))
    outputs = _arrays(y, last_state, states)
    channels = _channels_of_items(dim, B.shape[1], parts=torch.get_num_threads())

    def scan(item: int) -> None:
        sequence, part = divmod(item, len(channels))
        group, _, first, last = channels[part]
        selective_forward(sequence, group, first, last, *inputs, delta_softplus, *outputs)

    run_items(scan, batch * len(channels) if u.numel() else 0)
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
    _check(u, delta, A, B, C, D, delta_bias)
    batch, dim, length = u.shape
    groups, d_state = B.shape[1:3]
    assert grad_y.shape == u.shape
    assert states.shape == selective_scan_states_shape(batch, dim, length, d_state)
    if grad_last_state is None:
        grad_last_state = torch.zeros(batch, dim, d_state)
    channels = _backward_items(dim, groups, d_state)

    grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
    grad_B, grad_C = torch.zeros_like(B), torch.zeros_like(C)
    partial = torch.empty(batch, groups, len(channels) // groups, states.shape[1], 2, d_state, CHUNK)
    grad_A, grad_D, grad_bias = (torch.zeros(batch, dim, numbers) for numbers in (d_state, 1, 1))
    inputs = _arrays(grad_y, grad_last_state, states, u, delta, A, B, C)
    inputs += [_per_channel(D, dim), _per_channel(delta_bias, dim)]
    outputs = _arrays(grad_u, grad_delta, grad_A, partial, grad_D, grad_bias)
    sums = _arrays(partial, grad_B, grad_C)

    def scan(item: int) -> None:
        sequence, index = divmod(item, len(channels))
        group, part, first, last = channels[index]
        selective_backward(sequence, group, part, first, last, *inputs, delta_softplus, *outputs)

    def add(item: int) -> None:
        add_parts(*divmod(item, groups), *sums)

    run_items(scan, batch * len(channels) if u.numel() else 0)
    run_items(add, batch * groups if u.numel() else 0)
    return (
        grad_u,
        grad_delta,
        sum_in_order(grad_A),
        grad_B,
        grad_C,
        None if D is None else sum_in_order(grad_D)[:, 0],
        None if delta_bias is None else sum_in_order(grad_bias)[:, 0],
    )


def _backward_items(dim: int, groups: int, d_state: int) -> list[tuple[int, int, int, int]]:
    """Return the work items of the backward: fixed by the shapes alone, as are the sums."""
    affordable = int(_PARTIAL_ACTIVATIONS * dim / (groups * 2 * d_state))
    return _channels_of_items(dim, groups, parts=max(1, min(affordable, _MOST_PARTS)))


def _channels_of_items(dim: int, groups: int, parts: int) -> list[tuple[int, int, int, int]]:
    """Return the work items of a sequence: (group, number in it, first channel, channel after the last).

    Items hold whole blocks of channels, except at the end of a group.
    """
    size = dim // groups
    blocks = -(-size // LANES)
    step = -(-blocks // min(parts, blocks)) * LANES if blocks else 1
    return [
        (group, part, group * size + first, group * size + min(first + step, size))
        for group in range(groups)
        for part, first in enumerate(range(0, size, step))
    ]


def _per_channel(values: Tensor | None, dim: int) -> Any:
    values = torch.zeros(dim) if values is None else values
    return values.detach().view(dim, 1).numpy()


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _check(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> None:
    """Refuse other shapes: the kernels do not check indices."""
    batch, dim, length = u.shape
    assert delta.shape == u.shape
    assert A.shape[0] == dim
    assert B.shape == C.shape == (batch, B.shape[1], A.shape[1], length)
    assert dim % B.shape[1] == 0
    for tensor in (u, delta, A, B, C, D, delta_bias):
        if tensor is not None:
            assert tensor.dtype == torch.float32
            assert tensor.device.type == "cpu"
            assert tensor.is_contiguous()
    for tensor in (D, delta_bias):
        assert tensor is None or tensor.shape == (dim,)
