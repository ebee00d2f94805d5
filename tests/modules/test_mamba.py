"""The Mamba layer against the recurrence written out step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from swin_umamba.modules.mamba import Mamba

TOLERANCE = 1e-10
"""Float64 against float64: only the order of sums differs."""


def step_by_step(layer: Mamba, x: Tensor) -> Tensor:
    """Return the output for tokens (length, d_model), token by token with explicit states."""
    xz = x @ layer.in_proj.weight.T
    d_inner = layer.D.shape[0]
    u, z = xz[:, :d_inner], xz[:, d_inner:]
    kernel = layer.conv1d.weight[:, 0]
    width = kernel.shape[1]
    state = torch.zeros(d_inner, layer.d_state, dtype=x.dtype)
    outputs = []
    for step in range(len(x)):
        past = [u[step - lag] if step >= lag else torch.zeros_like(u[0]) for lag in range(width)]
        mixed = sum(kernel[:, width - 1 - lag] * past[lag] for lag in range(width)) + layer.conv1d.bias
        mixed = mixed * torch.sigmoid(mixed)
        projected = layer.x_proj.weight @ mixed
        low, rest = projected[: layer.dt_rank], projected[layer.dt_rank :]
        b, c = rest[: layer.d_state], rest[layer.d_state :]
        dt = torch.log1p(torch.exp(layer.dt_proj.weight @ low + layer.dt_proj.bias))
        state = torch.exp(-dt[:, None] * layer.A_log.exp()) * state + (dt * mixed)[:, None] * b
        y = state @ c + layer.D * mixed
        outputs.append(layer.out_proj.weight @ (y * F.silu(z[step])))
    return torch.stack(outputs)


@pytest.mark.parametrize("length", [1, 3, 17])
def test_equals_the_recurrence(length: int) -> None:
    layer = Mamba(6, d_state=3).double()
    with torch.no_grad():
        layer.D.uniform_(-1, 1)
    x = torch.randn(2, length, 6, dtype=torch.float64)
    expected = torch.stack([step_by_step(layer, sequence) for sequence in x])
    torch.testing.assert_close(layer(x), expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_gradients_reach_every_parameter_and_are_right() -> None:
    layer = Mamba(4, d_state=2).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    inputs = (x, *layer.parameters())
    weights = torch.randn(1, 5, 4, dtype=torch.float64)
    found = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    expected = torch.autograd.grad((step_by_step(layer, x[0])[None] * weights).sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_parameter_counts() -> None:
    counts = {dim: sum(p.numel() for p in Mamba(dim).parameters()) for dim in (32, 64, 128, 256, 512)}
    assert counts == {32: 9_920, 64: 32_640, 128: 116_480, 256: 437_760, 512: 1_694_720}


def test_scan_starts_as_in_the_paper() -> None:
    layer = Mamba(64)
    steps = F.softplus(layer.dt_proj.bias)
    assert 9e-4 < steps.min() < 3e-3
    assert 5e-2 < steps.max() < 0.11
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 17.0).expand(128, 16))
    assert bool((layer.D == 1).all())
