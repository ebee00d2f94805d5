"""The layer norm with a gate: the kernel against float64, and when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jvp

from ops.scan_inputs import relative_error
from swin_umamba.errors import BackendError, UsageError
from swin_umamba.ops import kernel_operator
from swin_umamba.ops.gated_norm import _gated_norm, gated_norm, use_gated_norm_kernel
from swin_umamba.ops.launch_settings import DEFAULT, LaunchSettings, forced_settings
from swin_umamba.ops.reference import gated_norm_reference

pytest.importorskip("triton", reason="Triton is not installed")
from ops.triton_interpreter import DEVICE, fast_interpreter  # noqa: F401
from swin_umamba.ops.triton import gated_norm as kernels

FLOAT32_TOLERANCE = 1e-6  # of the largest number of each tensor
ROUNDING = {torch.float16: 2**-11, torch.bfloat16: 2**-8 if DEVICE.type == "cuda" else 2**-7}
pytestmark = pytest.mark.usefixtures("fast_interpreter", "nan_in_fresh_memory")
SLOW = pytest.mark.slow


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Pixels far from zero, a gate, weight and bias."""
    channels = shape[3]
    y, z = torch.randn(shape) + 3, torch.randn(shape).to(dtype)
    return [each.to(DEVICE) for each in (y, z, torch.randn(channels), torch.randn(channels))]


def output_and_gradients(
    function: Callable[..., Tensor], tensors: list[Tensor], cotangent: Tensor, **options: Any
) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, cotangent)]


def errors(tensors: list[Tensor], eps: float = 1e-5) -> list[float]:
    """Of output and gradients against autograd of PyTorch's norm in float64."""
    cotangent = torch.randn_like(tensors[1])
    found = output_and_gradients(gated_norm, tensors, cotangent, eps=eps, backend="triton")
    assert all(each.is_contiguous() for each in found)
    assert [each.dtype for each in found[1:]] == [each.dtype for each in tensors]
    exact = [each.double() for each in tensors]
    truth = output_and_gradients(gated_norm_reference, exact, cotangent.double(), eps=eps)
    return [relative_error(value, its) for value, its in zip(found, truth, strict=True)]


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 3),
        (2, 3, 1, 6),
        pytest.param((1, 2, 3, 70), marks=SLOW),
        pytest.param((1, 1, 2, 384), marks=SLOW),
    ],
)
def test_output_and_gradients_against_float64(shape: tuple[int, ...]) -> None:
    worst = errors(inputs(*shape))
    assert max(worst) < FLOAT32_TOLERANCE, worst


@SLOW
def test_several_pixels_of_a_program() -> None:
    with forced_settings(LaunchSettings(enough_warps=1)):
        assert kernels._Programs.of(torch.empty(7, 6, device="meta")).pixels == 4
        worst = errors(inputs(1, 7, 1, 6))
    assert max(worst) < FLOAT32_TOLERANCE, worst


@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.bfloat16, marks=SLOW)], ids=str)
def test_a_gate_in_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    out, *gradients = errors(inputs(1, 1, 3, 5, dtype=dtype))
    assert max(out, gradients[1]) < ROUNDING[dtype] + FLOAT32_TOLERANCE
    assert max(gradients[0], *gradients[2:]) < FLOAT32_TOLERANCE


def test_equal_channels_have_no_variance() -> None:
    tensors = inputs(1, 1, 1, 4)
    tensors[0].fill_(7.0)
    found = output_and_gradients(gated_norm, tensors, torch.ones(1, 1, 1, 4, device=DEVICE), backend="triton")
    torch.testing.assert_close(found[0], tensors[3] * torch.nn.functional.silu(tensors[1]))
    assert all(each.isfinite().all() for each in found)


@pytest.mark.parametrize(
    ("shape", "pixels", "channels", "warps"),
    [((16384, 192), 8, 256, 1), ((256, 1536), 1, 2048, 8), ((1, 1), 1, 1, 1), ((10**6, 384), 256, 512, 2)],
)
def test_pixels_and_warps_of_a_program(
    shape: tuple[int, int], pixels: int, channels: int, warps: int
) -> None:
    programs = kernels._Programs.of(torch.empty(shape, device="meta"))
    assert (programs.pixels, programs.channels, programs.warps) == (pixels, channels, warps)
    assert programs.count == -(-shape[0] // pixels)


def test_equal_inputs_give_equal_bits_also_as_a_registered_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    y, _, *parameters = inputs(1, 1, 2, 3)
    tensors = [y, torch.randn(1, 1, 2, 6, device=DEVICE)[..., 3:], *parameters]
    cotangent, runs = torch.randn_like(y), []
    for registered in (False, False, True):
        monkeypatch.setattr(kernel_operator, "operator_is_needed", lambda tensors, it=registered: it)
        runs.append(output_and_gradients(gated_norm, tensors, cotangent, backend="triton"))
    for first, again, of_operator in zip(*runs, strict=True):
        assert torch.equal(first, again)
        assert torch.equal(first, of_operator)


@SLOW
@pytest.mark.parametrize("shape", [(5, 1, 1, 4), (1, 5, 1, 4), (1, 1, 5, 4)], ids=str)
def test_offsets_beyond_32_bits(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels, so far apart that the last begins at number 2^31; most of the memory is never touched."""
    tensors = inputs(*shape, dtype=torch.float16)
    cotangent = torch.randn_like(tensors[1])
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    wide = torch.empty(5, 2**29, dtype=torch.float16, device=DEVICE).view(*shape[:3], 2**29)[..., 8:12]
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    wide.copy_(tensors[1])
    expected = output_and_gradients(gated_norm, tensors, cotangent, backend="triton")
    tensors[1] = wide
    found = output_and_gradients(gated_norm, tensors, cotangent, backend="triton")
    for value, its in zip(found, expected, strict=True):
        assert torch.equal(value, its)


@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 3, 4, 0)])
def test_empty_images(shape: tuple[int, ...]) -> None:
    tensors = inputs(*shape, dtype=torch.float16)
    found = output_and_gradients(gated_norm, tensors, torch.ones_like(tensors[1]), backend="triton")
    assert [(each.shape, each.dtype) for each in found[1:]] == [(each.shape, each.dtype) for each in tensors]
    assert not any(each.any() for each in found)


@SLOW
def test_the_operators_keep_the_rules_of_torch_library() -> None:
    tensors = [each.requires_grad_() for each in inputs(1, 1, 2, 3, dtype=torch.float16)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_gated_norm.forward, (*tensors, 1e-5), test_utils=checks)
    detached = [each.detach() for each in tensors]
    arguments = (torch.randn_like(detached[1]), *detached, 1e-5)
    torch.library.opcheck(_gated_norm.backward, arguments, test_utils=checks)


def test_forward_mode_runs_on_the_reference_and_second_derivatives_are_refused() -> None:
    y, *others = inputs(1, 1, 1, 3)
    found = jvp(lambda y: gated_norm(y, *others, backend="triton"), (y,), (y.square(),))
    expected = jvp(lambda y: gated_norm_reference(y, *others), (y,), (y.square(),))
    torch.testing.assert_close(found, expected)
    y.requires_grad_()
    out = gated_norm(y, *others, backend="triton")
    (gradient,) = torch.autograd.grad(out.sum(), y, create_graph=True)
    with pytest.raises(BackendError, match="differentiated once only"):
        torch.autograd.grad(gradient.sum(), y)


REFUSED: dict[str, Callable[..., tuple[Any, ...]]] = {
    "y must have shape": lambda y, z, weight, bias: (y[0], z, weight, bias),
    "z must have shape": lambda y, z, weight, bias: (y, z[:, :1], weight, bias),
    "weight must have shape": lambda y, z, weight, bias: (y, z, weight[1:], bias),
    "bias must have shape": lambda y, z, weight, bias: (y, z, weight, bias[None]),
    "z must hold floating-point numbers": lambda y, z, weight, bias: (y, z.int(), weight, bias),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused(message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gated_norm(*REFUSED[message](*inputs(1, 2, 3, 2)), backend="triton")


def test_float64_is_refused_by_the_kernel_and_computed_elsewhere() -> None:
    tensors = [each.double() for each in inputs(1, 2, 3, 4)]
    with pytest.raises(BackendError, match="computes float32"):
        gated_norm(*tensors, backend="triton")
    assert torch.equal(gated_norm(*tensors, backend="chunked"), gated_norm_reference(*tensors))


def test_the_reference_is_written_out() -> None:
    y, z, weight, bias = (each.double() for each in inputs(1, 1, 2, 5))
    centred = y - y.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt()
    expected = (normed * weight + bias) * z / (1 + torch.exp(-z))
    torch.testing.assert_close(gated_norm_reference(y, z, weight, bias, eps=0.1), expected)


def test_the_kernel_is_used_only_where_it_was_measured_to_be_faster() -> None:
    y = torch.empty(1, 2, 3, 2, device=DEVICE)
    assert not DEFAULT.gated_norm_kernel
    assert not use_gated_norm_kernel(y, "triton")
    with forced_settings(LaunchSettings(gated_norm_kernel=True)):
        assert use_gated_norm_kernel(y, "triton")
        assert not use_gated_norm_kernel(y, "chunked")
