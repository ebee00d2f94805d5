"""The precision of matrix products and convolutions; scans always keep their states in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from swin_umamba.errors import UsageError
from swin_umamba.options import PRECISIONS

_AMPERE = (8, 0)  # compute capability of the oldest GPUs with instructions for bfloat16 and TF32


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
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(
            "only CUDA devices have TF32; others compute the same in float32",
            where=f"device {device}",
            hint="give float32",
        )
    if precision in ("tf32", "bfloat16") and _is_before_ampere(device):
        raise UsageError(
            f"this GPU has no instructions for {precision}, at most an emulation slower than float32",
            where=f"device {device}",
            hint="give float16 or float32",
        )


def _is_before_ampere(device: torch.device) -> bool:
    # torch.cuda.is_bf16_supported(including_emulation=False) asks the same, but only of the current device.
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) < _AMPERE


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


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Within the ``with`` block, run a network with this precision.

    Weights stay in float32, and so do sensitive operations: the operators that PyTorch's autocast keeps in
    float32, and the scans (``backend.compute_dtype``).
    """
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    half = nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
    with rounding_of_float32(device, precision), half:
        yield


@contextmanager
def rounding_of_float32(device: torch.device, precision: str) -> Iterator[None]:
    """Within the ``with`` block, allow TF32 in float32 products and convolutions on CUDA only for ``tf32``.

    PyTorch allows it in cuDNN's convolutions unless told otherwise, and not in matrix products. It rounds
    their operands to 10 bits after the point, which shows in the third decimal: without it, results differ
    between devices by float32 rounding alone. The gradients of a block are to be computed in it as well.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    cublas: Any = torch.backends.cuda.matmul
    operators = (cudnn.conv, cublas)
    # PyTorch has two settings for the same thing. Both are set, for it refuses to tell either one while they
    # contradict each other.
    before = [each.fp32_precision for each in operators]
    try:
        of_products = torch.get_float32_matmul_precision()
    except RuntimeError:  # they contradict each other already
        of_products = None
    cudnn.allow_tf32 = cublas.allow_tf32 = precision == "tf32"
    for operator in operators:  # else it would follow a setting for all operators
        operator.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = (each == "tf32" for each in before)
        if of_products is not None:
            torch.set_float32_matmul_precision(of_products)
        for operator, each in zip(operators, before, strict=True):
            operator.fp32_precision = each


def products_without_tf32(device: torch.device) -> AbstractContextManager[None]:
    """Return a context whose float32 products are of full precision, whatever the program allows its own.

    It costs next to nothing where TF32 is not allowed.
    """
    if device.type == "cuda" and torch.backends.cuda.matmul.fp32_precision == "tf32":
        return rounding_of_float32(device, "float32")
    return nullcontext()
