"""The 3x3 depthwise convolution of channels-last images with SiLU, which precedes the scan.

On a GPU it can run as a kernel of ours, the operator ``swin_umamba::depthwise_silu``, instead of PyTorch's
convolution and activation.
"""

from __future__ import annotations

from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype, without_autocast
from swin_umamba.ops.checks import require_dimensions, require_floating_on_one_device, require_shape
from swin_umamba.ops.kernel_operator import KernelOperator, use_kernel
from swin_umamba.ops.reference import depthwise_silu_reference


def use_depthwise_kernel(x: Tensor, backend: str | None = None) -> bool:
    """Return whether the kernel is to be used for ``x`` where scans run on ``backend``."""
    return use_kernel("depthwise_kernel", x, backend)


def depthwise_silu(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str | None = None) -> Tensor:
    """Convolve each channel with its own 3x3 taps, zeros beyond the image, and apply SiLU.

    Parameters
    ----------
    x
        Shape (batch, height, width, channels). The kernel reads some of the channels of a larger tensor
        without a copy of them.
    weight
        Shape (channels, 1, 3, 3), as that of ``nn.Conv2d``.
    bias
        Shape (channels,).
    backend
        A name of `swin_umamba.ops.backend.BACKENDS`, None for the choice by device: "triton" means the
        kernel, anything else PyTorch.

    Returns
    -------
    Tensor
        Shape and dtype of ``x``. The kernel computes in float32, from half precision too.

    Raises
    ------
    UsageError
        If a shape, dtype or device is wrong.
    BackendError
        If the requested backend is missing or does not support the tensors.

    Notes
    -----
    The kernel has first derivatives in reverse mode (``swin_umamba.ops.derivatives``). Between its two steps
    back, the gradient before the activation is rounded to the dtype of ``x``, as PyTorch does.
    """
    inputs = {"x": x, "weight": weight, "bias": bias}
    require_floating_on_one_device("depthwise_silu", inputs)
    require_dimensions("depthwise_silu", "x", x, "batch, height, width, channels")
    channels = x.shape[3]
    require_shape("depthwise_silu", "weight", weight, (channels, 1, 3, 3), "channels, 1, 3, 3")
    require_shape("depthwise_silu", "bias", bias, (channels,), "channels")
    dtype = compute_dtype(*(tensor.dtype for tensor in inputs.values()))
    if choose_backend(x.device, dtype, backend) != "triton":
        with without_autocast(x.device):
            return depthwise_silu_reference(*(each.to(dtype) for each in inputs.values())).to(x.dtype)
    return _depthwise_silu(x, weight.to(dtype), bias.to(dtype))


_depthwise_silu = KernelOperator("depthwise_silu", ("x", "weight", "bias"))
