"""The selective scan as a loop over time steps, and what stands beside it: the definition of correct.

Nothing here is fast. The outputs and gradients of every backend are tested against these functions;
autograd differentiates them, and they run in whatever floating dtype they are given.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the selective scan, one time step after another.

    With ``d_t = softplus(delta_t + delta_bias)`` (softplus only if asked for), for every channel::

        h_t = exp(d_t * A) * h_{t-1} + d_t * B_t * u_t,    h_{-1} = 0
        y_t = <C_t, h_t> + D * u_t,                        y_t *= silu(z_t)

    Parameters
    ----------
    u, delta, z
        Shape (batch, dim, length).
    A
        Shape (dim, d_state), negative.
    B, C
        Shape (batch, groups, d_state, length), or (batch, d_state, length) for one group. Channel ``c`` uses
        group ``c // (dim / groups)``.
    D, delta_bias
        Shape (dim,).

    Returns
    -------
    Tensor or tuple of Tensor
        Output of shape (batch, dim, length); with ``return_last_state`` also the last state of shape
        (batch, dim, d_state).

    References
    ----------
    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, algorithm 2; the
    step of B is the simplified d * B of the authors' implementation.
    """
    batch, dim, _ = u.shape
    if B.dim() == 3:
        B = B[:, None]
    if C.dim() == 3:
        C = C[:, None]
    B = B.repeat_interleave(dim // B.shape[1], dim=1)  # (batch, dim, d_state, length)
    C = C.repeat_interleave(dim // C.shape[1], dim=1)
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)

    state = u.new_zeros(batch, dim, A.shape[1])
    outputs = []
    # Indexing one step out of the whole tensor would make autograd's cost quadratic in the length.
    for u_t, delta_t, B_t, C_t in zip(
        u.unbind(-1), delta.unbind(-1), B.unbind(-1), C.unbind(-1), strict=True
    ):
        delta_t = delta_t[..., None]
        state = torch.exp(delta_t * A) * state + delta_t * B_t * u_t[..., None]
        outputs.append((C_t * state).sum(-1))
    y = torch.stack(outputs, dim=-1) if outputs else torch.zeros_like(u)
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return (y, state) if return_last_state else y


def ss2d_scan_reference(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> Tensor:
    """Scan an image in four directions, each written out as a sequence of its own.

    See `swin_umamba.ops.ss2d_scan.ss2d_scan` for the shapes.
    """
    height, width = x.shape[1:3]
    dt_rank, d_state = dt_projs_weight.shape[2], A.shape[2]
    outputs = []
    for k in range(4):
        dt_low, B, C = to_sequence(x_dbl[:, :, :, k], k).split([dt_rank, d_state, d_state], dim=-1)
        y = selective_scan_reference(
            to_sequence(x, k).mT,
            (dt_low @ dt_projs_weight[k].mT).mT,
            A[k],
            B.mT,
            C.mT,
            D[k],
            delta_bias=dt_projs_bias[k],
            delta_softplus=True,
        )
        assert isinstance(y, Tensor)
        outputs.append(from_sequence(y.mT, k, height, width))
    return outputs[0] + outputs[2] + outputs[1] + outputs[3]


def to_sequence(image: Tensor, direction: int) -> Tensor:
    """Read an image (batch, height, width, channels) as a sequence (batch, height * width, channels).

    Direction 0 is row-major, 1 column-major, 2 and 3 are 0 and 1 reversed in time.
    """
    if direction in (1, 3):
        image = image.transpose(1, 2)
    sequence = image.flatten(1, 2)
    return sequence.flip(1) if direction in (2, 3) else sequence


def from_sequence(sequence: Tensor, direction: int, height: int, width: int) -> Tensor:
    """Put a sequence (batch, height * width, channels) back into the image: the inverse of `to_sequence`."""
    if direction in (2, 3):
        sequence = sequence.flip(1)
    if direction in (0, 2):
        image: Tensor = sequence.unflatten(1, (height, width))
    else:
        image = sequence.unflatten(1, (width, height)).transpose(1, 2)
    return image


def depthwise_silu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel of an image with its own 3x3 taps, and apply SiLU.

    See `swin_umamba.ops.depthwise_silu.depthwise_silu` for the shapes.
    """
    image = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=weight.shape[0])
    return F.silu(image).permute(0, 2, 3, 1)


def gated_norm_reference(y: Tensor, z: Tensor, weight: Tensor, bias: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Normalise the channels of each pixel, scale and shift them, and multiply with ``silu(z)``.

    See `swin_umamba.ops.gated_norm.gated_norm` for the shapes.
    """
    return F.layer_norm(y, y.shape[-1:], weight, bias, eps) * F.silu(z)
