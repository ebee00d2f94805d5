"""The output of the selective scan, from the states that enter each chunk.

h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t,    y_t = sum over n of C_t,n h_t,n + D u_t
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import SIZES, TimeLoop, device_of, or_any, registers
from swin_umamba.ops.triton.sequence_tiles import channels_of_group_block
from swin_umamba.ops.triton.time_loop import load_rates, outputs_of_chunk, path_of_chunk


@triton.jit(do_not_specialize=SIZES)
def selective_outputs_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, delta_bias, states, y, dim, length, chunks, steps, blocks, groups,
    D_STATE: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, HAS_D: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block."""
    chunk = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    channels, channel_mask = channels_of_group_block(blocks, dim // groups, CHANNELS)
    count, step, left, stride, jump, line = path_of_chunk(chunk, steps, length, 1, length, 0, 0)
    first = (batch * dim + channels) * length
    matrix = (batch * groups + tl.program_id(1) // blocks) * D_STATE * length
    rate = load_rates(A + channels * D_STATE, channel_mask, D_STATE, STATES)
    bias = tl.full((CHANNELS,), 0.0, tl.float32)
    skip = bias
    if HAS_BIAS:
        bias = tl.load(delta_bias + channels, mask=channel_mask, other=0.0)
    if HAS_D:
        skip = tl.load(D + channels, mask=channel_mask, other=0.0)
    n = tl.arange(0, STATES)[:, None]
    start = states + (batch * chunks + chunk) * D_STATE * dim + n * dim + channels[None, :]
    state = tl.load(start, mask=channel_mask[None, :] & (n < D_STATE), other=0.0)
    outputs_of_chunk(
        state, u + first, delta + first, B, B + matrix, C + matrix, rate, bias, rate, skip, channel_mask,
        y + first, False, y + first, 1, 1, length, count, step, left, stride, jump, line,
        D_STATE, STATES, 0, 1, SOFTPLUS,
    )  # fmt: skip


def selective_outputs(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    steps: int,
    states: Tensor,
    y: Tensor,
) -> None:
    """Fill ``y``, of the shape of ``u``."""
    batch, dim, length = u.shape
    groups, chunks = B.shape[1], states.shape[2]
    settings = launch_settings(u.device)
    loop = TimeLoop.of(dim // groups, A.shape[1], settings)
    blocks = triton.cdiv(dim // groups, loop.channels)
    with device_of(u):
        selective_outputs_kernel[(chunks, groups * blocks, batch)](
            u, delta, A, B, C, or_any(D, A), or_any(delta_bias, A), states, y, dim, length, chunks, steps,
            blocks, groups, D_STATE=A.shape[1], STATES=loop.states, CHANNELS=loop.channels,
            HAS_D=D is not None, HAS_BIAS=delta_bias is not None, SOFTPLUS=delta_softplus,
            num_warps=loop.warps, maxnreg=registers(settings.output_registers, A.shape[1]),
        )  # fmt: skip
