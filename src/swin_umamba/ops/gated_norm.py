"""The layer norm of channels-last images times a gate, which follows the scan.

On a GPU it can run as a kernel of ours, the operator ``swin_umamba::gated_norm``, instead of PyTorch's norm,
activation, product and cast.
"""

from __future__ import annotations

from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype, without_autocast
from swin_umamba.ops.checks import require_dimensions, require_floating_on_one_device, require_shape
from swin_umamba.ops.kernel_operator import KernelOperator, use_kernel
from swin_umamba.ops.reference import gated_norm_reference


def use_gated_norm_kernel(y: Tensor, backend: str | None = None) -> bool:
    """Return whether the kernel is to be used for ``y`` where scans run on ``backend``."""
    return use_kernel("gated_norm_kernel", y, backend)


def gated_norm(
    y: Tensor, z: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5, *, backend: str | None = None
) -> Tensor:
    """Normalise the channels of each pixel, scale and shift them, and multiply with ``silu(z)``.

    Parameters
    ----------
    y, z
        Shape (batch, height, width, channels). The kernel reads some of the channels of a larger tensor
        without a copy of them.
    weight, bias
        Shape (channels,).
    eps
        Added to the variance.
    backend
        A name of `swin_umamba.ops.backend.BACKENDS`, None for the choice by device: "triton" means the
        kernel, anything else PyTorch.

    Returns
    -------
    Tensor
        Shape and dtype of ``z``. All is computed in float32, from half precision too, and rounded once.

    Raises
    ------
    UsageError
        If a shape, dtype or device is wrong.
    BackendError
        If the requested backend is missing or does not support the tensors.

    Notes
    -----
    The kernel has first derivatives in reverse mode (``swin_umamba.ops.derivatives``).
    """
    inputs = {"y": y, "z": z, "weight": weight, "bias": bias}
    require_floating_on_one_device("gated_norm", inputs)
    require_dimensions("gated_norm", "y", y, "batch, height, width, channels")
    require_shape("gated_norm", "z", z, y.shape, "batch, height, width, channels")
    require_shape("gated_norm", "weight", weight, y.shape[3:], "channels")
    require_shape("gated_norm", "bias", bias, y.shape[3:], "channels")
    dtype = compute_dtype(*(tensor.dtype for tensor in inputs.values()))
    if choose_backend(y.device, dtype, backend) != "triton":
        with without_autocast(y.device):
            wide = [each.to(dtype) for each in (y, z, weight, bias)]
            return gated_norm_reference(*wide, eps=eps).to(z.dtype)
    return _gated_norm(y, z, weight.to(dtype), bias.to(dtype), eps)


_gated_norm = KernelOperator("gated_norm", ("y", "z", "weight", "bias"), ("float eps",), output_of=1)
