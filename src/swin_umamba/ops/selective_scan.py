"""The selective scan of Mamba over sequences."""

from __future__ import annotations

from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype
from swin_umamba.ops.reference import selective_scan_reference


def selective_scan(
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
    *,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Selective scan; see `swin_umamba.ops.reference.selective_scan_reference` for the arguments."""
    choose_backend(u.device, compute_dtype(u.dtype), backend)
    return selective_scan_reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)
