"""SS2D against its definition, written out with loops."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from swin_umamba.errors import SwinUMambaError
from swin_umamba.modules import ss2d as ss2d_module
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.ops.launch_settings import LaunchSettings, forced_settings
from swin_umamba.ops.reference import depthwise_silu_reference, gated_norm_reference

D_MODEL, D_STATE, HEIGHT, WIDTH = 20, 3, 3, 4


@pytest.fixture
def layer() -> SS2D:
    torch.manual_seed(0)
    layer = SS2D(D_MODEL, D_STATE).double()
    for parameter in layer.parameters():  # no parameter at a special value such as one or zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return layer


def ss2d_by_loops(layer: SS2D, image: torch.Tensor) -> torch.Tensor:
    """The layer for one image (height, width, d_model), pixel by pixel."""
    height, width, _ = image.shape
    d_inner, d_state = 2 * D_MODEL, D_STATE
    dt_rank = math.ceil(D_MODEL / 16)
    x, z = (image @ layer.in_proj.weight.T).split(d_inner, dim=-1)
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    kernel = layer.conv2d.weight[:, 0]
    conv = torch.zeros_like(x)
    for row in range(height):
        for column in range(width):
            window = padded[row : row + 3, column : column + 3]
            conv[row, column] = torch.einsum("ijc,cij->c", window, kernel) + layer.conv2d.bias
    u = conv / (1 + torch.exp(-conv))
    row_major = [(row, column) for row in range(height) for column in range(width)]
    column_major = [(row, column) for column in range(width) for row in range(height)]
    y = torch.zeros_like(u)
    for k, path in enumerate([row_major, column_major, row_major[::-1], column_major[::-1]]):
        A = -torch.exp(layer.A_logs[k * d_inner : (k + 1) * d_inner])
        D = layer.Ds[k * d_inner : (k + 1) * d_inner]
        h = torch.zeros(d_inner, d_state, dtype=image.dtype)
        for pixel in path:
            dt_low, B, C = (layer.x_proj_weight[k] @ u[pixel]).split([dt_rank, d_state, d_state])
            dt = torch.log1p(torch.exp(layer.dt_projs_weight[k] @ dt_low + layer.dt_projs_bias[k]))
            h = torch.exp(dt[:, None] * A) * h + (dt * u[pixel])[:, None] * B
            y[pixel] += h @ C + D * u[pixel]
    mean, variance = y.mean(-1, keepdim=True), y.var(-1, unbiased=False, keepdim=True)
    y = (y - mean) / torch.sqrt(variance + 1e-5) * layer.out_norm.weight + layer.out_norm.bias
    return (y * z / (1 + torch.exp(-z))) @ layer.out_proj.weight.T


def test_it_is_its_definition(layer: SS2D) -> None:
    images = torch.randn(2, HEIGHT, WIDTH, D_MODEL, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([ss2d_by_loops(layer, image) for image in images])
    torch.testing.assert_close(layer(images), expected, rtol=1e-9, atol=1e-10)


def test_its_gradients_are_those_of_the_definition(layer: SS2D) -> None:
    image = torch.randn(HEIGHT, WIDTH, D_MODEL, dtype=torch.float64, requires_grad=True)
    wanted = [image, *layer.parameters()]
    expected = torch.autograd.grad(ss2d_by_loops(layer, image).square().sum(), wanted)
    actual = torch.autograd.grad(layer(image[None]).square().sum(), wanted)
    for name, a, b in zip(["input", *dict(layer.named_parameters())], actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_stays_close(layer: SS2D, dtype: torch.dtype, tolerance: float) -> None:
    layer = layer.float()
    x = torch.randn(1, HEIGHT, WIDTH, D_MODEL)
    expected = layer(x)
    with torch.autocast("cpu", dtype):
        under_autocast = layer(x)
    whole_module = layer.to(dtype)(x.to(dtype))
    for actual in (under_autocast, whole_module):
        assert actual.dtype == dtype
        assert (actual.float() - expected).abs().max() < tolerance * expected.abs().max()


def calls_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Put PyTorch in the place of the kernel, switched on, and note what it is given."""
    calls: list[torch.Tensor] = []

    def kernel(x: torch.Tensor, *parameters: torch.Tensor, backend: str | None) -> torch.Tensor:
        calls.append(x)
        return depthwise_silu_reference(x, *parameters)

    monkeypatch.setattr(ss2d_module, "use_depthwise_kernel", lambda x, backend: True)
    monkeypatch.setattr(ss2d_module, "depthwise_silu", kernel)
    return calls


def test_the_kernel_of_the_convolution_gets_what_it_needs(
    layer: SS2D, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.randn(1, HEIGHT, WIDTH, D_MODEL, dtype=torch.float64)
    expected = layer(image)
    calls = calls_of_the_kernel(monkeypatch)
    torch.testing.assert_close(layer(image), expected)
    assert [x.shape for x in calls] == [(1, HEIGHT, WIDTH, 2 * D_MODEL)]


REPLACED: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "sequence": lambda conv: nn.Sequential(conv),
    "reflecting": lambda conv: nn.Conv2d(
        2 * D_MODEL, 2 * D_MODEL, 3, padding=1, groups=2 * D_MODEL, padding_mode="reflect"
    ),
    "5x5": lambda conv: nn.Conv2d(2 * D_MODEL, 2 * D_MODEL, 5, padding=2, groups=2 * D_MODEL),
    "dilated": lambda conv: nn.Conv2d(2 * D_MODEL, 2 * D_MODEL, 3, padding=2, dilation=2, groups=2 * D_MODEL),
    "full": lambda conv: nn.Conv2d(2 * D_MODEL, 2 * D_MODEL, 3, padding=1),
    "without bias": lambda conv: nn.Conv2d(
        2 * D_MODEL, 2 * D_MODEL, 3, padding=1, groups=2 * D_MODEL, bias=False
    ),
    "hook": lambda conv: with_hook(conv),
    "parametrized": lambda conv: parametrize.register_parametrization(conv, "weight", Doubled()),
}


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def with_hook(conv: nn.Conv2d) -> nn.Module:
    conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    return conv


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_or_watched_convolution_runs_itself(
    name: str, layer: SS2D, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.conv2d = REPLACED[name](layer.conv2d).double()  # type: ignore[assignment]
    image = torch.randn(1, HEIGHT, WIDTH, D_MODEL, dtype=torch.float64)
    expected = layer(image)
    calls = calls_of_the_kernel(monkeypatch)
    assert torch.equal(layer(image), expected)
    assert not calls


def test_norm_and_gate_run_on_the_kernel_unless_replaced_or_watched(
    layer: SS2D, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.randn(1, HEIGHT, WIDTH, D_MODEL, dtype=torch.float64)
    layer.out_norm.eps = 0.1
    expected = layer(image)
    calls: list[float] = []

    def kernel(*tensors: torch.Tensor, eps: float, backend: str | None) -> torch.Tensor:
        calls.append(eps)
        return gated_norm_reference(*tensors, eps=eps)

    monkeypatch.setattr(ss2d_module, "use_gated_norm_kernel", lambda y, backend: True)
    monkeypatch.setattr(ss2d_module, "gated_norm", kernel)
    torch.testing.assert_close(layer(image), expected)
    assert calls == [0.1]
    layer.out_norm.register_forward_hook(lambda module, inputs, output: 2 * output)
    torch.testing.assert_close(layer(image), 2 * expected)
    for other in (nn.LayerNorm((WIDTH, 2 * D_MODEL)), nn.LayerNorm(2 * D_MODEL, bias=False)):
        layer.out_norm = other.double()
        layer(image)
    assert calls == [0.1]


@pytest.mark.slow
def test_a_layer_on_kernels_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Triton's interpreter without a GPU, also as one graph."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from ops.fast_triton import replacements

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for owner, name, value in replacements(device):
        monkeypatch.setattr(owner, name, value)
    layer = SS2D(2, 1, backend="triton").to(device)
    image = torch.randn(1, 1, 2, 2, device=device)
    wanted = list(layer.parameters())
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    y = layer(image)
    expected = [y, *torch.autograd.grad(y.square().sum(), wanted)]
    with forced_settings(LaunchSettings(depthwise_kernel=True, gated_norm_kernel=True)):
        for function in (layer, compiled):
            y = function(image)
            found = [y, *torch.autograd.grad(y.square().sum(), wanted)]
            for a, b in zip(found, expected, strict=True):
                assert (a - b).abs().max() < 1e-5 * b.abs().max()


def test_initial_step_sizes_and_states() -> None:
    torch.manual_seed(0)
    layer = SS2D(48, 16)
    dt = F.softplus(layer.dt_projs_bias)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert dt.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.2)  # log-uniform
    torch.testing.assert_close(layer.A_logs.exp(), torch.arange(1.0, 17).expand(4 * 96, 16))
    assert (layer.Ds == 1).all()
    assert layer.x_proj_weight.abs().max() <= 96**-0.5
    assert layer.x_proj_weight.std().item() == pytest.approx(96**-0.5 / math.sqrt(3), rel=0.05)
    assert layer.dt_projs_weight.std().item() == pytest.approx(3**-0.5 / math.sqrt(3), rel=0.1)


def test_an_unknown_backend_is_refused(layer: SS2D) -> None:
    layer.backend = "no such backend"
    with pytest.raises(SwinUMambaError, match="no such backend"):
        layer(torch.zeros(1, HEIGHT, WIDTH, D_MODEL, dtype=torch.float64))
