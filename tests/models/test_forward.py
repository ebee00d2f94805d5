"""The networks compute what their description says: outputs, gradients, precision, graphs, speed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.functional_forward import swin_umamba_d_forward, swin_umamba_dd_forward, swin_umamba_forward
from models.tiny_network import IN_CHANNELS, NUM_CLASSES, TINY
from work import calls_of

FORWARDS = {
    "swin_umamba": swin_umamba_forward,
    "swin_umamba_d": swin_umamba_d_forward,
    "swin_umamba_dd": swin_umamba_dd_forward,
    "swin_umamba_v1": swin_umamba_forward,
}
# Of the first version the encoder's last stage is in the state dict, but not in the computation.
UNUSED = {"swin_umamba_v1": ("vssm_encoder.layers.3.", "vssm_encoder.downsamples.2.")}


def used_parameters(name: str, network: nn.Module) -> dict[str, nn.Parameter]:
    unused = UNUSED.get(name, ())
    return {key: value for key, value in network.named_parameters() if not key.startswith(unused)}


def loss_of(heads: list[Tensor]) -> Tensor:
    return sum((head.square().mean() for head in heads), torch.zeros(()))


@pytest.fixture
def exact_network(network: nn.Module) -> nn.Module:
    """The tiny network in float64, with no parameter at a special value such as one or zero."""
    network = network.double()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def test_outputs_and_gradients_are_those_of_the_description(name: str, exact_network: nn.Module) -> None:
    image = torch.randn(2, IN_CHANNELS, 64, 32, dtype=torch.float64)
    heads = exact_network(image)
    loss_of(heads).backward()
    weights = {key: value.detach().requires_grad_() for key, value in exact_network.named_parameters()}
    expected = FORWARDS[name](weights, image, TINY["depths"])
    loss_of(expected).backward()
    for actual, wanted in zip(heads, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-8, atol=1e-9)
    for key, parameter in exact_network.named_parameters():
        if parameter.grad is None:
            assert weights[key].grad is None, key
            continue
        torch.testing.assert_close(
            parameter.grad,
            weights[key].grad,
            rtol=1e-6,
            atol=1e-9,
            msg=lambda text, key=key: f"{key}: {text}",
        )


def test_every_parameter_learns(name: str, network: nn.Module) -> None:
    loss_of(network(torch.randn(2, IN_CHANNELS, 64, 64))).backward()
    used = used_parameters(name, network)
    assert all(value.grad is None for key, value in network.named_parameters() if key not in used)
    for key, parameter in used.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if key != "stem.0.bias":  # an instance norm follows, which takes any constant away
            assert parameter.grad.abs().max() > 0, key


def test_a_black_border_does_not_blow_up_the_gradients(network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 64, 64)
    image[..., 32:, :] = 0
    loss_of(network(image)).backward()
    norms = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    assert torch.stack(norms).norm() < 100


def test_without_deep_supervision_coarse_heads_get_no_gradient(name: str, network: nn.Module) -> None:
    network.deep_supervision = False
    network(torch.randn(1, IN_CHANNELS, 32, 32)).sum().backward()
    parameters = used_parameters(name, network)
    idle = {key.rsplit(".", 1)[0] for key, parameter in parameters.items() if parameter.grad is None}
    if name.startswith("swin_umamba_d"):
        assert idle == {f"decoder.seg_layers.{index}" for index in range(len(network.decoder.stages))}
    else:
        assert idle == {f"out_layers.{index}.conv.conv" for index in (1, 2, 3)}


def test_images_of_a_batch_do_not_influence_each_other(network: nn.Module) -> None:
    batch = torch.randn(3, IN_CHANNELS, 32, 32)
    together, alone = network(batch)[0], network(batch[1:2])[0]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_checkpointing_changes_neither_outputs_nor_gradients(name: str, network: nn.Module) -> None:
    network.train()
    image = torch.randn(2, IN_CHANNELS, 32, 32)
    results: list[list[Any]] = []
    for checkpointing in (False, True):
        for module in network.modules():
            if hasattr(module, "activation_checkpointing"):
                module.activation_checkpointing = checkpointing
        network.zero_grad()
        torch.manual_seed(3)
        heads = network(image)
        loss_of(heads).backward()
        results.append([*heads, *(parameter.grad for parameter in used_parameters(name, network).values())])
    for plain, checkpointed in zip(*results, strict=True):
        assert torch.equal(plain, checkpointed)


def test_bfloat16_autocast_trains(name: str, network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        heads = network(image)
        loss_of(heads).backward()
    for half, full in zip(heads, network(image), strict=True):
        assert half.dtype == torch.bfloat16
        assert (half.float() - full).norm() < 0.1 * full.norm()
    assert all(parameter.grad.isfinite().all() for parameter in used_parameters(name, network).values())


@pytest.mark.slow
def test_export_gives_the_same_numbers(network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 32, 40)
    exported = torch.export.export(network, (image,)).module()
    for actual, expected in zip(exported(image), network(image), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.slow
def test_compiles_to_one_graph_with_the_same_gradients(name: str, network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 32, 40)
    results = []
    for function in (network, torch.compile(network, backend="aot_eager", fullgraph=True)):
        network.zero_grad()
        heads = function(image)
        loss_of(heads).backward()
        results.append([*heads, *(parameter.grad for parameter in used_parameters(name, network).values())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(eager, compiled)


def test_a_tiny_network_calls_few_functions(network: nn.Module) -> None:
    """Five thousand or so, for 4096 pixels in many layers: nothing goes from pixel to pixel in Python."""
    image = torch.randn(1, IN_CHANNELS, 64, 64)
    with torch.no_grad():
        network(image)  # the first call may compile kernels
        assert calls_of(lambda: network(image)) < 30_000


def test_number_of_heads_and_classes(network: nn.Module) -> None:
    heads = network(torch.randn(1, IN_CHANNELS, 64, 96))
    sizes = [(round(64 * scale), round(96 * scale)) for scale in network.deep_supervision_scales]
    assert [tuple(head.shape) for head in heads] == [(1, NUM_CLASSES, *size) for size in sizes]
