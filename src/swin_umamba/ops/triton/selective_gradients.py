"""All gradients of the selective scan within a chunk, from both ends.

The states are recomputed from the saved one that enters the chunk; the adjoint runs back from the gradient of
the one that leaves it (``tiles.state_gradients``). With m_t the gradient of delta_t u_t and s the derivative
of softplus, or 1 without it::

    grad_u_t = delta_t m_t + D grad_y_t                grad_D = sum over t of grad_y_t u_t
    gradient of delta and of its bias = s_t (u_t m_t + gradient of delta_t by way of the decays)
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import CHUNK, SIZES, channel_block, device_of, or_any, registers
from swin_umamba.ops.triton.sequence_tiles import channels_of_group_block, steps_of_chunk
from swin_umamba.ops.triton.tiles import load_tile, softplus_slope, state_gradients, step_sizes


@triton.jit(do_not_specialize=SIZES)
def selective_gradients_kernel(  # type: ignore[no-untyped-def]
    grad_y, u, delta, A, B, C, D, delta_bias, states, leaving, grad_u, grad_delta, partial_B, partial_C,
    partial_D, dim, length, chunks, blocks, groups,
    D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, HAS_D: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block."""
    # 1. The steps and channels of this program.
    chunk = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    group = tl.program_id(1) // blocks
    channels, channel_mask = channels_of_group_block(blocks, dim // groups, CHANNELS)
    steps = steps_of_chunk(chunk, CHUNK)
    step_mask = steps < length
    mask = step_mask[:, None] & channel_mask[None, :]
    places = (batch * dim + channels)[None, :] * length + steps[:, None]
    # 2. Load the tile and its step sizes.
    step = step_sizes(delta + places, mask, delta_bias + channels, channel_mask, HAS_BIAS, SOFTPLUS)
    values = load_tile(u + places, mask)
    grad_out = load_tile(grad_y + places, mask)
    # 3. All states, forwards and backwards.
    matrix = (batch * groups + group) * D_STATE * length
    block = tl.program_id(1) % blocks
    partial = ((block * tl.num_programs(2) + batch) * groups + group) * D_STATE * length
    state = (batch * chunks + chunk) * D_STATE * dim
    through_input, through_decay = state_gradients(
        step, values, grad_out, B + matrix, C + matrix, steps, step_mask, length, A + channels * D_STATE,
        states + state + channels, leaving + state + channels, channel_mask, dim,
        partial_B + partial + steps, partial_C + partial + steps, length, D_STATE, False,
    )  # fmt: skip
    # 4. Gradients of the input and of the step sizes.
    grad_values = step * through_input
    if HAS_D:
        grad_values += tl.load(D + channels, mask=channel_mask, other=0.0)[None, :] * grad_out
        sums = partial_D + (batch * chunks + chunk) * dim + channels
        tl.store(sums, tl.sum(grad_out * values, axis=0), mask=channel_mask)
    grad_step = values * through_input + through_decay
    if SOFTPLUS:
        grad_step *= softplus_slope(step)
    tl.store(grad_u + places, grad_values.to(grad_u.dtype.element_ty), mask=mask)
    tl.store(grad_delta + places, grad_step.to(grad_delta.dtype.element_ty), mask=mask)


def selective_gradients(
    grad_y: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    states: Tensor,
    leaving: Tensor,
    grad_u: Tensor,
    grad_delta: Tensor,
    partial_B: Tensor,
    partial_C: Tensor,
    partial_D: Tensor,
) -> None:
    """Fill the last five; turn ``leaving`` from gradients of states into the chunks' gradients of A.

    Parameters
    ----------
    partial_B, partial_C
        Gradients of B and C, each summed over one block of channels: shape (blocks, batch, groups, d_state,
        length).
    partial_D
        Gradient of D of each chunk, shape (batch, chunks, dim); filled only if there is a D.
    """
    batch, dim, length = u.shape
    groups, chunks = B.shape[1], states.shape[2]
    block, blocks = channel_block(dim // groups), partial_B.shape[0]
    most = launch_settings(u.device).gradient_registers
    with device_of(u):
        selective_gradients_kernel[(chunks, groups * blocks, batch)](
            grad_y, u, delta, A, B, C, or_any(D, A), or_any(delta_bias, A), states, leaving, grad_u,
            grad_delta, partial_B, partial_C, partial_D, dim, length, chunks, blocks, groups,
            D_STATE=A.shape[1], CHUNK=CHUNK, CHANNELS=block, HAS_D=D is not None,
            HAS_BIAS=delta_bias is not None, SOFTPLUS=delta_softplus, num_warps=1,
            maxnreg=registers(most, A.shape[1]),
        )  # fmt: skip
