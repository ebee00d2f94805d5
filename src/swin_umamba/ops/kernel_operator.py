"""Operators of Triton with one output that keep nothing but their inputs for the backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swin_umamba.ops.backend import choose_backend, compute_dtype, load_backend
from swin_umamba.ops.derivatives import operator_is_needed, refuse_forward_mode, refuse_second_derivative
from swin_umamba.ops.graph_constant import constant_of_graph
from swin_umamba.ops.launch_settings import launch_settings


class KernelOperator:
    """A forward and its hand-written backward, differentiable once in reverse mode.

    The module ``ops/triton/NAME.py`` has ``NAME_forward``, which returns the output, contiguous, and
    ``NAME_backward``, which returns the gradients of the tensors, contiguous, from that of the output,
    contiguous too. They are registered as ``swin_umamba::NAME`` and ``swin_umamba::NAME_backward``, opaque to
    ``torch.compile`` and ``torch.export``. Elsewhere they run in a ``torch.autograd.Function``, which costs
    the host less.

    Parameters
    ----------
    name
        Name of the operator.
    tensors
        Names of its tensors.
    options
        Declarations of what follows the tensors, such as "float eps".
    output_of
        Position of the tensor whose shape and dtype the output has.
    """

    def __init__(
        self, name: str, tensors: Sequence[str], options: Sequence[str] = (), *, output_of: int = 0
    ) -> None:
        self.name, self._count, self._output_of = name, len(tensors), output_of
        inputs = ", ".join((*(f"Tensor {each}" for each in tensors), *options))
        gradients = ", ".join(f"Tensor grad_{each}" for each in tensors)
        register = torch.library.custom_op
        self.forward = register(
            f"swin_umamba::{name}", self._forward, mutates_args=(), schema=f"({inputs}) -> Tensor y"
        )
        self.backward = register(
            f"swin_umamba::{name}_backward",
            self._backward,
            mutates_args=(),
            schema=f"(Tensor grad_y, {inputs}) -> ({gradients})",
        )
        self.forward.register_fake(lambda *inputs: _like(inputs[output_of]))
        self.backward.register_fake(lambda grad_y, *inputs: tuple(map(_like, inputs[: self._count])))
        self.forward.register_autograd(self._differentiate, setup_context=self._save)
        self.backward.register_autograd(refuse_second_derivative)

    def __call__(self, *inputs: Any) -> Tensor:
        """Return the output for tensors and options that were checked."""
        if operator_is_needed(inputs[: self._count]):
            y: Tensor = self.forward(*inputs)
        else:
            y = _Plain.apply(self, *inputs)  # type: ignore[no-untyped-call]
        return y

    def _forward(self, *inputs: Any) -> Tensor:
        refuse_forward_mode(self.name)
        if (like := inputs[self._output_of]).numel() == 0:
            return torch.zeros_like(like, memory_format=torch.contiguous_format)
        kernels = load_backend("triton", self.name)
        y: Tensor = getattr(kernels, f"{self.name}_forward")(*inputs)
        return y

    def _backward(self, grad_y: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        refuse_forward_mode(f"{self.name}_backward")
        if grad_y.numel() == 0:
            return tuple(_like(each).zero_() for each in inputs[: self._count])
        kernels = load_backend("triton", self.name)
        gradients: tuple[Tensor, ...] = getattr(kernels, f"{self.name}_backward")(
            grad_y.contiguous(), *inputs
        )
        return gradients

    def _save(self, ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[: self._count])
        ctx.options = inputs[self._count :]

    def _differentiate(self, ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        tensors = (grad_y, *ctx.saved_tensors)
        # Only the operator knows what to answer to a second derivative.
        watched = torch.is_grad_enabled() or operator_is_needed(tensors)
        gradients = (self.backward if watched else self._backward)(*tensors, *ctx.options)
        return (*gradients, *(None for _ in ctx.options))


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


class _Plain(torch.autograd.Function):
    """The operator without what it costs to register one."""

    @staticmethod
    def forward(ctx: Any, operator: KernelOperator, *inputs: Any) -> Tensor:
        ctx.operator = operator
        y = operator._forward(*inputs)
        operator._save(ctx, inputs, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.operator._differentiate(ctx, grad_y))


def use_kernel(setting: str, x: Tensor, backend: str | None = None) -> bool:
    """Return whether a kernel beside the scan replaces PyTorch's operators.

    It does on a card on which it was measured to be faster, wherever scans run on the backend "triton", too.

    Parameters
    ----------
    setting
        The field of ``LaunchSettings`` that says so.
    x
        Activation.
    backend
        Name of the scan's backend; None for the choice by device.
    """
    if not _setting_of_graph(setting, x.device):
        return False
    return choose_backend(x.device, compute_dtype(x.dtype), backend) == "triton"


@constant_of_graph  # Dynamo reads no files
def _setting_of_graph(setting: str, device: torch.device) -> bool:
    return bool(getattr(launch_settings(device), setting))
