"""Linear layers on a CPU through oneDNN, which PyTorch uses for convolutions but not for float32 products.

PyTorch leaves the products to MKL. On processors with AVX-512 that MKL does not know as Intel's, it uses half
the width of their vectors; oneDNN's kernels are made for the machine they run on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from swin_umamba.ops.derivatives import gradient_may_be_asked_for, operator_is_needed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, as ``torch.nn.functional.linear`` does.

    Parameters
    ----------
    x
        Shape (..., in_features).
    weight
        Shape (out_features, in_features).
    bias
        Shape (out_features,).

    Returns
    -------
    Tensor
        Shape (..., out_features).

    Notes
    -----
    In float32 on a CPU with AVX-512, and without autocast, oneDNN computes it and its derivatives. The output
    and the gradient of ``x`` do not depend on the number of threads. Anything else, and what compilers,
    transforms and forward mode see, is PyTorch's function.
    """
    if not uses_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    if not gradient_may_be_asked_for((x, weight, bias)):
        return _product()(x, weight, bias, "none", [], "")
    return cast(Tensor, _Linear.apply(x, weight, bias))  # type: ignore[no-untyped-call]


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the GELU of ``linear(x, weight, bias)``; without gradients, oneDNN applies it at once."""
    if gradient_may_be_asked_for((x, weight, bias)) or not uses_onednn(x, weight, bias):
        return F.gelu(linear(x, weight, bias))
    return _product()(x, weight, bias, "gelu", [], "none")


def uses_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Return whether ``linear`` goes another way than PyTorch's function."""
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if torch.compiler.is_compiling() or not all(
        each.device.type == "cpu" and each.dtype == torch.float32 for each in tensors
    ):
        return False
    if torch.is_autocast_enabled("cpu") or not torch._C._get_mkldnn_enabled() or not _is_available():
        return False
    if forward_ad._current_level >= 0 or operator_is_needed(tensors):
        return False
    # PyTorch's function says what is wrong with shapes; oneDNN knows no products without numbers.
    return (
        x.ndim > 1
        and weight.ndim == 2
        and x.shape[-1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and min(*x.shape, *weight.shape) > 0
    )


@functools.cache
def _is_available() -> bool:
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product() -> Callable[..., Tensor]:
    return cast(Callable[..., Tensor], torch.ops.mkldnn._linear_pointwise.default)


class _Linear(torch.autograd.Function):
    """The layer in oneDNN, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product()(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, weight.shape[0])
        vectors = x.reshape(-1, weight.shape[1])
        # Gradients that will be differentiated consist of PyTorch's operators.
        plain = torch.is_grad_enabled() or not uses_onednn(rows, weight.t())
        if of_x:
            grad_x = (rows @ weight if plain else _product()(rows, weight.t(), None, "none", [], "")).view(
                x.shape
            )
        if of_weight:
            grad_weight = rows.t() @ vectors if plain else _gradient_of_weight(rows, vectors)
        return (
            grad_x if of_x else None,
            grad_weight if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _gradient_of_weight(rows: Tensor, vectors: Tensor) -> Tensor:
    """Return ``rows.T @ vectors``: (length, out_features) and (length, in_features) to the weight's shape."""
    # Long sums for few numbers: oneDNN is up to twice as fast if the longer side runs along its vectors.
    # Short ones are over before the transposed result is copied to the layout of the weight.
    if vectors.shape[1] < rows.shape[1] < rows.shape[0]:
        return _product()(vectors.t(), rows.t(), None, "none", [], "").t()
    return _product()(rows.t(), vectors.t(), None, "none", [], "")
