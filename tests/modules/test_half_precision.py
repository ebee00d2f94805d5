"""Few casts instead of many: the same numbers, and every way in which the layers can be used still works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from swin_umamba import create_model
from swin_umamba.modules import residual_block as residual_module
from swin_umamba.modules import ss2d as ss2d_module
from swin_umamba.modules.half_precision import autocast_dtype, copies_for_autocast
from swin_umamba.modules.residual_block import ResidualBlock
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.modules.vss_block import VSSBlock, VSSLayer

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)

# In a step of one block: its input to half precision and the gradient back; x and x_dbl to float32 and back,
# for only Triton reads them in half; the gradients at the gate and at the residual sum.
CASTS_OF_A_BLOCK = 8
# Of all five parameters, and of their gradients.
CASTS_TOGETHER = 2


# In a whole step of the network as published, on a CPU, which also casts what the scans read and write.
CASTS_OF_A_STEP = 160


def the_way_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ss2d_module, residual_module):
        monkeypatch.setattr(module, "copies_for_autocast", lambda device, *sources: {})
    monkeypatch.setattr(ss2d_module, "gated", lambda y, z: y * F.silu(z))


def layer_and_image(make: Callable[..., nn.Module] = SS2D, **options: Any) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer = make(8, d_state=3, **options)
    return layer, torch.randn(2, 3, 5, 8, requires_grad=True)


def step(layer: nn.Module, x: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
    with torch.autocast("cpu", dtype):
        y = layer(x)
    wanted = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), wanted)]


def assert_equal(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    for value, exact in zip(found, expected, strict=True):
        assert value.dtype == exact.dtype
        assert torch.equal(value, exact)


@HALVES
@pytest.mark.parametrize("frozen", [(), ("in_proj", "conv2d"), ("x_proj_weight",)], ids=str)
def test_bits_are_those_of_autocast(
    dtype: torch.dtype, frozen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = layer_and_image()
    for name in frozen:
        getattr(layer, name).requires_grad_(False)
    found = step(layer, x, dtype)
    assert found[0].dtype == dtype
    the_way_of_autocast(monkeypatch)
    assert_equal(found, step(layer, x, dtype))


@HALVES
def test_bits_without_gradients_too(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = layer_and_image()
    with torch.autocast("cpu", dtype):
        expected = layer(x).detach()
        with torch.inference_mode():
            assert torch.equal(layer(x), expected)
        the_way_of_autocast(monkeypatch)
        with torch.no_grad():
            assert torch.equal(layer(x), expected)


def test_gradients_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = layer_and_image(backend="reference")

    def second() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        wanted = [x, layer.in_proj.weight, layer.x_proj_weight]
        first = torch.autograd.grad(y.float().square().sum(), wanted, create_graph=True)
        energy = sum(gradient.square().sum() for gradient in first)
        return list(torch.autograd.grad(energy, [x, *layer.parameters()], allow_unused=True))

    found = second()
    the_way_of_autocast(monkeypatch)
    for value, exact in zip(found, second(), strict=True):
        assert (value is None) == (exact is None)
        if value is not None:  # the same terms, added up in another order
            assert (value - exact).norm() <= 0.02 * exact.norm()


def test_recomputed_activations_give_equal_gradients() -> None:
    torch.manual_seed(0)
    layer = VSSLayer(8, [0.0, 0.0], d_state=3).train()
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    results = []
    for checkpointing in (False, True):
        layer.activation_checkpointing = checkpointing
        results.append(step(layer, x, torch.bfloat16))
    assert_equal(*results)


def test_transforms() -> None:
    layer, x = layer_and_image()
    x = x.detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.func.grad(lambda x: layer(x).float().square().sum())(x)
    expected = step(layer, x.requires_grad_(), torch.bfloat16)[1]
    assert (found - expected).norm() <= 0.02 * expected.norm()  # of the reference, which torch.func needs


class Shift(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight + 1


class Twice(nn.Module):
    """Another layer in the place of one; it has no weight of its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return -2 * self.layer(x)


@HALVES
@pytest.mark.parametrize("channels", [3, 4])
def test_bits_of_a_residual_block(dtype: torch.dtype, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(channels, 4), torch.randn(2, channels, 5, 7, requires_grad=True)
    block.conv2[0].weight.requires_grad_(False)
    found = step(block, x, dtype)
    the_way_of_autocast(monkeypatch)
    assert_equal(found, step(block, x, dtype))


def residual_block() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return ResidualBlock(3, 4), torch.randn(2, 3, 5, 7, requires_grad=True)


PARTS = [(layer_and_image, name) for name in ("in_proj", "conv2d", "out_proj")]
PARTS += [(residual_block, name) for name in ("conv1.conv", "conv3")]


@pytest.mark.parametrize(("make", "name"), PARTS, ids=[name for _, name in PARTS])
@pytest.mark.parametrize("kind", ["hook", "pre-hook", "global hook", "replaced", "parametrized", "forward"])
def test_what_is_done_to_a_layer_is_respected(
    kind: str, name: str, make: Callable[[], tuple[nn.Module, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (kind, name) == ("parametrized", "conv3"):
        name = "conv3.conv"
    layer, x = make()
    before = step(layer, x, torch.bfloat16)[0]
    results, handles = [], []
    for autocasts in (False, True):
        changed = copy.deepcopy(layer)
        part = changed.get_submodule(name)
        if kind == "hook":
            part.register_forward_hook(lambda module, given, output: -2 * output)
        elif kind == "pre-hook":
            part.register_forward_pre_hook(lambda module, given: (-2 * given[0],))
        elif kind == "global hook":
            handles.append(
                register_module_forward_hook(
                    lambda module, given, output, part=part: -2 * output if module is part else None
                )
            )
        elif kind == "replaced":
            changed.set_submodule(name, Twice(part))
        elif kind == "parametrized":
            parametrize.register_parametrization(part, "weight", Shift())
        else:
            monkeypatch.setattr(part, "forward", lambda x, forward=part.forward: -2 * forward(x))
        if autocasts:
            the_way_of_autocast(monkeypatch)
        try:
            results.append(step(changed, x, torch.bfloat16))
        finally:
            for handle in handles:
                handle.remove()
    assert_equal(*results)
    assert not torch.equal(results[0][0], before)


def test_other_precisions_are_left_alone() -> None:
    layer, x = layer_and_image()
    assert autocast_dtype(x.device) is None
    assert copies_for_autocast(x.device, layer.in_proj) == {}
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast_dtype(x.device) == torch.bfloat16
        assert list(copies_for_autocast(x.device, layer.in_proj)) == [id(layer.in_proj.weight)]
        assert autocast_dtype(torch.device("meta")) is None
        assert copies_for_autocast(x.device, layer.double().in_proj) == {}
        with torch.no_grad():
            assert copies_for_autocast(x.device, layer.in_proj) == {}


class Launches(TorchDispatchMode):
    """Counts casts one by one and casts of many tensors together."""

    def __init__(self) -> None:
        super().__init__()
        self.casts = 0
        self.together = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.casts += args[0].dtype != result.dtype
        self.together += func is torch.ops.aten._foreach_copy_.default
        return result


def count(network: nn.Module, image: Tensor) -> Launches:
    with Launches() as launches:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(image)
        loss = torch.stack([output.sum() for output in outputs]).sum()
        loss.backward()
    return launches


def test_a_block_casts_its_parameters_together() -> None:
    block, x = layer_and_image(VSSBlock)
    launches = count(block, x)
    assert launches.together == CASTS_TOGETHER
    assert launches.casts <= CASTS_OF_A_BLOCK


@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])
def test_each_block_of_a_network_does(name: str) -> None:
    counted = []
    small = {"in_channels": 1, "num_classes": 2, "features_per_stage": (8, 8, 8, 8), "d_state": 1}
    for depth in (1, 3):
        network = create_model(name, depths=(depth, 1, 1, 1), **small)
        counted.append(count(network.train(), torch.randn(1, 1, 32, 32)))
    few, many = counted
    assert many.together - few.together == 2 * CASTS_TOGETHER
    assert many.casts - few.casts <= 2 * CASTS_OF_A_BLOCK


@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])
def test_casts_of_a_whole_step(name: str) -> None:
    small = {"in_channels": 1, "num_classes": 2, "features_per_stage": (8, 8, 8, 8), "d_state": 1}
    network = create_model(name, deep_supervision=True, **small).train()
    assert count(network, torch.randn(1, 1, 32, 32)).casts < CASTS_OF_A_STEP


@HALVES
def test_a_bias_in_half_precision_is_left_to_autocast(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = layer_and_image()
    layer.conv2d.bias.data = layer.conv2d.bias.data.bfloat16()
    found = step(layer, x, dtype)
    the_way_of_autocast(monkeypatch)
    assert_equal(found, step(layer, x, dtype))
