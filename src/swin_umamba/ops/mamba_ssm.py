"""The scans with the CUDA extension of the package mamba_ssm, if it is installed.

For comparison only: its backward adds up with atomics, so that equal runs differ, and the four directions
need four permuted copies of everything. It is used only when requested by name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swin_umamba.errors import BackendError
from swin_umamba.ops.reference import from_sequence, to_sequence


def selective_scan_mamba(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    return_last_state: bool,
) -> tuple[Tensor, Tensor]:
    """Scan sequences; see `swin_umamba.ops.selective_scan.selective_scan`.

    Returns
    -------
    y, last_state
        Shapes (batch, dim, length) and (batch, dim, d_state).

    Raises
    ------
    BackendError
        If the last state is requested where it may be differentiated: the extension would silently omit its
        gradient.
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    tensors = (u, delta, A, B, C, D, delta_bias)
    differentiable = any(tensor is not None and tensor.requires_grad for tensor in tensors)
    if return_last_state and torch.is_grad_enabled() and differentiable:
        raise BackendError(
            "mamba_ssm does not differentiate the last state",
            where="selective_scan",
            hint="call it under torch.no_grad(), or use another backend",
        )
    results: tuple[Tensor, Tensor] = selective_scan_fn(
        u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=delta_softplus, return_last_state=True
    )
    return results


def ss2d_scan_mamba(
    x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor, dt_projs_bias: Tensor, A: Tensor, D: Tensor
) -> Tensor:
    """Scan an image in four directions, as four groups of channels of one sequence.

    See `swin_umamba.ops.ss2d_scan.ss2d_scan` for the shapes.
    """
    u, delta, B, C = as_sequences(x, x_dbl, dt_projs_weight)
    y, _ = selective_scan_mamba(
        u,
        delta,
        A.flatten(0, 1),
        B,
        C,
        D.flatten(),
        dt_projs_bias.flatten(),
        delta_softplus=True,
        return_last_state=False,
    )
    return as_image(y, x.shape[1], x.shape[2])


def as_sequences(x: Tensor, x_dbl: Tensor, dt_projs_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Copy an image four times, once in the order of each direction.

    Returns
    -------
    u, delta, B, C
        Shapes (batch, 4 * d_inner, length) twice, and (batch, 4, d_state, length) twice.
    """
    dt_rank = dt_projs_weight.shape[2]
    d_state = (x_dbl.shape[4] - dt_rank) // 2
    u = torch.cat([to_sequence(x, k).mT for k in range(4)], dim=1)
    rows = torch.stack([to_sequence(x_dbl[:, :, :, k], k).mT for k in range(4)], dim=1)
    dt_low, B, C = rows.split([dt_rank, d_state, d_state], dim=2)
    delta = torch.einsum("bkrl,kdr->bkdl", dt_low, dt_projs_weight).flatten(1, 2)
    return u, delta, B.contiguous(), C.contiguous()


def as_image(y: Tensor, height: int, width: int) -> Tensor:
    """Put the outputs of the directions, (batch, 4 * d_inner, length), back into the image; add them up."""
    parts = [from_sequence(part.mT, k, height, width) for k, part in enumerate(y.chunk(4, dim=1))]
    return parts[0] + parts[2] + parts[1] + parts[3]
