"""The output of the selective scan, from the states that enter each chunk.

h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t,    y_t = sum over n of C_t,n h_t,n + D u_t
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.triton.launch import CHUNK, SIZES, channel_block, device_of, or_any, warps_of
from swin_umamba.ops.triton.sequence_tiles import channels_of_group_block, step_sizes, steps_of_chunk
from swin_umamba.ops.triton.tiles import add_outputs, load_tile


@triton.jit(do_not_specialize=SIZES)
def selective_outputs_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, delta_bias, states, y, dim, length, chunks, blocks, groups,
    D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, HAS_D: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block."""
    chunk = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    channels, channel_mask = channels_of_group_block(blocks, dim // groups, CHANNELS)
    steps = steps_of_chunk(chunk, CHUNK)
    step_mask = steps < length
    mask = step_mask[:, None] & channel_mask[None, :]
    places = (batch * dim + channels)[None, :] * length + steps[:, None]
    step = step_sizes(delta + places, mask, delta_bias + channels, channel_mask, HAS_BIAS, SOFTPLUS)
    values = load_tile(u + places, mask)
    matrix = (batch * groups + tl.program_id(1) // blocks) * D_STATE * length
    state = (batch * chunks + chunk) * D_STATE * dim
    out = add_outputs(
        tl.full((CHUNK, CHANNELS), 0.0, tl.float32), step, values, B + matrix, C + matrix, steps, step_mask,
        length, A + channels * D_STATE, states + state + channels, channel_mask, dim, D_STATE, False,
    )  # fmt: skip
    if HAS_D:
        out += tl.load(D + channels, mask=channel_mask, other=0.0)[None, :] * values
    tl.store(y + places, out.to(y.dtype.element_ty), mask=mask)


def selective_outputs(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    states: Tensor,
    y: Tensor,
) -> None:
    """Fill ``y``, of the shape of ``u``."""
    batch, dim, length = u.shape
    groups, chunks = B.shape[1], states.shape[2]
    block = channel_block(dim // groups)
    blocks = triton.cdiv(dim // groups, block)
    with device_of(u):
        selective_outputs_kernel[(chunks, groups * blocks, batch)](
            u, delta, A, B, C, or_any(D, A), or_any(delta_bias, A), states, y, dim, length, chunks, blocks,
            groups, D_STATE=A.shape[1], CHUNK=CHUNK, CHANNELS=block, HAS_D=D is not None,
            HAS_BIAS=delta_bias is not None, SOFTPLUS=delta_softplus, num_warps=warps_of(block),
        )  # fmt: skip
