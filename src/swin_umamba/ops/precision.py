"""The precision of matrix products and convolutions; scans always keep their states in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from swin_umamba.errors import UsageError
from swin_umamba.options import PRECISIONS


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ``UsageError`` if ``precision`` is unknown or not available on the device."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", hint="give one of: " + ", ".join(PRECISIONS))
    if precision == "float16" and device.type == "cpu":
        raise UsageError(
            "PyTorch has no float16 convolutions for the CPU that are worth their name",
            where=f"device {device}",
            hint="give bfloat16, which is faster than float32 on CPUs with instructions for it, or float32",
        )


def training_precision(requested: str | None, device: torch.device) -> str:
    """Return the precision for training: as requested, else nnU-Net's own, float16 on CUDA only.

    Raises
    ------
    UsageError
        If the request is unknown or not available on the device.
    """
    if requested is None:
        return "float16" if device.type == "cuda" else "float32"
    check_precision(requested, device)
    return requested


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return a context in which a network runs with this precision.

    Weights stay in float32, and so do sensitive operations: the operators that PyTorch's autocast keeps in
    float32, and the scans (``backend.compute_dtype``).
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
