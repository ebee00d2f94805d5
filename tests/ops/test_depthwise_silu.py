"""The depthwise convolution with SiLU: the kernel against float64, and when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from ops.scan_inputs import relative_error
from swin_umamba.errors import BackendError, UsageError
from swin_umamba.ops import kernel_operator
from swin_umamba.ops.depthwise_silu import _depthwise_silu, depthwise_silu, use_depthwise_kernel
from swin_umamba.ops.launch_settings import DEFAULT, LaunchSettings, forced_settings
from swin_umamba.ops.reference import depthwise_silu_reference

pytest.importorskip("triton", reason="Triton is not installed")
from ops.triton_interpreter import DEVICE, fast_interpreter  # noqa: F401
from swin_umamba.ops.triton import depthwise_silu as kernels
from swin_umamba.ops.triton import launch

FLOAT32_TOLERANCE = 1e-6  # of the largest number of each tensor
ROUNDING = {torch.float16: 2**-11, torch.bfloat16: 2**-8 if DEVICE.type == "cuda" else 2**-7}
pytestmark = pytest.mark.usefixtures("fast_interpreter", "nan_in_fresh_memory")
SLOW = pytest.mark.slow


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    channels = shape[3]
    tensors = torch.randn(shape), torch.randn(channels, 1, 3, 3), torch.randn(channels)
    types = dtype, torch.float32, torch.float32
    return [tensor.to(DEVICE, its) for tensor, its in zip(tensors, types, strict=True)]


def output_and_gradients(tensors: list[Tensor], cotangent: Tensor, **options: Any) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = depthwise_silu(*leaves, **options)
    return [y.detach(), *torch.autograd.grad(y, leaves, cotangent)]


def truth(tensors: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    """The same numbers in float64, convolved by PyTorch and differentiated by its autograd."""
    leaves = [tensor.detach().double().requires_grad_() for tensor in tensors]
    y = depthwise_silu_reference(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, cotangent.double())]


def assert_right(found: list[Tensor], expected: list[Tensor], tolerance: float = FLOAT32_TOLERANCE) -> None:
    errors = [relative_error(value, exact) for value, exact in zip(found, expected, strict=True)]
    assert max(errors) < tolerance, errors


SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 5, 2),
    pytest.param((1, 1, 5, 3), marks=SLOW),
    pytest.param((1, 5, 1, 2), marks=SLOW),
    pytest.param((2, 5, 7, 33), marks=SLOW),
    pytest.param((1, 9, 5, 70), marks=SLOW),
    pytest.param((1, 2, 3, 192), marks=SLOW),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradients_against_float64(shape: tuple[int, ...]) -> None:
    tensors, cotangent = inputs(*shape), torch.randn(shape, device=DEVICE)
    found = output_and_gradients(tensors, cotangent, backend="triton")
    assert all(each.is_contiguous() for each in found)
    assert_right(found, truth(tensors, cotangent))


def test_the_reference_is_a_convolution_written_out() -> None:
    x, weight, bias = (each.double() for each in inputs(1, 3, 4, 2))
    expected = torch.zeros_like(x)
    for row in range(3):
        for column in range(4):
            s = bias.clone()
            for i in range(3):
                for j in range(3):
                    if 0 <= row + i - 1 < 3 and 0 <= column + j - 1 < 4:
                        s += weight[:, 0, i, j] * x[0, row + i - 1, column + j - 1]
            expected[0, row, column] = s / (1 + torch.exp(-s))
    torch.testing.assert_close(depthwise_silu_reference(x, weight, bias), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=SLOW)], ids=["float16", "bfloat16"]
)
def test_half_precision_is_rounded_once_each_way(dtype: torch.dtype) -> None:
    """Outputs once, like the gradient before the activation, of which that of x is made; no sum ever."""
    tensors, cotangent = inputs(1, 3, 5, 2, dtype=dtype), torch.randn(1, 3, 5, 2, device=DEVICE).to(dtype)
    found = output_and_gradients(tensors, cotangent, backend="triton")
    exact = truth(tensors, cotangent)
    assert [each.dtype for each in found] == [dtype, dtype, torch.float32, torch.float32]
    assert_right(found[:1], exact[:1], ROUNDING[dtype] + FLOAT32_TOLERANCE)
    assert_right(found[2:], exact[2:])
    # |error| <= rounding (|grad_x| + sum over taps of |weight| |g|), the second being a convolution, too.
    x, weight, bias = (each.double() for each in tensors)
    s = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=2)
    s.requires_grad_()
    (g,) = torch.autograd.grad(torch.nn.functional.silu(s), s, cotangent.double().permute(0, 3, 1, 2))
    spread = torch.nn.functional.conv2d(g.abs(), weight.abs().flip(2, 3), padding=1, groups=2)
    bound = ROUNDING[dtype] * (exact[1].abs() + 1.01 * spread.permute(0, 2, 3, 1))
    assert ((found[1].double() - exact[1]).abs() <= bound + FLOAT32_TOLERANCE * exact[1].abs().max()).all()


@SLOW
@pytest.mark.parametrize("enough", [1, 10**6])
def test_outputs_do_not_depend_on_the_rows_of_a_program(enough: int) -> None:
    """Each is summed up in the order of the taps; only the parts of the parameters' gradients differ."""
    tensors, cotangent = inputs(1, 9, 3, 2), torch.randn(1, 9, 3, 2, device=DEVICE)
    expected = output_and_gradients(tensors, cotangent, backend="triton")
    with forced_settings(LaunchSettings(enough_warps=enough)):
        found = output_and_gradients(tensors, cotangent, backend="triton")
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert_right(found[2:], expected[2:])


@pytest.mark.parametrize(("warps", "rows"), [(1, 4), (96, 4), (1536, 8), (10**4, 32), (10**6, 64)])
def test_rows_of_a_program(warps: int, rows: int) -> None:
    blocks = kernels._Blocks.of(torch.empty(warps, 8, 4, 64, device="meta"), 4)
    assert blocks.rows == rows
    assert blocks.grid == (warps * -(-8 // rows), 1)


def test_equal_inputs_give_equal_bits_also_as_a_registered_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, cotangent = inputs(1, 2, 1, 2), torch.randn(1, 2, 1, 2, device=DEVICE)
    runs = []
    for registered in (False, False, True):
        monkeypatch.setattr(kernel_operator, "operator_is_needed", lambda tensors, it=registered: it)
        runs.append(output_and_gradients(tensors, cotangent, backend="triton"))
    for first, again, of_operator in zip(*runs, strict=True):
        assert torch.equal(first, again)
        assert torch.equal(first, of_operator)


def test_some_channels_of_a_larger_tensor_are_read_in_place() -> None:
    both = torch.randn(1, 2, 3, 6, device=DEVICE)
    x, _ = both.chunk(2, dim=-1)
    pixels = launch.evenly_spaced_pixels(x)
    assert pixels.data_ptr() == x.data_ptr()
    assert pixels.stride() == (6, 1)
    turned = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert launch.evenly_spaced_pixels(turned).stride() == (3, 1)
    _, *parameters = inputs(1, 2, 3, 3)
    expected = depthwise_silu(x.contiguous(), *parameters, backend="triton")
    assert torch.equal(depthwise_silu(x, *parameters, backend="triton"), expected)
    assert torch.equal(depthwise_silu(turned, *parameters, backend="triton"), expected)


@SLOW
@pytest.mark.parametrize("shape", [(5, 1, 1, 4), (1, 5, 1, 4), (1, 1, 5, 4)], ids=str)
def test_offsets_beyond_32_bits(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels, so far apart that the last begins at number 2^31; most of the memory is never touched."""
    tensors, cotangent = inputs(*shape, dtype=torch.float16), torch.randn(shape, device=DEVICE).half()
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    wide = torch.empty(5, 2**29, dtype=torch.float16, device=DEVICE).view(*shape[:3], 2**29)[..., 8:12]
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    wide.copy_(tensors[0])
    expected = output_and_gradients(tensors, cotangent, backend="triton")
    found = output_and_gradients([wide, *tensors[1:]], cotangent, backend="triton")
    for value, its in zip(found, expected, strict=True):
        assert torch.equal(value, its)


def test_saturated_activations() -> None:
    """SiLU and its slope at numbers of either sign whose exponentials overflow or vanish."""
    tensors, cotangent = inputs(1, 1, 2, 4), torch.randn(1, 1, 2, 4, device=DEVICE)
    tensors[2] = torch.tensor([-1e3, -90.0, 90.0, 1e3], device=DEVICE)
    found = output_and_gradients(tensors, cotangent, backend="triton")
    exact = truth(tensors, cotangent)
    for value, its in zip(found, exact, strict=True):
        torch.testing.assert_close(value.double(), its, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 0, 2), (2, 3, 4, 0)])
def test_empty_images(shape: tuple[int, ...]) -> None:
    tensors = inputs(*shape)
    found = output_and_gradients(tensors, torch.ones_like(tensors[0]), backend="triton")
    assert [each.shape for each in found[1:]] == [each.shape for each in tensors]
    assert not any(each.any() for each in found)


@SLOW
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_operators_keep_the_rules_of_torch_library(dtype: torch.dtype) -> None:
    tensors = [each.requires_grad_() for each in inputs(1, 2, 3, 2, dtype=dtype)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_depthwise_silu.forward, tuple(tensors), test_utils=checks)
    detached = [each.detach() for each in tensors]
    arguments = (torch.randn_like(detached[0]), *detached)
    torch.library.opcheck(_depthwise_silu.backward, arguments, test_utils=checks)


@SLOW
def test_it_compiles_into_one_graph() -> None:
    tensors = [each.requires_grad_() for each in inputs(1, 2, 3, 2)]
    results = []
    for function in (depthwise_silu, torch.compile(depthwise_silu, fullgraph=True, backend="aot_eager")):
        y = function(*tensors, backend="triton")
        results.append([y, *torch.autograd.grad(y.sum(), tensors)])
    for value, expected in zip(*results, strict=True):
        assert torch.equal(value, expected)


def test_forward_mode_and_transforms_run_on_the_reference() -> None:
    x, weight, bias = inputs(1, 2, 3, 2)

    def kernel(x: Tensor) -> Tensor:
        return depthwise_silu(x, weight, bias, backend="triton")

    def reference(x: Tensor) -> Tensor:
        return depthwise_silu_reference(x, weight, bias)

    torch.testing.assert_close(jvp(kernel, (x,), (x,)), jvp(reference, (x,), (x,)))
    two = torch.stack([x, 2 * x])
    found = vmap(grad(lambda x: kernel(x).square().sum()))(two)
    torch.testing.assert_close(found, vmap(grad(lambda x: reference(x).square().sum()))(two))


def test_second_derivatives_are_refused() -> None:
    x, weight, bias = inputs(1, 1, 1, 1)
    x.requires_grad_()
    y = depthwise_silu(x, weight, bias, backend="triton")
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(BackendError, match="differentiated once only"):
        torch.autograd.grad(gradient.sum(), x)


REFUSED: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Any, Any, Any]]] = {
    "x must have shape": lambda x, weight, bias: (x[0], weight, bias),
    "weight must have shape": lambda x, weight, bias: (x, weight[:, 0], bias),
    "bias must have shape": lambda x, weight, bias: (x, weight, bias[1:]),
    "x must hold floating-point numbers": lambda x, weight, bias: (x.int(), weight, bias),
    "bias must be a tensor": lambda x, weight, bias: (x, weight, None),
    "must be on one device": lambda x, weight, bias: (x, weight.to("meta"), bias),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused(message: str) -> None:
    with pytest.raises(UsageError, match=message):
        depthwise_silu(*REFUSED[message](*inputs(1, 2, 3, 2)), backend="triton")


def test_float64_is_refused_by_the_kernel_and_computed_elsewhere() -> None:
    tensors = [each.double() for each in inputs(1, 2, 3, 2)]
    with pytest.raises(BackendError, match="computes float32"):
        depthwise_silu(*tensors, backend="triton")
    assert torch.equal(depthwise_silu(*tensors, backend="chunked"), depthwise_silu_reference(*tensors))


def test_other_backends_compute_half_precision_in_float32() -> None:
    tensors = inputs(1, 2, 3, 2, dtype=torch.bfloat16)
    expected = depthwise_silu_reference(*(each.float() for each in tensors)).bfloat16()
    with torch.autocast(DEVICE.type, torch.bfloat16):
        assert torch.equal(depthwise_silu(*tensors, backend="chunked"), expected)


def test_the_kernel_is_used_only_where_it_was_measured_to_be_faster() -> None:
    x = torch.empty(1, 2, 3, 2, device=DEVICE)
    assert not DEFAULT.depthwise_kernel
    assert not use_depthwise_kernel(x, "triton")
    with forced_settings(LaunchSettings(depthwise_kernel=True)):
        assert use_depthwise_kernel(x, "triton")
        assert use_depthwise_kernel(x.half(), "triton")
        assert not use_depthwise_kernel(x, "chunked")
