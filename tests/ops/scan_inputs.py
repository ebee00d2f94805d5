"""Random inputs for the scans, and the comparison used by all their tests."""

from __future__ import annotations

import torch
from torch import Tensor


def sequence_inputs(
    length: int,
    *,
    batch: int = 2,
    dim: int = 6,
    d_state: int = 3,
    groups: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """All tensors of `selective_scan`, requiring gradients."""
    tensors = {
        "u": torch.randn(batch, dim, length, dtype=dtype),
        "delta": torch.rand(batch, dim, length, dtype=dtype),
        "A": -3 * torch.rand(dim, d_state, dtype=dtype),
        "B": torch.randn(batch, groups, d_state, length, dtype=dtype),
        "C": torch.randn(batch, groups, d_state, length, dtype=dtype),
        "D": torch.randn(dim, dtype=dtype),
        "z": torch.randn(batch, dim, length, dtype=dtype),
        "delta_bias": torch.randn(dim, dtype=dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def image_inputs(
    height: int,
    width: int,
    *,
    batch: int = 2,
    d_inner: int = 6,
    d_state: int = 3,
    dt_rank: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """All tensors of `ss2d_scan`, requiring gradients."""
    tensors = {
        "x": torch.randn(batch, height, width, d_inner, dtype=dtype),
        "x_dbl": torch.randn(batch, height, width, 4, dt_rank + 2 * d_state, dtype=dtype),
        "dt_projs_weight": torch.randn(4, d_inner, dt_rank, dtype=dtype),
        "dt_projs_bias": torch.randn(4, d_inner, dtype=dtype),
        "A": -3 * torch.rand(4, d_inner, d_state, dtype=dtype),
        "D": torch.randn(4, d_inner, dtype=dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def detached(tensors: dict[str, Tensor]) -> list[Tensor]:
    """The tensors in order, without gradients."""
    return [tensor.detach() for tensor in tensors.values()]


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Largest deviation in units of the largest expected number; infinite if anything is not finite."""
    assert value.shape == expected.shape
    if not value.isfinite().all():
        return float("inf")
    value, expected = value.detach().double(), expected.detach().double()
    return float((value - expected).abs().amax() / expected.abs().amax().clamp_min(1e-30))
