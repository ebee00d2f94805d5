"""The kernels beside the scan against what they replace: whether they are right, then which is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gpu import checks
from gpu.limits import TURNS
from gpu.runner import Context
from gpu.timing import time_call
from ops.scan_inputs import relative_error
from swin_umamba.modules.half_precision import gated
from swin_umamba.ops.depthwise_silu import depthwise_silu
from swin_umamba.ops.gated_norm import gated_norm
from swin_umamba.ops.reference import depthwise_silu_reference, gated_norm_reference

Shape = tuple[int, int, int, int]  # channels, height, width, batch
RAGGED: tuple[Shape, ...] = ((33, 5, 7, 2), (192, 1, 37, 1), (192, 67, 3, 2), (7, 1, 1, 1))
TINY: Shape = (6, 1, 2, 1)  # with two channels, the gradient through a norm is all cancellation
# A gradient in half precision is made of nine products with one that was rounded, too.
ROUNDINGS_OF_GRADIENT = 4


@dataclass(frozen=True)
class Candidate:
    """A kernel, and what it replaces.

    Attributes
    ----------
    setting
        The field of ``LaunchSettings`` that switches it on.
    inputs
        Returns tensors of a shape, with the activations in a dtype.
    kernel, replaced
        What to compare: the second casts as the block does under autocast.
    reference
        The definition of correct.
    """

    setting: str
    inputs: Callable[[Shape, torch.dtype, torch.device], list[Tensor]]
    kernel: Callable[..., Tensor]
    replaced: Callable[..., Tensor]
    reference: Callable[..., Tensor]


def _convolution_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Return half of the channels of a projection, as the block has it, taps and bias."""
    channels, height, width, batch = shape
    both = torch.randn(batch, height, width, 2 * channels, device=device).to(dtype)
    taps = torch.randn(channels, 1, 3, 3, device=device) / 3
    return [both[..., :channels], taps, torch.randn(channels, device=device)]


def _convolution_of_pytorch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    image = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=x.shape[3])
    return F.silu(image).permute(0, 2, 3, 1)


def _norm_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Return the scan's output, half of the channels of a projection as the gate, weight and bias."""
    channels, height, width, batch = shape
    y = torch.randn(batch, height, width, channels, device=device) + 1
    both = torch.randn(batch, height, width, 2 * channels, device=device).to(dtype)
    return [y, both[..., channels:], *torch.randn(2, channels, device=device)]


def _norm_of_pytorch(y: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    with torch.autocast(z.device.type, z.dtype, enabled=z.dtype != torch.float32):
        return gated(F.layer_norm(y, y.shape[3:], weight, bias), z)


CANDIDATES = (
    Candidate(
        "depthwise_kernel",
        _convolution_inputs,
        lambda *tensors: depthwise_silu(*tensors, backend="triton"),
        _convolution_of_pytorch,
        depthwise_silu_reference,
    ),
    Candidate(
        "gated_norm_kernel",
        _norm_inputs,
        lambda *tensors: gated_norm(*tensors, backend="triton"),
        _norm_of_pytorch,
        gated_norm_reference,
    ),
)


def check(candidate: Candidate, device: torch.device, *, tiny: bool) -> Iterator[tuple[str, float]]:
    """Yield what was checked, and the largest error in units of its tolerance: below 1 is right.

    Outputs and all gradients are held against float64; a repeat that differs in any bit counts as infinite.
    """
    dtypes = [torch.float32] if tiny else [torch.float32, torch.float16]
    if not tiny and torch.cuda.is_bf16_supported(including_emulation=False):
        dtypes.append(torch.bfloat16)
    for dtype in dtypes:
        for shape in (TINY,) if tiny else RAGGED:
            tensors = candidate.inputs(shape, dtype, device)
            cotangent = torch.randn(tensors[0].shape, device=device).to(dtype)
            with checks.nan_in_fresh_memory():
                runs = [_outputs(candidate.kernel, tensors, cotangent) for _ in range(2)]
            exact = [tensor.double() for tensor in tensors]
            truth = _outputs(candidate.reference, exact, cotangent.double())
            worst = max(
                relative_error(value, its) / _tolerance(value.dtype, place)
                for place, (value, its) in enumerate(zip(runs[0], truth, strict=True))
            )
            if not all(map(torch.equal, *runs)):
                worst = float("inf")
            channels, height, width, batch = shape
            yield f"{candidate.setting} {batch}x{height}x{width}x{channels}, {str(dtype)[6:]}", worst


def _tolerance(dtype: torch.dtype, place: int) -> float:
    roundings = 1 if place == 0 else ROUNDINGS_OF_GRADIENT
    return checks.FLOAT32_TOLERANCE + roundings * checks.ROUNDING.get(dtype, 0.0)


def _outputs(function: Callable[..., Tensor], tensors: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, cotangent)]


def must_be_right(candidate: Candidate, context: Context) -> bool:
    """Report whether a kernel is right."""
    right = True
    for name, worst in check(candidate, context.device, tiny=context.rehearse):
        context.must(name, worst < 1, worst, "of the tolerance", "never taken")
        right = right and worst < 1
    return right


def measure(
    candidate: Candidate, context: Context, shapes: Sequence[Shape]
) -> tuple[list[float], list[float]]:
    """Return the seconds of the kernel and of what it replaces, each forward, and forward with backward."""
    device = context.device
    both: tuple[list[float], list[float]] = [], []
    for shape in shapes:
        dtype = torch.float32 if context.rehearse else torch.float16
        tensors = candidate.inputs(shape, dtype, device)
        cotangent = torch.randn(tensors[0].shape, device=device).to(dtype)
        for backward in (False, True):
            for function, found in zip((candidate.kernel, candidate.replaced), both, strict=True):
                call = _call(function, tensors, cotangent if backward else None)
                call()
                found.append(time_call(call, device, 1 if context.rehearse else TURNS).best)
            channels, height, width, batch = shape
            mode = "forward+backward" if backward else "forward"
            name = f"{candidate.setting} {channels}x{height}x{width}, batch {batch}, {mode}"
            context.speed(name, 1e6 * both[0][-1], "us", None, f"{1e6 * both[1][-1]:.0f} us in PyTorch")
    return both


def _call(
    function: Callable[..., Tensor], tensors: Sequence[Tensor], cotangent: Tensor | None
) -> Callable[[], object]:
    def forward() -> object:
        with torch.no_grad():
            return function(*tensors)

    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    return forward if cotangent is None else lambda: torch.autograd.grad(function(*leaves), leaves, cotangent)
