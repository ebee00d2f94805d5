"""Optimizers whose step is one kernel: a GPU can skip it by itself, and the host launches little."""

from __future__ import annotations

from typing import Any

import torch


def fused_on(device: torch.device) -> bool | None:
    """Return the option ``fused`` of an Adam or AdamW for parameters on a device.

    On a CPU, too, one pass over the numbers takes a third of the time of PyTorch's dozen. None leaves it to
    PyTorch.
    """
    return True if device.type in ("cuda", "cpu") else None


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the kernels of the optimizer can skip a step, so that the host need not know of it.

    Only fused Adam and AdamW do that soundly: SGD would begin its momentum with what lies in memory if it
    skipped its first step.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimizer. A run goes on as it began: fused only if it was.

    Both kinds round differently, and the gradient scaler must be told which one it has.
    """
    optimizer.load_state_dict(state)
    if hasattr(optimizer, "_step_supports_amp_scaling"):
        optimizer._step_supports_amp_scaling = skips_on_device(optimizer)
