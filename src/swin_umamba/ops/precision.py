"""The precision of matrix products and convolutions; scans always keep their states in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from swin_umamba.errors import UsageError
from swin_umamba.options import PRECISIONS

_BFLOAT16_CAPABILITY = (8, 0)  # the oldest GPUs with instructions for it, as compute capability


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
    if precision == "bfloat16" and _emulates_bfloat16(device):
        raise UsageError(
            "this GPU has no instructions for bfloat16: PyTorch would emulate them, slower than float32",
            where=f"device {device}",
            hint="give float16 or float32",
        )


def _emulates_bfloat16(device: torch.device) -> bool:
    # torch.cuda.is_bf16_supported(including_emulation=False) asks the same, but only of the current device.
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) < _BFLOAT16_CAPABILITY


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
    if requested == "float16" and device.type != "cuda":
        raise UsageError(
            "float16 has too small a range for gradients, and only on CUDA is the loss scaled to fit it",
            where=f"device {device}",
            hint="give float32",
        )
    return requested


def scaler_for(
    precision: str, device: torch.device, present: torch.amp.GradScaler | None
) -> torch.amp.GradScaler | None:
    """Return the scaler of the loss that training in a precision needs; None if it needs none.

    Parameters
    ----------
    precision, device
        Precision, and device of the network.
    present
        A scaler to keep, if one is needed.
    """
    if precision != "float16":  # only float16 has too small a range for gradients
        return None
    return torch.amp.GradScaler(device.type) if present is None else present


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return a context in which a network runs with this precision.

    Weights stay in float32, and so do sensitive operations: the operators that PyTorch's autocast keeps in
    float32, and the scans (``backend.compute_dtype``).
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
