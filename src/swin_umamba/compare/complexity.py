"""Parameters and multiply-accumulates of a network, counted as in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import swin_umamba.ops.selective_scan
import swin_umamba.ops.ss2d_scan  # noqa: F401  registers the operators
from swin_umamba.errors import UsageError
from swin_umamba.modules.mamba import Mamba
from swin_umamba.modules.ss2d import SS2D

# torch counts a multiply-accumulate as two operations.
FLOPS_PER_MAC = 2
SCAN_COSTS_PER_STATE = 9
NORM_COSTS, NORM_COSTS_AFFINE = 4, 5

Shape = Sequence[int]


@dataclass(frozen=True)
class Complexity:
    """Size of a network.

    Attributes
    ----------
    parameters
        Number of trainable values.
    macs
        Multiply-accumulates of a forward pass of one image; see ``count_macs``.
    """

    parameters: int
    macs: int


def measure_complexity(
    build: Callable[..., nn.Module], in_channels: int, num_classes: int, size: Sequence[int]
) -> Complexity:
    """Count parameters and multiply-accumulates of a network without computing anything.

    Parameters
    ----------
    build
        Function called as ``build(in_channels, num_classes, size, device="meta")``.
    in_channels, num_classes
        Channels of the image and of the logits.
    size
        (height, width) of the image.

    Raises
    ------
    UsageError
        If a number is not positive.
    """
    if min(in_channels, num_classes, *size) < 1:
        raise UsageError(
            f"{in_channels} channels, {num_classes} classes, size {size[0]}x{size[1]}: all must be positive",
            hint="give at least 1 for each",
        )
    network = build(in_channels, num_classes, size, device="meta")
    image = torch.empty(1, in_channels, *size, device="meta")
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return Complexity(parameters, count_macs(network, image))


def count_macs(network: nn.Module, image: torch.Tensor) -> int:
    """Count the multiply-accumulates of a forward pass, by the rule behind the paper's table 1.

    A convolution or matrix product costs one per multiplication. A norm costs 5 per element, 4 if it has no
    parameters. A selective scan costs 9 L D N + L D for a sequence of L steps, D channels and N states; the
    scan of an image is four of them, and the projection of step sizes within it is a matrix product.
    Activations, exponentials, additions and interpolations are free. All heads the network returns count.

    Parameters
    ----------
    network
        Network whose parameters may be on the meta device.
    image
        (batch, channels, height, width), on the same device.

    References
    ----------
    Liu et al., arXiv 2402.03302, tables 1 to 3; the costs of norms are fvcore's.
    """
    for module in network.modules():
        if isinstance(module, SS2D | Mamba):
            # The portable backend is a single operator on any device; the reference would be counted step by
            # step.
            module.backend = "chunked"
    mapping: dict[Any, Any] = {
        torch.ops.swin_umamba.ss2d_scan: _ss2d_scan_flops,
        torch.ops.swin_umamba.selective_scan: _selective_scan_flops,
        torch.ops.aten.native_layer_norm: _layer_norm_flops,
        torch.ops.aten.native_group_norm: _norm_flops,
        # Instance norm is batch norm of a reshaped tensor; which of the two is called depends on PyTorch.
        torch.ops.aten.native_batch_norm: _norm_flops,
        torch.ops.aten._native_batch_norm_legit: _norm_flops,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        network(image)
    macs: int = counter.get_total_flops() // FLOPS_PER_MAC
    return macs


def _ss2d_scan_flops(x: Shape, x_dbl: Shape, weight: Shape, bias: Shape, A: Shape, *_: Any, **__: Any) -> int:
    pixels = math.prod(x[:3])
    directions, d_inner, d_state = A
    projection = pixels * math.prod(weight)
    return FLOPS_PER_MAC * (projection + _scan_cost(pixels, directions * d_inner, d_state))


def _selective_scan_flops(u: Shape, delta: Shape, A: Shape, *_: Any, **__: Any) -> int:
    batch, channels, length = u
    return FLOPS_PER_MAC * _scan_cost(batch * length, channels, A[1])


def _scan_cost(steps: int, channels: int, d_state: int) -> int:
    return steps * channels * (SCAN_COSTS_PER_STATE * d_state + 1)


def _layer_norm_flops(x: Shape, normalized: Shape, weight: Shape | None, *_: Any, **__: Any) -> int:
    return _norm_flops(x, weight)


def _norm_flops(x: Shape, weight: Shape | None = None, *_: Any, **__: Any) -> int:
    return FLOPS_PER_MAC * math.prod(x) * (NORM_COSTS if weight is None else NORM_COSTS_AFFINE)
