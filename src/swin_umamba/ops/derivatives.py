"""The derivatives that the registered operators have, and what happens when others are requested.

The hand-written backwards give first derivatives, in reverse mode. PyTorch would let the tangents of forward
mode pass through a registered operator as zeros, and does not support such operators under
``torch.func.grad``; hence both run on the reference, which is made of differentiable operations. Second
derivatives are refused: by the time they are requested, the backend has long been chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from swin_umamba.errors import BackendError

_HINT = 'use backend="reference", or set SWIN_UMAMBA_BACKEND=reference; it is slow'


def reference_is_needed() -> bool:
    """Return whether a level of forward mode, or a differentiating transform of ``torch.func``, is active."""
    if forward_ad._current_level >= 0:
        return True
    if torch.compiler.is_compiling():
        return False  # the compiler applies the transforms itself
    derivatives = (torch._C._functorch.TransformType.Grad, torch._C._functorch.TransformType.Jvp)
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    return any(transform.key() in derivatives for transform in transforms)


def gradient_may_be_asked_for(tensors: Iterable[Tensor | None]) -> bool:
    """Return whether autograd records what is computed from the tensors."""
    if not torch.is_grad_enabled():
        return False
    # A tensor inside torch.func.vmap does not tell whether the tensor it is part of requires gradients.
    for tensor in tensors:
        if tensor is not None and tensor.requires_grad:
            return True
    return torch._C._are_functorch_transforms_active()


def operator_is_needed(tensors: Iterable[Tensor | None]) -> bool:
    """Return whether something takes notice of operators: a compiler, a transform, a mode or a subclass.

    A registered operator costs the host several times what its kernels cost to launch. Where nothing would
    see it, the scans run as a plain ``torch.autograd.Function``, which computes the same.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return True
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    is_batched = torch._C._functorch.is_legacy_batchedtensor  # torch.autograd's own vmap, of gradients
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in (Tensor, Parameter) or tensor.is_meta or is_batched(tensor):
            return True
    return False


def refuse_forward_mode(operator: str) -> None:
    """Raise BackendError if a registered operator runs in forward mode: it would drop the tangents.

    A scan gets here if its backend was chosen earlier: when gradients carry tangents through its backward.
    """
    if forward_ad._current_level >= 0:
        raise BackendError("the fast kernels have no derivative in forward mode", where=operator, hint=_HINT)


def refuse_second_derivative(ctx: object, *gradients: Tensor | None) -> NoReturn:
    """Raise BackendError in place of the backward of a scan's backward."""
    raise BackendError(
        "the fast kernels can be differentiated once only",
        where="second derivative (create_graph=True, hessian, double backward)",
        hint=_HINT,
    )
