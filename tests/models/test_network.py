"""The contract of both networks: sizes, padding, heads, freezing, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.tiny_network import IN_CHANNELS, NUM_CLASSES, TINY
from swin_umamba.errors import DataError, UsageError
from swin_umamba.models.registry import create_model

SCALES = {
    "swin_umamba": (1, 1 / 2, 1 / 4, 1 / 8),
    "swin_umamba_d": (1, 1 / 4, 1 / 8, 1 / 16),
    "swin_umamba_dd": (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16),
    "swin_umamba_v1": (1, 1 / 2, 1 / 4, 1 / 8),
}


def test_head_zero_is_the_single_output(network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 40, 64)
    heads = network(image)
    network.deep_supervision = False
    assert torch.equal(network(image), heads[0])


def test_deep_supervision_of_the_dagger_lies_where_nnunet_switches_it() -> None:
    network = create_model("swin_umamba_d", IN_CHANNELS, NUM_CLASSES, **TINY)
    assert network.deep_supervision
    network.decoder.deep_supervision = False
    assert not network.deep_supervision
    network.deep_supervision = True
    assert network.decoder.deep_supervision


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (70, 45), (64, 95)])
def test_padding_repeats_the_border_and_is_cropped(
    name: str, network: nn.Module, size: tuple[int, int]
) -> None:
    height, width = size
    image = torch.randn(1, IN_CHANNELS, height, width)
    padded = F.pad(image, (0, -width % 32, 0, -height % 32), mode="replicate")
    assert network.deep_supervision_scales == SCALES[name]
    for head, full, scale in zip(network(image), network(padded), SCALES[name], strict=True):
        # Python's round, half to even: the rule by which nnU-Net shrinks its targets.
        assert head.shape == (1, NUM_CLASSES, round(height * scale), round(width * scale))
        assert torch.equal(head, full[..., : head.shape[-2], : head.shape[-1]])


def test_multiples_of_32_are_not_touched(network: nn.Module) -> None:
    image = torch.randn(1, IN_CHANNELS, 32, 64)
    for head, direct in zip(network(image), network.segment(image), strict=True):
        assert torch.equal(head, direct)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, IN_CHANNELS, 31, 64), "31x64"),
        ((1, IN_CHANNELS, 64, 8), "64x8"),
        ((1, IN_CHANNELS + 1, 64, 64), "channels|shape"),
        ((IN_CHANNELS, 64, 64), "shape"),
        ((1, IN_CHANNELS, 8, 64, 64), "shape"),
    ],
)
def test_impossible_images_are_refused(network: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        network(torch.zeros(shape))
    assert caught.value.hint


def test_an_empty_batch_gives_empty_logits(network: nn.Module) -> None:
    assert network(torch.zeros(0, IN_CHANNELS, 32, 32))[0].shape == (0, NUM_CLASSES, 32, 32)


@pytest.mark.parametrize(
    "arguments",
    [
        {"depths": (1, 1, 1)},
        {"features_per_stage": (8, 8, 8, 8, 8)},
        {"in_channels": 0},
        {"num_classes": 0},
        {"depths": (1, 0, 1, 1)},
        {"d_state": 0},
        {"drop_path_rate": 1.0},
        {"drop_path_rate": -0.1},
    ],
)
def test_impossible_networks_are_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        create_model(name, **{**TINY, **arguments})


def test_freezing_spares_the_patch_embedding_and_everything_else(name: str, network: nn.Module) -> None:
    network.freeze_encoder()
    frozen = {key for key, parameter in network.named_parameters() if not parameter.requires_grad}
    encoder = {key for key, _ in network.named_parameters() if key.startswith("vssm_encoder.")}
    assert frozen == {key for key in encoder if not key.startswith("vssm_encoder.patch_embed.")}
    network.unfreeze_encoder()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_freezing_the_full_encoder_freezes_all_but_its_patch_embedding(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    network.freeze_encoder()
    frozen = sum(not parameter.requires_grad for parameter in network.parameters())
    assert frozen == (264 if name == "swin_umamba_dd" else 204)


def test_a_frozen_encoder_still_lets_the_stem_learn() -> None:
    network = create_model("swin_umamba", IN_CHANNELS, NUM_CLASSES, **TINY)
    network.freeze_encoder()
    network(torch.randn(1, IN_CHANNELS, 32, 32))[0].square().mean().backward()
    assert network.stem[0].weight.grad.abs().max() > 0
    assert network.vssm_encoder.layers[0].blocks[0].ln_1.weight.grad is None


def test_the_backend_reaches_every_scan(name: str) -> None:
    network = create_model(name, IN_CHANNELS, NUM_CLASSES, **TINY, backend="reference")
    backends = [module.backend for module in network.modules() if hasattr(module, "backend")]
    assert backends == ["reference"] * {"swin_umamba_d": 11, "swin_umamba_dd": 12}.get(name, 5)
