"""Layers call what is in them as modules: hooks run, and another module can take the place of one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import parametrize

from swin_umamba.modules.mamba import Mamba
from swin_umamba.modules.patching import PatchEmbed, PatchExpand, PatchMerging
from swin_umamba.modules.residual_block import UpBlock
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.modules.vss_block import VSSLayer

TOLERANCE = 1e-12  # float64, the order of sums apart
# Eight bits for the weights and for the activations of each product, in units of the largest output.
QUANTIZATION_TOLERANCE = 0.05

LAYERS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "SS2D": (lambda: SS2D(12, d_state=3), [(2, 4, 5, 12)]),
    "Mamba": (lambda: Mamba(12, d_state=3), [(2, 9, 12)]),
    "VSSLayer": (lambda: VSSLayer(6, [0.0, 0.0], d_state=2), [(1, 3, 4, 6)]),
    "PatchEmbed": (lambda: PatchEmbed(3, 5, 2), [(1, 3, 4, 6)]),
    "PatchMerging": (lambda: PatchMerging(3, 5), [(1, 4, 6, 3)]),
    "PatchExpand": (lambda: PatchExpand(3, 5), [(1, 4, 6, 3)]),
    "UpBlock": (lambda: UpBlock(4, 3), [(1, 4, 2, 3), (1, 3, 4, 6)]),
}


def layer_and_inputs(name: str) -> tuple[nn.Module, list[Tensor]]:
    make, shapes = LAYERS[name]
    return make().double().eval(), [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def names_of(layer: nn.Module, *kinds: type[nn.Module]) -> list[str]:
    """The submodules of these kinds, or those whose outputs are linear in their parameters."""
    return [
        name
        for name, module in layer.named_modules()
        if name and (isinstance(module, kinds) if kinds else _is_linear(module))
    ]


def _is_linear(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) and not any(True for _ in module.children())


def assert_equal(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=TOLERANCE, atol=TOLERANCE)


class LowRankUpdate(nn.Module):
    """A linear layer plus a trainable product of two thin matrices. It has no attribute ``weight``."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(2, base.in_features, dtype=base.weight.dtype))
        self.up = nn.Parameter(torch.randn(base.out_features, 2, dtype=base.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("name", LAYERS)
def test_hooks_run_once_and_what_they_return_is_used(name: str) -> None:
    layer, inputs = layer_and_inputs(name)
    for submodule_name in names_of(layer):
        submodule, calls = layer.get_submodule(submodule_name), []

        def double(module: nn.Module, given: object, output: Tensor, calls: list[object] = calls) -> Tensor:
            calls.append(given)
            return 2 * output

        handle = submodule.register_forward_hook(double)
        doubled = layer(*inputs)
        handle.remove()
        assert len(calls) == 1, submodule_name
        twin = copy.deepcopy(layer)
        for parameter in twin.get_submodule(submodule_name).parameters():
            parameter.data *= 2
        assert_equal(doubled, twin(*inputs))


@pytest.mark.parametrize("name", ["SS2D", "Mamba", "VSSLayer", "PatchMerging", "PatchExpand"])
def test_linear_layers_can_be_replaced(name: str) -> None:
    layer, inputs = layer_and_inputs(name)
    for linear_name in names_of(layer, nn.Linear):
        adapted, merged = copy.deepcopy(layer), copy.deepcopy(layer)
        adapter = LowRankUpdate(adapted.get_submodule(linear_name))
        adapted.set_submodule(linear_name, adapter)
        merged.get_submodule(linear_name).weight.data += adapter.up @ adapter.down
        output = adapted(*inputs)
        assert_equal(output, merged(*inputs))
        output.square().sum().backward()
        assert adapter.up.grad is not None, linear_name
        assert adapter.up.grad.any(), linear_name


@pytest.mark.parametrize("name", ["SS2D", "Mamba"])
def test_weights_can_be_parametrized(name: str) -> None:
    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    layer, inputs = layer_and_inputs(name)
    for linear_name in names_of(layer, nn.Linear):
        halved, twin = copy.deepcopy(layer), copy.deepcopy(layer)
        parametrize.register_parametrization(halved.get_submodule(linear_name), "weight", Halved())
        twin.get_submodule(linear_name).weight.data /= 2
        assert_equal(halved(*inputs), twin(*inputs))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.skipif(torch.backends.quantized.engine == "none", reason="this PyTorch does not quantize")
@pytest.mark.parametrize("name", ["SS2D", "Mamba", "VSSLayer"])
def test_dynamic_quantization(name: str) -> None:
    layer, inputs = layer_and_inputs(name)
    layer, inputs = layer.float(), [tensor.float() for tensor in inputs]
    linear_names = names_of(layer, nn.Linear)
    quantized = quantize_dynamic(layer, {nn.Linear}, dtype=torch.qint8)
    for linear_name in linear_names:
        assert isinstance(quantized.get_submodule(linear_name), torch.ao.nn.quantized.dynamic.Linear)
    with torch.no_grad():
        expected, found = layer(*inputs), quantized(*inputs)
    assert found.dtype == torch.float32
    assert (found - expected).abs().amax() < QUANTIZATION_TOLERANCE * expected.abs().amax()
    assert not torch.equal(found, expected)
