"""The state dicts have the public layout, exact sizes and initial values."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from models.state_dict_layout import (
    swin_umamba_d_layout,
    swin_umamba_dd_layout,
    swin_umamba_layout,
    swin_umamba_v1_layout,
)
from models.tiny_network import IN_CHANNELS, NUM_CLASSES, TINY
from swin_umamba.models.registry import create_model
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

LAYOUTS = {
    "swin_umamba": swin_umamba_layout,
    "swin_umamba_d": swin_umamba_d_layout,
    "swin_umamba_dd": swin_umamba_dd_layout,
    "swin_umamba_v1": swin_umamba_v1_layout,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(name: str, in_channels: int, num_classes: int) -> nn.Module:
    with torch.device("meta"):  # no memory, no time
        return create_model(name, in_channels, num_classes)


@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 14), (3, 2), (48, 5)])
def test_full_size_layout(name: str, in_channels: int, num_classes: int) -> None:
    network = on_meta(name, in_channels, num_classes)
    layout = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    assert layout == LAYOUTS[name](in_channels, num_classes)
    assert not list(network.buffers())


def test_tiny_layout(name: str, network: nn.Module) -> None:
    layout = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    sizes = TINY["depths"], TINY["features_per_stage"], TINY["d_state"]
    assert layout == LAYOUTS[name](IN_CHANNELS, NUM_CLASSES, *sizes)


@pytest.mark.parametrize(
    ("name", "total", "keys"),
    [
        ("swin_umamba", 59_889_368, 257),
        ("swin_umamba_d", 27_497_720, 312),
        ("swin_umamba_dd", 35_602_486, 431),
        ("swin_umamba_v1", 40_425_176, 253),
    ],
)
def test_published_sizes(name: str, total: int, keys: int) -> None:
    network = on_meta(name, 1, 14)
    assert count(network) == total
    assert len(network.state_dict()) == keys


def test_sizes_of_the_parts() -> None:
    plain, dagger = on_meta("swin_umamba", 1, 14), on_meta("swin_umamba_d", 1, 14)
    assert count(plain.vssm_encoder) == 22_136_736
    assert count(dagger.vssm_encoder) == 22_119_840
    assert count(plain.decoder6) == 19_464_192
    assert count(dagger.decoder.expand_layers) == 1_697_280
    assert [count(block) for block in plain.vssm_encoder.layers[2].blocks] == [1_195_776] * 9


def test_names_do_not_depend_on_deep_supervision(name: str, network: nn.Module) -> None:
    single = create_model(name, IN_CHANNELS, NUM_CLASSES, **{**TINY, "deep_supervision": False})
    assert list(single.state_dict()) == list(network.state_dict())


def test_round_trip_through_a_file(name: str, network: nn.Module, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "weights.pth", network.state_dict())
    other = create_model(name, IN_CHANNELS, NUM_CLASSES, **TINY).eval()
    other.load_state_dict(load_checkpoint(tmp_path / "weights.pth"), strict=True)
    image = torch.randn(1, IN_CHANNELS, 32, 32)
    for ours, theirs in zip(network(image), other(image), strict=True):
        assert torch.equal(ours, theirs)


def test_drop_path_rates() -> None:
    dagger = on_meta("swin_umamba_d", 3, 2)
    encoder = [block.drop_path.drop_prob for layer in dagger.vssm_encoder.layers for block in layer.blocks]
    assert encoder == pytest.approx([0.2 * index / 14 for index in range(15)])
    decoder = [block.drop_path.drop_prob for stage in dagger.decoder.stages for block in stage.blocks]
    assert decoder == pytest.approx([0.2, 0.16, 0.12, 0.08, 0.04, 0.0])


def test_initial_encoder_linears_are_narrow(network: nn.Module) -> None:
    linears = [m.weight for m in network.vssm_encoder.modules() if isinstance(m, nn.Linear)]
    values = torch.cat([weight.flatten() for weight in linears])
    assert values.std().item() == pytest.approx(0.02, rel=0.05)


def test_initial_convolutions() -> None:
    plain = create_model("swin_umamba", IN_CHANNELS, NUM_CLASSES, **TINY)
    dagger = create_model("swin_umamba_d", IN_CHANNELS, NUM_CLASSES, **TINY)

    def depthwise(network: nn.Module) -> nn.Conv2d:
        return network.vssm_encoder.layers[3].blocks[0].self_attention.conv2d

    # The default is uniform with a bound of 1/sqrt(fan in), He's is normal for the slope of LeakyReLU.
    assert depthwise(plain).weight.abs().max() <= 1 / 3
    assert depthwise(plain).weight.std().item() == pytest.approx(1 / 3 / math.sqrt(3), rel=0.1)
    assert depthwise(dagger).weight.std().item() == pytest.approx(math.sqrt(2 / 1.0001 / 9), rel=0.1)
    for module in dagger.modules():
        if isinstance(module, nn.Conv2d) and module is not dagger.vssm_encoder.patch_embed.proj:
            assert not module.bias.any()
    assert 0 < dagger.vssm_encoder.patch_embed.proj.bias.abs().max() <= (IN_CHANNELS * 4 * 4) ** -0.5
    # Linear layers of the decoder keep the default, unlike those of the encoder.
    assert dagger.decoder.expand_layers[0].expand.weight.std().item() == pytest.approx(60**-0.5, rel=0.1)
