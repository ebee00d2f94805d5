"""The linear layer through oneDNN, against float64; and that PyTorch's own function does the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ops.scan_inputs import threads
from swin_umamba.ops import linear as module
from swin_umamba.ops.linear import linear, linear_gelu, uses_onednn

TOLERANCE = 3e-6  # relative to the largest number: float32 sums of up to 1500 products
# A machine without AVX-512 still has the operator, and it is right there, too.
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture(autouse=True)
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_available", lambda: True)


def layer(*shape: int, out_features: int, bias: bool) -> list[Tensor]:
    torch.manual_seed(0)
    tensors = [torch.randn(shape), torch.randn(out_features, shape[-1])]
    return [*tensors, torch.randn(out_features)] if bias else tensors


def step(function: Callable[..., Tensor], tensors: list[Tensor], weights: Tensor) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in tensors]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def assert_close(found: list[Tensor], exact: list[Tensor]) -> None:
    for value, expected in zip(found, exact, strict=True):
        assert value.dtype == torch.float32
        assert value.shape == expected.shape
        assert (value - expected).abs().amax() <= TOLERANCE * expected.abs().amax()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("out_features", [1, 14, 65])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (2, 5, 3, 24), (1023, 17), (1, 37, 41, 9)], ids=str)
def test_values_and_gradients(shape: tuple[int, ...], out_features: int, bias: bool) -> None:
    tensors = layer(*shape, out_features=out_features, bias=bias)
    assert uses_onednn(*tensors)
    weights = torch.randn(*shape[:-1], out_features)
    exact = step(F.linear, [each.double() for each in tensors], weights.double())
    found = step(linear, tensors, weights)
    assert_close(found, exact)
    with torch.inference_mode():
        assert torch.equal(linear(*tensors), found[0])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 3, 24), (1023, 17)], ids=str)
def test_values_and_gradients_of_gelu(shape: tuple[int, ...], bias: bool) -> None:
    tensors, weights = layer(*shape, out_features=14, bias=bias), torch.randn(*shape[:-1], 14)
    doubles = [each.double() for each in tensors]
    exact = step(lambda *each: F.gelu(F.linear(*each)), doubles, weights.double())
    assert_close(step(linear_gelu, tensors, weights), exact)
    with torch.inference_mode(), torch.profiler.profile() as profile:
        assert_close([linear_gelu(*tensors)], exact[:1])
    assert "aten::gelu" not in {each.key for each in profile.key_averages()}


@pytest.mark.parametrize("out_features", [2, 5])
def test_a_step_leaves_no_product_to_pytorch(out_features: int) -> None:
    tensors = layer(8, 3, out_features=out_features, bias=True)
    with torch.profiler.profile() as profile:
        step(linear, tensors, torch.ones(()))
    calls = {each.key: each.count for each in profile.key_averages()}
    assert calls["mkldnn::_linear_pointwise"] == 3
    assert not {"aten::mm", "aten::addmm"} & calls.keys()


@pytest.mark.parametrize("rows", [8, 2048])
def test_views_of_larger_tensors(rows: int) -> None:
    """Half the channels of a tensor, a transposed weight, and a gradient that is a view."""
    whole, weight = torch.randn(rows, 12), torch.randn(6, 10)

    def both(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda whole, weight: function(whole[:, 3:9], weight.t())[:, ::2]

    weights = torch.randn(rows, 5)
    exact = step(both(F.linear), [whole.double(), weight.double()], weights.double())
    assert_close(step(both(linear), [whole, weight], weights), exact)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_frozen_tensor_gets_no_gradient(frozen: int) -> None:
    tensors = layer(4, 3, out_features=2, bias=True)
    for number, each in enumerate(tensors):
        each.requires_grad_(number != frozen)
    linear(*tensors).sum().backward()
    assert [each.grad is None for each in tensors] == [number == frozen for number in range(3)]


def test_neither_threads_nor_other_rows_change_a_row() -> None:
    tensors = layer(3000, 96, out_features=150, bias=True)
    with threads(1):
        alone = step(linear, tensors, torch.ones(()))
    with threads(2):
        together = step(linear, tensors, torch.ones(()))
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[1], together[1])
    assert torch.equal(linear(tensors[0][1000:1900], *tensors[1:]), alone[0][1000:1900])


def test_second_derivatives() -> None:
    tensors = [each.requires_grad_() for each in layer(5, 3, out_features=4, bias=True)]

    def penalty(function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
        y = function(*tensors).square().sum()
        first = torch.autograd.grad(y, tensors, create_graph=True)
        return list(torch.autograd.grad(sum(each.square().sum() for each in first), tensors))

    doubles = [each.detach().double().requires_grad_() for each in tensors]
    assert_close(penalty(linear, tensors), penalty(F.linear, doubles))


def test_what_is_left_to_pytorch() -> None:
    x, weight, bias = layer(4, 3, out_features=2, bias=True)
    assert not uses_onednn(x.double(), weight.double())
    assert not uses_onednn(x[0], weight)
    assert not uses_onednn(x[:0], weight)
    number = torch.tensor(1.0)
    assert torch.equal(linear(x, weight, number), F.linear(x, weight, number))
    assert not uses_onednn(x, weight.bfloat16())
    with torch.backends.mkldnn.flags(enabled=False):
        assert not uses_onednn(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    with FlopCounterMode(display=False) as counter:  # it counts the products that it knows
        linear(x, weight)
    assert counter.get_total_flops() == 2 * 4 * 3 * 2
    assert torch.func.vmap(lambda row: linear(row, weight, bias))(x[:, None]).shape == (4, 1, 2)
    _, tangent = torch.func.jvp(lambda x: linear(x, weight, bias), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, torch.ones_like(x) @ weight.t())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(x, torch.ones(2, 4))


def test_a_machine_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_available", lambda: False)
    tensors = layer(4, 3, out_features=2, bias=True)
    assert torch.equal(linear(*tensors), F.linear(*tensors))
