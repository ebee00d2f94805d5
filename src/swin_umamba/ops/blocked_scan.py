"""The recurrence of the selective scan in plain PyTorch, forward and hand-written backward.

One group of channels, channels last::

    h_t = exp(delta_t * A) * h_{t-1} + delta_t * u_t * B_t,    y_t = <C_t, h_t>

Time is cut into blocks of `BLOCK` steps. What does not depend on the previous state (decays, inputs,
contractions) is one operation over a whole block; only the recurrence itself is one fused multiply-add per
step. The forward keeps the state at the start of each block; from it the backward recomputes the states
inside, so that memory grows with length * dim and not with length * dim * d_state.

A GPU needs more parallel work than the channels of one step offer. There the sequence is cut into chunks that
run side by side, like a larger batch, in two passes: the first starts every chunk from zero and yields what
each chunk adds to the state; since the decay over a chunk is exp(A * sum of delta), the true start states
follow one after the other; the second pass runs from those. Decays are only ever multiplied, never divided
by, so a decay that underflows to zero is harmless.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 32  # steps between two saved states: with d_state 16 they take half the memory of the input
_GPU_CHUNK = 256  # steps of a chunk, a multiple of BLOCK: short enough to fill a GPU, long enough for memory


def num_blocks(length: int) -> int:
    """Return the number of saved states of a sequence."""
    return -(-length // BLOCK)


def chunk_length(device: torch.device, length: int) -> int:
    """Return how many steps run sequentially; the chunks of a sequence run side by side."""
    # On a CPU the second pass costs more than the calls it saves.
    return length if device.type == "cpu" else min(length, _GPU_CHUNK)


def blocked_scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan one group of channels.

    Parameters
    ----------
    u, delta
        Shape (batch, length, dim), length at least 1; delta nonnegative.
    A
        Shape (dim, d_state), negative.
    B, C
        Shape (batch, length, d_state).

    Returns
    -------
    y, last_state, block_starts
        Shapes (batch, length, dim), (batch, d_state, dim) and (batch, num_blocks(length), d_state, dim).
    """
    batch, length, _ = u.shape
    steps = chunk_length(u.device, length)
    A = A.mT.contiguous()
    u, delta, B, C = (_to_rows(tensor, steps) for tensor in (u, delta, B, C))
    start = u.new_zeros(len(u), *A.shape)
    if len(u) > batch:
        _, added, _ = _scan_rows(u, delta, A, B, None, start)
        start = _chain(added, _decay_over_row(delta, A), start[:batch])
    y, state, block_starts = _scan_rows(u, delta, A, B, C, start)
    last_state = state.unflatten(0, (batch, -1))[:, -1]
    return _from_rows(y, batch, length), last_state, _from_rows(block_starts, batch, num_blocks(length))


def blocked_scan_backward(
    grad_y: Tensor,
    grad_last_state: Tensor | None,
    block_starts: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `blocked_scan_forward` with respect to u, delta, A, B and C.

    ``grad_last_state`` has the shape of ``last_state``, (batch, d_state, dim). Sums run in a fixed order,
    so the result does not change from run to run.
    """
    batch, length, _ = u.shape
    steps = chunk_length(u.device, length)
    A = A.mT.contiguous()
    grad_y, u, delta, B, C = (_to_rows(tensor, steps) for tensor in (grad_y, u, delta, B, C))
    block_starts = _to_rows(block_starts, num_blocks(steps))
    if grad_last_state is None:
        grad_last_state = u.new_zeros(batch, *A.shape)
    if len(u) > batch:
        added = _adjoint_rows(grad_y, delta, A, C)
        decay = _decay_over_row(delta, A)
        grad_end = _chain(added, decay, grad_last_state, reverse=True)
    else:
        grad_end = grad_last_state
    grad_u, grad_delta, grad_A, grad_B, grad_C = _grad_rows(grad_y, grad_end, block_starts, u, delta, A, B, C)
    sequences = (_from_rows(grad, batch, length) for grad in (grad_u, grad_delta, grad_B, grad_C))
    grad_u, grad_delta, grad_B, grad_C = sequences
    return grad_u, grad_delta, grad_A.mT, grad_B, grad_C


def _to_rows(sequence: Tensor, steps: int) -> Tensor:
    """Cut (batch, length, ...) into rows of ``steps`` steps, (batch * chunks, steps, ...), padded with zeros.

    A padded step has delta = 0: it leaves the state as it is and adds nothing.
    """
    missing = -sequence.shape[1] % steps
    if missing:
        sequence = F.pad(sequence, [0, 0] * (sequence.dim() - 2) + [0, missing])
    result: Tensor = sequence.unflatten(1, (-1, steps)).flatten(0, 1)
    return result


def _from_rows(rows: Tensor, batch: int, length: int) -> Tensor:
    result: Tensor = rows.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
    return result


def _decay_over_row(delta: Tensor, A: Tensor) -> Tensor:
    return torch.exp(delta.sum(1)[:, None] * A)


def _chain(added: Tensor, decay: Tensor, first: Tensor, reverse: bool = False) -> Tensor:
    """Return the state entering each chunk, from what each chunk adds and ``first``, which enters the first.

    With ``reverse``, time runs backwards and the first chunk is the last one.
    """
    batch = len(first)
    added, decay = added.unflatten(0, (batch, -1)), decay.unflatten(0, (batch, -1))
    entering = torch.empty_like(added)
    order = range(added.shape[1])
    for k in reversed(order) if reverse else order:
        entering[:, k] = first
        first = torch.addcmul(added[:, k], decay[:, k], first)
    return entering.flatten(0, 1)


def _states_of_block(
    delta: Tensor, delta_u: Tensor, A: Tensor, B: Tensor, start: Tensor, decay: Tensor, states: Tensor
) -> None:
    """Fill ``decay`` with exp(delta * A) and ``states`` with the states after each step of a block.

    Both have shape (rows, steps, d_state, dim), with the channels last so that they vectorise.
    """
    torch.mul(delta[:, :, None], A, out=decay).exp_()
    torch.mul(delta_u[:, :, None], B[..., None], out=states)
    previous = start
    for state, decay_t in zip(states.unbind(1), decay.unbind(1), strict=True):
        previous = state.addcmul_(decay_t, previous)


def _adjoint_of_block(grad_y: Tensor, C: Tensor, decay: Tensor, grad_end: Tensor, adjoint: Tensor) -> Tensor:
    """Fill ``adjoint`` with the gradients of the states of a block; return that of the state at its start."""
    torch.mul(grad_y[:, :, None], C[..., None], out=adjoint)
    steps = adjoint.unbind(1)
    decays = decay.unbind(1)
    following = steps[-1].add_(grad_end)
    for t in range(len(steps) - 2, -1, -1):
        following = steps[t].addcmul_(decays[t + 1], following)
    return decays[0] * following


def _scan_rows(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan rows side by side from their start states; without C, compute only the states."""
    rows, length, _ = u.shape
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    block_starts = u.new_empty(rows, num_blocks(length), *A.shape)
    decay_buffer = u.new_empty(rows, min(BLOCK, length), *A.shape)
    state_buffer = torch.empty_like(decay_buffer)
    for i, t0 in enumerate(range(0, length, BLOCK)):
        block = slice(t0, t0 + BLOCK)
        delta_block = delta[:, block]
        decay, states = decay_buffer[:, : length - t0], state_buffer[:, : length - t0]
        block_starts[:, i] = state
        _states_of_block(delta_block, delta_block * u[:, block], A, B[:, block], state, decay, states)
        state = states[:, -1].clone()
        if C is not None:
            torch.sum(states.mul_(C[:, block, :, None]), 2, out=y[:, block])
    return y, state, block_starts


def _adjoint_rows(grad_y: Tensor, delta: Tensor, A: Tensor, C: Tensor) -> Tensor:
    """Return the gradient of the start states of the rows if no gradient enters at their ends."""
    rows, length, _ = delta.shape
    decay_buffer = delta.new_empty(rows, min(BLOCK, length), *A.shape)
    adjoint_buffer = torch.empty_like(decay_buffer)
    grad_state = delta.new_zeros(rows, *A.shape)
    for t0 in reversed(range(0, length, BLOCK)):
        block = slice(t0, t0 + BLOCK)
        decay, adjoint = decay_buffer[:, : length - t0], adjoint_buffer[:, : length - t0]
        torch.mul(delta[:, block, None], A, out=decay).exp_()
        grad_state = _adjoint_of_block(grad_y[:, block], C[:, block], decay, grad_state, adjoint)
    return grad_state


def _grad_rows(
    grad_y: Tensor,
    grad_state: Tensor,
    block_starts: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, delta, A, B and C from those of the outputs and end states of the rows."""
    rows, length, _ = u.shape
    grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
    grad_B, grad_C = torch.empty_like(B), torch.empty_like(C)
    grad_A = torch.zeros_like(A)
    buffers = [u.new_empty(rows, min(BLOCK, length), *A.shape) for _ in range(4)]
    for i, t0 in reversed(list(enumerate(range(0, length, BLOCK)))):
        block = slice(t0, t0 + BLOCK)
        decay, states, adjoint, product = (buffer[:, : length - t0] for buffer in buffers)
        u_block, delta_block, B_block, grad_y_block = (
            u[:, block],
            delta[:, block],
            B[:, block],
            grad_y[:, block],
        )
        delta_u, start = delta_block * u_block, block_starts[:, i]
        _states_of_block(delta_block, delta_u, A, B_block, start, decay, states)
        grad_state = _adjoint_of_block(grad_y_block, C[:, block], decay, grad_state, adjoint)

        grad_C[:, block] = torch.mul(states, grad_y_block[:, :, None], out=product).sum(-1)
        grad_B[:, block] = torch.mul(adjoint, delta_u[:, :, None], out=product).sum(-1)
        grad_delta_u = torch.mul(adjoint, B_block[..., None], out=product).sum(2)
        torch.mul(grad_delta_u, delta_block, out=grad_u[:, block])

        # Gradient of delta * A: adjoint * decay * the state before the step.
        exponent = decay.mul_(adjoint)
        exponent[:, 1:].mul_(states[:, :-1])
        exponent[:, 0].mul_(start)
        grad_A += torch.mul(exponent, delta_block[:, :, None], out=product).sum((0, 1))
        torch.addcmul(exponent.mul_(A).sum(2), grad_delta_u, u_block, out=grad_delta[:, block])
    return grad_u, grad_delta, grad_A, grad_B, grad_C
