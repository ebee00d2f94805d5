"""What autocast does with many small casts, done with few: at batch 1, launches bound a GPU.

The numbers are those of autocast, bit by bit, if a layer is called once in a step, as ours are. Nothing here
applies to a compiled or transformed network: compilers fuse casts themselves, and the transforms of
``torch.func`` need operations that they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from swin_umamba.ops.linear import linear

_CAST_LAYERS = (nn.Linear, nn.Conv2d)
_PLAIN_LAYERS = (*_CAST_LAYERS, nn.LayerNorm)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Copies = Mapping[int, Tensor]
"""Copies of parameters in half precision, by the identity of the parameter."""


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the half precision of autocast on the device; None without autocast or if it is better alone."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return None
    if not torch.amp.is_autocast_available(device.type) or not torch.is_autocast_enabled(device.type):
        return None
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return None
    dtype = torch.get_autocast_dtype(device.type)
    return dtype if dtype in (torch.float16, torch.bfloat16) else None


def copies_for_autocast(device: torch.device, *sources: nn.Module | nn.Parameter) -> Copies:
    """Cast float32 parameters to the precision of autocast, all at once.

    Parameters
    ----------
    device
        Device of the parameters.
    sources
        Parameters, and layers whose parameters are meant, alone or as the only one in an ``nn.Sequential``.
        Layers that somebody has replaced, or that have hooks, are left to autocast.

    Returns
    -------
    Copies
        Empty without autocast, and without gradients: then autocast casts each parameter once for many
        images.
    """
    dtype = autocast_dtype(device)
    if dtype is None or not torch.is_grad_enabled():
        return {}
    parameters = [
        parameter
        for source in sources
        for parameter in ([source] if isinstance(source, Tensor) else _parameters_of(source))
        if parameter.dtype == torch.float32 and not is_traceable_wrapper_subclass(parameter)
    ]
    copies = _CastTogether.apply(dtype, *parameters)  # type: ignore[no-untyped-call]
    return {id(parameter): copy for parameter, copy in zip(parameters, copies, strict=True)}


def copy_or_own(parameter: Tensor, copies: Copies) -> Tensor:
    """Return the copy of a parameter, or the parameter if there is none."""
    return copies.get(id(parameter), parameter) if copies else parameter


def call_with_copies(layer: nn.Module, x: Tensor, copies: Copies) -> Tensor:
    """Return ``layer(x)``, with the copies of its parameters if there are any."""
    inner = _only_layer(layer)
    if not copies or id(getattr(inner, "weight", None)) not in copies:
        return call_layer(layer, x)
    layer = inner
    weight = copies[id(layer.weight)]
    bias: Any = layer.bias  # in another precision it has no copy
    bias = None if bias is None else copy_or_own(bias, copies)
    if isinstance(layer, nn.Conv2d):
        convolved: Tensor = layer._conv_forward(x, weight, bias)
        return convolved
    return F.linear(x, weight, bias)


def call_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """Return ``layer(x)``; a linear layer that nobody replaced or watches may run faster than PyTorch's."""
    if type(layer) is nn.Linear and is_plain(layer):
        return linear(x, layer.weight, layer.bias)
    output: Tensor = layer(x)
    return output


def _only_layer(layer: nn.Module) -> nn.Module:
    """Return the layer in a plain sequence of one, else the layer itself."""
    return layer[0] if type(layer) is nn.Sequential and len(layer) == 1 and _is_untouched(layer) else layer


def _is_untouched(layer: nn.Module) -> bool:
    """Return whether to call a layer is to call what its class says, and nothing else."""
    return "forward" not in vars(layer) and not any(getattr(layer, hooks) for hooks in _HOOKS)


def is_plain(layer: nn.Module) -> bool:
    """Return whether calling a layer does nothing but its own arithmetic: nobody replaced or watches it."""
    return type(layer) in _PLAIN_LAYERS and _is_untouched(layer) and not _has_any_global_hook()


def _parameters_of(layer: nn.Module) -> list[nn.Parameter]:
    layer = _only_layer(layer)
    return list(layer.parameters(recurse=False)) if type(layer) in _CAST_LAYERS and is_plain(layer) else []


class _CastTogether(torch.autograd.Function):
    """Cast float32 tensors to one dtype, and their gradients back, in one launch each on a GPU."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _cast(tensors, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        present = [gradient for gradient in gradients if gradient is not None]
        if torch.is_grad_enabled():  # the gradient will be differentiated
            cast = iter([gradient.to(torch.float32) for gradient in present])
        else:
            cast = iter(_cast(present, torch.float32))
        return (None, *(None if gradient is None else next(cast) for gradient in gradients))


def _cast(tensors: tuple[Tensor, ...] | list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)


def gated(y: Tensor, z: Tensor) -> Tensor:
    """Return ``y * silu(z)``; under autocast in the dtype of ``z``, to which the next layer would cast it."""
    if y.dtype == torch.float32 and z.dtype == autocast_dtype(z.device):
        product: Tensor = _Gate.apply(y, z)  # type: ignore[no-untyped-call]
        return product
    return y * F.silu(z)


class _Gate(torch.autograd.Function):
    """The product with the gate, computed in float32 and rounded by the kernel that computes it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor) -> Tensor:
        gate = F.silu(z)
        ctx.save_for_backward(y, z, gate)
        return torch.mul(y, gate, out=torch.empty_like(y, dtype=z.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        y, z, gate = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated
            exact, sigmoid = z.float(), z.float().sigmoid()
            slope = sigmoid * (1 + exact * (1 - sigmoid))
            return gradient * (exact * sigmoid), (gradient * y * slope).to(z.dtype)
        grad_gate = torch.mul(gradient, y, out=torch.empty_like(z))
        return gradient.float() * gate, torch.ops.aten.silu_backward(grad_gate, z)
