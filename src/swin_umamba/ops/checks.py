"""Argument checks shared by the operators, and the wording of their refusals."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from swin_umamba.errors import UsageError


def require_floating_on_one_device(
    operator: str, tensors: Mapping[str, Tensor | None], optional: Collection[str] = ()
) -> None:
    """Raise UsageError unless all are real floating-point tensors on the device of the first.

    Those named in ``optional`` may be None.
    """
    device = None
    for name, tensor in tensors.items():
        if tensor is None and name in optional:
            continue
        if not isinstance(tensor, Tensor):
            raise UsageError(f"{name} must be a tensor, not {type(tensor).__name__}", where=operator)
        if not tensor.is_floating_point():
            raise UsageError(
                f"{name} must hold floating-point numbers, not {tensor.dtype}",
                where=operator,
                hint=f"convert it: {name}.float()",
            )
        here = tensor.device
        if device is None:
            device = here
        elif here != device:
            raise UsageError(
                f"all tensors must be on one device: {name} is on {here}, the first one on {device}",
                where=operator,
            )


def require_dimensions(operator: str, name: str, tensor: Tensor, axes: str) -> None:
    """Raise UsageError unless the tensor has the axes listed in ``axes``, such as "batch, dim, length"."""
    if tensor.dim() != axes.count(",") + 1:
        raise UsageError(f"{name} must have shape ({axes}), not {tuple(tensor.shape)}", where=operator)


def require_shape(operator: str, name: str, tensor: Tensor | None, shape: tuple[int, ...], axes: str) -> None:
    """Raise UsageError unless the tensor, if there is one, has this shape."""
    if tensor is not None and tensor.shape != shape:
        raise UsageError(
            f"{name} must have shape ({axes}) = {tuple(shape)}, not {tuple(tensor.shape)}", where=operator
        )


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype; where it has it, without asking PyTorch, which costs a microsecond."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
