"""SwinUMambaDD: heads, the stem as a skip, gradients, and the backbones it takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.tiny_network import TINY
from swin_umamba.errors import UsageError
from swin_umamba.models.registry import create_model
from swin_umamba.models.swin_umamba_dd import SwinUMambaDD
from swin_umamba.modules.vss_block import VSSBlock, VSSBlockV2


@pytest.fixture
def network() -> SwinUMambaDD:
    torch.manual_seed(0)
    return SwinUMambaDD(2, 3, **TINY).eval()


def test_heads_and_their_sizes(network: SwinUMambaDD) -> None:
    image = torch.randn(1, 2, 45, 70)
    heads = network(image)
    assert [tuple(head.shape) for head in heads] == [
        (1, 3, 45, 70),
        (1, 3, 22, 35),
        (1, 3, 11, 18),
        (1, 3, 6, 9),
        (1, 3, 3, 4),
    ]
    names = list(network.state_dict())
    network.deep_supervision = False
    assert torch.equal(network(image), heads[0])
    assert list(network.state_dict()) == names


def test_the_finest_step_joins_the_pretrained_stem(network: SwinUMambaDD) -> None:
    image = torch.randn(1, 2, 32, 64)
    half, *stages = network.vssm_encoder.with_stem(image)
    conv, norm = network.vssm_encoder.patch_embed[0], network.vssm_encoder.patch_embed[2]
    stem = F.gelu(F.layer_norm(conv(image).movedim(1, -1), (4,), norm.weight, norm.bias))
    torch.testing.assert_close(half, stem)
    decoder = network.decoder
    x = stages[3]
    for step, skip in enumerate((stages[2], stages[1], stages[0], stem)):
        expand = decoder.expand_layers[step]
        # Each pixel becomes 2 x 2, in rows.
        y = expand.expand(x).unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        y = F.layer_norm(y, y.shape[-1:], expand.norm.weight, expand.norm.bias)
        x = decoder.stages[step](decoder.concat_back_dim[step](torch.cat([y, skip], dim=-1)))
    logits = decoder.seg_layers[3](x.movedim(-1, 1))
    torch.testing.assert_close(network(image)[1], logits)


def test_every_parameter_gets_a_gradient(network: SwinUMambaDD) -> None:
    sum(head.square().sum() for head in network(torch.randn(2, 2, 64, 64))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    frozen = {id(each) for each in network.encoder_parameters()}
    stem = {id(each) for each in network.vssm_encoder.patch_embed.parameters()}
    assert not frozen & stem


def test_no_block_of_the_first_generation_is_in_it() -> None:
    with torch.device("meta"):
        network = create_model("swin_umamba_dd", 1, 14)
    assert not any(isinstance(module, VSSBlock) for module in network.modules())
    assert sum(isinstance(module, VSSBlockV2) for module in network.decoder.modules()) == 7
    rates = [block.drop_path.drop_prob for stage in network.decoder.stages for block in stage.blocks]
    assert (rates[0], rates[-1]) == (0.2, 0.0)
    assert sum(parameter.numel() for parameter in network.parameters()) == 35_602_486


def test_rates_of_a_backbone_of_its_own() -> None:
    with torch.device("meta"):
        network = create_model("swin_umamba_dd", 1, 14, backbone="vmamba_base_s2l15")
        given = create_model("swin_umamba_dd", 1, 14, backbone="vmamba_base_s2l15", drop_path_rate=0.1)
    assert network.vssm_encoder.layers[3].blocks[1].drop_path.drop_prob == pytest.approx(0.6)
    assert network.decoder.stages[0].blocks[0].drop_path.drop_prob == 0.2
    assert given.vssm_encoder.layers[3].blocks[1].drop_path.drop_prob == pytest.approx(0.1)


def test_a_backbone_without_a_stem_at_half_resolution_is_refused() -> None:
    with pytest.raises(UsageError, match="vmamba_tiny has no stem") as caught:
        create_model("swin_umamba_dd", 1, 2, backbone="vmamba_tiny")
    assert "vmamba_tiny_s1l8" in str(caught.value.hint)
