"""Training in mixed precision on images that nobody hopes for, without a NaN.

On the CPU, whose autocast computes the same operators in half precision as a GPU's, and whose loss scaler is
the same class. What it cannot show are the kernels of a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from swin_umamba import create_model
from swin_umamba.nnunet.training.optimizer_step import StepGuard
from swin_umamba.ops.ss2d_scan import ss2d_scan

STEPS = 50
SIZE = 32
# The scale starts at 2**16 and halves at each overflow: so many skipped steps are its way to a fitting one.
MOST_SKIPPED = 10


def extreme_images() -> Iterator[Tensor]:
    """Endless images (1, 1, 32, 32): ordinary noise between extremes of either sign and none."""
    ramp = torch.arange(float(SIZE))
    spike = 1e-4 * torch.randn(SIZE, SIZE)
    spike[5, 7] = 1e4
    kinds = [
        torch.randn(SIZE, SIZE),
        torch.zeros(SIZE, SIZE),
        torch.full((SIZE, SIZE), 1e4),
        torch.full((SIZE, SIZE), -1e4),
        1e4 * torch.randn(SIZE, SIZE).sign(),
        1e4 * (1 - 2 * ((ramp[:, None] + ramp) % 2)),
        spike,
        1e-8 * torch.randn(SIZE, SIZE),
    ]
    while True:
        for image in kinds:
            yield image[None, None]


def train(dtype: torch.dtype) -> tuple[StepGuard, list[float], nn.Module, list[Tensor]]:
    """Train a tiny network; returns its losses, itself, and its parameters before."""
    network = create_model(
        "swin_umamba_d", 1, 3, depths=(1, 1, 1, 1), features_per_stage=(16, 32, 64, 128), d_state=4
    ).train()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu") if dtype == torch.float16 else None
    guard, losses = StepGuard(), []
    target = (torch.arange(SIZE * SIZE) % 3).view(1, SIZE, SIZE)
    images = extreme_images()
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            logits = network(next(images))
            loss = nn.functional.cross_entropy(logits.float(), target)
        assert logits.dtype == dtype
        guard.step(loss, list(network.parameters()), optimizer, scaler, distributed=False)
        losses.append(float(loss.detach()))
    return guard, losses, network, before


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_fifty_steps_on_extreme_images(dtype: torch.dtype) -> None:
    guard, losses, network, before = train(dtype)
    assert all(math.isfinite(loss) for loss in losses), losses
    assert guard.skipped <= (MOST_SKIPPED if dtype == torch.float16 else 0)
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert parameter.isfinite().all()
        # The heads of deep supervision, which is off, have no gradient.
        assert parameter.grad is None or not torch.equal(parameter, old)
    assert sum(losses[-8:]) < sum(losses[:8])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_the_scan_is_the_same_under_autocast(dtype: torch.dtype, value: float) -> None:
    """Steps of 1e4 and decays of exp(-1e4): nothing inside of the scan is rounded to half precision."""
    inputs = [
        torch.full((1, 4, 5, 6), value),
        torch.full((1, 4, 5, 4, 4), value),
        torch.randn(4, 6, 2),
        torch.randn(4, 6),
        -torch.rand(4, 6, 1),
        torch.ones(4, 6),
    ]
    results = []
    for enabled in (False, True):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            y = ss2d_scan(*leaves)
        results.append([y, *torch.autograd.grad(y.sum(), leaves)])
    for plain, autocast in zip(*results, strict=True):
        assert autocast.isfinite().all()
        assert torch.equal(autocast, plain)
