"""The selective scan of an image in four directions."""

from __future__ import annotations

from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype
from swin_umamba.ops.reference import ss2d_scan_reference


def ss2d_scan(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Scan an image in four directions and add up the results.

    Parameters
    ----------
    x
        Activation, shape (batch, height, width, d_inner).
    x_dbl
        Shape (batch, height, width, 4, dt_rank + 2 * d_state): for every pixel and direction the low-rank
        dt, B and C.
    dt_projs_weight, dt_projs_bias
        Shapes (4, d_inner, dt_rank) and (4, d_inner).
    A, D
        Shapes (4, d_inner, d_state), negative, and (4, d_inner).

    Returns
    -------
    Tensor
        Shape (batch, height, width, d_inner).
    """
    choose_backend(x.device, compute_dtype(x.dtype), backend)
    return ss2d_scan_reference(x, x_dbl, dt_projs_weight, dt_projs_bias, A, D)
