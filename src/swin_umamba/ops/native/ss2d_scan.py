"""The native backend of ``ss2d_scan``: shapes, memory and threads around the compiled kernels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.ss2d_backward import ss2d_backward
from swin_umamba.ops.native.ss2d_forward import ss2d_forward
from swin_umamba.ops.native.ss2d_partials import add_partials, sum_rows
from swin_umamba.ops.native.ss2d_single_backward import ss2d_single_backward
from swin_umamba.ops.native.ss2d_single_forward import ss2d_single_forward
from swin_umamba.ops.native.threads import run_items, sum_in_order
from swin_umamba.ops.native.vector import LANES

# In the forward, at most so many channel blocks share a pass over B, C and dt, and so a second-level cache.
_FORWARD_BLOCKS = 8
# In the backward, memory for partial gradients of x_dbl, in units of one activation, and the maximum groups.
_PARTIAL_ACTIVATIONS = 1.0
_MOST_GROUPS = 8
_FEWEST_BLOCKS = 3  # of a group where d_state is 1: they share what is done once for a chunk
_CHUNKS_PER_SUM = 64
# So many numbers at most hold the partial gradients of all directions, which are run through together then.
_PARTIALS_OF_ALL = 2**21
_DIRECTIONS = (0, 2, 1, 3)  # the order in which they are added up


def ss2d_scan_states_shape(
    batch: int, height: int, width: int, d_inner: int, d_state: int
) -> tuple[int, ...]:
    """Return the shape of the saved states: (batch, 4, chunks, channel blocks, d_state, 16)."""
    return (batch, 4, -(-height * width // CHUNK), -(-d_inner // LANES), d_state, LANES)


def ss2d_scan_forward(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    save_states: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return output (batch, height, width, d_inner) and the states before each chunk, for the backward.

    All tensors are contiguous float32 tensors on the CPU, with the shapes of
    `swin_umamba.ops.ss2d_scan.ss2d_scan`. Without ``save_states`` the second result is an empty tensor.
    """
    batch, height, width, d_inner = x.shape
    _check(x, x_dbl, dt_projs_weight, dt_projs_bias, A, D)
    shape = ss2d_scan_states_shape(batch, height, width, d_inner, A.shape[2])
    states = torch.empty(shape if save_states else (0, *shape[1:]))
    assert states.data_ptr() % 64 == 0  # PyTorch's alignment; the kernel writes whole cache lines
    if x.numel() == 0:
        return torch.empty_like(x), states.zero_()
    x, dt_projs_weight, dt_projs_bias, A, D = _whole_blocks(x, dt_projs_weight, dt_projs_bias, A, D)
    y = torch.empty_like(x)
    arrays = [_flat_pixels(x), _flat_pixels(x_dbl), *_arrays(dt_projs_weight, dt_projs_bias, A, D)]
    arrays += [_flat_pixels(y), states.numpy()]

    # The grouping of channels does not affect the result here: no sum crosses channels.
    blocks, threads = shape[3], torch.get_num_threads()
    rounds = -(-batch * -(-blocks // _FORWARD_BLOCKS) // threads)
    per_item = -(-blocks // max(1, rounds * threads // batch))
    items_per_image = -(-blocks // per_item)

    forward = ss2d_single_forward if A.shape[2] == 1 else ss2d_forward

    def scan(item: int) -> None:
        image, part = divmod(item, items_per_image)
        first = part * per_item
        forward(image, first, min(per_item, blocks - first), height, width, *arrays)

    run_items(scan, batch * items_per_image)
    return y[..., :d_inner].contiguous(), states


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
    _check(x, x_dbl, dt_projs_weight, dt_projs_bias, A, D)
    assert grad_y.shape == x.shape
    assert states.shape == ss2d_scan_states_shape(batch, height, width, d_inner, A.shape[2])
    if x.numel() == 0:
        everything = (x, x_dbl, dt_projs_weight, dt_projs_bias, A, D)
        grad_x, grad_x_dbl, grad_weight, grad_bias, grad_A, grad_D = map(torch.zeros_like, everything)
        return grad_x, grad_x_dbl, grad_weight, grad_bias, grad_A, grad_D
    whole = _whole_blocks(grad_y, x, dt_projs_weight, dt_projs_bias, A, D)
    grad_x, grad_x_dbl = torch.empty_like(whole[1]), torch.empty_like(x_dbl)
    per_image = [torch.empty(batch, *parameter.shape) for parameter in whole[2:]]
    _run_backward(whole, states, x_dbl, grad_x, grad_x_dbl, per_image)
    grad_weight, grad_bias, grad_A, grad_D = (
        sum_in_order(each)[:, :d_inner].contiguous() for each in per_image
    )
    return grad_x[..., :d_inner].contiguous(), grad_x_dbl, grad_weight, grad_bias, grad_A, grad_D


def _run_backward(
    whole: list[Tensor],
    states: Tensor,
    x_dbl: Tensor,
    grad_x: Tensor,
    grad_x_dbl: Tensor,
    per_image: list[Tensor],
) -> None:
    """Fill the gradients of x, x_dbl, and the parameters of each image, where all blocks are whole."""
    grad_y, x, dt_projs_weight, _, A, _ = whole
    batch, height, width, d_inner = x.shape
    dt_rank, d_state, chunks, blocks = dt_projs_weight.shape[2], A.shape[2], states.shape[2], states.shape[3]
    per_item, groups = _backward_groups(d_inner, dt_rank, d_state)
    sums = -(-chunks // _CHUNKS_PER_SUM)
    numbers = (batch, groups, chunks, sum_rows(dt_rank, d_state) * CHUNK)
    room = min(_PARTIALS_OF_ALL, int(_PARTIAL_ACTIVATIONS * x.numel()))
    together = 4 if 4 * math.prod(numbers) <= room else 1
    partial = torch.empty(together, *numbers)
    assert partial.data_ptr() % 64 == 0
    partials = list(partial.numpy())
    inputs = [_flat_pixels(grad_y), *_arrays(states), _flat_pixels(x), _flat_pixels(x_dbl)]
    inputs += _arrays(*whole[2:])
    grad_x_array, grad_x_dbl_array = _flat_pixels(grad_x), _flat_pixels(grad_x_dbl)
    outputs = [gradient.view(batch, 4, d_inner, -1).numpy() for gradient in per_image]
    backward = ss2d_single_backward if d_state == 1 else ss2d_backward

    for first_direction in range(0, 4, together):
        directions = _DIRECTIONS[first_direction : first_direction + together]

        def scan(item: int, directions: tuple[int, ...] = directions) -> None:
            image, group = divmod(item, groups)
            first = group * per_item
            shape = (min(per_item, blocks - first), height, width)
            for direction, terms in zip(directions, partials, strict=True):
                backward(image, group, first, direction, *shape, *inputs, grad_x_array, terms, *outputs)

        def add(item: int, directions: tuple[int, ...] = directions) -> None:
            rest, part = divmod(item, sums)
            image, i = divmod(rest, together)
            first = part * _CHUNKS_PER_SUM
            here = (first, min(first + _CHUNKS_PER_SUM, chunks), height, width)
            add_partials(image, directions[i], *here, dt_rank, partials[i], grad_x_dbl_array)

        run_items(scan, batch * groups)
        run_items(add, batch * together * sums)


def _backward_groups(d_inner: int, dt_rank: int, d_state: int) -> tuple[int, int]:
    """Return channel blocks per work item and items per image: fixed by the shapes alone, as are the sums."""
    blocks = -(-d_inner // LANES)
    affordable = int(_PARTIAL_ACTIVATIONS * d_inner / sum_rows(dt_rank, d_state))
    if d_state == 1:
        affordable = min(affordable, blocks // _FEWEST_BLOCKS)
    per_item = -(-blocks // max(1, min(affordable, _MOST_GROUPS, blocks)))
    return per_item, -(-blocks // per_item)


def _whole_blocks(*tensors: Tensor) -> list[Tensor]:
    """Pad the channels with zeros to whole blocks: dimension 3 of activations, 1 of parameters."""
    padded = []
    for tensor in tensors:
        dimension = 3 if tensor.dim() == 4 else 1
        missing = -tensor.shape[dimension] % LANES
        padding = [0, 0] * (tensor.dim() - 1 - dimension) + [0, missing]
        padded.append(torch.nn.functional.pad(tensor.detach(), padding) if missing else tensor)
    return padded


def _flat_pixels(image: Tensor) -> Any:
    return image.detach().flatten(1, 2).numpy()


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _check(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> None:
    """Refuse other shapes: the kernels do not check indices."""
    d_inner, dt_rank, d_state = x.shape[3], dt_projs_weight.shape[2], A.shape[2]
    assert x_dbl.shape == (*x.shape[:3], 4, dt_rank + 2 * d_state)
    assert dt_projs_weight.shape == (4, d_inner, dt_rank)
    assert A.shape == (4, d_inner, d_state)
    assert dt_projs_bias.shape == D.shape == (4, d_inner)
    for tensor in (x, x_dbl, dt_projs_weight, dt_projs_bias, A, D):
        assert tensor.dtype == torch.float32
        assert tensor.device.type == "cpu"
        assert tensor.is_contiguous()
